"""Storage that refuses a model URI, does not answer, or is none."""

from __future__ import annotations

import pytest

from pyfunc_packaging.errors import (
    BucketNotFound,
    InvalidModelUri,
    PyFuncError,
    StorageDenied,
    StorageUnreachable,
)
from pyfunc_packaging.resolve import resolve_model_uri


@pytest.mark.parametrize(
    ("kind", "env", "words"),
    [
        (StorageDenied, {"AWS_SECRET_ACCESS_KEY": "WRONGSECRETKEY"}, "SignatureDoesNotMatch"),
        (StorageDenied, {"AWS_ACCESS_KEY_ID": "WRONGACCESSKEY"}, "InvalidAccessKeyId"),
        (
            StorageDenied,
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "no usable credentials here",
        ),
        (StorageUnreachable, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "could not connect"),
        (StorageUnreachable, {"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint: nonsense"),
        (
            StorageUnreachable,
            {"MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:1"},
            "set AWS_ENDPOINT_URL (or MLFLOW_S3_ENDPOINT_URL)",
        ),
    ],
)
def test_storage_that_does_not_answer_or_refuses(
    s3_environment: None,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[PyFuncError],
    env: dict[str, str],
    words: str,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(kind) as caught:
        resolve_model_uri("s3://mlflow/somewhere")
    assert words in str(caught.value)


def test_no_such_bucket(s3_environment: None) -> None:
    with pytest.raises(BucketNotFound, match="there is no bucket 'nowhere'; check its name"):
        resolve_model_uri("s3://nowhere/model")
    with pytest.raises(InvalidModelUri, match="no possible bucket name 'No_Bucket!'"):
        resolve_model_uri("s3://No_Bucket!/model")
