"""The image as it was built: what is in it, and what its command does in a locked-down container.

Nothing here reads the Dockerfile: user, environment and command are in the image's configuration.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from packaging.requirements import Requirement
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import __version__, package_model

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "models" / "california_housing"
#: Megabytes beyond the base image.
LIMITS = {"slim": 350, "full": 600}
#: The constraints files of each target.
CONSTRAINTS = {"slim": ["runtime.txt"], "full": ["runtime.txt", "pyfunc.txt"]}
PYTHON = "/opt/pyfunc/bin/python"


@pytest.fixture(scope="session", params=["slim", "full"])
def each(request: pytest.FixtureRequest, image: Callable[[str], Any]) -> Any:
    return image(request.param)


@pytest.fixture(scope="session")
def readable(california: Any) -> Path:
    """The California bundle, where user 1000 can read it, as the storage initializer leaves it."""
    path: Path = california[2].path
    # pytest's folders are for their owner alone, and the mount is of this one only
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def pyfunc_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that only the pyfunc engine can serve."""
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(rows, [2.0, 4.0, 6.0])
    path = tmp_path_factory.mktemp("twice") / "b"
    package_model(model, rows, path=path, name="twice", compile="off")
    path.chmod(0o755)
    return path


def facts(image: Any, program: str) -> Any:
    """What a program in the image's own Python prints as JSON."""
    done = image.run(PYTHON, "-I", "-c", f"import json, sys\n{program}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def site_packages(image: Any) -> Path:
    (folder,) = image.rootfs.glob("opt/pyfunc/lib/python3.*/site-packages")
    return Path(folder)


# --- what is in it ------------------------------------------------------------------------------


def test_size_beyond_the_base(each: Any) -> None:
    assert 100 < each.facts["beyond_base"] <= LIMITS[each.target]


def test_configuration(each: Any) -> None:
    config = each.config
    assert config["User"] == "1000:1000"
    assert config["Entrypoint"] + config["Cmd"] == ["/opt/pyfunc/bin/pyfunc", "serve"]
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8081/tcp", "8082/tcp"}
    assert config["WorkingDir"] == "/srv/pyfunc"
    assert list((each.rootfs / "srv" / "pyfunc").iterdir()) == []
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in config["Labels"].items()
    }
    assert labels["title"] == f"mlserver-pyfunc ({each.target})"
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert "Open Inference Protocol" in labels["description"]


def test_the_settings_agree_with_the_serving_runtime(each: Any) -> None:
    """What KServe's variables say and what the image says by itself are one thing."""
    import yaml

    file = ROOT / "docker" / "kserve" / "cluster-serving-runtime.yaml"
    runtimes = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    (container,) = (
        runtime["spec"]["containers"][0]
        for runtime in runtimes
        if runtime["spec"]["containers"][0]["image"]
        == f"mlserver-pyfunc:{__version__}-{each.target}"
    )
    assert "command" not in container
    said = {variable["name"]: variable["value"] for variable in container["env"]}
    for name in ("MLSERVER_MODEL_IMPLEMENTATION", "MLSERVER_MODEL_NAME"):
        said.pop(name)  # the first is the only one there is, the second differs by service
    own = dict(pair.split("=", 1) for pair in each.config["Env"])
    assert said == {name: own[name] for name in said}


def test_versions_are_those_of_the_constraints(each: Any) -> None:
    expected = {"mlserver-pyfunc": __version__}
    environment = facts(
        each,
        "import platform\n"
        "print(json.dumps({'python_version': '.'.join(platform.python_version_tuple()[:2]),"
        " 'python_full_version': platform.python_version()}))",
    )
    for name in CONSTRAINTS[each.target]:
        for line in (ROOT / "constraints" / name).read_text(encoding="utf-8").splitlines():
            if line[:1].isalnum():
                requirement = Requirement(line.removesuffix("\\").strip())
                if requirement.marker is None or requirement.marker.evaluate(environment):
                    (pin,) = requirement.specifier
                    expected[requirement.name] = pin.version
    del expected["setuptools"]  # named by a library that never imports it
    installed = facts(
        each,
        "from importlib.metadata import distributions\n"
        "print(json.dumps({d.metadata['Name'].lower().replace('_', '-').replace('.', '-'):"
        " d.version for d in distributions()}))",
    )
    assert installed == expected


