"""The commands ``pyfunc sign`` and ``pyfunc verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pyfunc_packaging.verification import Trusted

_FILE = click.Path(path_type=Path)


@click.command(short_help="Sign a bundle, or any MLflow model.")
@click.argument("bundle", type=_FILE)
@click.option("--private-key", type=_FILE, required=True, help="Private key in PEM, on P-256.")
@click.option("--password", envvar="PYFUNC_KEY_PASSWORD", help="Of the private key.")
@click.option("--certificate", type=_FILE, help="Certificate of the key, in PEM.")
@click.option(
    "--certificate-chain",
    type=_FILE,
    multiple=True,
    help="Certificates up to one that verifiers trust.  May be repeated.",
)
def sign(
    bundle: Path,
    private_key: Path,
    password: str | None,
    certificate: Path | None,
    certificate_chain: tuple[Path, ...],
) -> None:
    """Write model.sig, an OpenSSF model-signing signature, into a directory.

    It covers every other file.  The password of a key can stand in PYFUNC_KEY_PASSWORD.
    """
    from pyfunc_packaging.signing import sign_bundle

    signature = sign_bundle(
        bundle,
        private_key=private_key,
        password=password,
        certificate=certificate,
        certificate_chain=certificate_chain,
    )
    click.echo(f"signed: {signature}")


def read_trusted(public_key: tuple[Path, ...], certificate: tuple[Path, ...]) -> Trusted | None:
    """Whom the options of a command trust; None where they name nobody."""
    from pyfunc_packaging.verification import read_certificates, read_keys

    if public_key and certificate:
        raise click.UsageError("--public-key and --certificate exclude each other")
    if not public_key and not certificate:
        return None
    return read_keys(public_key) if public_key else read_certificates(certificate)


@click.command(short_help="Check a bundle's signature and files.")
@click.argument("bundle", type=_FILE)
@click.option(
    "--public-key", type=_FILE, multiple=True, help="Trusted key in PEM.  May be repeated."
)
@click.option(
    "--certificate", type=_FILE, multiple=True, help="Trusted certificates in PEM, repeatable."
)
def verify(bundle: Path, public_key: tuple[Path, ...], certificate: tuple[Path, ...]) -> None:
    """Check that someone trusted signed a model and that no file changed since.

    Without a key, only that a bundle's files are those in its manifest.
    """
    from pyfunc_packaging.bundle import is_bundle, load_bundle
    from pyfunc_packaging.verification import verify_signature

    trusted = read_trusted(public_key, certificate)
    if trusted is None:
        found = load_bundle(bundle)
        click.echo(f"whole: {bundle} ({found.digest}); nobody's signature was checked")
        return
    signed = verify_signature(bundle, trusted)
    if is_bundle(bundle):
        load_bundle(bundle, digests=signed.files)
    click.echo(f"verified: {bundle}, {len(signed.files)} files, signed with {signed.signer}")
