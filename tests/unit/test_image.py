import dataclasses
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from pyfunc_packaging import __version__, load_bundle
from pyfunc_packaging.bundle import file_digest
from pyfunc_packaging.cli import main
from pyfunc_packaging.errors import (
    DamagedBundle,
    InvalidArgument,
    MalformedBundle,
    NotSupported,
    OutputExists,
)
from pyfunc_packaging.image import write_image_context

ROOT = Path(__file__).resolve().parents[2]
WHEEL = f"mlserver_pyfunc-{__version__}-py3-none-any.whl"


@pytest.fixture
def bundle(california):
    return california[2]


@pytest.fixture
def change(bundle, tmp_path):
    """A copy of the bundle with other requirements, or other facts in its manifest."""

    def make(requirements=None, **fields):
        path = Path(shutil.copytree(bundle.path, tmp_path / "changed"))
        file = path / "data" / "manifest.json"
        manifest = {**json.loads(file.read_text("utf-8")), **fields}
        if requirements is not None:
            (path / "requirements.txt").write_text(requirements, encoding="utf-8")
            manifest["files"]["requirements.txt"] = file_digest(path / "requirements.txt")
        file.write_text(json.dumps(manifest), encoding="utf-8")
        return load_bundle(path)

    return make


def read(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_everything_that_a_build_needs(bundle, tmp_path):
    write_image_context(bundle, output=tmp_path / "context")
    files = {name: content.decode() for name, content in read(tmp_path / "context").items()}
    assert set(files) == {"Dockerfile", "requirements.txt", "runtime.txt"}
    python = ".".join(bundle.versions["python"].split(".")[:2])
    dockerfile = files["Dockerfile"]
    assert f"\nARG BASE_IMAGE=docker.io/library/python:{python}-slim-bookworm\n" in dockerfile
    assert f"sys.version_info[:2] == ({python.replace('.', ', ')})" in dockerfile
    assert "\nCOPY runtime.txt requirements.txt /context/\n" in dockerfile
    assert f'pyfunc.mlserver/digest="{bundle.digest}"' in dockerfile
    assert files["runtime.txt"] == (ROOT / "constraints" / "runtime.txt").read_text("utf-8")
    ours, *pins = files["requirements.txt"].splitlines()
    assert ours == f"mlserver-pyfunc[runtime]=={__version__}"
    expected = (bundle.path / "requirements.txt").read_text("utf-8").splitlines()
    assert pins == [line.replace("mlflow==", "mlflow-skinny==") for line in expected]
    assert any(line.startswith("mlflow-skinny==") for line in pins)
    mode = stat.S_IMODE((tmp_path / "context").stat().st_mode)
    assert mode == 0o755
    assert list(tmp_path.iterdir()) == [tmp_path / "context"]


def test_it_runs_as_the_stock_image_does(bundle, tmp_path):
    """Environment, user, working directory and command are the same lines."""
    write_image_context(bundle, output=tmp_path / "context")
    written = (tmp_path / "context" / "Dockerfile").read_text("utf-8")
    stock = (ROOT / "docker" / "Dockerfile").read_text("utf-8")
    for name in ("tools", "runtime"):
        begin = stock.index(f"FROM ${{BASE_IMAGE}} AS {name}\n")
        end = min(
            at for mark in ("\nFROM ", "\n# ---") if (at := stock.find(mark, begin + 1)) != -1
        )
        assert stock[begin:end].rstrip() in written
    instructions = [line.split(" ")[0] for line in written.splitlines()]
    for instruction in ("USER", "ENTRYPOINT", "CMD", "WORKDIR"):
        assert instructions.count(instruction) == 1
    stages = [line for line in written.splitlines() if line.startswith("FROM ")]
    assert stages == [
        "FROM ${BASE_IMAGE} AS tools",
        "FROM tools AS libraries",
        "FROM ${BASE_IMAGE} AS runtime",
        "FROM runtime",
    ]
    copies = [line for line in written.splitlines() if line.startswith("COPY ")]
    assert copies == [
        "COPY runtime.txt requirements.txt /context/",
        "COPY --from=libraries /opt/pyfunc /opt/pyfunc",
    ]


def test_same_input_same_bytes(bundle, tmp_path):
    for name in ("one", "two"):
        write_image_context(bundle, output=tmp_path / name)
    assert read(tmp_path / "one") == read(tmp_path / "two")
    write_image_context(bundle, output=tmp_path / "one", overwrite=True)
    assert read(tmp_path / "one") == read(tmp_path / "two")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one", "two"]


def test_a_wheel_and_a_base_image_of_ones_own(bundle, tmp_path):
    wheel = tmp_path / WHEEL
    wheel.write_bytes(b"a wheel")
    base = "registry.internal:5000/python:3.11@sha256:" + "0" * 64
    write_image_context(bundle, output=tmp_path / "context", base_image=base, wheel=wheel)
    files = read(tmp_path / "context")
    assert files[WHEEL] == b"a wheel"
    assert f"ARG BASE_IMAGE={base}\n" in files["Dockerfile"].decode()
    assert f"COPY runtime.txt requirements.txt {WHEEL} /context/\n" in files["Dockerfile"].decode()
    first = files["requirements.txt"].decode().splitlines()[0]
    assert first == f"mlserver-pyfunc[runtime] @ file:///context/{WHEEL}"


def test_only_a_plain_mlflow_becomes_the_slim_one(change, tmp_path):
    lines = [
        "mlflow[extras]==3.17.2",
        "MLflow==3.17.2; python_version > '3'",
        "numpy==2.4.6",
    ]
    bundle = change(requirements="".join(f"{line}\n" for line in lines))
    write_image_context(bundle, output=tmp_path / "context")
    written = (tmp_path / "context" / "requirements.txt").read_text("utf-8").splitlines()
    lines[1] = 'mlflow-skinny==3.17.2; python_version > "3"'
    assert written[1:] == lines


def test_nothing_in_a_bundle_becomes_an_instruction(change, tmp_path):
    bundle = change()
    # load_bundle() takes no such name; should that change, it still has to stay within its line
    manifest = {**bundle.manifest, "name": 'x"\nRUN rm -rf /\n#'}
    bundle = dataclasses.replace(bundle, manifest=manifest)
    write_image_context(bundle, output=tmp_path / "context")
    lines = (tmp_path / "context" / "Dockerfile").read_text("utf-8").splitlines()
    assert lines[0].endswith(r'for the bundle "x\"\nRUN rm -rf /\n#".')
    assert "RUN rm -rf /" not in lines


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("image", ["", "python 3", "python:3.11\nRUN x", "-x"])
def test_no_image(bundle, tmp_path, image):
    with pytest.raises(InvalidArgument, match=r"^base image: expected a name such as python:3\.11"):
        write_image_context(bundle, output=tmp_path / "context", base_image=image)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["other-1.0-py3-none-any.whl", "mlserver_pyfunc.zip", None])
