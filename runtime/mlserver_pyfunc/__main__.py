"""``pyfunc serve``: one model, from a directory, on real MLServer."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import unquote, urlparse

import click

from pyfunc_packaging.cli_serve import ABOUT, serve_options
from pyfunc_packaging.commands import Command
from pyfunc_packaging.errors import BundleNotFound, PyFuncError


@click.command(cls=Command, name="pyfunc serve", **ABOUT)
@serve_options
def main(model: str | Path, name: str | None, **given: Any) -> None:
    """Serve one model until a signal ends it."""
    # Until the server handles it: as a container's first process this one would ignore SIGTERM.
    signal.signal(signal.SIGTERM, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # `pyfunc serve` blocks it

    from mlserver import ModelSettings, Settings
    from mlserver.logging import configure_logger, logger
    from mlserver.settings import CORSSettings, ModelParameters

    from mlserver_pyfunc.logs import choose_logging
    from mlserver_pyfunc.server import run

    path = _local_path(model)
    for kind in (Settings, CORSSettings, ModelSettings, ModelParameters):
        # They would read `.env` in the current folder, which may be the model's own; the logging
        # settings alone can name any function to call.
        kind.model_config["env_file"] = None
    chosen = {key: value for key, value in given.items() if value is not None}
    settings = Settings(**{**_defaults(), **chosen})
    try:
        choose_logging(settings)
    except PyFuncError as error:
        configure_logger(settings).error("cannot serve: %s", error)
        sys.exit(3)
    configure_logger(settings)
    for option in ("http_port", "grpc_port", "metrics_port"):
        _check_port(settings.host, getattr(settings, option), option)
    try:
        name = name or _own_name(path)
    except PyFuncError as error:
        logger.error("cannot serve: %s", error)
        sys.exit(3)
    model_settings = ModelSettings(
        name=name,
        implementation="mlserver_pyfunc.PyFuncRuntime",
        parameters=ModelParameters(uri=str(path)),
    )
    # What this command line says holds for a model that is loaded again through the V2 API too.
    settings.load_models_at_startup = False
    sys.exit(run(settings, [model_settings]))


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Nothing has been served yet, so there is nothing to finish."""
    sys.exit(0)


def _defaults() -> dict[str, Any]:
    """Our defaults where MLServer's own would surprise, unless the environment sets them."""
    import os

    defaults = {"host": "127.0.0.1", "debug": False, "parallel_workers": 0}
    return {
        key: value
        for key, value in defaults.items()
        if f"MLSERVER_{key}".upper() not in {name.upper() for name in os.environ}
    }


def _local_path(model: str | Path) -> Path:
    """The directory; options refuse every URL but file://."""
    url = urlparse(str(model))
    return Path(unquote(url.path) if url.scheme == "file" else model).absolute()


def _own_name(path: Path) -> str:
    from pyfunc_packaging.bundle import is_bundle, read_manifest
    from pyfunc_packaging.trust import read_trusted_signature

    if not path.is_dir():
        raise BundleNotFound(
            f"{path}: no such directory; expected one that package_model() or MLflow wrote, which"
            f" on KServe the storage initializer puts there"
        )
    # the other files are checked when the model is loaded; all of them twice would take long
    signed = read_trusted_signature(path)
    if not is_bundle(path):
        return path.name
    manifest, _ = read_manifest(path, digests=None if signed is None else signed.files)
    return str(manifest["name"])


def _check_port(host: str, port: int, option: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            flag = f"--{option.replace('_', '-')}"
            raise click.UsageError(
                f"cannot listen on {host}:{port} ({error.strerror}); choose another {flag}"
            ) from error


if __name__ == "__main__":
    main(prog_name="pyfunc serve")
