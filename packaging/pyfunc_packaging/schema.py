"""What a model takes and returns: columns, tensors and parameters, without importing MLflow.

An MLflow model signature says names, types and which columns are required. A :class:`Schema` says
the same and adds what serving needs to rebuild the rows exactly as the model saw them in training:
pandas dtypes, categories, the missing-value marker.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pyfunc_packaging.errors import MalformedBundle

#: MLflow column type -> datatype of the Open Inference Protocol.
#: MLflow: ``mlflow.types.DataType``; protocol: "Tensor Data Types" of open-inference-protocol.
DATATYPES: Mapping[str, str] = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
}

#: MLflow column type -> numpy dtype of its values.
NUMPY_TYPES: Mapping[str, str] = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "object",
    "binary": "object",
    "datetime": "datetime64[ns]",
}

#: numpy dtype -> datatype of the Open Inference Protocol, for tensors.
TENSOR_DATATYPES: Mapping[str, str] = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "object": "BYTES",
    "str": "BYTES",
    "bytes": "BYTES",
}

#: Largest integer up to which every integer is a float64: 2**53 (IEEE 754 binary64).
MAX_EXACT = 2**53


@dataclass(frozen=True)
class Column:
    """A named column of n values.

    Parameters
    ----------
    name : str
    type : str
        MLflow's name of the type: one of the keys of :data:`DATATYPES`.
    nullable : bool
        Whether a value may be missing. MLflow's ``required`` is its opposite.
    dtype : str, optional
        pandas dtype that the column had in training, such as ``"Int64"`` or ``"category"``. None
        where nobody recorded it (models that were not packaged by this library).
    categories : tuple, optional
        The training categories, for ``dtype="category"``.
    ordered : bool
        Whether those categories are ordered.
    missing : str, optional
        What marks a missing value in an ``object`` column: ``"None"``, ``"NaN"`` or ``"NA"``.
    finite : bool
        Whether the model refuses infinite numbers in this column.
    closed : bool
        Whether the model fails on a text in this column that it did not see in training.

    Examples
    --------
    >>> Column("rooms", "long", nullable=True).datatype
    'INT64'
    """

    name: str
    type: str
    nullable: bool = False
    dtype: str | None = None
    categories: tuple[Any, ...] | None = None
    ordered: bool = False
    missing: str | None = None
    finite: bool = False
    closed: bool = False

    @property
    def datatype(self) -> str:
        """Datatype in the Open Inference Protocol."""
        return DATATYPES[self.type]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in model metadata: one dimension of any length."""
        return (-1,)


