"""What ``pyfunc resolve`` says of peers that are down, slow, or not what they should be.

The peers here are stubs: a few lines of HTTP play what no real MLflow or S3 service does on demand.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from pyfunc_packaging.cli import main
from pyfunc_packaging.errors import (
    RegistryDenied,
    RegistryUnreachable,
    StorageDenied,
    StorageUnreachable,
)
from pyfunc_packaging.resolve import resolve_model_uri

LOGIN_PAGE = "<html><title>Please log in</title></html>"


@pytest.fixture
def answering(
    s3_environment: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """Start a service that gives one answer to everything, or none within reason; its URL."""
    over = threading.Event()
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: str, *, content: str = "text/html", silent: bool = False) -> str:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                if silent:
                    over.wait(timeout=60)
                    return
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", content)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer  # noqa: N815 - names that http.server looks for

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    over.set()
    for server in servers:
        server.shutdown()
        server.server_close()


JSON = "application/json"


@pytest.mark.parametrize(
    ("kind", "answer", "words"),
    [
        (RegistryUnreachable, (200, LOGIN_PAGE), f"an answer that is not MLflow's: {LOGIN_PAGE}"),
        (RegistryUnreachable, (404, LOGIN_PAGE), f"an answer that is not MLflow's: {LOGIN_PAGE}"),
        (RegistryUnreachable, (200, "{}", JSON), "answers, but not as MLflow does"),
        (RegistryUnreachable, (500, LOGIN_PAGE), "found only failures (too many 500 error"),
        (RegistryDenied, (401, LOGIN_PAGE), "wants credentials (status 401); set"),
        (RegistryDenied, (403, "no"), "wants credentials (status 403); set"),
        (RegistryDenied, (401, '{"message": "Unauthorized"}', JSON), "MLFLOW_TRACKING_TOKEN"),
        (
            RegistryDenied,
            (403, '{"error_code": "PERMISSION_DENIED", "message": "not yours"}', JSON),
            "wants credentials (PERMISSION_DENIED: not yours)",
        ),
    ],
)
def test_registries_that_are_none_or_closed(
    answering: Callable[..., str],
    kind: type[Exception],
    answer: tuple[Any, ...],
    words: str,
) -> None:
    url = answering(*answer[:2], content=answer[2] if len(answer) > 2 else "text/html")
    with pytest.raises(kind) as caught:
        resolve_model_uri("models:/Price@production", tracking_uri=url)
    assert words in str(caught.value)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_registry_that_never_answers_is_given_up_soon(answering: Callable[..., str]) -> None:
    url = answering(200, "", silent=True)
    begin = time.monotonic()
    result = CliRunner().invoke(
        main, ["resolve", "models:/Price@production", "--tracking-uri", url]
    )
    assert time.monotonic() - begin < 20
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "found no answer within 4 s (MLFLOW_HTTP_REQUEST_TIMEOUT)" in result.output


def test_the_users_patience_counts(
    answering: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryUnreachable, match="no answer within 1 s"):
        resolve_model_uri("models:/Price@production", tracking_uri=answering(200, "", silent=True))


@pytest.mark.parametrize(
    ("kind", "answer", "words"),
    [
        (StorageUnreachable, (200, LOGIN_PAGE), "found something that is not S3's XML"),
        (StorageUnreachable, (404, LOGIN_PAGE), "answered 404, which no S3 service should"),
        (StorageUnreachable, (500, LOGIN_PAGE), "answered 500, which no S3 service should"),
        (StorageDenied, (403, LOGIN_PAGE), "answered 403; pass credentials"),
    ],
)
def test_storage_that_is_none_or_closed(
    answering: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
    answer: tuple[int, str],
    words: str,
) -> None:
    url = answering(*answer)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(kind) as caught:
        resolve_model_uri("s3://bucket/model")
    assert words in str(caught.value)
    assert url in str(caught.value)


def test_storage_that_never_answers_is_given_up_soon(
    answering: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", answering(200, "", silent=True))
    begin = time.monotonic()
    with pytest.raises(StorageUnreachable, match=r"found no answer \(read timeout"):
        resolve_model_uri("s3://bucket/model")
    assert time.monotonic() - begin < 25


def test_the_registry_knows_a_proxy_but_nobody_said_where_it_keeps_files(
    answering: Callable[..., str],
) -> None:
    # the answer of a server whose registry holds a location on another server's proxy
    body = '{"model_version": {"name": "Price", "version": "1"}, "artifact_uri": "%s"}'
    url = answering(200, body % "mlflow-artifacts://other:5000/1/m", content=JSON)
    result = CliRunner().invoke(main, ["resolve", "models:/Price/1", "--tracking-uri", url])
    assert result.exit_code == 1
    assert result.output == (
        "Error: models:/Price/1: MLflow answers mlflow-artifacts://other:5000/1/m, which only its"
        " server can read; pass --artifact-root s3://bucket/prefix (or set"
        " MLFLOW_ARTIFACT_ROOT_S3), the value of the server's --artifacts-destination\n"
    )
    found = resolve_model_uri(
        "models:/Price/1", tracking_uri=url, artifact_root="s3://b/mlflow", check=False
    )
    assert (found.uri, found.version) == ("s3://b/mlflow/1/m", "1")
