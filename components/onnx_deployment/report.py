"""The deployment report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.onnx_deployment import accuracy, plots
from components.onnx_deployment.held_out import CALIBRATION, DECISION, VALIDATION
from driftloop.bundle import ONNX_FP32, ONNX_INT8, WEIGHTS
from driftloop.reporting.page import Page

if TYPE_CHECKING:
    from components.onnx_deployment.step import Deployment

NAMES = {"pytorch": "PyTorch eager FP32", ONNX_FP32: "ONNX FP32", ONNX_INT8: "ONNX INT8"}
FILES = {WEIGHTS: "PyTorch weights", ONNX_FP32: "ONNX FP32", ONNX_INT8: "ONNX INT8"}


def write(found: "Deployment", path: str | Path) -> None:
    """Write the report to `path`."""
    int8_served = found.choice.served == ONNX_INT8
    speed = {row["variant"]: row["speedup"] for row in found.rows if row["batch"] == 1}
    right = found.test.int8_right if int8_served else found.test.fp32_right
    page = Page("ONNX deployment", lead=f"{found.choice.reason}.")
    page.tiles(
        {
            "served": "INT8" if int8_served else "FP32",
            "INT8 over PyTorch, batch 1": f"{speed[ONNX_INT8]:.1f}x",
            "accuracy as served, clean test": f"{right.mean():.3f}",
            "temperature": f"{found.calibration.temperature:.2f}",
            "size as served": f"{found.sizes_mb[found.choice.served]:.1f} MB",
        }
    )
    if not int8_served:
        page.notice("INT8 lost too much accuracy, or too few images could show that it does not: users get the FP32 graph.", "warning")
    if speed[found.choice.served] < max(speed.values()):
        page.notice("The served graph is not the fastest one on this machine.", "warning")
    add_speed(page, found)
    add_accuracy(page, found)
    add_calibration(page, found)
    add_quantisation(page, found)
    add_reference(page, found)
    page.write(path)


def add_speed(page: Page, found: "Deployment") -> None:
    """Latency and size."""
    page.section(
        "Latency",
        "One thread; all three in turns, so that what else the machine does slows all alike. PyTorch runs the same computation, from "
        "uint8 image to probabilities, in channels-last memory format.",
    )
    page.figure(plots.latencies(found.rows, NAMES), "Median latency; the tick marks the 95th percentile. Shorter is better.")
    page.table([row_of_latency(row) for row in found.rows])
    page.table([{"file": name, "what": FILES[name], "MB": size} for name, size in found.sizes_mb.items()])


def row_of_latency(row: dict[str, Any]) -> dict[str, object]:
    """A benchmark row as the table shows it."""
    return {
        "runs on": NAMES[row["variant"]],
        "batch": row["batch"],
        "p50 ms": row["p50_ms"],
        "p95 ms": row["p95_ms"],
        "p99 ms": row["p99_ms"],
        "images/s": round(row["images_per_second"]),
        "speed-up": f"{row['speedup']:.1f}x",
        "calls": row["runs"],
    }


def add_accuracy(page: Page, found: "Deployment") -> None:
    """What quantisation costs: on the images of the decision, and on the test split afterwards."""
    page.section(
        "Accuracy",
        f"Which graph is served was decided on the splits {', '.join(DECISION)}, as far as the dataset has them. The clean test split, "
        "which the gate judges on, was looked at after that. A drop is FP32 minus INT8; its interval is Tango's for paired proportions.",
    )
    rows = []
    for split, cases in (("decision", found.decision), ("clean test", found.test)):
        drop = accuracy.drop(cases)
        rows.append(
            {
                "images": split,
                "n": len(cases.labels),
                "FP32": str(accuracy.accuracy(cases.fp32_right)),
                "INT8": str(accuracy.accuracy(cases.int8_right)),
                "drop, points": f"{100 * drop['value']:+.2f} ({100 * drop['low']:+.2f} to {100 * drop['high']:+.2f})",
                "same class": f"{100 * cases.agreement:.1f} %",
            }
        )
    page.table(rows, caption="Accuracy with its 95 % interval; 'same class': share of the images on which both graphs agree.")
    page.table(accuracy.by_class(found.test, found.model.classes), caption="Clean test split by class.")


def add_calibration(page: Page, found: "Deployment") -> None:
    """What the temperature does to confidence."""
    fit = found.calibration
    page.section(
        "Calibration",
        f"One temperature, {fit.temperature:.3f}, divides the logits inside both graphs; it changes confidence and no prediction. "
        f"It was fitted on {fit.n:,} images of {' and '.join(VALIDATION)}" + (f" ({fit.note})." if fit.note else "."),
    )
    page.figure(
        plots.reliability(found, NAMES),
        "Accuracy against confidence on the clean test split, in bins of equally many images. On the diagonal, confidence is right.",
    )
    page.table(
        [
            {"": "before", "negative log-likelihood": fit.nll_before, "expected calibration error": fit.ece_before},
            {"": "after", "negative log-likelihood": fit.nll_after, "expected calibration error": fit.ece_after},
        ],
        caption="On the images of the fit.",
    )


def add_quantisation(page: Page, found: "Deployment") -> None:
    """How the ranges were chosen, and that the export is right."""
    page.section(
        "Export and quantisation",
        f"The exported graph differs from PyTorch by at most {found.parity:.1e} in any probability (checked on validation images; more "
        f"than 1e-3 stops the step). INT8 is static, per channel, with ranges from {' and '.join(CALIBRATION)}; weights have 7 bits, since "
        "8-bit ones overflow on processors without VNNI. The first convolution and the head stay in floats, and the head's bias takes back "
        "what rounding moves the embeddings by on average.",
    )
    page.table(
        [
            {"ranges by": name, "divergence from FP32, nats": value, "taken": name == found.quantisation.method}
            for name, value in found.quantisation.divergence.items()
        ],
        caption="Mean Kullback-Leibler divergence of the probabilities on training images other than those that set the ranges.",
    )


def add_reference(page: Page, found: "Deployment") -> None:
    """What production will be compared with."""
    page.section(
        "Drift reference",
        "Embeddings, image statistics and probabilities of images that no training saw, computed by the served graph in the number types "
        "of the log: what windows of production are compared with.",
    )
    page.table([{"regime": regime.name, "images": len(regime), "groups": len(set(regime.groups))} for regime in found.regimes])
    clean = found.regimes[0]
    page.gallery(list(clean.thumbnails[:8]), [str(group) for group in clean.groups[:8]], "The first images of the clean reference.")
