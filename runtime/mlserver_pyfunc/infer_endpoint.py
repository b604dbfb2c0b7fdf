"""The ordinary way to infer over HTTP: through MLServer's types and its data plane.

It takes the place of MLServer's own route, which reads no bytes of tensors, rounds large integers,
and explains a malformed body in FastAPI's format. Cache, tracing, metrics and workers stay
MLServer's.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlserver import Settings
from mlserver.handlers import DataPlane
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import extract_headers, insert_headers
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from mlserver_pyfunc.binary_tensors import BinaryWishes, read_wishes
from mlserver_pyfunc.bodies import (
    NO_REQUEST,
    BodyHeaders,
    check_size,
    is_complete,
    is_small,
    join,
    parse_body,
    read_headers,
    read_limit,
    receive_messages,
)
from mlserver_pyfunc.encode import Encoded
from mlserver_pyfunc.executor import CLIENT
from mlserver_pyfunc.headers import encode_headers
from mlserver_pyfunc.params import read_extras
from mlserver_pyfunc.responses import Answer, Header, make_answer, make_error
from mlserver_pyfunc.status import to_mlserver_error
from mlserver_pyfunc.target import Targets
from pyfunc_packaging.errors import ClientGone, InvalidRequest


class InferEndpoint:
    """Answers inference requests; the routes with and without a version call it.

    Parameters
    ----------
    data_plane : mlserver.handlers.DataPlane
    settings : mlserver.Settings
    """

    def __init__(self, data_plane: DataPlane, settings: Settings) -> None:
        self._data_plane = data_plane
        self._targets = Targets(data_plane)
        self._gzip = settings.gzip_enabled
        self._limit = read_limit()
        #: Reads large bodies, one after the other.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")

    async def infer(self, request: Request) -> Response:
        """Answer one request.

        Raises
        ------
        mlserver.errors.MLServerError
            Which MLServer's application turns into an answer.
        """
        headers, path = read_headers(request.headers.raw), request.path_params
        name, version = path["model_name"], path.get("model_version")
        messages = await receive_messages(request.receive, self._limit)
        body = join(messages)
        try:
            check_size(len(body), self._limit)
            if not is_complete(messages):
                raise ClientGone("the body broke off")
            payload, wishes = await self._read(body, headers)
        except ClientGone as error:  # nobody is there to read it
            self._targets.refuse(name, version, error)
            return to_response(make_error(str(error), 400))
        except InvalidRequest as error:
            self._targets.refuse(name, version, error)
            refusal = to_mlserver_error(error)
            answer = make_error(str(refusal), refusal.status_code)
            if not is_complete(messages):  # the rest of the body must not pass for a request
                answer.headers.append((b"connection", b"close"))
            return to_response(answer)
        insert_headers(payload, dict(request.headers))
        CLIENT.set(request.receive)
        response = await self._data_plane.infer(payload, name, version)
        extra = encode_headers(extract_headers(response))
        answer = make_answer(
            _head(response),
            [
                Encoded(output.name, str(_value(output.datatype)), output.shape, output.data.root)
                for output in response.outputs
            ],
            wishes,
            compress=headers.accepts_gzip if self._gzip else None,
        )
        return to_response(answer, *extra)

    async def _read(
        self, body: bytes, headers: BodyHeaders
    ) -> tuple[InferenceRequest, BinaryWishes]:
        def work() -> tuple[InferenceRequest, BinaryWishes]:
            payload = _validate(parse_body(body, headers, self._limit))
            return payload, _read_wishes(payload)

        if is_small(body, headers):
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)


def _validate(content: Any) -> InferenceRequest:
    if not isinstance(content, dict):
        raise InvalidRequest(NO_REQUEST)
    try:
        return InferenceRequest.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise InvalidRequest(f"{find_place(first['loc'], content)}: {first['msg']}") from error


def find_place(location: tuple[int | str, ...], body: Any) -> str:
    """Where in a request something is wrong, with inputs and outputs by their names.

    Parameters
    ----------
    location : tuple
        As pydantic gives it.
    body : object
        What was validated.

    Examples
    --------
    >>> find_place(("inputs", 0, "shape", 1), {"inputs": [{"name": "x", "shape": [1, "2"]}]})
    "input 'x', shape, 1"
    """
    parts: list[str] = []
    for step in location:
        body = _child(body, step)
        if isinstance(step, int) and isinstance(body, dict) and isinstance(body.get("name"), str):
            parts[-1:] = [f"{parts[-1].removesuffix('s')} {body['name']!r:.80}"]
        elif not isinstance(step, str) or "[" not in step:  # leave out pydantic's own type names
            parts.append(str(step))
    return ", ".join(parts) or "the body"


def _child(body: Any, step: int | str) -> Any:
    if isinstance(body, dict):
        return body.get(step)
    return body[step] if isinstance(body, list) and isinstance(step, int) else None


def _read_wishes(payload: InferenceRequest) -> BinaryWishes:
    outputs = {output.name: read_extras(output.parameters) for output in payload.outputs or []}
    return read_wishes(read_extras(payload.parameters), outputs)


def _head(response: InferenceResponse) -> dict[str, Any]:
    parameters = response.parameters
    head = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id,
        "parameters": parameters.model_dump(exclude_none=True) if parameters else {},
    }
    return {name: value for name, value in head.items() if value is not None}


def _value(datatype: Any) -> Any:
    return getattr(datatype, "value", datatype)


def to_response(answer: Answer, *more: Header) -> Response:
    """An answer as Starlette wants it."""
    response = Response(answer.content, answer.status)
    response.raw_headers = [*answer.headers, *more]
    return response
