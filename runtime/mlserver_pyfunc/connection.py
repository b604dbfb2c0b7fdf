"""An HTTP connection that bounds what uvicorn's own leaves open.

A client may send headers without end, trailers without end, and requests without waiting for
answers; it may ask for another protocol in passing, as many HTTP/2 clients do with their first
request. uvicorn keeps all that comes, and takes the body of a request that mentions another
protocol for the next request.
"""

from __future__ import annotations

import math
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

#: Bytes of request line and headers, or of trailers. Other servers stop at 8 to 64 KiB; what
#: arrives together with their end is not counted.
MAX_HEAD = 64 * 1024

#: Of headers that ask for another protocol (RFC 9110, section 7.8; RFC 7540, section 3.2.1).
_UPGRADE = (b"upgrade", b"http2-settings")


class _Flow(FlowControl):
    """Reads no more while requests wait behind the one that is answered."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.transport)
        self._pipeline = connection.pipeline

    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """One connection; see :class:`asyncio.Protocol` and :class:`httptools.HttpRequestParser`."""

    def connection_made(self, transport: Any) -> None:
        """Begin with nothing."""
        #: Bytes of the head that is being read, or a few more; minus infinity within a body, and
        #: zero only between two messages.
        self._head = 0.0
        #: The version of a request that will be read again, without the protocol it asks for.
        self._again: str | None = None
        #: The request that is being answered; `cycle` is the one that was read last.
        self._answered: RequestResponseCycle | None = None
        #: What is said when all requests before a malformed one are answered.
        self._refusal: str | None = None
        super().connection_made(transport)
        self.flow = _Flow(self)

    def data_received(self, data: bytes) -> None:
        """Read a part of one request, or several requests."""
        self._unset_keepalive_if_required()
        while data:
            self._head += len(data)
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                if self._again is None:  # CONNECT: what follows is no HTTP
                    self.cycle.keep_alive = False
                    return
                data = self._without_upgrade(self._again) + data[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("Invalid HTTP request received.")
                return
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response(
                f"expected at most {MAX_HEAD} bytes of request line and headers, got more"
            )

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, behind the answers to what came before, and close."""
        if self.cycle is not None and not (self.cycle.response_complete or self.cycle.more_body):
            self._refusal = msg
            self.flow.pause_reading()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """A head begins, maybe behind the end of another message."""
        super().on_message_begin()
        self._head += 1

    def on_headers_complete(self) -> None:
        """What follows is a body."""
        self._head = -math.inf
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._again = self.parser.get_http_version()
            self.scope["method"] = self.parser.get_method().decode("ascii")
            return
        super().on_headers_complete()
        # trailers, which follow the body of some, are no headers
        self.headers = []
        # one that was answered within this very call may have begun to wait for the next
        self._unset_keepalive_if_required()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more, for none of the requests."""
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def on_chunk_header(self) -> None:
        """What follows may be the trailers."""
        self._head = 0.0

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._head = -math.inf
        super().on_body(body)

    def on_message_complete(self) -> None:
        """What follows is the next head."""
        self._head = 0.0
        if self._again is None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with what waits behind the answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()  # the last one that waited has begun
        if self._refusal is not None and self.cycle.response_complete:
            super().send_400_response(self._refusal)

    def _without_upgrade(self, version: str) -> bytes:
        """The head of the request that was read, as if it asked for no other protocol."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._head, self._again = 0.0, None
        lines = [b"%s %s HTTP/%s" % (self.scope["method"].encode(), self.url, version.encode())]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                kept = b", ".join(token for token in tokens if token.lower() not in _UPGRADE)
                lines.append(b"connection: " + kept)
            elif name not in _UPGRADE:
                lines.append(name + b": " + value)
        return b"\r\n".join(lines) + b"\r\n\r\n"
