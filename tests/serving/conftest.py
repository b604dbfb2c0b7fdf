"""Two servers of one model: what one answers, the other has to answer too."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

#: An id that a server made up, in the body and in headers.
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

#: Headers that say nothing of the answer: when it came, and how long its compressed form is.
_INCIDENTAL = ("date", "content-length")


@pytest.fixture(scope="module", autouse=True)
def _all_unchecked(all_unchecked: None) -> None:
    """What is served here was packaged here; that bundles travel is tested in tests/e2e."""


class Twins:
    """A server with the fast lane and one without; every request goes to both.

    Status, headers and body must be the same, byte for byte. Everything else is the first one's.
    """

    def __init__(self, fast: Any, ordinary: Any) -> None:
        self.fast = fast
        self.ordinary = ordinary

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fast, name)

    @property
    def log(self) -> str:
        return str(self.fast.log + self.ordinary.log)

    def request(self, *arguments: Any, **options: Any) -> Any:
        answer, other = (
            server.request(*arguments, **options) for server in (self.fast, self.ordinary)
        )
        assert _comparable(answer) == _comparable(other)
        return answer

    def infer(self, model: str, body: Any, **options: Any) -> Any:
        return self.request(f"/v2/models/{model}/infer", body, **options)


def _comparable(answer: Any) -> tuple[int, str, dict[str, str]]:
    headers = {
        name.lower(): _UUID.sub("UUID", value)
        for name, value in answer.headers.items()
        if name.lower() not in _INCIDENTAL
    }
    return answer.status, _UUID.sub("UUID", answer.text), headers


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs: ``private.pem`` and ``public.pem``, ``other.pem`` and ``other-public.pem``.

    The second is on another curve.
    """
    folder = tmp_path_factory.mktemp("keys")
    write_pair(folder / "private.pem", folder / "public.pem", ec.SECP256R1())
    write_pair(folder / "other.pem", folder / "other-public.pem", ec.SECP384R1())
    return folder


def write_pair(private: Path, public: Path, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


@pytest.fixture(scope="session")
def signed(california: Any, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example bundle, signed with ``private.pem``; tests copy it, none may change it."""
    from pyfunc_packaging.signing import sign_bundle

    path = shutil.copytree(california[2].path, tmp_path_factory.mktemp("signed") / "bundle")
    sign_bundle(path, private_key=keys / "private.pem")
    return Path(path)


@pytest.fixture(scope="session")
def data_plane() -> Any:
    """MLServer's own, without a server; Prometheus allows one in a process."""
    from mlserver import Settings
    from mlserver.handlers import DataPlane
    from mlserver.registry import MultiModelRegistry

    return DataPlane(Settings(parallel_workers=0, debug=False), MultiModelRegistry())


@pytest.fixture(scope="session")
def start_twins(start_server: Callable[..., Any]) -> Callable[..., Twins]:
    """Start ``pyfunc serve MODEL …`` twice; see :func:`start_server`."""

    def start(model: Path | str, *arguments: str, env: dict[str, str] | None = None) -> Twins:
        # one after the other: both at once are slower to start than their patience, with 2 cores
        fast = start_server(model, *arguments, env=env)
        return Twins(fast, start_server(model, *arguments, env={**(env or {}), **_OFF}))

    return start


_OFF = {"PYFUNC_FAST_LANE": "off"}


@pytest.fixture(scope="session")
def california_server(california: Any, start_twins: Callable[..., Twins]) -> Twins:
    """The example bundle on both lanes; tests share it, so none may break it."""
    return start_twins(california[2].path)