def test_only_full_has_mlflow_and_scikit_learn(each: Any) -> None:
    program = (
        "from importlib.util import find_spec\n"
        "names = ['mlserver', 'mlserver_pyfunc', 'onnxruntime', 'mlflow', 'sklearn', 'skops',"
        " 'pip', 'setuptools', 'wheel']\n"
        "print(json.dumps([name for name in names if find_spec(name)]))"
    )
    slim = ["mlserver", "mlserver_pyfunc", "onnxruntime"]
    full = [*slim, "mlflow", "sklearn", "skops"]
    assert facts(each, program) == {"slim": slim, "full": full}[each.target]


def test_libraries_do_without_their_tests(each: Any) -> None:
    """They were removed; whatever imports one of them breaks here and not in a pod."""
    modules = {
        "slim": "numpy.testing pandas.testing onnxruntime grpc gevent mlserver.server"
        " google.protobuf.json_format",
        "full": "scipy.stats scipy.optimize scipy.sparse.linalg scipy.interpolate scipy.spatial"
        " sklearn.ensemble sklearn.utils.estimator_checks sklearn.datasets joblib skops.io"
        " mlflow.pyfunc mlflow.sklearn",
    }
    program = (
        "from importlib import import_module\n"
        f"for name in {modules[each.target]!r}.split(): import_module(name)\n"
        "print('true')"
    )
    assert facts(each, program) is True
    if each.target == "full":
        program = (
            "from sklearn.utils import all_estimators\nprint(json.dumps(len(all_estimators())))"
        )
        assert facts(each, program) > 150


def test_every_module_has_byte_code(each: Any) -> None:
    sources = list(site_packages(each).rglob("*.py"))
    assert len(sources) > 2000
    version = site_packages(each).parent.name.replace("python", "").replace(".", "")
    missing = [
        source
        for source in sources
        if not (source.parent / "__pycache__" / f"{source.stem}.cpython-{version}.pyc").is_file()
    ]
    # templates, and code for another Python, that do not compile
    assert len(missing) <= 5, missing
    ours = site_packages(each) / "mlserver_pyfunc" / "__pycache__" / f"model.cpython-{version}.pyc"
    # flags of PEP 552: 1 is by hash, never compared with the source
    assert ours.read_bytes()[4:8] == (1).to_bytes(4, "little")


def test_nothing_that_builds_or_installs_is_left(each: Any) -> None:
    assert not (each.rootfs / "build").exists()
    caches = [each.rootfs / name for name in ("root/.cache", "var/cache/apt", "var/lib/apt/lists")]
    left = [entry for cache in caches if cache.is_dir() for entry in cache.rglob("*")]
    assert [entry for entry in left if entry.is_file()] == []
    folders = ("opt/pyfunc/bin", "usr/local/bin", "usr/bin")
    programs = {entry.name for name in folders for entry in (each.rootfs / name).iterdir()}
    assert "pyfunc" in programs
    assert not {name for name in programs if name.startswith(("pip", "gcc", "easy_install"))}


def own_files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for folder, _, names in os.walk(root):
        for path in (Path(folder), *(Path(folder) / name for name in names)):
            yield path, path.lstat()


def test_nothing_of_ours_is_setuid_or_writable(each: Any) -> None:
    entries = list(own_files(each.rootfs / "opt")) + list(own_files(each.rootfs / "srv"))
    assert len(entries) > 4000
    bad = [
        str(path)
        for path, status in entries
        if status.st_uid != 0
        or status.st_gid != 0
        or status.st_mode & (stat.S_ISUID | stat.S_ISGID)
        or (status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(status.st_mode))
    ]
    assert bad == []


# --- what it does -------------------------------------------------------------------------------


def test_runs_as_nobody_special_and_writes_only_to_tmp(each: Any) -> None:
    seen = facts(
        each,
        "import os, socket\n"
        "def writable(path):\n"
        "    try:\n"
        "        open(path + '/probe', 'w').close()\n"
        "    except OSError as error:\n"
        "        return error.strerror\n"
        "    return True\n"
        "lines = [line.split(':\\t', 1) for line in open('/proc/self/status')]\n"
        "status = {words[0]: words[-1].strip() for words in lines}\n"
        "print(json.dumps({'ids': os.getresuid() + os.getresgid(), 'groups': os.getgroups(),"
        " 'cwd': os.getcwd(), 'interfaces': [name for _, name in socket.if_nameindex()],"
        " 'capabilities': int(status['CapEff'], 16), 'privileges': status['NoNewPrivs'],"
        " 'root': writable('/'), 'here': writable('.'), 'opt': writable('/opt/pyfunc'),"
        " 'tmp': writable('/tmp')}))",
    )
    assert seen == {
        "ids": [1000] * 6,
        "groups": [],
        "cwd": "/srv/pyfunc",
        "interfaces": ["lo"],
        "capabilities": 0,
        "privileges": "1",
        "root": "Read-only file system",
        "here": "Read-only file system",
        "opt": "Read-only file system",
        "tmp": True,
    }


