"""HTTP connections whose headers have a limit; uvicorn's own collects them until memory ends."""

from __future__ import annotations

import math
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of request line and headers. Other servers stop at 8 to 64 KiB; what arrives together with
#: the end of the headers is not counted.
MAX_HEAD = 64 * 1024


class BoundedHeaders(HttpToolsProtocol):
    """uvicorn's protocol, which closes a connection when a head goes on and on."""

    def connection_made(self, transport: Any) -> None:
        """Begin with nothing; see :class:`asyncio.Protocol`."""
        self._head = 0.0
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a head is complete; see :class:`asyncio.Protocol`."""
        self._head += len(data)
        super().data_received(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response(
                f"expected at most {MAX_HEAD} bytes of request line and headers, got more"
            )

    def on_headers_complete(self) -> None:
        """What follows is a body; see :class:`httptools.HttpRequestParser`."""
        self._head = -math.inf
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What follows is the next head; see :class:`httptools.HttpRequestParser`."""
        self._head = 0.0
        super().on_message_complete()
