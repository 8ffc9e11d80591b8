"""Where a graph runs: onnxruntime's execution provider."""

import contextlib
import functools
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import onnxruntime as ort

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
#: onnxruntime's log levels: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal.
ORT_DEFAULT, ORT_ERRORS_ONLY, ORT_FATAL_ONLY = 2, 3, 4
LOG = logging.getLogger("driftloop.inference")


def choose_provider(file_name: str) -> str:
    """The execution provider for a graph of that file name; where it is not what the machine or the graph suggests, that is said once.

    CUDA for FP32 and FP16 graphs where a device is visible; else the CPU. INT8 graphs always run on the CPU:
    onnxruntime's CUDA provider has no kernels for quantised convolutions and would compute them as floats, quantising around each one.
    """
    visible = cuda_device_visible()
    if ".int8." in file_name:
        if visible:
            warn_once(f"{file_name} runs on the CPU, beside a GPU: INT8 is for CPUs; set deploy_config.serve_on=cuda to use the GPU")
        return CPU
    if visible and CUDA in ort.get_available_providers():
        return CUDA
    if visible:
        warn_once(f"{file_name} runs on the CPU, beside a GPU: this onnxruntime was built without CUDA (install onnxruntime-gpu)")
    elif ".fp16." in file_name:
        warn_once(f"{file_name} runs on the CPU: it was made for a GPU (deploy_config.serve_on=cuda) and none is visible here")
    return CPU


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


@functools.cache
def warn_once(message: str) -> None:
    """Put `message` into the log as a warning, which people see without asking for it; the first time only."""
    LOG.warning("%s", message)


@functools.cache
def log_once(message: str) -> None:
    """Put `message` into the log, the first time only."""
    LOG.info("%s", message)
