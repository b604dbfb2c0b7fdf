"""The commands ``pyfunc sign`` and ``pyfunc verify``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyfunc_packaging.commands import BundleDirectory, Command
from pyfunc_packaging.terminal import print_json, waiting

if TYPE_CHECKING:
    from pyfunc_packaging.verification import Trusted

_F = TypeVar("_F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)


@click.command(
    cls=Command,
    short_help="Sign a bundle, or any MLflow model.",
    examples=(
        (
            "Make a pair of keys, and sign",
            "openssl ecparam -genkey -name prime256v1 -noout -out private.pem\n"
            "openssl ec -in private.pem -pubout -out public.pem\n"
            "pyfunc sign bundle --private-key private.pem",
        ),
    ),
)
@click.argument("bundle", type=BundleDirectory())
@click.option(
    "--private-key", type=_FILE, metavar="FILE", required=True, help="Private key in PEM, on P-256."
)
@click.option(
    "--password", metavar="TEXT", envvar="PYFUNC_KEY_PASSWORD", help="Of the private key."
)
@click.option("--certificate", type=_FILE, metavar="FILE", help="Certificate of the key, in PEM.")
@click.option(
    "--certificate-chain",
    type=_FILE,
    metavar="FILE",
    multiple=True,
    help="Certificates up to one that verifiers trust.  May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def sign(
    bundle: Path,
    private_key: Path,
    password: str | None,
    certificate: Path | None,
    certificate_chain: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Write model.sig, an OpenSSF model-signing signature, into a directory.

    It covers every other file.  The password of a key can stand in PYFUNC_KEY_PASSWORD.
    """
    from pyfunc_packaging.signing import sign_bundle

    with waiting(f"hashing and signing {bundle}"):
        signature = sign_bundle(
            bundle,
            private_key=private_key,
            password=password,
            certificate=certificate,
            certificate_chain=certificate_chain,
        )
    if as_json:
        print_json({"path": str(bundle), "signature": str(signature)})
    else:
        click.echo(f"signed: {signature}")


def trusted_options(command: _F) -> _F:
    """The options of everything that asks who signed a bundle."""
    for decorate in (
        click.option(
            "--certificate",
            type=_FILE,
            metavar="FILE",
            multiple=True,
            help="Trusted certificates in PEM, under which it has to be signed.  May be repeated.",
        ),
        click.option(
            "--public-key",
            type=_FILE,
            metavar="FILE",
            multiple=True,
            help="Trusted key in PEM, with which it has to be signed.  May be repeated.",
        ),
    ):
        command = decorate(command)
    return command


def read_trusted(public_key: tuple[Path, ...], certificate: tuple[Path, ...]) -> Trusted | None:
    """Whom the options of a command trust; None where they name nobody."""
    from pyfunc_packaging.verification import read_certificates, read_keys

    if public_key and certificate:
        raise click.UsageError(
            "--public-key and --certificate exclude each other", click.get_current_context()
        )
    if not public_key and not certificate:
        return None
    return read_keys(public_key) if public_key else read_certificates(certificate)


@click.command(
    cls=Command,
    short_help="Check a bundle's signature and files.",
    examples=(
        ("That its files are whole", "pyfunc verify bundle"),
        ("That the key's owner signed them", "pyfunc verify bundle --public-key public.pem"),
    ),
)
@click.argument("bundle", type=BundleDirectory())
@trusted_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def verify(
    bundle: Path, public_key: tuple[Path, ...], certificate: tuple[Path, ...], as_json: bool
) -> None:
    """Check that someone trusted signed a model and that no file changed since.

    Without a key, only that a bundle's files are those in its manifest.
    """
    from pyfunc_packaging.bundle import is_bundle, load_bundle
    from pyfunc_packaging.verification import verify_signature

    trusted = read_trusted(public_key, certificate)
    digest = signer = None
    with waiting(f"hashing the files of {bundle}"):
        if trusted is not None:
            signed = verify_signature(bundle, trusted)
            count, signer = len(signed.files), signed.signer
            if is_bundle(bundle):
                digest = load_bundle(bundle, digests=signed.files).digest
            words = f"verified: {bundle}, {count} files, signed with {signer}"
        else:
            found = load_bundle(bundle)
            count, digest = len(found.manifest["files"]), found.digest
            words = f"whole: {bundle} ({digest}); nobody's signature was checked"
    if as_json:
        facts = {"path": str(bundle), "verified": signer is not None, "signer": signer}
        print_json({**facts, "digest": digest, "files": count})
    else:
        click.echo(words)
