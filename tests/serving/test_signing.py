"""Signatures: what our library, its command line and OpenSSF's own say of one another's."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sklearn.linear_model import LinearRegression

from mlserver_pyfunc.engines import load_engine
from pyfunc_packaging import load_bundle, package_model
from pyfunc_packaging.cli import main
from pyfunc_packaging.errors import (
    BundleError,
    DamagedBundle,
    InvalidKey,
    InvalidSetting,
    MalformedSignature,
    TamperedBundle,
    UnsignedBundle,
    UntrustedSignature,
)
from pyfunc_packaging.signing import sign_bundle
from pyfunc_packaging.verification import read_keys, verify_signature


def pyfunc(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def openssf(*words: object) -> subprocess.CompletedProcess[str]:
    """OpenSSF's own command line."""
    return subprocess.run(
        [sys.executable, "-Im", "model_signing", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def copy(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "copy"))


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch, keys: Path) -> None:
    """The server trusts ``public.pem``."""
    monkeypatch.setenv("PYFUNC_VERIFY_KEY", str(keys / "public.pem"))


# --- the two command lines ----------------------------------------------------------------------


def test_openssf_verifies_what_we_sign(signed: Path, keys: Path) -> None:
    options = ("--ignore-paths", signed / "model.sig", "--signature", signed / "model.sig")
    done = openssf("verify", "key", "--public_key", keys / "public.pem", *options, signed)
    assert done.returncode == 0, done.stderr
    done = openssf("verify", "key", "--public_key", keys / "other-public.pem", *options, signed)
    assert done.returncode == 1


@pytest.mark.parametrize("pair", [("private.pem", "public.pem"), ("other.pem", "other-public.pem")])
def test_we_verify_what_openssf_signs(pair: tuple[str, str], copy: Path, keys: Path) -> None:
    private, public = pair
    signature = copy / "model.sig"
    done = openssf("sign", "key", "--private_key", keys / private, "--signature", signature, copy)
    assert done.returncode == 0, done.stderr
    signed = verify_signature(copy, read_keys([keys / public]))
    assert "data/manifest.json" in signed.files
    assert "model.sig" not in signed.files


def test_sign_and_verify_on_the_command_line(copy: Path, keys: Path) -> None:
    (copy / "model.sig").unlink()
    public = ("--public-key", keys / "public.pem")
    code, output = pyfunc("verify", copy, *public)
    assert (code, "not signed (model.sig is not there)" in output) == (1, True)
    assert pyfunc("sign", copy, "--private-key", keys / "private.pem")[0] == 0
    assert sorted(path.name for path in copy.glob("*.sig*")) == ["model.sig"]
    code, output = pyfunc("verify", copy, "--public-key", keys / "other-public.pem", *public)
    assert code == 0
    assert output.endswith(f"signed with {keys / 'public.pem'}\n")
    code, output = pyfunc("verify", copy, "--public-key", keys / "other-public.pem")
    assert (code, "a key that is not trusted here" in output) == (1, True)
    code, output = pyfunc("verify", copy)
    assert (code, "nobody's signature was checked" in output) == (0, True)
    (copy / "data" / "golden.json").write_text("{}")
    code, output = pyfunc("verify", copy)
    assert (code, "data/golden.json is not the file" in output) == (1, True)


def test_a_signature_is_no_added_file_and_is_replaced(copy: Path, keys: Path) -> None:
    before = load_bundle(copy).digest
    sign_bundle(copy, private_key=keys / "other.pem")
    assert load_bundle(copy).digest == before
    verify_signature(copy, read_keys([keys / "other-public.pem"]))
    with pytest.raises(UntrustedSignature):
        verify_signature(copy, read_keys([keys / "public.pem"]))


