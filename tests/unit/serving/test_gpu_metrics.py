"""GPUs in the service's metrics: nothing of them where there is none, and one line where a driver is expected and does not answer."""

import logging

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from driftloop.inference.provider import cuda_device_visible
from driftloop.serving import gpu_metrics
from driftloop.serving.gpu_metrics import GpuMetrics

pytestmark = pytest.mark.skipif(cuda_device_visible(), reason="there is a GPU here: tests/gpu")


def told() -> str:
    registry = CollectorRegistry()
    registry.register(GpuMetrics())
    return generate_latest(registry).decode()


def test_without_a_gpu_nothing_is_told_and_nobody_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="driftloop.serving"):
        assert told() == ""
    assert caplog.records == []


def test_a_driver_that_is_not_there_is_said_and_stops_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(gpu_metrics, "cuda_device_visible", lambda: True)
    assert told() == ""
    (line,) = caplog.messages
    assert line == "no metrics of the GPU: NVML Shared Library Not Found"