def test_no_wheel_of_ours(bundle, tmp_path, name):
    if name is not None:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InvalidArgument, match=rf"^wheel: expected a file such as {WHEEL}, found"):
        write_image_context(bundle, output=tmp_path / "context", wheel=tmp_path / (name or WHEEL))
    assert not (tmp_path / "context").exists()


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/simple",
        "--trusted-host example.org",
        "-r /etc/passwd",
        "evil @ https://example.org/evil.whl",
        "https://example.org/evil.whl",
        "./evil",
        "numpy==2.4.6 --hash=sha256:00",
    ],
)
def test_requirements_lead_nowhere_but_to_the_package_index(change, line, tmp_path):
    bundle = change(requirements=f"numpy==2.4.6\n{line}\n")
    with pytest.raises(MalformedBundle, match=r"requirements\.txt: .*(expected a req|an address)"):
        write_image_context(bundle, output=tmp_path / "context")
    assert not (tmp_path / "context").exists()


def test_requirements_that_the_manifest_does_not_name_are_not_read(change, bundle, tmp_path):
    files = {**bundle.manifest["files"]}
    del files["requirements.txt"]
    changed = change(files=files)
    with pytest.raises(MalformedBundle, match=r"the manifest does not name requirements\.txt"):
        write_image_context(changed, output=tmp_path / "context")


