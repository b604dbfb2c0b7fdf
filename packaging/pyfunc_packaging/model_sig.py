"""Read ``model.sig``: who signed, and which files with which digests.

The file is an OpenSSF model-signing signature: a Sigstore bundle with a DSSE envelope around an
in-toto statement, all of it JSON::

    {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
     "verificationMaterial": {"publicKey": {"hint": "<sha256 of the key's PEM>"}, …},
     "dsseEnvelope": {"payload": "<base64>", "payloadType": "application/vnd.in-toto+json",
                      "signatures": [{"sig": "<base64>", "keyid": ""}]}}

A server reads it at every start, and importing ``model_signing`` takes half a second; so signatures
by key are read here, with ``cryptography`` for what is cryptography. Signing, and certificates, are
left to the library. Until the signature is found to be good, nothing but its envelope is parsed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyfunc_packaging.errors import (
    InvalidKey,
    MalformedSignature,
    MissingDependency,
    TamperedBundle,
    UntrustedSignature,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

SIGNATURE = "model.sig"

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"

#: A signature names every file of the model in about 150 bytes; this is enough for 100,000. Parsed,
#: hostile JSON takes thirty times as much.
_MAX_BYTES = 16 * 2**20

#: The curves that model-signing takes, and the digest that goes with each.
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}


@dataclass(frozen=True)
class PublicKey:
    """A public key that is trusted.

    Parameters
    ----------
    key : EllipticCurvePublicKey
    source : str
        Where it comes from, for messages.
    """

    key: EllipticCurvePublicKey
    source: str

    @property
    def hint(self) -> str:
        """What a signature calls the key: hexadecimal sha256 of its PEM."""
        from cryptography.hazmat.primitives import serialization

        pem = self.key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(pem).hexdigest()


def load_public_key(content: bytes, source: str) -> PublicKey:
    """Read a public key in PEM.

    Parameters
    ----------
    content : bytes
    source : str
        Where it comes from, for messages.

    Returns
    -------
    PublicKey

    Raises
    ------
    InvalidKey
        If it is no public key on one of the curves P-256, P-384 and P-521.
    MissingDependency
        If ``cryptography`` is not installed.

    Examples
    --------
    >>> load_public_key(b"nonsense", "key.pem")
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.InvalidKey: key.pem: expected a public key in PEM (-----BEGIN PUBLIC...
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ModuleNotFoundError as error:
        raise missing(error) from error
    expected = (
        f"{source}: expected a public key in PEM (-----BEGIN PUBLIC KEY-----) on the curve P-256,"
        f" P-384 or P-521"
    )
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        private = " and found a private one" if b"PRIVATE KEY" in content else ""
        raise InvalidKey(
            f"{expected}{private}; `openssl ec -in PRIVATE -pubout` prints the public one"
        ) from error
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise InvalidKey(f"{expected}, found another kind of key; make one with `openssl ecparam`")
    return PublicKey(key, source)


def missing(error: ModuleNotFoundError) -> MissingDependency:
    """The error for a library that signatures need."""
    return MissingDependency(
        f"signatures need the Python module {error.name!r}, which is not installed here; install"
        f" mlserver-pyfunc[signing]"
    )


def read_signed_files(path: Path, keys: Sequence[PublicKey]) -> tuple[dict[str, str], str]:
    """Check that a signature was made with one of the keys, and read what it covers.

    Parameters
    ----------
    path : pathlib.Path
        ``model.sig``.
    keys : sequence of PublicKey

    Returns
    -------
    files : dict of str to str
        Hexadecimal sha256 by name.
    source : str
        Where the key comes from that the signature was made with.

    Raises
    ------
    MalformedSignature
        If it is no signature of a form that we know.
    UntrustedSignature
        If it was made with another key.
    TamperedBundle
        If it names one of the keys and was not made with it.
    """
    envelope = Envelope.read(path)
    if envelope.leaf is not None:
        raise UntrustedSignature(
            f"{path}: signed with a certificate and not with a key; trust the certificates that"
            f" vouch for it (PYFUNC_VERIFY_CERTIFICATES), or sign the model with a key"
        )
    known = [key for key in keys if envelope.hint in (None, key.hint)]
    sources = ", ".join(key.source for key in keys)
    if not known:
        raise UntrustedSignature(
            f"{path}: signed with a key that is not trusted here (its sha256 is"
            f" {str(envelope.hint)[:12]}…; trusted: {sources}); sign the model with one that is, or"
            f" add its public key"
        )
    for key in known:
        if envelope.is_made_with(key):
            return signed_files(envelope.payload, path), key.source
    if envelope.hint is None:
        raise UntrustedSignature(f"{path}: not made with a key that is trusted here ({sources})")
    raise TamperedBundle(
        f"{path}: names the key {known[0].source} and was not made with it: the signature was"
        f" altered; fetch the model again, or sign it again"
    )


@dataclass(frozen=True)
class Envelope:
    """What a signature holds, before it is known to be good.

    Parameters
    ----------
    payload, sig : bytes
    hint : str or None
        What it calls the key that it was made with.
    leaf : bytes or None
        The certificate in DER that it was made with; None for a signature by key.
    content : bytes
        The whole file.
    """

    payload: bytes
    sig: bytes
    hint: str | None
    leaf: bytes | None
    content: bytes

    @classmethod
    def read(cls, path: Path) -> Envelope:
        """Parse strictly: what we do not know, we do not pass over."""
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise MalformedSignature(f"{path}: cannot be read ({error.strerror})") from error
        if len(content) > _MAX_BYTES:
            raise MalformedSignature(f"{path}: expected at most {_MAX_BYTES >> 20} MiB, found more")
        outer = _object(path, _json(path, content), "the file")
        _known(path, outer, {"mediaType", "verificationMaterial", "dsseEnvelope"})
        if outer.get("mediaType") != _MEDIA_TYPE:
            raise MalformedSignature(f"{path}: expected the mediaType {_MEDIA_TYPE}")
        material = _object(path, outer.get("verificationMaterial"), "verificationMaterial")
        how = "x509CertificateChain" if "x509CertificateChain" in material else "publicKey"
        _known(path, material, {how, "tlogEntries", "timestampVerificationData"})
        hint, leaf = None, None
        if how == "publicKey":
            key = _object(path, material.get("publicKey"), "publicKey")
            _known(path, key, {"hint", "rawBytes", "keyDetails"})
            hint = key.get("hint")
        else:
            chain = _object(path, material[how], how)
            _known(path, chain, {"certificates"})
            listed = chain.get("certificates")
            if not isinstance(listed, list) or not listed:
                raise MalformedSignature(f"{path}: expected certificates in {how}")
            first = _object(path, listed[0], "a certificate")
            leaf = _base64(path, first.get("rawBytes"))
        envelope = _object(path, outer.get("dsseEnvelope"), "dsseEnvelope")
        _known(path, envelope, {"payload", "payloadType", "signatures"})
        if envelope.get("payloadType") != _PAYLOAD_TYPE:
            raise MalformedSignature(f"{path}: expected the payloadType {_PAYLOAD_TYPE}")
        signatures = envelope.get("signatures")
        if not isinstance(signatures, list) or len(signatures) != 1:
            raise MalformedSignature(f"{path}: expected one signature in dsseEnvelope")
        signature = _object(path, signatures[0], "the signature")
        _known(path, signature, {"sig", "keyid"})
        if signature.get("keyid", "") != "" or not isinstance(hint, str | None):
            raise MalformedSignature(f"{path}: expected no keyid, and a text as the key's hint")
        payload, sig = _base64(path, envelope.get("payload")), _base64(path, signature.get("sig"))
        return cls(payload, sig, hint, leaf, content)

    def is_made_with(self, key: PublicKey) -> bool:
        """Whether the signature is good, by a key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        # DSSE's pre-authentication encoding
        kind = _PAYLOAD_TYPE.encode()
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)
        digest = getattr(hashes, _HASHES[key.key.curve.name])()
        try:
            key.key.verify(self.sig, signed, ec.ECDSA(digest))
        except InvalidSignature:
            return False
        return True


def signed_files(payload: bytes, path: Path) -> dict[str, str]:
    """The files that a statement covers, after its signature was found to be good.

    Parameters
    ----------
    payload : bytes
        The in-toto statement.
    path : pathlib.Path
        ``model.sig``, for messages.

    Returns
    -------
    dict of str to str
        Hexadecimal sha256 by name.

    Raises
    ------
    MalformedSignature
        If it is no statement on the sha256 of whole files.
    """
    outer = _object(path, _json(path, payload), "the statement")
    if outer.get("_type") != _STATEMENT or outer.get("predicateType") != _PREDICATE:
        raise MalformedSignature(f"{path}: expected a statement of the type {_PREDICATE}")
    predicate = _object(path, outer.get("predicate"), "predicate")
    how = _object(path, predicate.get("serialization"), "serialization")
    if how.get("method") != "files" or how.get("hash_type") != "sha256":
        raise MalformedSignature(
            f"{path}: expected the sha256 of whole files (method 'files', hash_type 'sha256'); sign"
            f" the model with `pyfunc sign`, or with model_signing's own defaults"
        )
    resources = predicate.get("resources")
    files: dict[str, str] = {}
    for entry in resources if isinstance(resources, list) else []:
        resource = _object(path, entry, "a resource")
        name, digest = resource.get("name"), resource.get("digest")
        if not isinstance(name, str) or not isinstance(digest, str) or name in files:
            raise MalformedSignature(f"{path}: expected a name and a digest, once for every file")
        files[name] = digest
    if not files:
        raise MalformedSignature(f"{path}: covers no file")
    return files


def _json(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedSignature(
            f"{path}: expected an OpenSSF model-signing signature, which is JSON, found something"
            f" else; sign the model with `pyfunc sign`"
        ) from error


def _object(path: Path, value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedSignature(f"{path}: expected {what} to be an object")
    return value


def _known(path: Path, value: Mapping[str, Any], names: set[str]) -> None:
    if unknown := sorted(set(value) - names):
        raise MalformedSignature(
            f"{path}: holds {unknown[0]!r:.40}, which this version cannot read"
        )


def _base64(path: Path, text: Any) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise MalformedSignature(f"{path}: expected base64 in dsseEnvelope") from error
    if base64.b64encode(content).decode() != text:  # other texts mean the same bytes
        raise MalformedSignature(f"{path}: expected base64 in its one canonical form")
    return content
