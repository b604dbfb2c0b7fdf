"""What ``package_model`` refuses before it does any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import package_model
from pyfunc_packaging.errors import CannotWrite, InvalidArgument

ROWS = pd.DataFrame({"rooms": [1.0, 2.0, 3.0]})
MODEL = LinearRegression().fit(ROWS, [10.0, 20.0, 30.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "s3://bucket/model"}, "path should be a folder on this machine, found 's3://"),
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


def test_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("rooms")
    with pytest.raises(CannotWrite, match=r"expected a folder in .*rows\.csv, and none can be"):
        package_model(MODEL, ROWS, path=tmp_path / "rows.csv" / "bundle", name="price")
