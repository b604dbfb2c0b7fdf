"""Check what only a gRPC request can get wrong, and MLServer unpacks without looking.

BF16, which MLServer does not know, becomes FP32, which holds it exactly.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlserver.grpc import dataplane_pb2 as pb

from mlserver_pyfunc.binary_tensors import (
    check_numbers,
    count_elements,
    split_elements,
    widen_bfloat16,
)
from mlserver_pyfunc.elements import NUMBERS
from mlserver_pyfunc.limits import check_inputs, read_limits
from mlserver_pyfunc.refusals import WrongType
from pyfunc_packaging.errors import InvalidRequest


def check_request(request: pb.ModelInferRequest) -> None:
    """Refuse parameters and contents that MLServer would fail on, or choose among in silence.

    Parameters
    ----------
    request : ModelInferRequest

    Raises
    ------
    InvalidRequest
    """
    check_inputs(len(request.inputs), read_limits().inputs)
    _check_parameters("the request", request.parameters)
    for output in request.outputs:
        _check_parameters(f"output {output.name!r:.80}", output.parameters)
    for tensor in request.inputs:
        _check_parameters(f"input {tensor.name!r:.80}", tensor.parameters)
        if len(tensor.contents.ListFields()) > 1:
            raise InvalidRequest(
                f"input {tensor.name!r:.80}: has contents of more than one type; send one of them"
            )
    check_raw_contents(request)


def _check_parameters(owner: str, parameters: Mapping[str, pb.InferParameter]) -> None:
    """``content_type`` is text, and ``headers`` an object, which no gRPC parameter can be."""
    if "headers" in parameters:
        raise InvalidRequest(f"{owner}: 'headers' is no parameter; send them as gRPC metadata")
    # looking a name up in a protobuf map would add it
    if "content_type" in parameters:
        kind = parameters["content_type"].WhichOneof("parameter_choice")
        if kind != "string_param":
            raise InvalidRequest(f"{owner}: expected content_type to be a string_param, got {kind}")


def check_raw_contents(request: pb.ModelInferRequest) -> None:
    """Refuse ``raw_input_contents`` that do not fit the inputs they belong to; widen BF16.

    Parameters
    ----------
    request : ModelInferRequest

    Raises
    ------
    InvalidRequest
        If their number, or the length of one, is not what shapes and datatypes say.
    """
    raw = request.raw_input_contents
    if not raw:
        return
    if len(raw) != len(request.inputs):
        raise InvalidRequest(
            f"raw_input_contents: expected one for each of the {len(request.inputs)} inputs, got"
            f" {len(raw)}"
        )
    for position, (tensor, content) in enumerate(zip(request.inputs, raw, strict=True)):
        if tensor.contents.ListFields():
            raise InvalidRequest(
                f"input {tensor.name!r:.80}: has contents although the request has"
                f" raw_input_contents; send one of them"
            )
        count = count_elements(tensor.name, tensor.shape)
        if tensor.datatype == "BYTES":
            split_elements(tensor.name, content, count)
            continue
        if tensor.datatype == "BF16":
            shape = list(tensor.shape)
            raw[position] = widen_bfloat16(tensor.name, shape, content, what="raw bytes").tobytes()
            tensor.datatype = "FP32"
            continue
        if tensor.datatype not in NUMBERS:
            known = ", ".join([*NUMBERS, "BF16", "BYTES"])
            raise WrongType(
                f"input {tensor.name!r:.80}: expected a datatype of {known}, got"
                f" {tensor.datatype!r:.80}"
            )
        check_numbers(tensor.name, tensor.datatype, list(tensor.shape), content, what="raw bytes")
