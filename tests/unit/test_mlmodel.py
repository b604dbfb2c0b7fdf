import json

import numpy as np
import pytest
from mlflow.models import ModelSignature

from pyfunc_packaging.mlmodel import to_signature
from pyfunc_packaging.schema import Column, Schema, Tensor

X = Column("x", "double")
CHANCES = Tensor("probability", "float64", (-1, 2), ("no", "yes"))


def outputs(*fields):
    return to_signature(Schema((X,), fields)).outputs


def test_columns_alone_stay_columns():
    assert outputs(Column("low", "double"), Column("n", "long")).to_dict() == [
        {"type": "double", "name": "low", "required": True},
        {"type": "long", "name": "n", "required": True},
    ]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("string", "str"), ("long", "int64"), ("integer", "int32"), ("boolean", "bool")],
)
def test_beside_a_tensor_a_column_is_one_too(kind, dtype):
    found = outputs(Column("label", kind), CHANCES)
    assert found.is_tensor_spec()
    assert found.input_names() == ["label", "probability"]
    assert [spec.type for spec in found] == [np.dtype(dtype), np.dtype("float64")]
    assert [spec.shape for spec in found] == [(-1,), (-1, 2)]


def test_our_own_reader_and_mlflow_read_it_back():
    signature = to_signature(Schema((X,), (Column("label", "string"), CHANCES)))
    stored = json.loads(json.dumps(signature.to_dict()))
    assert ModelSignature.from_dict(stored) == signature
    label, probability = Schema.from_mlflow(stored).outputs
    assert label == Tensor("label", "str", (-1,))
    assert label.datatype == "BYTES"
    assert probability == Tensor("probability", "float64", (-1, 2))
