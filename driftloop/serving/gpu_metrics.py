"""What the service tells Prometheus of the GPUs beside it, as NVIDIA's driver says it (NVML); nothing where there are none."""

import logging
from collections.abc import Iterator

import pynvml
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from driftloop.inference.provider import cuda_device_visible

LOG = logging.getLogger("driftloop.serving")
BUSY = "Share of the driver's last sampling interval in which something ran on the GPU."
USED, ALL = "Memory of the GPU that is taken, by whomever.", "Memory of the GPU."


class GpuMetrics(Collector):
    """Every GPU that the driver shows in this container or machine. Every process behind the port tells the whole of it."""

    def __init__(self) -> None:
        self._gpus = _gpus() if cuda_device_visible() else []

    def collect(self) -> Iterator[Metric]:
        """As the driver says it now; without a GPU that has ceased to answer."""
        if not self._gpus:
            return
        busy, used, memory = (
            GaugeMetricFamily(f"driftloop_gpu_{name}", text, labels=["gpu", "name"])
            for name, text in (("busy_ratio", BUSY), ("memory_used_bytes", USED), ("memory_bytes", ALL))
        )
        for labels, handle in self._gpus:
            try:
                rates, room = pynvml.nvmlDeviceGetUtilizationRates(handle), pynvml.nvmlDeviceGetMemoryInfo(handle)
            except pynvml.NVMLError as error:
                LOG.error("GPU %s says nothing of itself: %s", labels[0], error)
                continue
            busy.add_metric(labels, rates.gpu / 100)
            used.add_metric(labels, room.used)
            memory.add_metric(labels, room.total)
        yield from (busy, used, memory)


def _gpus() -> list[tuple[list[str], object]]:
    """The number and name of each, and what the driver knows it by."""
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        return [([str(number), str(pynvml.nvmlDeviceGetName(handle))], handle) for number, handle in enumerate(handles)]
    except pynvml.NVMLError as error:
        LOG.error("no metrics of the GPU: %s", error)
        return []
