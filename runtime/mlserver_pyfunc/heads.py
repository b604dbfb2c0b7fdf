"""Heads of requests that were read before.

A client sends one request after the other under the same head: the same line, the same headers, in
the same bytes. What a parser makes of a head depends on nothing but its bytes, if it stands where a
message begins; so it is parsed once, and recognised from then on.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlserver_pyfunc.bodies import BodyHeaders, RawHeaders, read_headers

#: Heads that are remembered, most of a few hundred bytes, and bytes of the largest: two MB in all.
#: Where every request has an identity among its headers, none is ever seen again.
_MAX_HEADS, _MAX_SIZE = 256, 8 * 1024

_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a head.

    Parameters
    ----------
    path : str
    headers : BodyHeaders
    size : int
        Bytes of the whole request.
    """

    path: str
    headers: BodyHeaders
    size: int


class Heads:
    r"""Those of one server.

    Examples
    --------
    >>> heads = Heads()
    >>> head = b"POST /infer HTTP/1.1\r\nContent-Length: 2\r\n\r\n"
    >>> heads.add(head + b"{}", b"{}", "/infer", [(b"content-length", b"2")])
    True
    >>> found, body = heads.find(head + b"[]")
    >>> found.path, body
    ('/infer', b'[]')
    >>> heads.find(head + b"[], and more") is None
    True
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """What is known of a request, and its body; None unless the data are all of it.

        Parameters
        ----------
        data : bytes
            What arrived where a message begins.
        """
        end = data.find(_END) + len(_END)
        head = self._known.get(data[:end])
        return None if head is None or head.size != len(data) else (head, data[end:])

    def add(self, data: bytes, body: bytes, path: str, headers: RawHeaders) -> bool:
        """Remember a head that was parsed, if it says where its request ends.

        Parameters
        ----------
        data : bytes
            What arrived where a message began.
        body : bytes
            What the parser found in it, to the end of the message.
        path : str
        headers : sequence of pairs of bytes

        Returns
        -------
        bool
            Whether it was new.
        """
        head = data[: len(data) - len(body)]
        if len(head) > _MAX_SIZE or head in self._known:
            return False
        if not (
            data.find(_END) == len(head) - len(_END)
            and data.endswith(body)
            and (b"content-length", b"%d" % len(body)) in headers
        ):
            return False
        if len(self._known) == _MAX_HEADS:
            self._known.clear()
        self._known[head] = Head(path, read_headers(headers), len(data))
        return True
