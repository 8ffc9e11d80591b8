"""What a running step tells the person who waits: plain lines in its log, which the command line turns into a progress bar.

On a cluster the same lines read as they are in the pod's log.

What a step needs of KFP's artifact objects, so that steps do not import kfp.

How many threads a step may use.

The two container images, named by the release: components carry these names, `submit` pins them by content.
"""

import math
import os
from pathlib import Path
from typing import Protocol

from driftloop import __version__

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")

FRACTION = "progress"


FIGURES = "figures"


def progress(fraction: float, text: str = "") -> None:
    """Say how much of the step is done: `fraction` in [0, 1]."""
    print(f"[driftloop {FRACTION}] {fraction:.3f} {text}".rstrip(), flush=True)


def figures(text: str) -> None:
    """Say the figures that matter at the end of a step, in one short line."""
    print(f"[driftloop {FIGURES}] {text}", flush=True)


def available_threads(quota: Path = CGROUP_QUOTA) -> int:
    """How many threads this process can keep busy: the smallest of its CPU affinity, its container's CPU quota and OMP_NUM_THREADS.

    PyTorch and onnxruntime alone would count the host's cores, and 64 threads in a pod with 2 CPUs are slower than 2.

    Args:
        quota: the file in which the container's control group (version 2) states its quota: microseconds, or "max", and the period.
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


class MetricsLog(Protocol):
    """KFP's `Metrics`: named numbers that its UI lists and compares between runs."""

    def log_metric(self, metric: str, value: float) -> None: ...


class ClassificationLog(Protocol):
    """KFP's `ClassificationMetrics`: the ROC curve and the confusion matrix that its UI draws."""

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None: ...

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...


#: torch, CUDA libraries, onnx: the steps that read images in bulk, train and export.
TRAIN_IMAGE = f"driftloop-train:{__version__}"


#: no torch: source resolution, replay, monitoring, drift, gate, promotion, report.
WATCH_IMAGE = f"driftloop-watch:{__version__}"
