"""docker/compose.yaml, as far as it can be judged without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pyfunc_packaging import __version__

FILE = Path(__file__).resolve().parents[2] / "docker" / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> Any:
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert set(content) == {"name", "services", "volumes"}
    return content["services"]


def test_services_and_images(services: Any) -> None:
    images = {name: service.get("image", "").split("/")[-1] for name, service in services.items()}
    assert {name: image.partition(":")[0] for name, image in images.items()} == {
        "minio": "minio",
        "bucket": "mc",
        "mlflow": "mlflow",
        "download": "storage-initializer",
        "runtime": "mlserver-pyfunc",
    }
    assert images["runtime"] == f"mlserver-pyfunc:{__version__}-full"
    # a tag, so that tomorrow's trial is today's
    assert all(image.partition(":")[2] not in ("", "latest") for image in images.values())


def test_ports_are_for_this_machine_only(services: Any) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) >= 4
    assert all(port.startswith("127.0.0.1:") for port in ports)
    hosts = [port.rsplit(":", 1)[0] for port in ports]
    assert len(set(hosts)) == len(hosts)


def test_the_runtime_is_as_locked_down_as_on_kserve(services: Any) -> None:
    runtime = services["runtime"]
    assert runtime["read_only"] is True
    assert runtime["tmpfs"] == ["/tmp"]
    assert runtime["cap_drop"] == ["ALL"]
    assert runtime["security_opt"] == ["no-new-privileges:true"]
    assert "models:/mnt/models:ro" in runtime["volumes"]
    assert "command" not in runtime
    assert "entrypoint" not in runtime


def test_whatever_is_waited_for_exists(services: Any) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other], other
