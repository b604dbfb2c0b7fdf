import importlib.metadata
import json
import logging
import platform
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from pyfunc_packaging.bundle import Bundle
from pyfunc_packaging.cli import main
from pyfunc_packaging.compatibility import Difference, check_versions, compare_versions
from pyfunc_packaging.errors import IncompatibleVersions, InvalidSetting
from pyfunc_packaging.schema import Schema

SKLEARN = importlib.metadata.version("scikit-learn")
NUMPY = importlib.metadata.version("numpy")
PYTHON = platform.python_version()

logger = logging.getLogger("tests")


def other(version, *, major=0, minor=0, patch=0):
    """Another version, so many steps away."""
    steps = [int(part) for part in version.split(".")[:3]]
    return ".".join(str(one + step) for one, step in zip(steps, (major, minor, patch), strict=True))


def make(versions, serialization="skops"):
    manifest = {"versions": versions, "reference": {"serialization": serialization}}
    return Bundle(Path("bundle"), manifest, Schema(inputs=(), outputs=()), "sha256:0")


def matters(name, packaged, serialization):
    (found,) = compare_versions(make({name: packaged}, serialization).manifest)
    assert (found.name, found.packaged) == (name, packaged)
    return found.matters


def installed(name):
    return PYTHON if name == "python" else importlib.metadata.version(name)


@pytest.mark.parametrize(
    ("name", "in_skops", "in_pickle"),
    [
        ("scikit-learn", True, True),
        ("python", False, True),
        ("cloudpickle", False, True),
        ("scipy", False, True),
        ("lightgbm", False, True),
        ("xgboost-cpu", False, True),
        # always pinned, and read across minor versions
        ("numpy", False, False),
        ("pandas", False, False),
        # what reads a model, not what it is made of
        ("mlflow", False, False),
        ("PyYAML", False, False),
        ("onnxruntime", False, False),
        ("skops", False, False),
        ("mlserver-pyfunc", False, False),
    ],
)
def test_another_minor_version_matters_where_the_model_is_made_of_it(name, in_skops, in_pickle):
    packaged = other(installed(name), minor=1)
    assert matters(name, packaged, "skops") is in_skops
    assert matters(name, packaged, "pickle") is in_pickle
    assert matters(name, other(installed(name), patch=1), "pickle") is False


@pytest.mark.parametrize("name", ["numpy", "pandas"])
def test_another_major_version_of_arrays_matters_to_a_pickle(name):
    packaged = other(installed(name), major=1)
    assert matters(name, packaged, "pickle") is True
    assert matters(name, packaged, "skops") is False


@pytest.mark.parametrize(
    "versions",
    [
        {"scikit-learn": SKLEARN, "python": PYTHON},
        {"scikit-learn": f"{SKLEARN}.0"},  # the same by Python's rules
        {"no-such-library": "1.0"},  # loading says what is missing
        {"scikit-learn": "1.*"},
        {"scikit-learn": 1.9},
        {"not a name": "1"},
    ],
)
def test_nothing_to_tell(versions):
    assert compare_versions(make(versions).manifest) == ()


def test_extras_and_markers_of_what_the_user_pinned():
    versions = {"scikit-learn[tests]": "0.1", "numpy": "0.1; python_version > '3'"}
    assert [each.name for each in compare_versions(make(versions).manifest)] == [
        "scikit-learn[tests]"
    ]


def test_what_matters_comes_first():
    versions = {"numpy": other(NUMPY, minor=1), "scikit-learn": other(SKLEARN, minor=1)}
    found = compare_versions(make(versions).manifest)
    assert found == (
        Difference("scikit-learn", versions["scikit-learn"], SKLEARN, matters=True),
        Difference("numpy", versions["numpy"], NUMPY, matters=False),
    )


# --- at load ----------------------------------------------------------------------------------


