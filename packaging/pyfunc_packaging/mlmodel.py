"""The MLflow side of a bundle: ``MLmodel``, requirements and examples."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pyfunc_packaging._version import __version__
from pyfunc_packaging.bundle import LOADER_MODULE
from pyfunc_packaging.schema import NUMPY_TYPES, Column, Schema, Tensor

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

#: Dtypes that MLflow's own enforcement refuses although it inferred a type from them. Their
#: columns are declared ``any`` in MLmodel, and our loader enforces them instead.
_UNENFORCEABLE = ("category",)


@dataclass(frozen=True)
class LoggedIdentity:
    """The MLflow logged model that a bundle will become."""

    model_id: str
    run_id: str
    artifact_location: str


def to_signature(schema: Schema) -> ModelSignature:
    """The MLflow model signature of a schema.

    A column whose pandas dtype MLflow infers a type from but then refuses (categories, nullable
    integers and booleans with gaps, time zones) is declared ``any``, so that
    ``mlflow.pyfunc.load_model(bundle).predict(X)`` takes the very rows the model was trained on.
    Our loader enforces such a column, and the manifest keeps its exact type.

    MLflow does not mix columns and tensors: beside a tensor, a column is a tensor of shape (-1,).
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema as MlflowSchema

    return ModelSignature(
        inputs=MlflowSchema([_input_spec(column) for column in schema.columns]),
        outputs=MlflowSchema(_output_specs(schema.outputs)),
    )


def _input_spec(column: Column) -> Any:
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import AnyType

    any_type: Any = AnyType
    kind = any_type() if _refused_by_mlflow(column) else DataType[column.type]
    return ColSpec(kind, column.name, required=not column.nullable)


def _refused_by_mlflow(column: Column) -> bool:
    dtype = column.dtype or ""
    if dtype in _UNENFORCEABLE or dtype in ("uint32", "uint64"):
        return True
    if column.type in ("integer", "long", "boolean"):
        # extension dtypes hold gaps that MLflow cannot: Int64, boolean, int64[pyarrow], ...
        extension = dtype[:1].isupper() or dtype == "boolean" or "pyarrow" in dtype
        return column.nullable and (extension or (dtype == "object" and column.type != "boolean"))
    return column.type == "datetime" and "," in dtype


def _output_specs(outputs: Sequence[Column | Tensor]) -> list[Any]:
    import numpy as np
    from mlflow.types import ColSpec, DataType, TensorSpec

    columns = [output for output in outputs if isinstance(output, Column)]
    if len(columns) == len(outputs):
        return [ColSpec(DataType[column.type], column.name) for column in columns]
    specs = []
    for output in outputs:
        if isinstance(output, Tensor):
            dtype = output.dtype
        else:
            dtype = "str" if output.type == "string" else NUMPY_TYPES[output.type]
        specs.append(TensorSpec(np.dtype(dtype), output.shape, output.name))
    return specs


def write_mlmodel(
    directory: Path,
    *,
    schema: Schema,
    requirements: Sequence[str],
    metadata: Mapping[str, Any] | None,
    identity: LoggedIdentity | None,
) -> None:
    """Write ``MLmodel``, ``requirements.txt``, ``python_env.yaml`` and ``conda.yaml``."""
    import mlflow.pyfunc
    from mlflow.models import Model

    python = platform.python_version()
    _write_text(directory / "requirements.txt", "".join(f"{line}\n" for line in requirements))
    build = [
        f"{name}=={importlib.metadata.version(name)}"
        for name in ("pip", "setuptools", "wheel")
        if is_installed(name)
    ]
    environment = {
        "python": python,
        "build_dependencies": build,
        "dependencies": ["-r requirements.txt"],
    }
    _write_text(directory / "python_env.yaml", yaml.safe_dump(environment, sort_keys=False))
    conda = {
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": list(requirements)}],
        "name": "mlflow-env",
    }
    _write_text(directory / "conda.yaml", yaml.safe_dump(conda, sort_keys=False))
    model = Model(
        artifact_path=identity.artifact_location if identity else None,
        run_id=identity.run_id if identity else None,
        model_id=identity.model_id if identity else None,
        signature=to_signature(schema),
        saved_input_example_info={
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
        },
        metadata={"mlserver_pyfunc": __version__, **(metadata or {})},
    )
    mlflow.pyfunc.add_to_model(
        model,
        loader_module=LOADER_MODULE,
        data="data",
        code="code",
        conda_env="conda.yaml",
        python_env="python_env.yaml",
    )
    model.save(str(directory / "MLmodel"))


def is_installed(name: str) -> bool:
    """Whether a distribution is installed here."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def write_examples(directory: Path, request: Mapping[str, Any]) -> None:
    """Write MLflow's input examples from the golden request."""
    table = {
        "columns": [tensor["name"] for tensor in request["inputs"]],
        "data": [list(row) for row in zip(*(t["data"] for t in request["inputs"]), strict=True)],
    }
    write_json(directory / "input_example.json", table)
    write_json(directory / "serving_input_example.json", {"dataframe_split": table})


def write_json(path: Path, content: Any) -> None:
    """Write JSON that people can read, with a newline at its end."""
    _write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
