"""Whether a graph ends: no branches, no functions of its own, and no loops but over its rows.

With a loop whose length a request can say, one small request could keep the server busy for ever:
ONNX Runtime is not interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

#: Fields of ``onnx.proto`` that are looked at, by message: name, number and the message in it. The
#: library that reads them all is no part of a server.
_FIELDS: dict[str, list[tuple[str, int, str | None]]] = {
    "Model": [("graph", 7, "Graph"), ("functions", 25, None)],
    "Graph": [("node", 1, "Node"), ("initializer", 5, "Tensor")],
    "Node": [
        ("input", 1, None),
        ("output", 2, None),
        ("op_type", 4, None),
        ("attribute", 5, "Attribute"),
        ("domain", 7, None),
    ],
    "Attribute": [("t", 5, "Tensor"), ("g", 6, "Graph"), ("graphs", 11, None)],
    "Tensor": [("name", 8, None), ("raw_data", 9, None)],
}

#: The one trip count that our compiler writes: how many pieces of ``size`` rows there are, where
#: ``size`` is ``Min(count, ...)``. It is at most the number of rows of a tensor.
_ONE = (1).to_bytes(8, "little")


def find_control_flow(content: bytes) -> str | None:
    """Look for what may repeat or branch in an ONNX model.

    Every operator that does (``If``, ``Loop``, ``Scan``, ``SequenceMap``) holds a graph.

    Parameters
    ----------
    content : bytes
        The ONNX model.

    Returns
    -------
    str or None
        What was found, for a message; None for a graph that ends.

    Raises
    ------
    ValueError
        If it is no ONNX model.

    Examples
    --------
    >>> find_control_flow(b"") is None
    True
    """
    model = _parse(content)
    if model.functions:
        return "functions of its own"
    for graph in model.graph:
        made = {output: node for node in graph.node for output in node.output}
        tensors = {b"".join(tensor.name): tensor for tensor in graph.initializer}
        for node in graph.node:
            if _holds_graph(node) and not _goes_over_rows(node, made, tensors):
                return f"the operator {_kind(node)!r:.80} around another graph"
    return None


def find_operators(content: bytes) -> set[str]:
    """The names of all operators in an ONNX model, those within loops included.

    Raises
    ------
    ValueError
        If it is no ONNX model.

    Examples
    --------
    >>> find_operators(b"")
    set()
    """
    graphs, names = list(_parse(content).graph), set()
    while graphs:
        for node in graphs.pop().node:
            names.add(_kind(node))
            graphs += [body for attribute in node.attribute for body in attribute.g]
    return names


def _parse(content: bytes) -> Any:
    from google.protobuf.message import DecodeError

    model = _message_class()()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(f"no ONNX model ({error})") from error
    return model


def _holds_graph(node: Any) -> bool:
    return any(attribute.g or attribute.graphs for attribute in node.attribute)


def _kind(node: Any) -> str:
    """Name of an operator of ONNX itself; any other has its domain before it."""
    domain, name = (
        b"".join(part).decode("utf-8", "replace") for part in (node.domain, node.op_type)
    )
    return name if domain in ("", "ai.onnx") else f"{domain}.{name}"


def _goes_over_rows(node: Any, made: Mapping[bytes, Any], tensors: Mapping[bytes, Any]) -> bool:
    """Whether it is a loop over rows, without a loop in it, as `compile.distances` writes it."""

    def inputs(name: bytes, kind: str) -> tuple[bytes, ...]:
        found = made.get(name)
        return tuple(found.input) if found is not None and _kind(found) == kind else ()

    def is_one(name: bytes) -> bool:
        found = made.get(name)
        values = [tensors[name]] if name in tensors else []
        if found is not None and _kind(found) == "Constant":
            values = [tensor for attribute in found.attribute for tensor in attribute.t]
        return [b"".join(tensor.raw_data) for tensor in values] == [_ONE]

    if _kind(node) != "Loop" or not node.input:
        return False
    inner = [each for attribute in node.attribute for body in attribute.g for each in body.node]
    if any(map(_holds_graph, inner)):
        return False
    # turns = (count - 1 + size) / size
    total, size = inputs(node.input[0], "Div") or (b"", b"")
    last, added = inputs(total, "Add") or (b"", b"")
    count, one = inputs(last, "Sub") or (b"", b"")
    bounded = added == size and inputs(size, "Min")[:1] == (count,)
    return bounded and is_one(one) and bool(inputs(count, "Shape"))


@cache
def _message_class() -> Any:
    """A parser for the fields above; it passes over all others."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="pyfunc_packaging/graph_check.proto", package="pyfunc_packaging", syntax="proto2"
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, holds in fields:
            message.field.add(
                name=field,
                number=number,
                # of a field that comes twice, a reader may take either, or both
                label=kind.LABEL_REPEATED,
                type=kind.TYPE_MESSAGE if holds else kind.TYPE_BYTES,
                type_name=f".pyfunc_packaging.{holds}" if holds else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("pyfunc_packaging.Model"))
