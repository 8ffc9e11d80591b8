"""The ports of `make up` are the contracts' wherever a file that cannot import them carries them. No engine is needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftloop.contracts import MINIO_CONSOLE_PORT, MINIO_PORT, PUBLISHED_SERVICE_PORT, SERVICE_PORT, TENSORBOARD_PORT

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]


def published(service: str) -> list[str]:
    return services()[service]["ports"]


def test_compose_publishes_them() -> None:
    assert published("minio") == [f"127.0.0.1:{port}:{port}" for port in (MINIO_PORT, MINIO_CONSOLE_PORT)]
    assert published("tensorboard") == [f"127.0.0.1:{TENSORBOARD_PORT}:{TENSORBOARD_PORT}"]
    assert published("serve") == [f"127.0.0.1:{PUBLISHED_SERVICE_PORT}:{SERVICE_PORT}"]
    command = services()["serve"]["command"]
    assert command[command.index("--port") + 1] == str(SERVICE_PORT)


def test_make_up_monitoring_tells_its_ports() -> None:
    ports = {name: [port.split(":")[1] for port in published(name)] for name in ("prometheus", "grafana")}
    assert ports == {"prometheus": ["9090"], "grafana": ["3000"]}
    assert "Prometheus at http://127.0.0.1:9090, Grafana at http://127.0.0.1:3000" in MAKEFILE


def test_make_up_tracking_tells_its_port() -> None:
    assert published("mlflow") == ["127.0.0.1:5000:5000"]
    assert "export MLFLOW_TRACKING_URI=http://127.0.0.1:5000'" in MAKEFILE
    assert re.findall(r"^EXPOSE (.+)$", (ROOT / "docker" / "mlflow.Dockerfile").read_text(), re.MULTILINE) == ["5000"]


def test_make_up_service_tells_its_port() -> None:
    assert f"the champion at http://127.0.0.1:{PUBLISHED_SERVICE_PORT};" in MAKEFILE
    text = (ROOT / "docker" / "serve.Dockerfile").read_text()
    assert re.findall(r"^EXPOSE (.+)$", text, re.MULTILINE) == [str(SERVICE_PORT)]
    assert re.findall(r"http://127\.0\.0\.1:(\d+)/", text) == [str(SERVICE_PORT)]


def test_compose_lets_tensorboard_find_minio() -> None:
    environment = services()["tensorboard"]["environment"]
    assert {environment["AWS_ENDPOINT_URL"], environment["S3_ENDPOINT"]} == {f"http://driftloop-minio:{MINIO_PORT}"}


def test_the_keys_of_make_up_name_minios_port() -> None:
    (endpoint,) = re.findall(r"AWS_ENDPOINT_URL=(http://[\w.:]+)", MAKEFILE)
    assert endpoint == f"http://127.0.0.1:{MINIO_PORT}"


def test_make_up_tells_them() -> None:
    help_text = f"Start MinIO ({MINIO_PORT}, its console {MINIO_CONSOLE_PORT}) and TensorBoard ({TENSORBOARD_PORT})"
    assert help_text in MAKEFILE
    assert f"MinIO at http://127.0.0.1:{MINIO_PORT}, TensorBoard at http://127.0.0.1:{TENSORBOARD_PORT}" in MAKEFILE


@pytest.mark.parametrize(
    ("image", "ports"), [("minio", [MINIO_PORT, MINIO_CONSOLE_PORT]), ("tensorboard", [TENSORBOARD_PORT])], ids=["minio", "tensorboard"]
)
def test_the_images_listen_and_are_probed_there(image: str, ports: list[int]) -> None:
    text = (ROOT / "docker" / f"{image}.Dockerfile").read_text()
    (exposed,) = re.findall(r"^EXPOSE (.+)$", text, re.MULTILINE)
    assert [int(port) for port in exposed.split()] == ports
    (probed,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", text)
    assert int(probed) == ports[0]
    (command,) = [line for line in text.splitlines() if line.startswith("CMD [")]
    assert [int(port) for port in re.findall(r"\b(\d{4})\b", command)] == ports
