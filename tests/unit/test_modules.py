import fractions
import importlib
import importlib.metadata
import pickle
import sys
import textwrap

import cloudpickle
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import modules
from pyfunc_packaging.errors import NotPortable
from pyfunc_packaging.modules import (
    copy_modules,
    is_users_own,
    modules_in_pickle,
    pins,
    split_modules,
)

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder on ``sys.path`` with modules of the user, that are forgotten after the test."""
    files = {
        "own_model.py": """
            import own_helpers
            from own_package.deep import depth
            import math, os.path
            class Model:
                def predict(self, rows):
                    return own_helpers.zeros(len(rows))
            """,
        "own_helpers.py": """
            import numpy
            from sklearn import linear_model
            import own_model  # modules may import each other
            import not_installed_anywhere
            def zeros(count):
                return numpy.zeros(count)
            """,
        "own_package/__init__.py": "",
        "own_package/py.typed": "",
        "own_package/deep.py": "from . import more\nfrom .more import x as depth\nimport own_leaf",
        "own_package/more.py": "x = 1",
        "own_package/template.py": "{{ this is no Python }}",
        "own_package/words.txt": "import own_nothing",
        "own_package/__pycache__/old.pyc": "cache",
        "own_package/.hidden": "secret",
        "own_leaf.py": "import yaml",
    }
    for name, text in files.items():
        file = tmp_path / "home" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "home")
    yield tmp_path / "home"
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


# --- what a pickle refers to ---------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_classes_and_functions_name_their_modules(protocol):
    model = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
    content = pickle.dumps({"model": model, "half": fractions.Fraction(1, 2)}, protocol)
    found = modules_in_pickle(content)
    assert {"sklearn.linear_model._base", "fractions"} <= set(found)
    assert list(found) == sorted(found)
    assert any(name.startswith("numpy") for name in found)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_module_whose_name_was_pickled_before_is_found(protocol):
    content = pickle.dumps([fractions.Fraction.__module__, "more", fractions.Fraction], protocol)
    assert "fractions" in modules_in_pickle(content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [{"a": 1.5}, "yaml", ["numpy", "copy"], None])
def test_plain_data_refers_to_no_module(protocol, value):
    assert modules_in_pickle(pickle.dumps(value, protocol)) == ()


def test_functions_by_value_carry_the_modules_that_they_use():
    scope = {"np": np}
    exec("def logarithm(values):\n    return np.log(values)", scope)
    assert "numpy" in modules_in_pickle(cloudpickle.dumps(scope["logarithm"]))


def test_imports_within_a_function_by_value_are_found():
    scope = {}
    exec("def load():\n    import yaml\n    return yaml.safe_load('1')", scope)
    assert scope["load"]() == 1  # a model has been tried before it is packaged
    assert "yaml" in modules_in_pickle(cloudpickle.dumps(scope["load"]))


def test_the_users_modules_are_found_in_a_pickle(home):
    model = importlib.import_module("own_package.deep")
    model.Thing = type("Thing", (), {"__module__": "own_package.deep"})
    assert "own_package.deep" in modules_in_pickle(pickle.dumps(model.Thing()))


# --- whose module it is --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["json", "sys", "numpy", "sklearn", "__main__", "pyfunc_packaging", "not_installed_anywhere"],
)
def test_python_libraries_and_unknown_modules_are_not_the_users(name):
    assert not is_users_own(name)


@pytest.mark.parametrize("imported", [True, False])
@pytest.mark.parametrize("name", ["own_package", "own_leaf"])
def test_modules_elsewhere_on_the_path_are_the_users(home, name, imported):
    if imported:
        importlib.import_module(name)
    assert is_users_own(name)


def test_the_users_modules_are_followed_through_their_imports(home):
    own, libraries = split_modules(["own_model", "scipy.sparse", "json", "__main__"])
    assert own == {
        "own_model": home / "own_model.py",
        "own_helpers": home / "own_helpers.py",
        "own_package": home / "own_package",
        "own_leaf": home / "own_leaf.py",
    }
    assert libraries == ("numpy", "scipy", "sklearn", "yaml")


def test_submodules_bring_their_whole_package(home):
    own, libraries = split_modules(["own_package.deep"])
    assert set(own) == {"own_package", "own_leaf"}
    assert libraries == ("yaml",)


def test_nothing_needs_nothing():
    assert split_modules([]) == ({}, ())


# --- copying -------------------------------------------------------------------------------


@pytest.fixture
def code(tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    return folder


def test_files_and_packages_are_copied(home, code):
    copied = copy_modules([home / "own_package", home / "own_leaf.py"], code)
    assert copied == ["own_leaf.py", "own_package"]
    found = {str(file.relative_to(code)) for file in code.rglob("*") if file.is_file()}
    assert found == {
        "own_leaf.py",
        "own_package/__init__.py",
        "own_package/deep.py",
        "own_package/more.py",
        "own_package/template.py",
        "own_package/words.txt",
    }
    assert (code / "own_leaf.py").read_text(encoding="utf-8") == "import yaml"


def test_no_copied_file_is_empty(home, code):
    copy_modules([home / "own_package"], code)
    assert (code / "own_package/__init__.py").read_text(encoding="utf-8").startswith("#")
    assert all(file.stat().st_size > 0 for file in code.rglob("*") if file.is_file())
    assert (home / "own_package/__init__.py").stat().st_size == 0


def test_the_same_source_twice_is_copied_once_more(home, code):
    copy_modules([home / "own_package", home / "own_package"], code)
    assert (code / "own_package/deep.py").is_file()


def test_a_package_full_of_data_is_refused(home, code, monkeypatch):
    monkeypatch.setattr(modules, "MAX_CODE_BYTES", 2**20)
    (home / "own_package/weights.bin").write_bytes(bytes(3 * 2**20))
    with pytest.raises(NotPortable, match=r"own_package: the package holds 3 MiB, more than the 1"):
        copy_modules([home / "own_package"], code)
    assert not list(code.iterdir())


def test_an_absent_source_is_refused_by_name(tmp_path, code):
    with pytest.raises(
        NotPortable, match=r"nowhere\.py: no such file or folder; correct code_paths"
    ):
        copy_modules([tmp_path / "nowhere.py"], code)


# --- pins ----------------------------------------------------------------------------------


def test_modules_are_pinned_by_their_distributions():
    version = importlib.metadata.version
    assert pins(["sklearn", "yaml"], always=["NumPy"]) == (
        f"numpy=={version('numpy')}",
        f"pyyaml=={version('PyYAML')}",
        f"scikit-learn=={version('scikit-learn')}",
    )


def test_this_library_and_unknown_modules_are_not_pinned():
    assert pins(["pyfunc_packaging", "not_installed_anywhere", "json"], always=[]) == ()


def test_a_distribution_that_is_not_installed_is_named():
    with pytest.raises(importlib.metadata.PackageNotFoundError) as caught:
        pins([], always=["not-installed-anywhere"])
    assert caught.value.name == "not-installed-anywhere"
