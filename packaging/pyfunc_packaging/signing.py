"""Sign a model: an OpenSSF model-signing signature over all its files, in the directory itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pyfunc_packaging.bundle import MANIFEST, MLMODEL, is_bundle, load_bundle
from pyfunc_packaging.errors import BundleNotFound, DamagedBundle, InvalidArgument, InvalidKey
from pyfunc_packaging.model_sig import SIGNATURE, missing
from pyfunc_packaging.verification import UNSIGNED, list_files

#: Where a signature is written before it is renamed; one that was interrupted may have left it.
_DRAFT = f".{SIGNATURE}.part"
#: What model-signing passes over at the root of a model, while verifiers count it as added.
_LEFT_OUT = (".git", ".gitattributes", ".github", ".gitignore")


def sign_bundle(
    path: str | Path,
    *,
    private_key: str | Path,
    password: str | None = None,
    certificate: str | Path | None = None,
    certificate_chain: Sequence[str | Path] = (),
) -> Path:
    """Write ``model.sig``, which covers every other file of the directory.

    Parameters
    ----------
    path : str or pathlib.Path
        A bundle, or any MLflow model. A signature that is there is replaced, in one step.
    private_key : str or pathlib.Path
        PEM file with a private key on the curve P-256, P-384 or P-521.
    password : str, optional
        Of the private key.
    certificate : str or pathlib.Path, optional
        PEM file with the certificate of the key; it goes into the signature.
    certificate_chain : sequence of path
        Certificates between that one and one that verifiers trust.

    Returns
    -------
    pathlib.Path
        The signature.

    Raises
    ------
    BundleNotFound
        If there is no model.
    DamagedBundle
        If the bundle is not whole, or holds more: what is signed is what was packaged.
    TamperedBundle
        If the directory holds a symbolic link.
    InvalidKey
        If the key or the certificate cannot be used.
    MissingDependency
        If ``model-signing`` is not installed.

    Examples
    --------
    >>> sign_bundle("no/such/place", private_key="key.pem")
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.BundleNotFound: no/such/place: no model there ...
    """
    path = Path(path)
    if not is_bundle(path) and not (path / MLMODEL).is_file():
        raise BundleNotFound(
            f"{path}: no model there ({MLMODEL} is not in it); sign a directory that"
            f" package_model() or MLflow wrote"
        )
    if certificate is None and certificate_chain:
        raise InvalidArgument("certificate_chain needs a certificate to begin with")
    if certificate is not None and password is not None:
        raise InvalidArgument("model-signing takes no password with a certificate; decrypt the key")
    _check_extent(path)
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from model_signing import hashing, signing
    except ModuleNotFoundError as error:
        raise missing(error) from error
    config = signing.Config().set_hashing_config(
        hashing.Config().set_ignored_paths(paths=[SIGNATURE, UNSIGNED, _DRAFT])
    )
    try:
        if certificate is None:
            config.use_elliptic_key_signer(
                private_key=private_key,
                # the library hands it on as it is, and the one below wants bytes
                password=None if password is None else password.encode(),
            )
        else:
            config.use_certificate_signer(
                private_key=private_key,
                signing_certificate=certificate,
                # model-signing 1.1.1 fails on none; the certificate once more changes nothing
                certificate_chain=certificate_chain or [certificate],
            )
    except (OSError, ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        what = f"{private_key}" if certificate is None else f"{private_key} and {certificate}"
        raise InvalidKey(
            f"{what}: expected a private key in PEM on the curve P-256, P-384 or P-521"
            f"{'' if certificate is None else ' and its certificate'} ({error}); make a key with"
            f" `openssl ecparam -genkey -name prime256v1 -noout`"
        ) from error
    with tempfile.TemporaryDirectory() as folder:  # in the model's own it would be signed, too
        config.sign(path, Path(folder, SIGNATURE))
        content = Path(folder, SIGNATURE).read_bytes()
    draft = path / _DRAFT
    try:
        draft.write_bytes(content)
        os.replace(draft, path / SIGNATURE)
    finally:
        draft.unlink(missing_ok=True)
    return path / SIGNATURE


def _check_extent(path: Path) -> None:
    """Refuse to sign what was not packaged, and what model-signing would silently leave out."""
    found = list_files(path) - {SIGNATURE, UNSIGNED, _DRAFT}
    known = {MANIFEST, *load_bundle(path).manifest["files"]} if is_bundle(path) else found
    for name in sorted(found):
        parts = Path(name).parts
        if name not in known or "__pycache__" in parts:
            raise DamagedBundle(
                f"{path}: {name} was added after the model was packaged, and a signature would"
                f" vouch for it; remove it, and sign again"
            )
        if parts[0] in _LEFT_OUT:
            raise DamagedBundle(
                f"{path}: {name} is of git's, which model-signing does not sign; remove it, and"
                f" sign again"
            )
