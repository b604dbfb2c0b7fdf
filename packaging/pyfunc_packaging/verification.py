"""Verify a signed model: that someone trusted signed it, and that its files are those signed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pyfunc_packaging.errors import (
    BundleNotFound,
    InvalidArgument,
    InvalidKey,
    MalformedSignature,
    TamperedBundle,
    UnsignedBundle,
    UntrustedSignature,
)
from pyfunc_packaging.model_sig import (
    SIGNATURE,
    Envelope,
    PublicKey,
    load_public_key,
    missing,
    read_signed_files,
    signed_files,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: MLflow writes it into the folder of a registered model when it loads that. Nothing reads it, and
#: no signature covers it.
UNSIGNED = "registered_model_meta"


@dataclass(frozen=True)
class Trusted:
    """Whose signatures count: public keys, or the certificates that vouch for those who sign.

    Parameters
    ----------
    keys : tuple of PublicKey
    certificates : tuple of pathlib.Path
        PEM files.
    """

    keys: tuple[PublicKey, ...] = ()
    certificates: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Signed:
    """What a good signature covers.

    Parameters
    ----------
    path : pathlib.Path
        The model's directory.
    files : mapping of str to str
        Hexadecimal sha256 by name.
    signer : str
        Where the key or the certificates come from that the signature was verified with.
    """

    path: Path
    files: Mapping[str, str]
    signer: str

    def check_files(self) -> None:
        """Hash every file of the directory and compare it with what was signed.

        Raises
        ------
        TamperedBundle
            If a file was altered, added or removed, or is no ordinary file; the message names it.
            What MLflow adds to a registered model when it loads it is passed over.
        """
        found = list_files(self.path)
        for name in sorted(self.files.keys() - found):
            raise TamperedBundle(
                f"{self.path}: {name} is missing, which was signed; fetch the model again"
            )
        for name in sorted(found - self.files.keys() - {SIGNATURE, UNSIGNED}):
            raise TamperedBundle(
                f"{self.path}: {name} was added after the model was signed; remove it, or fetch the"
                f" model again"
            )
        names = sorted(self.files)
        # hashlib lets other threads run meanwhile
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            digests = pool.map(lambda name: _digest(self.path / name), names)
            for name, digest in zip(names, digests, strict=True):
                if digest != self.files[name]:
                    raise TamperedBundle(
                        f"{self.path}: {name} is not the file that was signed (expected sha256"
                        f" {self.files[name][:12]}…, found {digest[:12]}…); fetch the model again"
                    )


def read_keys(paths: Sequence[str | Path]) -> Trusted:
    """Public keys from PEM files.

    Parameters
    ----------
    paths : sequence of path

    Returns
    -------
    Trusted

    Raises
    ------
    InvalidKey
        If a file cannot be read, or holds no public key that can be used.
    """
    return Trusted(tuple(key for path in paths for key in split_keys(_read(Path(path)), str(path))))


def split_keys(content: bytes, source: str) -> list[PublicKey]:
    """All public keys in PEM, one after the other; what stands between them is comments.

    Parameters
    ----------
    content : bytes
    source : str
        Where it comes from, for messages.

    Raises
    ------
    InvalidKey
        If there is none, or one cannot be used.

    Examples
    --------
    >>> split_keys(b"", "key.pem")
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.InvalidKey: key.pem: expected a public key in PEM (-----BEGIN PUBLIC...
    """
    found = re.findall(rb"-----BEGIN.*?-----END[^-]*-----", content, re.DOTALL)
    if len(found) < 2:  # the one key, or what is none, and is said to be that
        return [load_public_key(found[0] if found else content, source)]
    return [
        load_public_key(part, f"{source}, key {number}") for number, part in enumerate(found, 1)
    ]


def read_certificates(paths: Sequence[str | Path]) -> Trusted:
    """Trusted certificates from PEM files.

    Parameters
    ----------
    paths : sequence of path

    Returns
    -------
    Trusted

    Raises
    ------
    InvalidKey
        If a file cannot be read, or holds no certificate.
    """
    for path in paths:
        if b"-----BEGIN CERTIFICATE-----" not in _read(Path(path)):
            raise InvalidKey(f"{path}: expected certificates in PEM, found none")
    return Trusted(certificates=tuple(Path(path) for path in paths))


def read_signature(path: Path, trusted: Trusted) -> Signed:
    """Check a model's signature, and nothing else of it: no other file is opened.

    Parameters
    ----------
    path : pathlib.Path
        The model's directory.
    trusted : Trusted

    Returns
    -------
    Signed
        Its `check_files` has to be called before anything in the directory is used.

    Raises
    ------
    UnsignedBundle
        If there is no signature.
    MalformedSignature
        If it has no form that we know.
    UntrustedSignature
        If none of those trusted made it.
    TamperedBundle
        If it was altered.
    """
    if not trusted.keys and not trusted.certificates:
        raise InvalidArgument("verifying a signature needs a public key or a certificate")
    if not path.is_dir():
        raise BundleNotFound(f"{path}: no such directory; expected a model that was signed")
    file = path / SIGNATURE
    try:
        mode = file.lstat().st_mode
    except FileNotFoundError as error:
        raise UnsignedBundle(
            f"{path}: not signed ({SIGNATURE} is not there); sign it with `pyfunc sign`, or fetch"
            f" the model again if it should be"
        ) from error
    if not stat.S_ISREG(mode):
        raise TamperedBundle(f"{file}: expected a file, found a link or something else")
    if trusted.keys:
        files, signer = read_signed_files(file, trusted.keys)
    else:
        files = _files_by_certificate(file, trusted.certificates)
        signer = ", ".join(map(str, trusted.certificates))
    return Signed(path, files, signer)


def verify_signature(path: str | Path, trusted: Trusted) -> Signed:
    """Check a model's signature and all its files.

    Parameters
    ----------
    path : str or pathlib.Path
        The directory of a bundle, or of any MLflow model.
    trusted : Trusted

    Returns
    -------
    Signed

    Raises
    ------
    BundleError
        See :func:`read_signature` and :meth:`Signed.check_files`.

    Examples
    --------
    >>> import tempfile
    >>> verify_signature(tempfile.gettempdir() + "/none", Trusted())
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.InvalidArgument: verifying a signature needs a public key or a ...
    """
    signed = read_signature(Path(path), trusted)
    signed.check_files()
    return signed


def list_files(path: Path) -> set[str]:
    """Names of all files in a directory.

    Raises
    ------
    TamperedBundle
        If something in it is a symbolic link, or neither a file nor a directory: what such a name
        stands for can be exchanged without a change in the directory. Or if it cannot be read.
    """
    found = set()
    pending = [path]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError as error:
            raise TamperedBundle(f"{folder}: cannot be read ({error.strerror})") from error
        for entry in entries:
            name = Path(entry.path).relative_to(path).as_posix()
            if entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                found.add(name)
            else:
                raise TamperedBundle(
                    f"{path}: {name} is a symbolic link, or no ordinary file; a signed model holds"
                    f" files only"
                )
    return found


def _files_by_certificate(file: Path, certificates: Sequence[Path]) -> dict[str, str]:
    """What a signature covers; the library checks the chain, and everything else is as for keys."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import serialization
        from cryptography.x509 import load_der_x509_certificate
        from model_signing import verifying
        from OpenSSL.crypto import X509StoreContextError
    except ModuleNotFoundError as error:
        raise missing(error) from error
    envelope = Envelope.read(file)
    if envelope.leaf is None:
        raise UntrustedSignature(
            f"{file}: signed with a key and not with a certificate; trust that key"
            f" (PYFUNC_VERIFY_KEY), or sign the model with a certificate"
        )
    try:
        verifier = verifying.certificate.Verifier(certificates)
    except ValueError as error:
        names = ", ".join(map(str, certificates))
        raise InvalidKey(f"{names}: expected certificates in PEM ({error})") from error
    altered = (
        f"{file}: was not made with the certificate in it: the signature was altered; fetch the"
        f" model again, or sign it again"
    )
    try:
        with tempfile.TemporaryDirectory() as folder:  # the very bytes that were parsed above
            copy = Path(folder, SIGNATURE)
            copy.write_bytes(envelope.content)
            verifier.verify(verifying.sigstore_pb.Signature.read(copy))
        leaf = load_der_x509_certificate(envelope.leaf)
        pem = leaf.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        unfit = _unfit(leaf)
    except InvalidSignature as error:
        raise TamperedBundle(altered) from error
    except X509StoreContextError as error:
        raise UntrustedSignature(
            f"{file}: its certificate is not vouched for by those trusted here ({error}); sign the"
            f" model with one that is, or trust its issuer"
        ) from error
    except OSError:
        raise
    except Exception as error:  # the library raises whatever the content of the file provokes
        raise MalformedSignature(
            f"{file}: expected an OpenSSF model-signing signature by certificate, found something"
            f" else ({type(error).__name__}); sign the model with `pyfunc sign`"
        ) from error
    if unfit is not None:
        raise UntrustedSignature(
            f"{file}: its certificate {unfit}; sign the model with one that is for signing code"
        )
    # the library takes the form of its releases before 1.0, too
    if not envelope.is_made_with(load_public_key(pem, f"{file}: its certificate")):
        raise TamperedBundle(altered)
    return signed_files(envelope.payload, file)


def _unfit(leaf: Certificate) -> str | None:
    """Why a certificate that is vouched for may not sign models all the same."""
    from cryptography import x509

    if leaf.not_valid_before_utc > datetime.now(UTC):
        return f"is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}"
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    if x509.oid.ExtendedKeyUsageOID.CODE_SIGNING in usages:
        return None
    return "is for something else (its extended key usage does not name codeSigning)"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidKey(
            f"{path}: expected a file in PEM, and cannot read it ({error.strerror})"
        ) from error


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TamperedBundle(f"{path}: cannot be read ({error.strerror})") from error
