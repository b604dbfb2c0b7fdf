"""Signatures by certificate: who may sign, and what of it counts."""

from __future__ import annotations

import base64
import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mlserver_pyfunc.engines import load_engine
from pyfunc_packaging.bundle import file_digest
from pyfunc_packaging.cli import main
from pyfunc_packaging.errors import (
    InvalidKey,
    MalformedSignature,
    TamperedBundle,
    UntrustedSignature,
)
from pyfunc_packaging.signing import sign_bundle
from pyfunc_packaging.verification import (
    list_files,
    read_certificates,
    read_keys,
    verify_signature,
)


@pytest.fixture
def copy(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "copy"))


def make_certificate(
    name: str,
    key: Any,
    *,
    issuer: str,
    issuer_key: Any,
    authority: bool,
    start: datetime.timedelta | None = None,
    purpose: x509.ObjectIdentifier | None = None,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    start = start or datetime.timedelta(minutes=-1 if not authority else -5)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + datetime.timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                key_cert_sign=authority,
                crl_sign=authority,
                encipher_only=False,
                decipher_only=False,
                **usage,
            ),
            critical=True,
        )
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="module")
def certificates(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``root.pem`` issued all that are for ``private.pem``; ``stranger.pem`` issued none."""
    folder = tmp_path_factory.mktemp("certificates")
    signer = serialization.load_pem_private_key((keys / "private.pem").read_bytes(), None)
    root, stranger = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    made = {
        "root": make_certificate("root", root, issuer="root", issuer_key=root, authority=True),
        "stranger": make_certificate(
            "stranger", stranger, issuer="stranger", issuer_key=stranger, authority=True
        ),
        "signer": make_certificate(
            "signer", signer, issuer="root", issuer_key=root, authority=False
        ),
    }
    purposes = x509.oid.ExtendedKeyUsageOID
    for name, purpose in (
        ("code", purposes.CODE_SIGNING),
        ("web", purposes.SERVER_AUTH),
        ("mail", purposes.EMAIL_PROTECTION),
    ):
        made[name] = make_certificate(
            name, signer, issuer="root", issuer_key=root, authority=False, purpose=purpose
        )
    made["future"] = make_certificate(
        "future",
        signer,
        issuer="root",
        issuer_key=root,
        authority=False,
        start=datetime.timedelta(days=700),
    )
    for name, certificate in made.items():
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return folder


def test_certificates(
    copy: Path, keys: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = ("--certificate", certificates / "signer.pem")
    command = ["sign", copy, "--private-key", keys / "private.pem", *signer]
    assert CliRunner().invoke(main, [str(word) for word in command]).exit_code == 0
    command = ["verify", copy, "--certificate", certificates / "root.pem"]
    assert CliRunner().invoke(main, [str(word) for word in command]).exit_code == 0
    with pytest.raises(UntrustedSignature, match="not vouched for by those trusted here"):
        verify_signature(copy, read_certificates([certificates / "stranger.pem"]))
    with pytest.raises(UntrustedSignature, match="signed with a certificate and not with a key"):
        verify_signature(copy, read_keys([keys / "public.pem"]))
    options = ("--signature", copy / "model.sig", "--ignore-paths", copy / "model.sig", copy)
    words = ["verify", "certificate", "--certificate_chain", certificates / "root.pem", *options]
    done = subprocess.run(
        [sys.executable, "-Im", "model_signing", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    monkeypatch.setenv("PYFUNC_VERIFY_CERTIFICATES", str(certificates / "root.pem"))
    assert load_engine(copy).platform == "onnxruntime_onnx"
    (copy / "data" / "extra.json").write_text("{}")
    with pytest.raises(TamperedBundle, match=r"data/extra\.json was added after"):
        load_engine(copy)
    (copy / "data" / "extra.json").unlink()
    content = json.loads((copy / "model.sig").read_text())
    envelope = content["dsseEnvelope"]
    payload = bytearray(base64.b64decode(envelope["payload"]))
    payload[40] ^= 1
    envelope["payload"] = base64.b64encode(payload).decode()
    (copy / "model.sig").write_text(json.dumps(content))
    with pytest.raises(TamperedBundle, match="the signature was altered"):
        load_engine(copy)


def sign(path: Path, keys: Path, certificate: Path) -> Any:
    """Sign, and return what the signature holds."""
    sign_bundle(path, private_key=keys / "private.pem", certificate=certificate)
    return json.loads((path / "model.sig").read_text())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("web", "does not name codeSigning"),
        ("mail", "does not name codeSigning"),
        ("future", "is not valid before"),
    ],
)
def test_a_certificate_for_something_else(
    name: str, words: str, copy: Path, keys: Path, certificates: Path
) -> None:
    sign(copy, keys, certificates / f"{name}.pem")
    with pytest.raises(UntrustedSignature, match=words):
        verify_signature(copy, read_certificates([certificates / "root.pem"]))


def test_a_certificate_for_signing_code(copy: Path, keys: Path, certificates: Path) -> None:
    sign(copy, keys, certificates / "code.pem")
    signed = verify_signature(copy, read_certificates([certificates / "root.pem"]))
    assert "data/manifest.json" in signed.files


def test_a_second_signature_beside_the_good_one(copy: Path, keys: Path, certificates: Path) -> None:
    content = sign(copy, keys, certificates / "signer.pem")
    content["dsseEnvelope"]["signatures"].append({"sig": "AAAA", "keyid": ""})
    (copy / "model.sig").write_text(json.dumps(content))
    with pytest.raises(MalformedSignature, match="expected one signature"):
        verify_signature(copy, read_certificates([certificates / "root.pem"]))


@pytest.mark.parametrize("encoding", [b"DSSEv1 28 %s %d %s", b"DSSEV1 28 %s %d %s"])
def test_the_form_of_releases_before_1_0(
    encoding: bytes, copy: Path, keys: Path, certificates: Path
) -> None:
    """Another statement, and once another encoding of it: the library takes both."""
    content = sign(copy, keys, certificates / "signer.pem")
    names = sorted(list_files(copy) - {"model.sig"})
    subject = [{"name": name, "digest": {"sha256": file_digest(copy / name)}} for name in names]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://model_signing/Digests/v0.1",
        "predicate": {"unused": "x"},
    }
    payload = json.dumps(statement).encode()
    old = encoding.startswith(b"DSSEV1")
    said = repr(payload).encode() if old else payload  # text of bytes, as that release signed it
    key: Any = serialization.load_pem_private_key((keys / "private.pem").read_bytes(), None)
    sig = key.sign(
        encoding % (b"application/vnd.in-toto+json", len(payload), said), ec.ECDSA(hashes.SHA256())
    )
    envelope = content["dsseEnvelope"]
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(sig).decode()
    (copy / "model.sig").write_text(json.dumps(content))
    with pytest.raises(TamperedBundle if old else MalformedSignature):
        verify_signature(copy, read_certificates([certificates / "root.pem"]))


def test_a_signature_by_key_where_certificates_are_trusted(copy: Path, certificates: Path) -> None:
    with pytest.raises(UntrustedSignature, match="signed with a key and not with a certificate"):
        verify_signature(copy, read_certificates([certificates / "root.pem"]))


def test_no_certificate_in_the_file(keys: Path) -> None:
    with pytest.raises(InvalidKey, match="expected certificates in PEM, found none"):
        read_certificates([keys / "public.pem"])