def check(bundle, caplog, engine="pyfunc"):
    """The one line that is logged, with its level; None for none."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="tests"):
        check_versions(bundle, engine=engine, logger=logger)
    records = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert len(records) <= 1
    return records[0] if records else None


@pytest.fixture(autouse=True)
def _no_policy(monkeypatch):
    monkeypatch.delenv("PYFUNC_VERSIONS", raising=False)


def test_another_minor_version_is_refused(monkeypatch):
    packaged = other(SKLEARN, minor=1)
    for policy in ("", "refuse"):
        monkeypatch.setenv("PYFUNC_VERSIONS", policy)
        with pytest.raises(IncompatibleVersions) as caught:
            check_versions(make({"scikit-learn": packaged}), engine="pyfunc", logger=logger)
        assert str(caught.value) == (
            f"this bundle was made with scikit-learn {packaged}, this image has {SKLEARN}; build an"
            f" image of its own with `pyfunc image BUNDLE`, or set PYFUNC_VERSIONS=warn to try it"
        )


def test_all_that_matters_is_in_one_line():
    bundle = make({"python": "3.10.1", "numpy": "0.1", "scikit-learn": "0.1"}, "pickle")
    with pytest.raises(IncompatibleVersions) as caught:
        check_versions(bundle, engine="pyfunc", logger=logger)
    assert str(caught.value).startswith(
        f"this bundle was made with numpy 0.1, python 3.10.1 and scikit-learn 0.1, this image has"
        f" numpy {NUMPY}, python {PYTHON} and scikit-learn {SKLEARN}; "
    )


def test_warned_of_where_the_operator_says_so(monkeypatch, caplog):
    monkeypatch.setenv("PYFUNC_VERSIONS", "warn")
    bundle = make({"scikit-learn": "0.1", "numpy": other(NUMPY, patch=1)})
    assert check(bundle, caplog) == (
        "WARNING",
        f"this bundle was made with scikit-learn 0.1, this image has {SKLEARN}; loading it all the"
        f" same, as PYFUNC_VERSIONS=warn says; better build an image of its own with"
        f" `pyfunc image BUNDLE`",
    )


def test_the_compiled_engine_needs_none_of_them(caplog):
    assert check(make({"scikit-learn": "0.1", "numpy": "2.0"}), caplog, engine="onnx") == (
        "INFO",
        f"this bundle was made with scikit-learn 0.1, this image has {SKLEARN}; compiled engine"
        f" unaffected",
    )


def test_a_patch_release_is_mentioned_at_most(caplog):
    packaged = other(SKLEARN, patch=1)
    assert check(make({"scikit-learn": packaged}), caplog) == (
        "INFO",
        f"this bundle was made with scikit-learn {packaged}, this image has {SKLEARN}; close"
        f" enough",
    )
    assert check(make({"scikit-learn": SKLEARN}), caplog) is None


@pytest.mark.parametrize("engine", ["pyfunc", "onnx"])
def test_a_policy_that_nobody_knows_is_refused(monkeypatch, engine):
    monkeypatch.setenv("PYFUNC_VERSIONS", "ignore")
    with pytest.raises(InvalidSetting) as caught:
        check_versions(make({"scikit-learn": SKLEARN}), engine=engine, logger=logger)
    assert str(caught.value) == "PYFUNC_VERSIONS: expected refuse or warn, found 'ignore'"


# --- pyfunc inspect ---------------------------------------------------------------------------


def inspect(path, *options):
    return CliRunner().invoke(main, ["inspect", str(path), *options]).output


def test_inspect_says_nothing_where_nothing_differs(california):
    path = california[2].path
    assert json.loads(inspect(path, "--json"))["differences"] == []
    assert "here" not in inspect(path).split()


def test_inspect_shows_what_differs(california, tmp_path):
    path = Path(shutil.copytree(california[2].path, tmp_path / "bundle"))
    file = path / "data" / "manifest.json"
    manifest = json.loads(file.read_text("utf-8"))
    manifest["versions"]["scikit-learn"] = "0.1"
    file.write_text(json.dumps(manifest), encoding="utf-8")
    assert f"scikit-learn {SKLEARN} (too far apart for the pyfunc engine)" in inspect(path)
    assert json.loads(inspect(path, "--json"))["differences"] == [
        {"name": "scikit-learn", "packaged": "0.1", "installed": SKLEARN, "matters": True}
    ]
