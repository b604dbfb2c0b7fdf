"""JSON bodies whose integers are kept exactly, also beyond 64 bits.

orjson makes a float of an integer that does not fit 64 bits, so that nobody could tell later that
it was rounded. Bodies with such an integer, and only those, are parsed by Python's own parser.
"""

from __future__ import annotations

import json
import re
from typing import Any

from mlserver.rest.requests import Request

#: 19 digits or more that begin a JSON number; the largest signed integer of 64 bits has 19.
_LONG_INTEGER = re.compile(rb"[\[,:\s]-?\d{19}")


class ExactRequest(Request):  # type: ignore[misc]  # MLServer is not typed
    """MLServer's request, with exact integers."""

    async def json(self) -> Any:
        """Parse the body; see :class:`starlette.requests.Request`."""
        if not hasattr(self, "_json"):
            self._json = await super().json()  # refuses what is no JSON, in orjson's strict way
            body = await self.body()
            if _LONG_INTEGER.search(body):
                self._json = json.loads(body)
        return self._json