def test_package_model_signs(keys: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(rows, rows["x"])
    bundle = package_model(
        model, rows, path=tmp_path / "b", name="x", signing_key=keys / "private.pem"
    )
    signed = verify_signature(bundle.path, read_keys([keys / "public.pem"]))
    assert set(signed.files) == {*bundle.manifest["files"], "data/manifest.json"}
    with pytest.raises(InvalidKey, match="expected a file with a private key in PEM"):
        package_model(model, rows, path=tmp_path / "c", name="x", signing_key=tmp_path / "none")
    assert not (tmp_path / "c").exists()


def test_a_damaged_bundle_is_not_signed(copy: Path, keys: Path) -> None:
    (copy / "data" / "golden.json").write_text("{}")
    before = (copy / "model.sig").read_bytes()
    with pytest.raises(DamagedBundle, match=r"data/golden\.json"):
        sign_bundle(copy, private_key=keys / "private.pem")
    assert (copy / "model.sig").read_bytes() == before


def test_a_key_with_a_password(copy: Path, keys: Path, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key((keys / "private.pem").read_bytes(), None)
    (tmp_path / "locked.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    with pytest.raises(InvalidKey, match=r"locked\.pem"):
        sign_bundle(copy, private_key=tmp_path / "locked.pem", password="wrong")
    sign_bundle(copy, private_key=tmp_path / "locked.pem", password="open sesame")
    verify_signature(copy, read_keys([keys / "public.pem"]))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN PUBLIC KEY-----\nAAAA\n"])
def test_a_key_that_is_none(content: bytes, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(InvalidKey, match=r"key\.pem: expected a public key in PEM"):
        read_keys([tmp_path / "key.pem"])
    with pytest.raises(InvalidKey, match=r"key\.pem: expected a private key in PEM"):
        sign_bundle(copy, private_key=tmp_path / "key.pem")


def test_several_keys_in_one_file(copy: Path, keys: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    texts = [(keys / name).read_text() for name in ("other-public.pem", "public.pem")]
    both.write_text(f"# rotated\n{texts[0]}# the new one\n{texts[1]}# the end\n")
    assert verify_signature(copy, read_keys([both])).signer == f"{both}, key 2"


@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.BrainpoolP256R1(), ec.SECP224R1()])
def test_a_key_on_another_curve(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    public = ec.generate_private_key(curve).public_key()
    (tmp_path / "key.pem").write_bytes(
        public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    with pytest.raises(InvalidKey, match="found another kind of key"):
        read_keys([tmp_path / "key.pem"])


def test_the_private_key_in_place_of_the_public_one(keys: Path) -> None:
    with pytest.raises(InvalidKey, match="and found a private one"):
        read_keys([keys / "private.pem"])


# --- what the server refuses --------------------------------------------------------------------


def unsign(path: Path) -> None:
    (path / "model.sig").unlink()


def cut(path: Path) -> None:
    file = path / "data" / "golden.json"
    file.write_bytes(file.read_bytes()[:-1])


def remove(path: Path) -> None:
    (path / "requirements.txt").unlink()


def extend(path: Path) -> None:
    (path / ".gitignore").write_text("*")


def add_module(path: Path) -> None:
    (path / "json.py").write_text("raise SystemExit('imported')")


def link_out(path: Path) -> None:
    file = path / "data" / "golden.json"
    file.rename(path.parent / "golden.json")
    file.symlink_to(path.parent / "golden.json")


def link_folder(path: Path) -> None:
    (path / "data").rename(path.parent / "data")
    (path / "data").symlink_to(path.parent / "data")


def link_signature(path: Path) -> None:
    (path / "model.sig").rename(path.parent / "model.sig")
    (path / "model.sig").symlink_to(path.parent / "model.sig")


def pipe(path: Path) -> None:
    os.mkfifo(path / "data" / "pipe")


def hide_manifest(path: Path) -> None:
    """Without it, what is left would be any MLflow model."""
    (path / "data" / "manifest.json").unlink()


def scramble(path: Path) -> None:
    (path / "model.sig").write_text("nonsense")


def nest(path: Path) -> None:
    (path / "model.sig").write_text("[" * 100_000)


def bloat(path: Path) -> None:
    (path / "model.sig").write_text("[" + "{}," * (6 * 2**20) + "{}]")


def forge_lines(path: Path) -> None:
    (path / "x\nERROR \x1b[8m").write_text("")


def forge(path: Path) -> None:
    """A signature that names the trusted key over another payload."""
    content = json.loads((path / "model.sig").read_text())
    payload = json.loads(base64.b64decode(content["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"].pop()
    content["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (path / "model.sig").write_text(json.dumps(content))


@pytest.mark.usefixtures("verified")
@pytest.mark.parametrize(
    ("harm", "kind", "words"),
    [
        (unsign, UnsignedBundle, "model.sig is not there"),
        (cut, TamperedBundle, "data/golden.json is not the file that was signed"),
        (remove, TamperedBundle, "requirements.txt is missing"),
        (extend, TamperedBundle, ".gitignore was added"),
        (add_module, TamperedBundle, "json.py was added"),
        (link_out, TamperedBundle, "data/golden.json is a symbolic link"),
        (link_folder, TamperedBundle, "data is a symbolic link"),
        (link_signature, TamperedBundle, "model.sig: expected a file, found a link"),
        (pipe, TamperedBundle, "data/pipe is a symbolic link, or no ordinary file"),
        (hide_manifest, TamperedBundle, "data/manifest.json is missing"),
        (scramble, MalformedSignature, "model.sig: expected an OpenSSF model-signing signature"),
        (nest, MalformedSignature, "model.sig: expected an OpenSSF model-signing signature"),
        (bloat, MalformedSignature, "model.sig: expected at most 16 MiB"),
        (forge_lines, TamperedBundle, r"x\nERROR \x1b[8m was added"),
        (forge, TamperedBundle, "model.sig: names the key"),
    ],
)
def test_refused(
    harm: Callable[[Path], None], kind: type[BundleError], words: str, copy: Path
) -> None:
    harm(copy)
    with pytest.raises(BundleError) as caught:
        load_engine(copy)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("verified")
def test_a_signature_of_another_model_is_refused(copy: Path, keys: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    other = package_model(
        LinearRegression().fit(rows, rows["x"]),
        rows,
        path=tmp_path / "other",
        name="other",
        signing_key=keys / "private.pem",
    )
    shutil.copy(other.path / "model.sig", copy / "model.sig")
    with pytest.raises(TamperedBundle):
        load_engine(copy)


def test_an_untrusted_key_is_refused_and_a_rotated_one_is_not(
    copy: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, right = keys / "other-public.pem", keys / "public.pem"
    monkeypatch.setenv("PYFUNC_VERIFY_KEY", str(other))
    with pytest.raises(UntrustedSignature, match="a key that is not trusted here"):
        load_engine(copy)
    monkeypatch.setenv("PYFUNC_VERIFY_KEY", f"{other}{os.pathsep}{right}")
    assert load_engine(copy).platform == "onnxruntime_onnx"
    # as a Kubernetes secret puts it into a variable
    monkeypatch.setenv("PYFUNC_VERIFY_KEY", f"{other.read_text()}{right.read_text()}# the end\n")
    assert load_engine(copy).platform == "onnxruntime_onnx"
    monkeypatch.setenv("PYFUNC_VERIFY_KEY", other.read_text())
    with pytest.raises(UntrustedSignature, match=r"trusted: PYFUNC_VERIFY_KEY\)"):
        load_engine(copy)


@pytest.mark.parametrize("variable", ["PYFUNC_VERIFY_KEY", "PYFUNC_VERIFY_CERTIFICATES"])
@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_setting_that_is_blank_is_refused(
    variable: str, blank: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a secret whose key is empty: it must not switch verification off."""
    monkeypatch.setenv(variable, blank)
    with pytest.raises(InvalidSetting, match=f"{variable} is set and blank"):
        load_engine(copy)


def test_keys_and_certificates_at_once_are_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYFUNC_VERIFY_KEY", "a.pem")
    monkeypatch.setenv("PYFUNC_VERIFY_CERTIFICATES", "b.pem")
    with pytest.raises(InvalidSetting, match="are both set"):
        load_engine(copy)


@pytest.mark.usefixtures("verified")
def test_every_flipped_bit_cut_or_deletion_is_refused(copy: Path) -> None:
    """Ten sampled positions in each file; for the signature itself, three hundred."""
    rng = random.Random(0)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert len(files) > 20
    tried = 0
    for file in files:
        content = file.read_bytes()
        positions = range(len(content))
        damaged: list[bytes | None] = [None, content[:-1], content[: len(content) // 2], b""]
        for position in rng.sample(
            positions, min(300 if file.name == "model.sig" else 10, len(content))
        ):
            flipped = bytearray(content)
            flipped[position] ^= 1 << rng.randrange(8)
            damaged.append(bytes(flipped))
        for each in damaged:
            if each is None:
                file.unlink()
            else:
                file.write_bytes(each)
            with pytest.raises(BundleError) as caught:
                load_engine(copy)
            assert file.relative_to(copy).as_posix() in str(caught.value)
            tried += 1
        file.write_bytes(content)
    assert tried > 500
    load_engine(copy)


@pytest.mark.parametrize("options", [(), ("--name", "houses")])
def test_the_server_ends_with_one_line(
    options: tuple[str, ...], copy: Path, keys: Path, start_server: Callable[..., Any]
) -> None:
    manifest = copy / "data" / "manifest.json"
    manifest.write_bytes(b"not even JSON")
    env = {"PYFUNC_VERIFY_KEY": str(keys / "public.pem")}
    server = start_server(copy, *options, env=env, wait=False)
    assert server.process.wait(timeout=60) == 3
    (line,) = (line for line in server.log.splitlines() if "cannot serve: " in line)
    assert "data/manifest.json is not the file that was signed" in line
    assert "Traceback" not in server.log


def test_a_signed_bundle_is_served(
    signed: Path, keys: Path, california: Any, start_server: Callable[..., Any], request_body: Any
) -> None:
    server = start_server(signed, env={"PYFUNC_VERIFY_KEY": str(keys / "public.pem")})
    pipeline, X, bundle = california
    answer = server.infer(bundle.name, request_body).json["outputs"][0]["data"]
    columns = {tensor["name"]: tensor["data"] for tensor in request_body["inputs"]}
    expected = pipeline.predict(pd.DataFrame(columns)[list(X.columns)])
    assert answer == pytest.approx(expected.tolist(), rel=1e-12)
    assert f"the signature is good, made with {keys / 'public.pem'}" in server.log
