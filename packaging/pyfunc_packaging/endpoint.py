"""A server of one bundle on this machine, for notebooks and tests: ``Bundle.serve()``."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfunc_packaging.errors import (
    InvalidRequest,
    MissingDependency,
    ModelFailure,
    NotAnswered,
    ServerNotStarted,
    UnsuitableData,
)
from pyfunc_packaging.schema import Column, Tensor

if TYPE_CHECKING:
    import pandas as pd

    from pyfunc_packaging.bundle import Bundle

#: Seconds that a server may take to become ready, or to end, on a busy machine.
_PATIENCE = 120.0
_LAST_WORDS = 30.0
#: Seconds between two looks at whether it is ready.
_PAUSE = 0.05
#: Seconds that a server lets a model take unless it is told otherwise.
_REQUEST_TIMEOUT = 300.0
#: What an answer other than 200 means; the server's own table, read backwards.
_ERRORS = {400: InvalidRequest, 413: InvalidRequest, 503: NotAnswered, 504: NotAnswered}


class Endpoint:
    """A bundle behind a real server on free ports of the loopback interface.

    Parameters
    ----------
    bundle : Bundle

    Examples
    --------
    ``with Endpoint(bundle) as endpoint: endpoint.predict(rows)``
    """

    def __init__(self, bundle: Bundle) -> None:
        if importlib.util.find_spec("mlserver") is None:
            raise MissingDependency(
                "serving needs MLServer, which is not installed here; install"
                " mlserver-pyfunc[runtime]"
            )
        self._bundle = bundle
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._ports: dict[str, int] = {}

    @property
    def url(self) -> str:
        """Where REST listens, such as ``http://127.0.0.1:8080``.

        Raises
        ------
        ServerNotStarted
            Before :meth:`start`, and after :meth:`stop`.
        """
        return f"http://127.0.0.1:{self._port('http')}"

    @property
    def grpc(self) -> str:
        """Where gRPC listens, such as ``127.0.0.1:8081``."""
        return f"127.0.0.1:{self._port('grpc')}"

    @property
    def log(self) -> str:
        """What the server has printed."""
        if self._folder is None:
            return ""
        return (Path(self._folder.name) / "log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> Endpoint:
        """Start the server and wait until it is ready; ``with`` does it, too.

        Raises
        ------
        ServerNotStarted
            If the server ends, or is not ready after two minutes; the message has its last lines.
        """
        if self._process is not None:
            return self
        self._folder = tempfile.TemporaryDirectory(prefix="pyfunc-serve-")
        self._ports = _free_ports()
        options = [
            word for key, port in self._ports.items() for word in (f"--{key}-port", f"{port}")
        ]
        # -P: a module beside the notebook must never stand in for one of the server
        command = [sys.executable, "-P", "-m", "pyfunc_packaging", "serve"]
        with (Path(self._folder.name) / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, str(self._bundle.path.resolve()), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder.name,
                # whoever has a Bundle here can load its pickle by `predict`; so can this server
                env={"PYFUNC_TRUST": "code", **os.environ},
                start_new_session=True,  # Ctrl-C in a notebook is for a cell, not for the server
            )
        atexit.register(self.stop)
        try:
            self._wait_until_ready(self._process)
        except BaseException:  # Ctrl-C, too, must leave no server behind
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server, after what is in flight; nothing where there is none."""
        process, self._process = self._process, None
        atexit.unregister(self.stop)
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout=_LAST_WORDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Endpoint:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def predict(self, data: pd.DataFrame) -> Any:
        """Predict raw rows over REST; what comes back looks as :meth:`Bundle.predict` returns it.

        Parameters
        ----------
        data : pandas.DataFrame of shape (n, m)

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            Several outputs are a DataFrame, or as a classifier's label and probability a
            dictionary of arrays.

        Raises
        ------
        UnsuitableData
            If the rows do not fit the signature, or JSON cannot carry one of their values.
        InvalidRequest
            If the server refuses the request.
        ModelFailure
            If the model fails on it.
        NotAnswered
            If the server gives it up.
        ServerNotStarted
            If there is no server, or it is gone.
        """
        from pyfunc_packaging.frame import from_frame
        from pyfunc_packaging.golden import make_request
        from pyfunc_packaging.scoring import arrange

        schema = self._bundle.schema
        request = make_request(schema.columns, from_frame(schema, data))
        try:
            body = json.dumps(request, allow_nan=False).encode()
        except ValueError as error:
            raise UnsuitableData(
                "a number is infinite, which JSON cannot say; leave the row out"
            ) from error
        answer = self._post(f"/v2/models/{self._bundle.name}/infer", body)
        found = {output["name"]: output for output in answer["outputs"]}
        result = {output.name: _values(output, found[output.name]) for output in schema.outputs}
        return arrange(result, schema.outputs, data.index)

    def _post(self, path: str, body: bytes) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, body, headers)  # noqa: S310 - our own URL
        try:
            with _OPENER.open(request, timeout=_REQUEST_TIMEOUT) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            raise _ERRORS.get(error.code, ModelFailure)(_reason(text)) from error
        except urllib.error.URLError as error:
            raise ServerNotStarted(
                f"the server of {self._bundle.name!r} does not answer ({error.reason}); look at"
                f" its log, and serve the bundle again"
            ) from error

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        url = f"{self.url}/v2/models/{self._bundle.name}/ready"
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerNotStarted(
                    f"the server of {self._bundle.name!r} ended with exit status"
                    f" {process.returncode}:\n{self._last_lines()}"
                )
            try:
                with _OPENER.open(url, timeout=_PAUSE * 20):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(_PAUSE)
        raise ServerNotStarted(
            f"the server of {self._bundle.name!r} was not ready after {_PATIENCE:.0f} s:\n"
            f"{self._last_lines()}"
        )

    def _last_lines(self) -> str:
        return "\n".join(self.log.splitlines()[-10:])

    def _port(self, key: str) -> int:
        if self._process is None:
            raise ServerNotStarted(
                "there is no server now; use it within `with bundle.serve() as endpoint:`"
            )
        return self._ports[key]


#: Straight to the loopback interface, whatever proxy the environment names.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _free_ports() -> dict[str, int]:
    """Ports that were free a moment ago, held together so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return dict(zip(("http", "grpc", "metrics"), ports, strict=True))


def _values(output: Column | Tensor, found: Any) -> np.ndarray[Any, Any]:
    from pyfunc_packaging.frame import from_json

    if isinstance(output, Column):
        return from_json(output, found["data"])
    return np.array(found["data"], dtype=output.dtype).reshape(found["shape"])


def _reason(text: str) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:200]