def test_requirements_that_are_no_text(change, tmp_path):
    bundle = change()
    (bundle.path / "requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(MalformedBundle, match="expected text in UTF-8"):
        write_image_context(bundle, output=tmp_path / "context")


def test_an_image_of_a_signed_bundle_only(bundle, tmp_path):
    options = ["image", str(bundle.path), "--output", str(tmp_path / "context")]
    (tmp_path / "key.pem").write_text(
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
        "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n"
        "-----END PUBLIC KEY-----\n"
    )
    result = CliRunner().invoke(main, [*options, "--public-key", str(tmp_path / "key.pem")])
    assert (result.exit_code, "not signed" in result.output) == (1, True)
    assert not (tmp_path / "context").exists()
    assert CliRunner().invoke(main, options).exit_code == 0


def test_a_manifest_without_a_python(change, tmp_path):
    with pytest.raises(MalformedBundle, match="expected a version of Python in the manifest"):
        write_image_context(change(versions={}), output=tmp_path / "context")


def test_a_bundle_without_requirements(change, tmp_path):
    changed = change()
    (changed.path / "requirements.txt").unlink()
    with pytest.raises(DamagedBundle, match=r"requirements\.txt is missing; fetch the bundle"):
        write_image_context(changed, output=tmp_path / "context")
    assert not (tmp_path / "context").exists()


def test_an_installation_without_the_stock_image(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    with pytest.raises(NotSupported, match="has no Dockerfile, which an image is made from"):
        write_image_context(bundle, output=tmp_path / "context")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    (tmp_path / "runtime.txt").write_text("", encoding="utf-8")
    with pytest.raises(NotSupported, match="has no stage 'tools'"):
        write_image_context(bundle, output=tmp_path / "context")


def test_what_is_there_already_stays(bundle, tmp_path):
    output = tmp_path / "context"
    output.mkdir()
    write_image_context(bundle, output=output)  # an empty directory is nothing
    with pytest.raises(OutputExists, match=r"choose another directory, or pass --overwrite$"):
        write_image_context(bundle, output=output)
    before = read(output)
    (output / "notes.md").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExists, match=r"replaces only what `pyfunc image` wrote.* notes\.md"):
        write_image_context(bundle, output=output, overwrite=True)
    (output / "notes.md").unlink()
    (output / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    with pytest.raises(OutputExists, match="no Dockerfile of its; choose another directory"):
        write_image_context(bundle, output=output, overwrite=True)
    assert read(output) == {**before, "Dockerfile": b"FROM scratch\n"}
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(OutputExists, match="something that is no directory is there"):
        write_image_context(bundle, output=file, overwrite=True)


def test_a_failure_brings_back_what_was_there(bundle, tmp_path, monkeypatch):
    output = tmp_path / "context"
    write_image_context(bundle, output=output)
    before = read(output)
    rename = os.rename

    def fail(source, target):
        if Path(target) == output and ".context-" in str(source) and "previous" not in str(source):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr("os.rename", fail)
    # as on a file system that cannot exchange two names
    monkeypatch.setattr("pyfunc_packaging.directories._exchange", lambda one, other: False)
    result = image(bundle.path, "--output", output, "--overwrite")
    assert result.exit_code == 1
    assert result.output == f"Error: {output}: cannot be written (No space left on device)\n"
    assert read(output) == before
    assert list(tmp_path.iterdir()) == [output]


# --- the command ------------------------------------------------------------------------------


def image(*arguments):
    return CliRunner().invoke(main, ["image", *map(str, arguments)])


def test_the_command(bundle, tmp_path):
    output = tmp_path / "context"
    result = image(bundle.path, "--output", output)
    assert (result.exit_code, result.output) == (0, "")
    again = image(bundle.path, "--output", output)
    assert again.exit_code == 1
    assert again.output.startswith(f"Error: {output}: there is something already")
    assert image(bundle.path, "--output", output, "--overwrite").exit_code == 0
    assert image(bundle.path).exit_code == 2


def test_refusals_are_one_line(tmp_path):
    result = image(tmp_path / "absent", "--output", tmp_path / "context")
    assert result.exit_code == 1
    assert "no such directory; expected one that package_model() wrote" in result.output
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
