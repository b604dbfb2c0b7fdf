"""HTTP connections that say that they end before they do.

At SIGTERM uvicorn closes every connection on which no request is under way. A client that kept one
open may have sent its next request that very moment: it finds the connection closed without an
answer, and cannot know whether its request was taken. Here a connection stays open for a second,
and what arrives on it is answered with ``Connection: close``, after which the client opens another
one elsewhere.
"""

from __future__ import annotations

from typing import Any

from mlserver_pyfunc.connection import Connection

#: Seconds that requests in flight get after SIGTERM; Kubernetes kills a pod after 30, and our
#: manifest waits 5 of them before. A client that never finishes sending its request would otherwise
#: keep the process for ever.
SHUTDOWN_SECONDS = 20

#: How long connections without a request stay open after SIGTERM; a client that sends one request
#: after the other sends its next one well within it.
LINGER_SECONDS = 1.0


class Lingering(Connection):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._ends = False

    def on_headers_complete(self) -> None:
        """The request of a connection that ends is its last; see uvicorn."""
        super().on_headers_complete()
        if self._ends and self.cycle is not None:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """End with the answer to the request under way, or to the next one; see uvicorn."""
        if self._ends or (self.cycle is not None and not self.cycle.response_complete):
            super().shutdown()
        else:
            self.loop.call_later(LINGER_SECONDS, self.shutdown)
        self._ends = True
