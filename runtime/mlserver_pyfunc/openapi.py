"""The OpenAPI document of one model: its own inputs, and a request that works as it stands.

MLServer's document describes the protocol, the same for every model. Ours says which inputs this
model takes, of which datatypes, and has an example: golden rows where there are any, else one row
of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from mlserver.handlers import DataPlane
from mlserver.rest.openapi import get_model_schema
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from mlserver_pyfunc.docs_page import PAGE
from mlserver_pyfunc.model import PyFuncRuntime
from pyfunc_packaging.schema import Column, Param, Schema, Tensor

#: Routes of MLServer that `pyfunc serve` does not have, or whose answers are those of another.
_LEFT_OUT = ("infer_stream", "generate", "generate_stream")

_JSON_TYPES = {"BOOL": "boolean", "FP16": "number", "FP32": "number", "FP64": "number"}
_ZEROS: dict[str, Any] = {"BOOL": False, "FP16": 0.0, "FP32": 0.0, "FP64": 0.0, "BYTES": ""}


def describe(
    schema: Schema, *, name: str, version: str | None = None, example: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The OpenAPI document of a model.

    Parameters
    ----------
    schema : Schema
    name : str
        As the URL has it.
    version : str, optional
        The same; None describes the routes without a version.
    example : dict, optional
        A V2 request that works; a row of zeros if left out.

    Returns
    -------
    dict

    Examples
    --------
    >>> document = describe(Schema((Column("age", "long"),)), name="price")
    >>> post = document["paths"]["/v2/models/price/infer"]["post"]
    >>> post["requestBody"]["content"]["application/json"]["example"]["inputs"]
    [{'name': 'age', 'shape': [1], 'datatype': 'INT64', 'data': [0]}]
    """
    document: dict[str, Any] = deepcopy(get_model_schema(name, version))
    document["paths"] = {
        path: route
        for path, route in document["paths"].items()
        if "{" not in path and not path.endswith(_LEFT_OUT)
    }
    base = f"/v2/models/{name}" + (f"/versions/{version}" if version else "")
    post = document["paths"][f"{base}/infer"]["post"]
    schemas = document["components"]["schemas"]
    schemas["ModelRequest"] = _describe_request(schema)
    schemas["ModelResponse"] = _describe_response(schema.outputs)
    post["requestBody"]["required"] = True
    post["requestBody"]["content"]["application/json"] = {
        "schema": {"$ref": "#/components/schemas/ModelRequest"},
        "example": make_zeros(schema.inputs) if example is None else example,
    }
    post["responses"]["200"]["content"]["application/json"]["schema"] = {
        "$ref": "#/components/schemas/ModelResponse"
    }
    return document


def make_zeros(inputs: Sequence[Column | Tensor]) -> dict[str, Any]:
    """A V2 request of one row of zeros; what its datatype has for nothing, where it is no number.

    Examples
    --------
    >>> make_zeros([Tensor("image", "float32", (-1, 2))])["inputs"]
    [{'name': 'image', 'shape': [1, 2], 'datatype': 'FP32', 'data': [0.0, 0.0]}]
    """
    tensors = []
    for field in inputs:
        shape = [1 if size == -1 else size for size in field.shape]
        count = 1
        for size in shape:
            count *= size
        data = [_zero(field)] * count
        tensors.append(
            {"name": field.name, "shape": shape, "datatype": field.datatype, "data": data}
        )
    return {"inputs": tensors}


def _zero(field: Column | Tensor) -> Any:
    if isinstance(field, Column):
        if field.type == "datetime":
            return "1970-01-01T00:00:00Z"
        if field.categories and field.datatype == "BYTES":
            return field.categories[0]
    return _ZEROS.get(field.datatype, 0)


def _describe_request(schema: Schema) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {
                "type": "array",
                "description": "Every one of these, by name, in any order.",
                "minItems": len(schema.inputs),
                "maxItems": len(schema.inputs),
                "items": {"oneOf": [_describe_tensor(field) for field in schema.inputs]},
            },
            "outputs": {
                "type": "array",
                "description": "Those wanted; all, if left out.",
                "items": {"$ref": "#/components/schemas/RequestOutput"},
            },
        },
    }
    if schema.params:
        described["properties"]["parameters"] = {
            "type": "object",
            "properties": {param.name: _describe_param(param) for param in schema.params},
        }
    return described


def _describe_response(outputs: Sequence[Column | Tensor]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["model_name", "id", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": {
                "type": "array",
                "items": {"oneOf": [_describe_tensor(field) for field in outputs]}
                if outputs
                else {"$ref": "#/components/schemas/ResponseOutput"},
            },
        },
    }


def _describe_tensor(field: Column | Tensor) -> dict[str, Any]:
    cell: dict[str, Any] = {"type": _JSON_TYPES.get(field.datatype, "integer")}
    if field.datatype == "BYTES":
        cell = {"type": "string"}
    if getattr(field, "type", None) == "datetime":
        cell["format"] = "date-time"
    if getattr(field, "nullable", False):
        cell["nullable"] = True
    if isinstance(field, Column):
        shape = "[n] or [n, 1], for n rows"
    else:
        shape = f"{list(field.shape)}, where -1 is any length"
    size = {"type": "integer", "minimum": 0}
    return {
        "title": field.name,
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "enum": [field.name]},
            "shape": {"type": "array", "items": size, "description": shape},
            "datatype": {
                "type": "string",
                "example": field.datatype,
                "description": f"{field.datatype}, or another where the conversion loses nothing",
            },
            "data": {"type": "array", "items": cell},
            "parameters": {"type": "object"},
        },
    }


def _describe_param(param: Param) -> dict[str, Any]:
    described: dict[str, Any] = {"description": f"{param.type}, of the model's signature"}
    if param.default is not None:
        described["default"] = param.default
    return described


class ModelDocs:
    """The endpoints of a model's documentation.

    Parameters
    ----------
    data_plane : mlserver.handlers.DataPlane
    """

    def __init__(self, data_plane: DataPlane) -> None:
        self._data_plane = data_plane

    async def document(self, request: Request) -> Response:
        """The model's OpenAPI document.

        Raises
        ------
        mlserver.errors.ModelNotFound
        """
        model, name, version = await self._find(request)
        if not isinstance(model, PyFuncRuntime):  # one of MLServer's, beside ours
            return JSONResponse(get_model_schema(name, version))
        example = model.read_example()
        return JSONResponse(describe(model.schema, name=name, version=version, example=example))

    async def page(self, request: Request) -> Response:
        """The same for people.

        Raises
        ------
        mlserver.errors.ModelNotFound
        """
        await self._find(request)
        return HTMLResponse(PAGE)

    async def _find(self, request: Request) -> tuple[Any, str, str | None]:
        name, version = request.path_params["model_name"], request.path_params.get("model_version")
        return await self._data_plane._model_registry.get_model(name, version), name, version
