import subprocess
import sys

import pytest


def run(program):
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("pyfunc_packaging", {"mlflow", "sklearn", "onnx", "mlserver", "pandas", "skops"}),
        ("mlserver_pyfunc", {"mlflow", "sklearn", "skops"}),
    ],
)
def test_importing_loads_no_heavy_library(package, forbidden):
    loaded = run(f"import {package}, sys; print(*sys.modules)").stdout.split()
    assert package in loaded
    assert not forbidden & set(loaded)


@pytest.fixture(scope="module")
def everything():
    """A process that used every public name of packaging: its modules and what logging became."""
    program = """if True:
        import logging, sys
        import pyfunc_packaging
        for name in pyfunc_packaging.__all__:
            getattr(pyfunc_packaging, name)
        own = logging.getLogger("pyfunc_packaging")
        print(*sys.modules)
        print(logging.root.handlers, own.handlers, logging.root.level, own.level)
        """
    return run(program)


def test_packaging_never_loads_the_runtime(everything):
    loaded = set(everything.stdout.splitlines()[0].split())
    assert {"pyfunc_packaging.package", "sklearn"} <= loaded
    assert not {"mlserver", "mlserver_pyfunc"} & loaded


def test_packaging_configures_no_logging_and_prints_nothing(everything):
    assert everything.stdout.splitlines()[1:] == ["[] [] 30 0"]
    assert everything.stderr == ""


def test_public_names_are_listed_and_others_unknown():
    import pyfunc_packaging

    assert dir(pyfunc_packaging) == sorted(pyfunc_packaging.__all__)
    assert all(getattr(pyfunc_packaging, name) is not None for name in pyfunc_packaging.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = pyfunc_packaging.nonsense


def test_both_packages_have_the_same_version():
    import mlserver_pyfunc
    import pyfunc_packaging

    assert mlserver_pyfunc.__version__ == pyfunc_packaging.__version__
