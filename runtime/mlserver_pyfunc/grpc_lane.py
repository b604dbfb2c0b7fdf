"""The short way from a gRPC request to its answer, past MLServer's types.

MLServer makes pydantic objects of a protobuf message and another message of those. Small requests
that need none of that are answered from the message itself, and counted as MLServer counts them.
Every other request, and every request with a mistake, gives None and goes MLServer's way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import _FIELDS
from mlserver.handlers import DataPlane
from mlserver.types import Datatype

from mlserver_pyfunc.binary_tensors import read_tensor, to_bytes
from mlserver_pyfunc.counts import Times
from mlserver_pyfunc.encode import Encoded
from mlserver_pyfunc.envelope import EnvelopeInput
from mlserver_pyfunc.logs import REQUEST_ID
from mlserver_pyfunc.model import PyFuncRuntime
from mlserver_pyfunc.plain import Decoded
from mlserver_pyfunc.target import Targets
from pyfunc_packaging.errors import InvalidRequest

#: Where a message has the elements of a datatype that a plain request has.
_CONTENTS = {"FP64": "fp64_contents", "INT64": "int64_contents", "BYTES": "bytes_contents"}

#: Bytes of one input that are read on the event loop at most.
_SMALL = 32 * 1024


class GRPCLane:
    """Answers ``ModelInfer``.

    Parameters
    ----------
    data_plane : mlserver.handlers.DataPlane
    """

    def __init__(self, data_plane: DataPlane) -> None:
        self._targets = Targets(data_plane)

    def answer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse | None:
        """Answer a request at once; None where MLServer has to.

        Parameters
        ----------
        request : ModelInferRequest
        context : grpc.aio.ServicerContext
            Gets the metadata of the answer.

        Raises
        ------
        mlserver.errors.MLServerError
            If the model does not predict it.
        """
        target = self._targets.find(request.model_name, request.model_version)
        if target is None or request.parameters or request.outputs or not request.inputs:
            return None
        began = time.perf_counter()
        raw = bool(request.raw_input_contents)
        model = target.model
        shape = request.inputs[0].shape
        if shape and shape[0] > model.prompt_rows:
            return None  # before anything is unpacked
        if len(request.inputs) > len(model.schema.inputs):
            return None
        try:
            inputs = _read_raw(request) if raw else _read_plain(request, model)
            if inputs is None or not model.is_prompt(inputs):
                return None
            times = Times(time.perf_counter() - began)
        except InvalidRequest:
            return None
        REQUEST_ID.set(request.id)  # each call has a context of its own
        try:
            outputs = model.infer_now(inputs, (), {}, times)
            predicted = time.perf_counter()
            response = _make_response(request.id, target.head(request.id), outputs, raw=raw)
            times.encode += time.perf_counter() - predicted
            context.set_trailing_metadata(
                tuple((name.decode(), value.decode()) for name, value in target.headers(request.id))
            )
        except Exception as error:  # refused by the model, or a failure: it was asked
            target.count_failure(error, began)
            raise
        target.succeed(time.perf_counter() - began, times)
        return response


def _read_plain(request: pb.ModelInferRequest, model: PyFuncRuntime) -> Decoded | None:
    names, datatypes, shapes, data = [], [], [], []
    for tensor in request.inputs:
        datatype = tensor.datatype
        found = tensor.contents.ListFields()
        if len(found) != 1 or found[0][0].name != _CONTENTS.get(datatype) or tensor.parameters:
            return None
        if len(found[0][1]) > model.prompt_rows:
            return None  # before it is unpacked
        elements = list(found[0][1])
        if datatype == "BYTES":
            try:
                elements = [element.decode() for element in elements]
            except UnicodeDecodeError:
                return None
        names.append(tensor.name)
        datatypes.append(datatype)
        shapes.append(list(tensor.shape))
        data.append(elements)
    return model.plain.read(tuple(names), tuple(datatypes), tuple(shapes), tuple(data))


def _read_raw(request: pb.ModelInferRequest) -> list[EnvelopeInput] | None:
    """The inputs, for the decoder.

    Raises
    ------
    InvalidRequest
        If bytes and shape of one do not match.
    """
    if len(request.inputs) != len(request.raw_input_contents):
        return None
    inputs = []
    for tensor, content in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.parameters or tensor.HasField("contents") or len(content) > _SMALL:
            return None
        shape = list(tensor.shape)
        datatype, data = read_tensor(tensor.name, tensor.datatype, shape, content)
        inputs.append(EnvelopeInput(tensor.name, shape, datatype, data, None))
    return inputs


def _make_response(
    identity: str, head: dict[str, Any], outputs: Sequence[Encoded], *, raw: bool
) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(
        model_name=head["model_name"], model_version=head.get("model_version"), id=identity
    )
    for output in outputs:
        tensor = response.outputs.add(
            name=output.name, datatype=output.datatype, shape=output.shape
        )
        tensor.contents.SetInParent()  # as MLServer does, also where it stays empty
        if raw:
            response.raw_output_contents.append(to_bytes(output.datatype, output.cells))
        else:
            field = _FIELDS[Datatype(output.datatype)]
            getattr(tensor.contents, field).extend(output.data)
    return response
