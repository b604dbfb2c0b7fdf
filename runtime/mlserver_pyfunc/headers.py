"""Response headers that HTTP and gRPC can carry."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlserver import ModelSettings
from mlserver.middleware import InferenceMiddleware
from mlserver.types import InferenceRequest, InferenceResponse

#: Printable ASCII without spaces around it (RFC 9110, section 5.5), of a length that fits anywhere.
HEADER_VALUE = re.compile(r"[!-~]([ -~]{0,254}[!-~])?")


def encode_headers(headers: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them.

    Examples
    --------
    >>> encode_headers({"Ce-Id": "7"})
    [(b'ce-id', b'7')]
    """
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in (headers or {}).items()
    ]


class HeadersThatFit(InferenceMiddleware):  # type: ignore[misc]  # MLServer is not typed
    """Drops response headers that HTTP or gRPC cannot carry.

    MLServer repeats the request's id in CloudEvents headers, where a line break or a letter beyond
    ASCII would break the whole response.
    """

    def request_middleware(
        self, request: InferenceRequest, model_settings: ModelSettings
    ) -> InferenceRequest:
        """Leave the request as it is."""
        return request

    def response_middleware(
        self, response: InferenceResponse, model_settings: ModelSettings
    ) -> InferenceResponse:
        """Drop what does not fit."""
        parameters = response.parameters
        if parameters is not None and parameters.headers:
            parameters.headers = {
                name: value
                for name, value in parameters.headers.items()
                if HEADER_VALUE.fullmatch(str(value))
            }
        return response
