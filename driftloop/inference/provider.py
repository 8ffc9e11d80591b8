"""Where a graph runs: onnxruntime's execution provider, and how many threads this process may use."""

import contextlib
import functools
import io
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path

import onnxruntime as ort

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
#: onnxruntime's log levels: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal.
ORT_DEFAULT, ORT_ERRORS_ONLY, ORT_FATAL_ONLY = 2, 3, 4
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
LOG = logging.getLogger("driftloop.inference")


def choose_provider(file_name: str) -> str:
    """The execution provider for a graph of that file name.

    CUDA for the FP32 graph where a device is visible; else the CPU. INT8 graphs always run on the CPU:
    onnxruntime's CUDA provider has no kernels for quantised convolutions and would compute them as floats, quantising around each one.
    """
    if ".int8." in file_name or not cuda_device_visible() or CUDA not in ort.get_available_providers():
        return CPU
    return CUDA


def cuda_device_visible() -> bool:
    """Whether this process sees an NVIDIA device: a device file, and CUDA_VISIBLE_DEVICES does not hide it."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "none"):
        return False
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


@contextlib.contextmanager
def loading_cuda() -> Iterator[None]:
    """Silence onnxruntime while a session asks for CUDA: without CUDA's libraries it falls back to the CPU and fills stderr with warnings.

    The libraries of the `nvidia` wheels are loaded first, where they are installed.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()
    ort.set_default_logger_severity(ORT_FATAL_ONLY)
    try:
        yield
    finally:
        ort.set_default_logger_severity(ORT_DEFAULT)


def available_threads(quota: Path = CGROUP_QUOTA) -> int:
    """The threads this process can keep busy: the smallest of its CPU affinity, its container's CPU quota and OMP_NUM_THREADS.

    onnxruntime alone would start a thread for each core of the host, pin it, and complain where that is not allowed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if quota.exists():
        limit, period = quota.read_text().split()[:2]
        if limit != "max":
            cores = min(cores, math.ceil(int(limit) / int(period)))
    wished = os.environ.get("OMP_NUM_THREADS", "")
    if wished.isdecimal() and int(wished) > 0:
        cores = min(cores, int(wished))
    return max(1, cores)


@functools.cache
def log_once(message: str) -> None:
    """Put `message` into the log, the first time only."""
    LOG.info("%s", message)
