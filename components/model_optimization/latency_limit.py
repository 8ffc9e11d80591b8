"""How long a network takes for an image, where `train_config.max_latency_ms` limits that: measured before anything is trained.

That time depends on the network's layers and the size of the images, and on nothing that is learnt; of what the search varies, on the width
alone. All widths are therefore timed together, once, before the trials keep the processor busy, and kept for a step that is killed.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.model_optimization.decisions import Decisions
from components.model_optimization.training_plan import TrainingPlan
from driftloop.errors import InputError
from driftloop.inference.call_times import calmest, onnx_call, summarise_latency
from driftloop.settings import TrainSettings
from driftloop.training.architectures import SHARES_OF_WIDTH, build_network, has_widths, of_width
from driftloop.training.onnx_export import ServingGraph, export_onnx
from driftloop.training.task import Task

#: Of a limit, the share that is kept free: processor times of one network differ by as much on a machine that others use.
MARGIN = 0.15
#: For each network that is timed, at least.
SECONDS = 0.5


@dataclass(frozen=True)
class LatencyLimit:
    """What an image may cost, and what it costs."""

    limit_ms: float
    """`train_config.max_latency_ms`."""
    measured: Mapping[str, float]
    """Milliseconds of processor time by network, as it is exported in float32: median of single images on one thread, in onnxruntime."""

    def excess(self, architecture: str) -> float:
        """By how many milliseconds a network, with the margin, is over the limit; 0 and less where it keeps it."""
        return self.measured[architecture] * (1 + MARGIN) - self.limit_ms

    def described(self) -> dict[str, Any]:
        """As the step's facts have it."""
        return {"limit_ms": self.limit_ms, "margin": MARGIN, "measured": dict(self.measured)}


def searched_widths(architecture: str, settings: TrainSettings) -> Sequence[float]:
    """Shares of a network's channels that a search under a limit tries, the fastest first; none where it varies no width."""
    return SHARES_OF_WIDTH if settings.max_latency_ms and settings.sweep_trials and has_widths(architecture) else ()


def keep_limit(plan: TrainingPlan, task: Task, decisions: Decisions) -> tuple[TrainingPlan, LatencyLimit | None]:
    """The plan, where a search is asked for with the widest network that keeps `train_config.max_latency_ms`, and what was measured.

    Raises:
        InputError: no network that may be taken keeps it.
    """
    settings = task.settings
    if not settings.max_latency_ms:
        return plan, None
    networks = [of_width(plan.architecture, share) for share in searched_widths(plan.architecture, settings)] or [plan.architecture]
    if decisions.latencies is None:
        decisions.keep_latencies(measure(networks, task))
    limit = LatencyLimit(settings.max_latency_ms, decisions.latencies or {})
    kept = [network for network in networks if limit.excess(network) <= 0]
    if not kept:
        raise InputError(_too_slow(limit, task))
    widest = with_network(plan, kept[-1])
    said = ", ".join(f"{network} {taken:.2f} ms" for network, taken in limit.measured.items())
    print(f"processor time for an image: {said}; at most {limit.limit_ms:g} ms with {100 * MARGIN:.0f} % kept free", flush=True)
    return widest, limit


def measure(networks: Sequence[str], task: Task) -> dict[str, float]:
    """Milliseconds of processor time for an image of the dataset's size, by network, timed in turns as theme 4 times its graphs."""
    dataset = task.description
    size, channels = dataset.image_size, dataset.channels
    image = np.ascontiguousarray(task.val.images[:1])
    with tempfile.TemporaryDirectory(prefix="driftloop-latency-") as folder:
        calls = {}
        for number, name in enumerate(networks):
            network = build_network(name, channels=channels, classes=len(dataset.classes), image_size=size)
            path = Path(folder, f"{number}.onnx")
            export_onnx(
                ServingGraph(network, mean=dataset.mean, std=dataset.std, temperature=1.0), path, image_size=size, channels=channels
            )
            calls[name] = onnx_call(path, image, threads=1)
        taken = calmest(calls, seconds=SECONDS * len(calls), on_processor=True)
    return {name: summarise_latency(times, batch=1, threads=1).processor_ms for name, times in taken.items()}


def with_network(plan: TrainingPlan, architecture: str) -> TrainingPlan:
    """The plan with another width of its network, which what it says of itself names, too."""
    return replace(plan, architecture=architecture, why=architecture + plan.why.removeprefix(plan.architecture))


def latency_sentence(limit: LatencyLimit, architecture: str) -> str:
    """What an image costs, and what it may."""
    return (
        f"An image takes this network {limit.measured[architecture]:.2f} ms of processor time, in float32 on one thread (the median of "
        f"single images, in onnxruntime); at most {limit.limit_ms:g} ms were asked for (`train_config.max_latency_ms`), of which "
        f"{100 * MARGIN:.0f} % are kept free: timings differ by as much on a machine that others use."
    )


def _too_slow(limit: LatencyLimit, task: Task) -> str:
    fastest = min(limit.measured, key=limit.measured.__getitem__)
    taken, size = limit.measured[fastest], task.description.image_size
    needed = taken * (1 + MARGIN) + 0.005  # rounded up
    if searched_widths(fastest, task.settings):
        cure = "set data_image_size lower"
    elif has_widths(fastest) and not task.settings.sweep_trials:
        cure = "set train_config.sweep_trials, whose search tries narrower networks"
    else:
        cure = "choose a faster train_config.architecture, such as residual, or set data_image_size lower"
    return (
        f"train_config.max_latency_ms={limit.limit_ms:g}: {fastest}, the fastest that may be taken, needs {taken:.2f} ms of processor time "
        f"for an image of {size} pixels, and {100 * MARGIN:.0f} % are kept free; set it to {needed:.2f} or more, or {cure}"
    )
