from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pyfunc_packaging import __version__
from pyfunc_packaging.cli import main


def run(*arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(main, arguments, **options)


@pytest.fixture
def copy(california: Any, tmp_path: Path) -> Path:
    """A copy of the example's bundle, to change."""
    return Path(shutil.copytree(california[2].path, tmp_path / "copy"))


def change_manifest(bundle: Path, **fields: Any) -> None:
    file = bundle / "data" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.output) == (0, f"pyfunc, version {__version__}\n")


def test_without_a_command() -> None:
    result = run()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: pyfunc [OPTIONS] COMMAND" in result.stderr


# --- inspect ------------------------------------------------------------------------------------


def test_inspect_for_people(california: Any) -> None:
    bundle = california[2]
    result = run("inspect", str(bundle.path), env={"COLUMNS": "80"})
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "\x1b" not in result.output
    assert [line for line in lines if len(line) > 80 and str(bundle.path) not in line] == []
    assert [line for line in lines if line != line.rstrip()] == []
    assert f"digest   {bundle.digest}" in lines
    assert "signing  not signed" in lines
    assert "engine   onnx, the compiled pipeline" in lines
    found = {line[:9].strip(): line[9:] for line in lines}
    assert found["name"] == bundle.name
    assert found["size"].endswith(f"MB in {len(bundle.manifest['files'])} files")
    rows = bundle.compilation["rows"]
    assert found["parity"].startswith(f"equal to the pipeline on {rows:,} rows, ")
    seconds = bundle.compilation["seconds"]["one row"]
    times = seconds["pyfunc"] / seconds["onnx"]
    assert f"{times:,.0f} times as fast as the pipeline" in found["speed"]
    assert found["quality"].startswith("median_house_value: R² 0.9")
    assert found["model"] == "data/model.skops (skops)"
    assert found["takes"].split() == ["longitude", "double", "FP64", "[-1]", "may", "be", "missing"]
    assert found["returns"].split() == ["median_house_value", "double", "FP64", "[-1]"]
    names = [line[9:].split()[0] for line in lines if line.rstrip().endswith("may be missing")]
    assert names == [column.name for column in bundle.schema.columns]


@pytest.mark.parametrize("width", [20, 40, 60, 120])
def test_inspect_on_any_width(california: Any, width: int) -> None:
    result = run("inspect", str(california[2].path), env={"COLUMNS": str(width)})
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= width


def test_inspect_for_programs(california: Any) -> None:
    bundle = california[2]
    result = run("inspect", "--json", str(bundle.path))
    assert result.exit_code == 0
    facts = json.loads(result.output)
    # programs rely on these, and docs/cli.md names them: none may go
    assert list(facts) == [
        *("name", "path", "digest", "format_version", "signed", "engine", "compilation"),
        *("metrics", "reference", "inputs", "outputs", "versions", "differences", "code"),
        *("files", "bytes"),
    ]
    assert facts["digest"] == bundle.digest
    assert facts["engine"] == "onnx"
    assert facts["signed"] is False
    assert facts["metrics"] == bundle.manifest["metrics"]
    assert facts["compilation"]["max_relative"] < 1e-9
    assert facts["inputs"][4] == {
        "name": "total_bedrooms",
        "datatype": "FP64",
        "shape": [-1],
        "type": "double",
        "required": False,
        "dtype": "float64",
    }
    assert facts["reference"]["serialization"] == "skops"
    files = [file for file in bundle.path.rglob("*") if file.is_file()]
    assert len(facts["files"]) == len(files) - 1
    assert facts["bytes"] == sum(file.stat().st_size for file in files) - (
        (bundle.path / "data" / "manifest.json").stat().st_size
    )


def test_a_stranger_cannot_write_to_the_terminal(copy: Path) -> None:
    """Escape sequences, and letters that turn the direction of writing, are shown, not obeyed."""
    manifest = json.loads((copy / "data" / "manifest.json").read_text())
    schema = manifest["schema"]
    schema["inputs"][0]["name"] = "\x1b]0;title\x07"
    metrics = [{**manifest["metrics"][0], "target": "\u202eevil"}]
    change_manifest(copy, schema=schema, metrics=metrics)
    shown = run("inspect", str(copy)).output
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "\\x1b]0;title\\x07" in shown
    assert run("inspect", "--json", str(copy)).exit_code == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"metrics": 3},
        {"metrics": [3]},
        {"metrics": [{"target": "y", "rows": 3, "figures": {"r2": "good"}}]},
        {"metrics": [{"target": "y", "rows": True, "figures": {}}]},
        {"code": 3},
        {"compilation": {"file": "data/model.onnx", "seconds": {"one row": [1]}}},
    ],
)
def test_a_manifest_of_another_form_is_refused(copy: Path, fields: dict[str, Any]) -> None:
    change_manifest(copy, **fields)
    result = run("inspect", str(copy))
    assert result.exit_code == 1
    (key,) = fields
    assert f"{key!r} is not what the bundle format says" in result.stderr
    assert result.stderr.count("\n") == 1


# --- sign, verify -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private and a public key."""
    folder, key = tmp_path_factory.mktemp("keys"), ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "private.pem").write_bytes(private)
    (folder / "public.pem").write_bytes(public)
    return folder / "private.pem", folder / "public.pem"


def test_sign_and_verify_for_programs(california: Any, copy: Path, keys: Any) -> None:
    digest, count = california[2].digest, len(california[2].manifest["files"])
    whole = json.loads(run("verify", str(copy), "--json").stdout)
    assert whole == {
        "path": str(copy),
        "verified": False,
        "signer": None,
        "digest": digest,
        "files": count,
    }
    signed = json.loads(run("sign", str(copy), "--private-key", str(keys[0]), "--json").stdout)
    assert signed == {"path": str(copy), "signature": str(copy / "model.sig")}
    verified = json.loads(run("verify", str(copy), "--public-key", str(keys[1]), "--json").stdout)
    assert verified == {
        "path": str(copy),
        "verified": True,
        "signer": str(keys[1]),
        "digest": digest,
        "files": count + 1,  # the manifest does not name itself
    }
    assert json.loads(run("inspect", str(copy), "--json").stdout)["signed"] is True
    assert "signing  signed; `pyfunc verify` says by whom\n" in run("inspect", str(copy)).stdout


def test_what_is_refused_prints_no_json(copy: Path, keys: Any) -> None:
    result = run("verify", str(copy), "--public-key", str(keys[1]), "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {copy}: not signed")