@dataclass(frozen=True)
class Tensor:
    """A named tensor of any rank, as MLflow's ``TensorSpec``.

    Parameters
    ----------
    name : str
    dtype : str
        One of the keys of :data:`TENSOR_DATATYPES`.
    shape : tuple of int
        -1 stands for any length.
    classes : tuple, optional
        For the probabilities of a classifier, of shape (-1, k): the k labels that its columns are
        about.

    Examples
    --------
    >>> Tensor("image", "float32", (-1, 28, 28)).datatype
    'FP32'
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    classes: tuple[Any, ...] | None = None

    @property
    def datatype(self) -> str:
        """Datatype in the Open Inference Protocol."""
        return TENSOR_DATATYPES[self.dtype]


@dataclass(frozen=True)
class Param:
    """An inference parameter of an MLflow model: a scalar, or a list when ``shape`` is (-1,)."""

    name: str
    type: str
    default: Any = None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Schema:
    """What a model takes (``inputs``, ``params``) and what it returns (``outputs``).

    Examples
    --------
    >>> schema = Schema.from_mlflow({
    ...     "inputs": '[{"type": "double", "name": "income", "required": true}]',
    ...     "outputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]',
    ... })
    >>> schema.inputs[0].name, schema.outputs[0].name, schema.outputs[0].shape
    ('income', 'output-0', (-1,))
    """

    inputs: tuple[Column | Tensor, ...]
    outputs: tuple[Column | Tensor, ...] = ()
    params: tuple[Param, ...] = ()

    @property
    def columnar(self) -> bool:
        """Whether the inputs are columns of one table (and not tensors)."""
        return all(isinstance(field, Column) for field in self.inputs)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The input columns; empty for a tensor signature."""
        return tuple(field for field in self.inputs if isinstance(field, Column))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``data/manifest.json``; :meth:`from_dict` reads it back."""
        return {
            "inputs": [_field_to_dict(field) for field in self.inputs],
            "outputs": [_field_to_dict(field) for field in self.outputs],
            "params": [asdict(param) for param in self.params],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        MalformedBundle
            If a field has no name or type, or a type that this version does not know.
        """
        try:
            return cls(
                inputs=tuple(_field_from_dict(field) for field in data["inputs"]),
                outputs=tuple(_field_from_dict(field) for field in data["outputs"]),
                params=tuple(
                    Param(
                        param["name"],
                        param["type"],
                        param["default"],
                        None if param["shape"] is None else tuple(param["shape"]),
                    )
                    for param in data["params"]
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MalformedBundle(
                f"data/manifest.json: the schema is not one that this version can read ({error!r})"
            ) from error

    @classmethod
    def from_mlflow(cls, signature: Mapping[str, Any]) -> Schema:
        """Read the ``signature`` entry of an ``MLmodel`` file.

        Parameters
        ----------
        signature : mapping
            ``inputs``, ``outputs`` and ``params``, each a JSON text or None.

        Raises
        ------
        MalformedBundle
            If it is not a signature, or holds a type that no V2 tensor can carry.
        """
        parts: dict[str, list[dict[str, Any]]] = {}
        for key in ("inputs", "outputs", "params"):
            try:
                parts[key] = json.loads(signature.get(key) or "[]")
            except (TypeError, ValueError, AttributeError) as error:
                raise MalformedBundle(
                    f"MLmodel: signature.{key} should be a JSON list, it is not ({error})"
                ) from error
        try:
            return cls(
                inputs=_fields_from_mlflow(parts["inputs"], "input"),
                outputs=_fields_from_mlflow(parts["outputs"], "output"),
                params=tuple(
                    Param(
                        param["name"],
                        param["type"],
                        param.get("default"),
                        None if param.get("shape") is None else tuple(param["shape"]),
                    )
                    for param in parts["params"]
                ),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise MalformedBundle(
                f"MLmodel: the signature is not one that this version can read ({error!r})"
            ) from error


def _field_to_dict(field: Column | Tensor) -> dict[str, Any]:
    kind = "column" if isinstance(field, Column) else "tensor"
    values = {key: value for key, value in asdict(field).items() if value is not None}
    return {"kind": kind, **values}


def _field_from_dict(data: Mapping[str, Any]) -> Column | Tensor:
    values = dict(data)
    kind = values.pop("kind")
    name, dtype = values["name"], values.get("dtype")
    if not isinstance(name, str) or not isinstance(dtype, str | None):
        raise TypeError(f"name and dtype should be texts, not {name!r:.40} and {dtype!r:.40}")
    if kind == "tensor":
        classes = values.get("classes")
        tensor = Tensor(
            values["name"],
            values["dtype"],
            tuple(values["shape"]),
            None if classes is None else tuple(classes),
        )
        _ = tensor.datatype  # a dtype that we do not know is a malformed bundle, not a later crash
        if classes is not None:
            _check_classes(tensor, classes)
        return tensor
    if values.get("categories") is not None:
        values["categories"] = tuple(values["categories"])
    # a later version may say more about a column than this one has to know
    known = {field.name for field in dataclasses.fields(Column)}
    column = Column(**{key: value for key, value in values.items() if key in known})
    _ = column.datatype
    return column


def _check_classes(tensor: Tensor, classes: Any) -> None:
    kinds = {type(label) for label in classes}
    if (
        not isinstance(classes, list)
        or len(kinds) != 1
        or not kinds <= {bool, int, float, str}
        or len(set(classes)) != len(classes)
    ):
        raise ValueError(
            f"the classes of {tensor.name!r} should be a list of labels, all of one type and no"
            f" two alike, not {classes!r:.80}"
        )
    if tensor.dtype != "float64" or tensor.shape != (-1, len(classes)):
        raise ValueError(
            f"{tensor.name!r} should be float64 of shape (-1, {len(classes)}), a column for each"
            f" of its classes, not {tensor.dtype} of shape {tensor.shape}"
        )


def _fields_from_mlflow(
    fields: Sequence[Mapping[str, Any]], prefix: str
) -> tuple[Column | Tensor, ...]:
    """Columns or tensors of one side of a signature; unnamed ones are called ``input-0`` and on."""
    result: list[Column | Tensor] = []
    for position, field in enumerate(fields):
        name = field.get("name") or f"{prefix}-{position}"
        kind = field.get("type")
        if kind == "tensor":
            spec = field["tensor-spec"]
            dtype = np.dtype(spec["dtype"])
            text = "str" if dtype.kind == "U" else "bytes" if dtype.kind == "S" else str(dtype)
            if text not in TENSOR_DATATYPES:
                raise MalformedBundle(
                    f"MLmodel: {prefix} {name!r} is a tensor of {text}, which no datatype of the"
                    f" Open Inference Protocol can carry; use one of {', '.join(TENSOR_DATATYPES)}"
                )
            result.append(Tensor(name, text, tuple(spec["shape"])))
        elif kind in DATATYPES:
            result.append(Column(name, str(kind), nullable=not field.get("required", True)))
        else:
            raise MalformedBundle(
                f"MLmodel: {prefix} {name!r} has the type {kind!r}, which no tensor of the Open"
                f" Inference Protocol can carry; log the model with a signature of"
                f" {', '.join(DATATYPES)} columns, or of tensors"
            )
    return tuple(result)
