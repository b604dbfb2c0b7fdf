import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def options():
    parser = configparser.ConfigParser()
    assert parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser["options"]


@pytest.fixture(scope="module")
def homes(options):
    """Folder of each import package, as ``package_dir`` says."""
    lines = options["package_dir"].strip().splitlines()
    pairs = (line.split("=") for line in lines)
    return {name.strip(): ROOT / folder.strip() for name, folder in pairs}


@pytest.mark.parametrize("folder", ["packaging", "runtime", "models", "docker", "tests"])
def test_folders_that_are_no_packages_have_no_init(folder):
    assert not (ROOT / folder / "__init__.py").exists()


def test_there_are_two_import_packages(homes):
    assert homes == {
        "pyfunc_packaging": ROOT / "packaging/pyfunc_packaging",
        "mlserver_pyfunc": ROOT / "runtime/mlserver_pyfunc",
    }


def test_every_package_is_declared(options, homes):
    found = {
        ".".join([name, *init.parent.relative_to(home).parts])
        for name, home in homes.items()
        for init in home.rglob("__init__.py")
    }
    assert found == set(options["packages"].split())


def test_every_folder_of_modules_is_a_package(homes):
    for home in homes.values():
        for module in home.rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), f"{module} would not be in the wheel"
