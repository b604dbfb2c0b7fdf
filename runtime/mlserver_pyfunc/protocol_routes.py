"""Routes of the protocol whose answers MLServer leaves empty, or whose requests it refuses.

The protocol's health routes answer with JSON, which KServe's client reads; MLServer's have no body.
Triton's clients ask for the repository's index without a body, which MLServer takes for a mistake.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mlserver.handlers import DataPlane, ModelRepositoryHandlers
from mlserver.types import RepositoryIndexRequest
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mlserver_pyfunc.bodies import check_size, join, read_limit, receive_messages
from mlserver_pyfunc.openapi import ModelDocs
from mlserver_pyfunc.status import to_mlserver_error
from pyfunc_packaging.errors import InvalidRequest

#: What server metadata names: the extensions of the protocol that `pyfunc serve` speaks, by the
#: names that Triton gave them.
EXTENSIONS = ("binary_tensor_data", "model_repository", "parameters")

Endpoint = Callable[[Request], Awaitable[Response]]


class ProtocolRoutes:
    """Endpoints that stand in for MLServer's own.

    Parameters
    ----------
    data_plane : mlserver.handlers.DataPlane
    repository : mlserver.handlers.ModelRepositoryHandlers
    """

    def __init__(self, data_plane: DataPlane, repository: ModelRepositoryHandlers) -> None:
        self._data_plane = data_plane
        self._repository = repository
        self._docs = ModelDocs(data_plane)
        self._limit = read_limit()

    def find(self, path: str) -> tuple[Endpoint, str] | None:
        """The endpoint that takes the place of MLServer's route, and its method.

        Parameters
        ----------
        path : str
            As the route has it, with its parameters in braces.
        """
        if path == "/v2/health/live":
            return self.live, "GET"
        if path == "/v2/health/ready":
            return self.ready, "GET"
        if path.startswith("/v2/models/") and path.endswith("/ready"):
            return self.model_ready, "GET"
        if path == "/v2/repository/index":
            return self.index, "POST"
        if path.startswith("/v2/models/") and path.endswith("/docs/dataplane.json"):
            return self._docs.document, "GET"
        if path.startswith("/v2/models/") and path.endswith("/docs"):
            return self._docs.page, "GET"
        return None

    async def live(self, request: Request) -> Response:
        """Whether the server is live: 200, or 400."""
        return _say({"live": await self._data_plane.live()})

    async def ready(self, request: Request) -> Response:
        """Whether the server is ready: 200, or 400."""
        return _say({"ready": await self._data_plane.ready()})

    async def model_ready(self, request: Request) -> Response:
        """Whether a model is ready: 200, or 400; 404 where there is none.

        Raises
        ------
        mlserver.errors.ModelNotFound
        """
        name, version = request.path_params["model_name"], request.path_params.get("model_version")
        return _say({"name": name, "ready": await self._data_plane.model_ready(name, version)})

    async def index(self, request: Request) -> Response:
        """The models of the server; ``{"ready": true}`` asks for those that are ready.

        Raises
        ------
        mlserver.errors.MLServerError
            If there is a body, and it is something else.
        """
        messages = await receive_messages(request.receive, self._limit)
        body = join(messages)
        try:
            check_size(len(body), self._limit)
            asked = RepositoryIndexRequest.model_validate_json(body or b"{}")
        except ValidationError as error:
            refusal = InvalidRequest('expected no body, or {"ready": true} for the ready models')
            raise to_mlserver_error(refusal) from error
        except InvalidRequest as error:
            raise to_mlserver_error(error) from error
        found = await self._repository.index(asked)
        return JSONResponse(found.model_dump(mode="json", exclude_none=True))


def _say(content: dict[str, Any]) -> Response:
    # the protocol wants a status of 4xx where the answer is no
    return JSONResponse(content, 200 if all(content.values()) else 400)
