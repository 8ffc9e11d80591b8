"""The figures of the deployment report."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from components.onnx_deployment.temperature import reliability as reliability_bins
from driftloop.bundle import ONNX_FP32, ONNX_INT8
from driftloop.reporting.plots import INK, MUTED, PALETTE, axes

if TYPE_CHECKING:
    from components.onnx_deployment.step import Deployment

COLOURS = dict(zip(("pytorch", ONNX_FP32, ONNX_INT8), (PALETTE[5], PALETTE[0], PALETTE[2]), strict=True))


def latencies(rows: list[dict[str, Any]], names: dict[str, str]) -> Figure:
    """Median latency by variant, one panel a batch size."""
    batches = sorted({row["batch"] for row in rows})
    figure, panels = axes(7.2, 2.1, len(batches))
    for panel, batch in zip(panels, batches, strict=True):
        chosen = [row for row in rows if row["batch"] == batch]
        places = np.arange(len(chosen))[::-1]
        panel.barh(places, [row["p50_ms"] for row in chosen], height=0.6, color=[COLOURS[row["variant"]] for row in chosen])
        panel.plot([row["p95_ms"] for row in chosen], places, "|", color=INK, markersize=12)
        for place, row in zip(places, chosen, strict=True):
            label = f" {row['p50_ms']:.2f} ms · {row['speedup']:.1f}x"
            panel.annotate(label, (max(row["p50_ms"], row["p95_ms"]), place), va="center", fontsize=8, color=INK)
        panel.set_yticks(places, [names[row["variant"]] for row in chosen])
        panel.set_xlim(0, 1.6 * max(row["p95_ms"] for row in chosen))
        panel.set_xlabel("milliseconds a call")
        panel.set_title(f"batch {batch}", fontsize=10)
        panel.grid(axis="y", visible=False)
    return figure


def reliability(found: "Deployment", names: dict[str, str]) -> Figure:
    """Accuracy against confidence on the test split, of the served graph, with its temperature and without."""
    figure, (panel,) = axes(4.6, 3.6)
    served = found.test.int8 if found.choice.served == ONNX_INT8 else found.test.fp32
    plain = without_temperature(served, found.calibration.temperature)
    for probabilities, label, style, colour in (
        (plain, "without temperature", "o--", PALETTE[5]),
        (served, f"{names[found.choice.served]} as served", "o-", PALETTE[0]),
    ):
        confidence, right, _ = reliability_bins(probabilities, found.test.labels)
        panel.plot(confidence, right, style, color=colour, label=label, markersize=4)
    low = min(1 / served.shape[1], float(panel.get_ylim()[0]))
    panel.plot([low, 1], [low, 1], color=MUTED, linewidth=0.8, label="confidence = accuracy")
    panel.set_xlabel("mean confidence in the bin")
    panel.set_ylabel("accuracy in the bin")
    panel.legend(loc="upper left", fontsize=8, frameon=False)
    return figure


def without_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities that the same logits give at temperature 1: p^T, normalised."""
    sharpened = np.power(probabilities.astype(np.float64) + 1e-12, temperature)
    return sharpened / sharpened.sum(axis=1, keepdims=True)
