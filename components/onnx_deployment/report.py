"""What the deployment tells people: the HTML report with its figures, and its section of the model card."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from components.onnx_deployment import variant
from components.onnx_deployment.deployment import Deployment
from components.onnx_deployment.held_out import RANGE_SPLITS, TEMPERATURE_SPLITS, VARIANT_SPLITS
from components.onnx_deployment.temperature import reliability_bins
from components.onnx_deployment.variant import GRAPH_NAMES
from driftloop.bundle import ONNX_FP32, ONNX_INT8, WEIGHTS, ModelDescription
from driftloop.evaluation.intervals import Proportion
from driftloop.inference.provider import CPU
from driftloop.reporting.page import Page
from driftloop.reporting.plot_style import INK, MUTED, PALETTE, axes

CARD_HEADING = "## Deployment"
#: The line below the title, which says what users get.
AS_SERVED = "**As served**"
COLOURS = dict(zip(("pytorch", ONNX_FP32, ONNX_INT8), (PALETTE[5], PALETTE[0], PALETTE[2]), strict=True))
RUNTIME_NAMES = {"pytorch": "PyTorch eager FP32"} | {file: f"ONNX {name}" for file, name in GRAPH_NAMES.items()}
FILE_KINDS = {WEIGHTS: "PyTorch weights"} | {file: f"ONNX {name}" for file, name in GRAPH_NAMES.items()}
NOT_CALM = (
    "The machine was busy with something else while this was timed, three times over: the 95th percentile lay above three medians, or wall "
    "and processor time differed by more than 15 %. Do not rely on the milliseconds; the speed-ups are of processor time."
)


def with_deployment(card: Path, model: ModelDescription, facts: dict[str, Any]) -> str:
    """The card of the trained bundle (or a short one, where it has none) with a Deployment section in place of any older one."""
    before = (
        card.read_text(encoding="utf-8")
        if card.exists()
        else f"# Model card\n\n{model.architecture}, classes {', '.join(model.classes)}.\n"
    )
    kept = re.sub(rf"^{CARD_HEADING}\n.*?(?=^## |\Z)", "", before, flags=re.MULTILINE | re.DOTALL).rstrip()
    title, _, rest = re.sub(rf"^{re.escape(AS_SERVED)}.*\n\n", "", kept, flags=re.MULTILINE).partition("\n\n")
    accuracy = Proportion(**facts[f"accuracy_{GRAPH_NAMES[model.served].lower()}"])
    headline = f"{AS_SERVED} (`{model.served}`): accuracy {accuracy} on the clean test split."
    return f"{title}\n\n{headline}\n\n{rest}\n\n{_card_section(model, facts)}"


def _card_section(model: ModelDescription, facts: dict[str, Any]) -> str:
    """The section, as Markdown."""
    drop, fit = facts["int8_drop"], facts["calibration"]
    interval = f"95 % interval {-100 * drop['high']:+.2f} to {-100 * drop['low']:+.2f}"
    lines = [
        CARD_HEADING,
        "",
        f"- Input: uint8 images (N, {model.image_size}, {model.image_size}, {model.channels}); scaling, normalisation, temperature "
        "and softmax are inside the graph. Output: probabilities and embedding.",
        f"- Served: `{model.served}`. {facts['served_reason']}.",
        f"- Temperature {model.temperature:.3f}: {_calibration_phrase(fit, model.temperature)}",
        f"- INT8 against FP32 on the clean test split: {-100 * drop['value']:+.2f} points of accuracy ({interval}).",
        f"- Drift reference: {', '.join(f'{name} ({count:,} images)' for name, count in facts['regimes'].items())}.",
        "",
        "| graph | on | accuracy, clean test | batch 1, p50 ms | speed-up |",
        "|---|---|---|---|---|",
    ]
    for row in (*facts["benchmark"], *facts["benchmark_gpu"]):
        if row["batch"] == 1 and row["variant"] in GRAPH_NAMES:
            accuracy = Proportion(**facts[f"accuracy_{GRAPH_NAMES[row['variant']].lower()}"])
            where = "CPU" if row["provider"] == CPU else "GPU"
            lines.append(f"| `{row['variant']}` | {where} | {accuracy} | {row['p50_ms']:.2f} | {row['speedup']:.1f}x |")
    return "\n".join(lines) + "\n\nSpeed-up over PyTorch eager FP32 on one thread of the CPU, on the machine that exported the model.\n"


def _calibration_phrase(fit: dict[str, Any], temperature: float) -> str:
    if temperature == 1:
        return f"expected calibration error {fit['ece_after']:.3f} on the {fit['n']:,} images of the test split ({fit['note']})."
    return (
        f"expected calibration error on the {fit['n']:,} images of the test split {fit['ece_before']:.3f} without it, "
        f"{fit['ece_after']:.3f} with it."
    )


def latency_chart(rows: list[dict[str, Any]], names: dict[str, str]) -> Figure:
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


def reliability_diagram(deployment: Deployment, names: dict[str, str]) -> Figure:
    """Accuracy against confidence on the test split, of the served graph, with its temperature and without."""
    figure, (panel,) = axes(4.6, 3.6)
    served, labels = _served_probabilities(deployment)
    plain = without_temperature(served, deployment.temperature.temperature)
    for probabilities, label, style, colour in (
        (plain, "without temperature", "o--", PALETTE[5]),
        (served, f"{names[deployment.choice.served]} as served", "o-", PALETTE[0]),
    ):
        confidence, right, _ = reliability_bins(probabilities, labels)
        panel.plot(confidence, right, style, color=colour, label=label, markersize=4)
    low = min(1 / served.shape[1], float(panel.get_ylim()[0]))
    panel.plot([low, 1], [low, 1], color=MUTED, linewidth=0.8, label="confidence = accuracy")
    panel.set_xlabel("mean confidence in the bin")
    panel.set_ylabel("accuracy in the bin")
    panel.legend(loc="upper left", fontsize=8, frameon=False)
    return figure


def _served_probabilities(deployment: Deployment) -> tuple[np.ndarray, np.ndarray]:
    """The served graph's on the clean test split, (N, K), and the labels (N,)."""
    outcomes = deployment.test.get(deployment.choice.served)
    some = outcomes or next(iter(deployment.test.values()))
    return (outcomes.reduced if outcomes else some.fp32), some.labels