@pytest.mark.parametrize("target", ["slim", "full"])
def test_serves_the_compiled_example(
    target: str,
    image: Callable[[str], Any],
    readable: Path,
    california: Any,
    request_body: Any,
) -> None:
    pipeline, rows, bundle = california
    assert bundle.engine == "onnx"
    container = image(target).start(bundle=readable)
    container.wait_until_ready()
    for path in (f"/v2/models/{bundle.name}/ready", "/v2/health/live"):
        assert container.curl(path, "--fail").returncode == 0
    body = ("--header", "Content-Type: application/json", "--data", json.dumps(request_body))
    answer = container.curl(f"/v2/models/{bundle.name}/infer", "--fail-with-body", *body)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    output = json.loads(answer.stdout)["outputs"][0]
    columns = {tensor["name"]: tensor["data"] for tensor in request_body["inputs"]}
    expected = pipeline.predict(pd.DataFrame(columns)[list(rows.columns)])
    assert output["data"] == pytest.approx(expected.tolist(), rel=1e-12)
    assert container.stop() == 0, container.log
    assert "Traceback" not in container.log


@pytest.mark.parametrize("later", [0.0, 0.5, 1.0])
def test_ends_at_once_when_asked_to_while_starting(
    later: float, image: Callable[[str], Any], readable: Path
) -> None:
    container = image("slim").start(bundle=readable)
    while not hears_sigterm(container):  # Python itself has to start first
        time.sleep(0.01)
    time.sleep(later)  # to be somewhere within the start
    begun = time.monotonic()
    assert container.stop() == 0, container.log
    assert time.monotonic() - begun < 10


def hears_sigterm(container: Any) -> bool:
    """Whether the first process handles SIGTERM, or keeps it for when it does."""
    try:
        process = Path(f"/proc/{container.pid}")
        command = (process / "cmdline").read_bytes()
        if b"pyfunc\0serve" not in command and b"-m\0mlserver_pyfunc" not in command:
            return False  # still what makes the container
        lines = (process / "status").read_text(encoding="ascii").splitlines()
    except (OSError, IndexError):  # there is no such process yet
        return False
    masks = {line.split(":")[0]: line.split()[-1] for line in lines if line.startswith("Sig")}
    return any(int(masks[name], 16) >> (signal.SIGTERM - 1) & 1 for name in ("SigBlk", "SigCgt"))


def refusal(done: Any) -> str:
    """The one line that says why; MLServer itself has two more, and neither is an error.

    A note that the bundle was made with another patch release of Python may stand before it.
    """
    said = done.stdout + done.stderr
    assert done.returncode == 3, said
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if not line.endswith("; close enough")]
    assert len(lines) <= 3
    (line,) = (line for line in said.splitlines() if " ERROR - cannot serve: " in line)
    return str(line)


@pytest.mark.parametrize("target", ["slim", "full"])
def test_no_model(target: str, image: Callable[[str], Any]) -> None:
    assert "/mnt/models: no such directory; expected one that" in refusal(image(target).run())


def test_slim_says_what_a_pyfunc_bundle_needs(
    image: Callable[[str], Any], pyfunc_bundle: Path
) -> None:
    line = refusal(image("slim").run(bundle=pyfunc_bundle))
    assert "use the image whose tag ends in -full" in line


def test_full_serves_what_slim_cannot(image: Callable[[str], Any], pyfunc_bundle: Path) -> None:
    container = image("full").start(bundle=pyfunc_bundle)
    container.wait_until_ready()
    tensor = {"name": "x", "shape": [2], "datatype": "FP64", "data": [2, 3]}
    body = json.dumps({"inputs": [tensor]})
    answer = container.curl("/v2/models/twice/infer", "--json", body)
    assert json.loads(answer.stdout)["outputs"][0]["data"] == pytest.approx([4, 6])
    assert container.stop() == 0


@pytest.mark.parametrize("target", ["slim", "full"])
def test_inspect(target: str, image: Callable[[str], Any], readable: Path, california: Any) -> None:
    done = image(target).run("/opt/pyfunc/bin/pyfunc", "inspect", "/mnt/models", bundle=readable)
    assert (done.returncode, done.stderr) == (0, "")
    assert california[2].name in done.stdout
