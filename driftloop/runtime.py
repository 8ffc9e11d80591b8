"""What a running step needs of the place it runs in: the lines by which it reports, KFP's metrics, and its container image.

Reports are plain lines in the step's log. The command line turns them into a progress bar; on a cluster they read as they are in the
pod's log. KFP's artifact objects are described as protocols, so that steps do not import kfp. Components carry the images by the
names that the release gives them; a run on a cluster pins them by content.
"""

import math
import os
import platform
from pathlib import Path
from typing import Protocol

from driftloop import __version__

#: Where Linux says how much processor time a container may use.
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")

#: By these words in a line of the log it is known for a report: `[driftloop progress] ...`.
PROGRESS_MARK, METRICS_MARK = "progress", "figures"

#: The image with torch, CUDA libraries and onnx: for the steps that read images in bulk, train and export.
TRAIN_IMAGE = f"driftloop-train:{__version__}"
#: The image without torch: source resolution, replay, monitoring, drift, gate, promotion, report.
WATCH_IMAGE = f"driftloop-watch:{__version__}"


def progress(fraction: float, text: str = "") -> None:
    """Report how much of the step is done: `fraction` in [0, 1]."""
    print(f"[driftloop {PROGRESS_MARK}] {fraction:.3f} {text}".rstrip(), flush=True)


def report_metrics(text: str) -> None:
    """Report the metrics that matter at the end of a step, in one short line."""
    print(f"[driftloop {METRICS_MARK}] {text}", flush=True)


def run_id() -> str:
    """The run that this process works for: the runner hands its id down, and a pod's name carries the workflow's."""
    return os.environ.get("DRIFTLOOP_RUN_ID") or os.environ.get("KFP_POD_NAME") or platform.node()


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