def without_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities that the same logits give at temperature 1: p^T, normalised."""
    sharpened = np.power(probabilities.astype(np.float64) + 1e-12, temperature)
    return sharpened / sharpened.sum(axis=1, keepdims=True)


def write_deployment_report(deployment: Deployment, path: str | Path) -> None:
    """Write the report to `path`."""
    choice = deployment.choice
    speed = {row["variant"]: row["speedup"] for row in deployment.rows if row["batch"] == 1}
    probabilities, labels = _served_probabilities(deployment)
    page = Page("ONNX deployment", lead=f"{deployment.choice.reason}.")
    page.tiles(
        {
            "served": f"{GRAPH_NAMES[choice.served]}, for {'CPUs' if deployment.serve_on == 'cpu' else 'GPUs'}",
            "INT8 over PyTorch, batch 1": f"{speed[ONNX_INT8]:.1f}x",
            "accuracy as served, clean test": f"{(probabilities.argmax(1) == labels).mean():.3f}",
            "temperature": f"{deployment.temperature.temperature:.2f}",
            "size as served": f"{deployment.sizes_mb[deployment.choice.served]:.1f} MB",
        }
    )
    for name, admission in choice.admissions.items():
        if not admission.holds:
            lost = f"{GRAPH_NAMES[name]} lost too much accuracy, or too few images could show that it does not"
            page.notice(f"{lost}: users get the {GRAPH_NAMES[choice.served]} graph.", "warning")
    if deployment.serve_on == "cuda" and not deployment.gpu_rows:
        page.notice(
            "This model is to be served on GPUs, and this machine has none that onnxruntime can use: FP16 and FP32 were not timed here.",
            "warning",
        )
    if not all(row["calm"] for row in (*deployment.rows, *deployment.gpu_rows)):
        page.notice(NOT_CALM, "warning")
    _add_speed(page, deployment)
    _add_accuracy(page, deployment)
    _add_calibration(page, deployment)
    _add_quantisation(page, deployment)
    _add_reference(page, deployment)
    page.write(path)


def _add_speed(page: Page, deployment: Deployment) -> None:
    """Latency and size."""
    page.section(
        "Latency",
        "One thread of the CPU; all three in turns, so that what else the machine does slows all alike. PyTorch runs the same computation, "
        "from uint8 image to probabilities, in channels-last memory format. Wall time is what a request waits, processor time what it "
        "costs; speed-ups are ratios of processor time, which other work on the machine does not move.",
    )
    page.figure(latency_chart(deployment.rows, RUNTIME_NAMES), "Median latency; the tick marks the 95th percentile. Shorter is better.")
    page.table([_latency_row(row) for row in deployment.rows])
    if deployment.gpu_rows:
        page.table(
            [_latency_row(row) for row in deployment.gpu_rows],
            caption="On the GPU, with the copies to it and back; the speed-up is over PyTorch on one thread of this CPU, by the clock.",
        )
    page.table([{"file": name, "what": FILE_KINDS[name], "MB": size} for name, size in deployment.sizes_mb.items()])


def _latency_row(row: dict[str, Any]) -> dict[str, object]:
    """A benchmark row as the table shows it."""
    return {
        "runs on": RUNTIME_NAMES[row["variant"]],
        "batch": row["batch"],
        "p50 ms": row["p50_ms"],
        "p95 ms": row["p95_ms"],
        "p99 ms": row["p99_ms"],
        "p95/p50": f"{row['spread']:.1f}",
        "processor ms": row["processor_ms"],
        "images/s": round(row["images_per_second"]),
        "speed-up": f"{row['speedup']:.1f}x",
        "calls": row["runs"],
    }


def _add_accuracy(page: Page, deployment: Deployment) -> None:
    """What quantisation costs: on the images of the decision, and on the test split afterwards."""
    page.section(
        "Accuracy",
        f"Which graph is served was decided on the splits {', '.join(VARIANT_SPLITS)}, as far as the dataset has them. "
        "The clean test split, which the gate judges on, was looked at after that. A drop is FP32 minus the other graph; its interval is "
        "Tango's for paired proportions, widened where several images are of one group.",
    )
    rows = []
    for split, outcomes in (("decision", deployment.decision), ("clean test", deployment.test)):
        for name, cases in outcomes.items():
            drop = variant.accuracy_drop(cases)
            rows.append(
                {
                    "images": split,
                    "n": len(cases.labels),
                    "graph": GRAPH_NAMES[name],
                    "FP32": str(variant.proportion_right(cases.fp32_right)),
                    "this graph": str(variant.proportion_right(cases.reduced_right)),
                    "drop, points": f"{100 * drop['value']:+.2f} ({100 * drop['low']:+.2f} to {100 * drop['high']:+.2f})",
                    "same class": f"{100 * cases.agreement:.1f} %",
                }
            )
    page.table(rows, caption="Accuracy with its 95 % interval; 'same class': share of the images on which both graphs agree.")
    page.table(variant.by_class(deployment.test, deployment.model.classes), caption="Clean test split by class.")


def _add_calibration(page: Page, deployment: Deployment) -> None:
    """What the temperature does to confidence."""
    fit, on_test = deployment.temperature, deployment.calibration
    page.section(
        "Calibration",
        f"One temperature, {fit.temperature:.3f}, divides the logits inside all graphs; it changes confidence and no prediction. "
        f"It was fitted on {fit.fitted_on.n:,} images of {' and '.join(TEMPERATURE_SPLITS)}" + (f" ({fit.note})." if fit.note else "."),
    )
    page.figure(
        reliability_diagram(deployment, RUNTIME_NAMES),
        "Accuracy against confidence on the clean test split, in bins of equally many images. On the diagonal, confidence is right.",
    )
    page.table(
        [
            {"images": images, "temperature": name, "negative log-likelihood": likelihood, "expected calibration error": error}
            for images, of in (("clean test split", on_test), ("images of the fit", fit.fitted_on))
            for name, likelihood, error in (("without", of.nll_before, of.ece_before), ("with", of.nll_after, of.ece_after))
        ],
        caption="The test split had no part in it; the images of the fit flatter. Expected calibration error: over 10 bins of equally "
        "many images.",
    )


def _add_quantisation(page: Page, deployment: Deployment) -> None:
    """How the ranges were chosen, and that the export is right."""
    page.section(
        "Export and quantisation",
        f"The exported graph differs from PyTorch by at most {deployment.parity:.1e} in any probability (checked on validation images; "
        f"more than 1e-3 stops the step). INT8 is static, per channel, with ranges from {' and '.join(RANGE_SPLITS)}; weights have 7 bits, "
        "since 8-bit ones overflow on processors without VNNI. The first convolution and the head stay in floats, and the head's bias "
        "takes back what rounding moves the embeddings by on average.",
    )
    page.table(
        [
            {"ranges by": name, "divergence from FP32, nats": value, "taken": name == deployment.quantisation.method}
            for name, value in deployment.quantisation.divergence.items()
        ],
        caption="Mean Kullback-Leibler divergence of the probabilities on training images other than those that set the ranges.",
    )


def _add_reference(page: Page, deployment: Deployment) -> None:
    """What production will be compared with."""
    page.section(
        "Drift reference",
        "Embeddings, image statistics and probabilities of images that no training saw, computed by the served graph in the number types "
        "of the log: what windows of production are compared with.",
    )
    page.table([{"regime": regime.name, "images": len(regime), "groups": len(set(regime.groups))} for regime in deployment.regimes])
    clean = deployment.regimes[0]
    page.gallery(list(clean.thumbnails[:8]), [str(group) for group in clean.groups[:8]], "The first images of the clean reference.")
