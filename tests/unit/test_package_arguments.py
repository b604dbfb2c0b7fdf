"""What ``package_model`` refuses before it does any work."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import package_model
from pyfunc_packaging.errors import BundleExists, CannotWrite, InvalidArgument, InvalidKey
from pyfunc_packaging.package_arguments import check_additions

ROWS = pd.DataFrame({"rooms": [1.0, 2.0, 3.0]})
MODEL = LinearRegression().fit(ROWS, [10.0, 20.0, 30.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "s3://bucket/model"}, "path should be a folder on this machine, found 's3://"),
        ({"path": 5}, r"^path should be a text or a pathlib\.Path, found 5$"),
        ({"path": b"bundle"}, "path should be a text .* found b'bundle'"),
        ({"name": None}, "name should consist of letters, .* found None"),
        ({"code_paths": None}, "code_paths should be a list of paths, found None"),
        ({"code_paths": [5]}, r"code_paths should be a list of paths, found \[5\]"),
        ({"code_paths": Path("a")}, "code_paths should be a list, found .*; pass"),
        ({"extra_pip_requirements": [None]}, r"should be a list of texts, found \[None\]"),
        ({"metadata": ["a"]}, r"metadata should be a mapping with names, found \['a'\]"),
        ({"metadata": {1: "a"}}, "metadata should be a mapping with names, found {1: 'a'}"),
        ({"metadata": {"a": object()}}, "metadata should hold texts, .* which YAML can write"),
        ({"compile": "yes"}, "compile should be one of .* found 'yes'"),
        ({"signing_key": 5}, "signing_key should be the path of a file .* found int"),
        ({"output_name": 3}, "output_name should be a text, found 3"),
        ({"output_name": ["a", "b"]}, "output_name should be a text, found \\['a', 'b'\\]"),
        ({"output_name": ""}, "output_name should be a text, found ''"),
        ({"alias": "in use"}, "alias should consist of letters, .* found 'in use'"),
        ({"alias": ""}, "alias should consist of letters, .* found ''"),
        ({"alias": "latest"}, "neither 'latest' nor a version .* found 'latest'"),
        ({"alias": "V12"}, "neither 'latest' nor a version .* found 'V12'"),
        ({"alias": 3}, "alias should consist of letters, .* found 3"),
    ],
)
def test_arguments_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "alias" in arguments:
        arguments = {**arguments, "registered_model_name": "price"}
    with pytest.raises(InvalidArgument, match=message):
        package_model(MODEL, ROWS, **{"path": "bundle", "name": "price", **arguments})
    assert list(tmp_path.iterdir()) == []  # neither a folder called s3: nor a registry


def test_no_key_to_sign_with(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey, match=r"^nowhere\.pem: expected a file with a private key"):
        package_model(MODEL, ROWS, path=tmp_path / "x", name="price", signing_key="nowhere.pem")


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BundleExists, match="something that is no directory"):
        package_model(MODEL, ROWS, path=tmp_path / "file", name="price")
    with pytest.raises(BundleExists, match="pass overwrite=True"):
        package_model(MODEL, ROWS, path=tmp_path, name="price")
    with pytest.raises(BundleExists, match="replaces bundles only"):
        package_model(MODEL, ROWS, path=str(tmp_path), name="price", overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_may_be_added() -> None:
    check_additions((Path("a"), "b"), ("x==1",), None)
    check_additions([], [], {"owner": "a", "rows": [1, 2.5], "on": datetime.date(2026, 1, 1)})


def test_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("rooms")
    with pytest.raises(CannotWrite, match=r"expected a folder in .*rows\.csv, and none can be"):
        package_model(MODEL, ROWS, path=tmp_path / "rows.csv" / "bundle", name="price")
