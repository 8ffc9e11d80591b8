"""What the deployment tells people: the HTML report with its figures, and its section of the model card."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from components.onnx_deployment import variant
from components.onnx_deployment.deployment import Deployment
from components.onnx_deployment.held_out import VARIANT_SPLITS
from components.onnx_deployment.variant import GRAPH_NAMES
from driftloop.bundle import ONNX_FP32, ONNX_INT8, WEIGHTS, ModelDescription
from driftloop.evaluation.calibration import reliability_bins
from driftloop.evaluation.classification import named_classes
from driftloop.evaluation.clustered import proportion_right
from driftloop.evaluation.intervals import Proportion
from driftloop.inference.provider import CPU
from driftloop.plurals import counted
from driftloop.reporting.page import Page
from driftloop.reporting.plot_style import INK, MUTED, PALETTE, axes
from driftloop.reporting.wording import calibration_sentence, difference_sentence, extremes, percent, points
from driftloop.training.report_sections import add_measures, compared_numbers

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
        *_naming_line(model),
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


def _naming_line(model: ModelDescription) -> list[str]:
    """What is named where it need not be the most probable class."""
    if not model.class_shares:
        return []
    return [
        "- Probabilities are those of images that come as the training images did. Every class counts alike in what is named: "
        f"`{model.naming_rule}`."
    ]


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


def build_report(deployment: Deployment) -> Page:
    """The page."""
    choice = deployment.choice
    speed = {row["variant"]: row["speedup"] for row in deployment.rows if row["batch"] == 1}
    probabilities, labels = _served_probabilities(deployment)
    page = Page(
        "ONNX deployment",
        lead=f"{deployment.choice.reason}.",
        question="In which form is the model served: what do export and quantisation cost in accuracy, and what do they bring in "
        "speed and size?",
    )
    page.tiles(
        {
            "served": f"{GRAPH_NAMES[choice.served]}, for {'CPUs' if deployment.serve_on == 'cpu' else 'GPUs'}",
            f"{GRAPH_NAMES[choice.served]} over PyTorch, batch 1": f"{speed[choice.served]:.1f}x" if choice.served in speed else None,
            "accuracy as served, clean test": f"{(named_classes(probabilities, deployment.model.naming_shares) == labels).mean():.3f}",
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
    _add_parity(page, deployment)
    _add_quantisation(page, deployment)
    _add_speed(page, deployment)
    _add_accuracy(page, deployment)
    _add_trade_off(page, deployment)
    _add_calibration(page, deployment)
    _add_reference(page, deployment)
    page.conclude(
        f"{deployment.choice.reason}.",
        limits=[
            "Milliseconds are of the machine that ran this step; ratios travel better, and neither travels to other processors "
            "for certain.",
            "The network was timed alone: a service adds decoding, queues and the network, which `driftloop replay` and the "
            "dashboard measure.",
            _tensorrt(deployment),
        ],
        decision=f"`{choice.served}` is what the gate judges and what users get.",
        numbers=_numbers(deployment),
    )
    return page


def _tensorrt(deployment: Deployment) -> str:
    if deployment.provider == CPU:
        return (
            "TensorRT was not tried: it builds engines for one model of NVIDIA GPU each, and this model is served on CPUs; "
            "`driftloop export` "
            "hands the graph to servers that have it."
        )
    return f"TensorRT was not tried: the graph runs with onnxruntime's {deployment.provider}, which needs no engine for each model of GPU."


def _numbers(deployment: Deployment) -> dict[str, float]:
    """By graph, what the synthesis compares: ranking, sensitivity and calibration on the clean test split."""
    return {f"{name} {file}": value for file, found in deployment.measures.items() for name, value in compared_numbers(found).items()}


def _add_parity(page: Page, deployment: Deployment) -> None:
    model = deployment.model
    page.section(
        "Export",
        f"The graph takes uint8 images (N, {model.image_size}, {model.image_size}, {model.channels}) and gives probabilities and an "
        "embedding: scaling, normalisation, temperature and softmax are inside. Whoever serves it cannot prepare images in "
        "another way than "
        "the training did, which is the commonest silent fault of a deployment.",
    )
    page.text(
        f"On validation images the exported graph differs from PyTorch by at most {deployment.parity:.1e} in any probability; more "
        "than 1e-3 "
        f"stops the step. {parity_sentence(deployment.parity)}"
    )


def parity_sentence(parity: float) -> str:
    """What a largest difference of probabilities means."""
    if parity < 1e-5:
        return "That is the rounding of single-precision numbers, so both compute the same function."
    return "That is more than rounding alone would give, and less than what changes a decision, unless two classes are as good as equal."


def _add_speed(page: Page, deployment: Deployment) -> None:
    """Latency and size."""
    page.section(
        "Latency",
        "One thread of the CPU; all three in turns, so that what else the machine does slows all alike. PyTorch runs the same computation, "
        "from uint8 image to probabilities, in channels-last memory format. Wall time is what a request waits, processor time what it "
        "costs; speed-ups are ratios of processor time, which other work on the machine does not move.",
    )
    page.figure(
        latency_chart(deployment.rows, RUNTIME_NAMES),
        "Median latency; the tick marks the 95th percentile. Shorter is better.",
        key="deploy-latency",
    )
    page.text(f"[[deploy-latency]]: {latency_sentence(deployment.rows)}")
    page.table([_latency_row(row) for row in deployment.rows], "Latency on one thread of the CPU.", key="deploy-rows")
    page.text(f"[[deploy-rows]]: {tail_sentence(deployment.rows)}")
    if deployment.gpu_rows:
        page.table(
            [_latency_row(row) for row in deployment.gpu_rows],
            caption="On the GPU, with the copies to it and back; the speed-up is over PyTorch on one thread of this CPU, by the clock.",
        )
    page.table(
        [{"file": name, "what": FILE_KINDS[name], "MB": size} for name, size in deployment.sizes_mb.items()],
        "Size of the files.",
        key="deploy-sizes",
    )
    sizes = {FILE_KINDS[name]: size for name, size in deployment.sizes_mb.items()}
    page.text(
        f"[[deploy-sizes]]: {extremes('the size in MB', sizes, '{:.2f}')} Size decides how fast a new replica starts and what fits "
        "on a device."
    )


def latency_sentence(rows: list[dict[str, Any]]) -> str:
    """Which graph is fastest at each batch size, and what a batch brings."""
    parts = []
    for batch in sorted({row["batch"] for row in rows}):
        times = {RUNTIME_NAMES[row["variant"]]: row["p50_ms"] for row in rows if row["batch"] == batch}
        fastest, slowest = min(times, key=lambda name: times[name]), max(times, key=lambda name: times[name])
        parts.append(
            f"with {counted(batch, 'image')} a call {fastest} is fastest ({times[fastest]:.2f} ms) and {slowest} slowest "
            f"({times[slowest]:.2f} ms)"
        )
    text = "; ".join(parts)
    rates = {(row["variant"], row["batch"]): row["images_per_second"] for row in rows}
    batches = sorted({batch for _, batch in rates})
    if len(batches) > 1:
        gains = {
            RUNTIME_NAMES[name]: rates[name, batches[-1]] / rates[name, batches[0]]
            for name in {name for name, _ in rates}
            if (name, batches[-1]) in rates and (name, batches[0]) in rates
        }
        best = max(gains, key=lambda name: gains[name])
        text += f". From {batches[0]} to {batches[-1]} images a call {best} gains most: {gains[best]:.1f} times the images a second" + (
            ", so batching requests pays" if gains[best] > 1.3 else ", so that batching brings little on one thread"
        )
    return f"{text[0].upper()}{text[1:]}."


def tail_sentence(rows: list[dict[str, Any]]) -> str:
    """How steady the times are."""
    spreads = {f"{RUNTIME_NAMES[row['variant']]}, {row['batch']}": row["spread"] for row in rows}
    worst = max(spreads, key=lambda name: spreads[name])
    steady = "the times are steady" if spreads[worst] < 1.5 else "something else used the machine now and then, or caches missed"
    return (
        f"The 95th percentile is at most {spreads[worst]:.1f} medians ({worst} a call): {steady}. A service's promise is about its slow "
        "requests, so the tail is shown beside the median."
    )


def _add_trade_off(page: Page, deployment: Deployment) -> None:
    """Latency, accuracy and size in one picture."""
    places = trade_off_places(deployment)
    page.section("Trade-off")
    page.figure(
        trade_off_chart(places),
        "Accuracy on the clean test split against latency, one image a call; the area is the file's size.",
        key="deploy-trade",
    )
    page.text(f"[[deploy-trade]]: {trade_off_sentence(places)}")


def trade_off_places(deployment: Deployment) -> dict[str, tuple[float, Proportion, float]]:
    """By variant: median milliseconds of one image, accuracy on the clean test split, and size in MB."""
    first = next(iter(deployment.test.values()))
    groups = first.groups
    accuracies = {ONNX_FP32: first.fp32_right} | {name: of.reduced_right for name, of in deployment.test.items()}
    files = {"pytorch": WEIGHTS}
    return {
        row["variant"]: (
            row["p50_ms"],
            proportion_right(accuracies[ONNX_FP32 if row["variant"] == "pytorch" else row["variant"]], groups),
            deployment.sizes_mb[files.get(row["variant"], row["variant"])],
        )
        for row in deployment.rows
        if row["batch"] == 1
    }


def trade_off_chart(places: dict[str, tuple[float, Proportion, float]]) -> Figure:
    """A point a variant, with the interval of its accuracy."""
    figure, (panel,) = axes(7.0, 2.9)
    for name, (milliseconds, accuracy, size) in places.items():
        colour = COLOURS.get(name, PALETTE[4])
        panel.plot([milliseconds] * 2, [100 * accuracy.low, 100 * accuracy.high], color=colour, linewidth=1.5)
        panel.scatter(
            milliseconds, 100 * accuracy.value, s=40 + 40 * size, color=colour, alpha=0.85, label=f"{RUNTIME_NAMES[name]}, {size:.1f} MB"
        )
    panel.set(xscale="log", xlabel="milliseconds a call, one image (logarithmic)", ylabel="accuracy, %")
    panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), markerscale=0.5, labelspacing=1.2)
    return figure


def trade_off_sentence(places: dict[str, tuple[float, Proportion, float]]) -> str:
    """Whether one variant beats the others in everything, and what the choice costs where none does."""
    best = {
        "the fastest": min(places, key=lambda name: places[name][0]),
        "the most accurate": max(places, key=lambda name: places[name][1].value),
        "the smallest": min(places, key=lambda name: places[name][2]),
    }
    if len(set(best.values())) == 1:
        return (
            f"{RUNTIME_NAMES[best['the fastest']]} is the fastest, the most accurate and the smallest: there is no trade-off in this run."
        )
    said = "; ".join(f"{what} is {RUNTIME_NAMES[name]}" for what, name in best.items())
    fast, right = places[best["the fastest"]], places[best["the most accurate"]]
    overlap = fast[1].high >= right[1].low
    return (
        f"{said[0].upper()}{said[1:]}. Taking the fastest in place of the most accurate changes the accuracy by "
        f"{points(fast[1].value - right[1].value)} "
        f"and the time of an image from {right[0]:.2f} to {fast[0]:.2f} ms"
        + ("; the intervals of the two overlap." if overlap else "; their intervals are apart.")
        + " PyTorch computes what FP32 computes, so their accuracy is one and the same."
    )


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
                    "FP32": str(proportion_right(cases.fp32_right, cases.groups)),
                    "this graph": str(proportion_right(cases.reduced_right, cases.groups)),
                    "drop, points": f"{100 * drop['value']:+.2f} ({100 * drop['low']:+.2f} to {100 * drop['high']:+.2f})",
                    "same class": f"{100 * cases.agreement:.1f} %",
                }
            )
    page.table(
        rows, "Accuracy with its 95 % interval; 'same class': share of the images on which both graphs agree.", key="deploy-accuracy"
    )
    for name, cases in deployment.test.items():
        drop = variant.accuracy_drop(cases)
        said = difference_sentence(
            f"{GRAPH_NAMES[name]} changes the accuracy on the clean test split by", -drop["value"], -drop["high"], -drop["low"]
        )
        page.text(f"[[deploy-accuracy]]: {said} Both graphs name the same class for {percent(cases.agreement)} of these images.")
    page.table(variant.by_class(deployment.test, deployment.model.classes), "Clean test split by class.")
    add_measures(page, deployment.measures[deployment.choice.served], "deploy")


def _add_calibration(page: Page, deployment: Deployment) -> None:
    """What the temperature does to confidence."""
    fit, on_test = deployment.temperature, deployment.calibration
    page.section(
        "Calibration",
        f"One temperature, {fit.temperature:.3f}, divides the logits inside all graphs; it changes confidence and no prediction. "
        f"It was fitted on {fit.fitted_on.n:,} images of {' and '.join(deployment.fit_splits)}" + (f" ({fit.note})." if fit.note else "."),
    )
    page.figure(
        reliability_diagram(deployment, RUNTIME_NAMES),
        "Accuracy against confidence on the clean test split, in bins of equally many images. On the diagonal, confidence is right.",
        key="deploy-reliability",
    )
    page.text(
        f"[[deploy-reliability]]: {calibration_sentence(on_test.ece_before, on_test.ece_after, fit.temperature, on_test.n)} "
        f"{bins_sentence(*_served_probabilities(deployment))} Confidence that can be believed is needed where doubtful images go "
        "to a person, "
        "and for the estimate of accuracy without labels."
    )
    if named := naming_sentence(deployment.model, _served_probabilities(deployment)[0]):
        page.text(named)
    page.table(
        [
            {"images": images, "temperature": name, "negative log-likelihood": likelihood, "expected calibration error": error}
            for images, of in (("clean test split", on_test), ("images of the fit", fit.fitted_on))
            for name, likelihood, error in (("without", of.nll_before, of.ece_before), ("with", of.nll_after, of.ece_after))
        ],
        caption="The test split had no part in it; the images of the fit flatter. Expected calibration error: over 10 bins of equally "
        "many images [[cite:guo2017]].",
    )


def naming_sentence(model: ModelDescription, probabilities: np.ndarray) -> str:
    """What images are called where classes count alike, by the graph's probabilities (N, K); empty where it is the most probable class."""
    others = int((named_classes(probabilities, model.naming_shares) != probabilities.argmax(axis=1)).sum())
    if not others:
        return ""
    return (
        "A probability says how many of such images are of the class when images come as those of the training did. What an image is "
        "called is another question: every class counts alike (`train_config.class_weights`), so it is the class whose probability stands "
        f"highest against its share of the training images. {others:,} of {len(probabilities):,} test images are called otherwise than "
        "their most probable class."
    )


def bins_sentence(probabilities: np.ndarray, labels: np.ndarray) -> str:
    """Where confidence is furthest from accuracy."""
    confidence, right, count = reliability_bins(probabilities, labels)
    worst = int(np.abs(confidence - right).argmax())
    more = "more" if confidence[worst] > right[worst] else "less"
    return (
        f"It is furthest off in the bin around {percent(float(confidence[worst]))}, where {percent(float(right[worst]))} of "
        f"{int(count[worst]):,} images "
        f"are right: it promises {more} than it keeps by {100 * abs(float(confidence[worst] - right[worst])):.1f} points."
    )


def _add_quantisation(page: Page, deployment: Deployment) -> None:
    """How the ranges were chosen."""
    divergence = deployment.quantisation.divergence
    ranging = " and ".join(deployment.range_splits)
    apart = "test image" if set(deployment.range_splits) & set(VARIANT_SPLITS) else "image that judges the graph later"
    page.section(
        "Quantisation",
        f"INT8 is static, per channel, with ranges from {ranging}; weights have 7 bits, since 8-bit ones overflow on "
        "processors without VNNI. The first convolution and the head stay in floats, and the head's bias takes back what rounding "
        "moves the "
        "embeddings by on average [[cite:jacob2018]].",
    )
    page.table(
        [
            {"ranges by": name, "divergence from FP32, nats": value, "taken": name == deployment.quantisation.method}
            for name, value in divergence.items()
        ],
        "Mean Kullback-Leibler divergence of the probabilities on images of these splits other than those that set the ranges.",
        key="deploy-divergence",
    )
    page.text(
        f"[[deploy-divergence]]: {extremes('the divergence', divergence, '{:.2e}')} The ranges of {deployment.quantisation.method} "
        "are used. No label is "
        f"needed for this choice, and no {apart} has a part in it. Dynamic quantisation, which sets "
        "ranges while it "
        "runs, was measured to be no faster than FP32 for such networks and is not offered."
    )


def _add_reference(page: Page, deployment: Deployment) -> None:
    """What production will be compared with."""
    page.section(
        "Drift reference",
        "Embeddings, image statistics and probabilities of images that no training saw, computed by the served graph in the number types "
        "of the log: what windows of production are compared with.",
    )
    page.table(
        [{"regime": regime.name, "images": len(regime), "groups": len(set(regime.groups))} for regime in deployment.regimes],
        "What this version is accepted for: the regimes of its reference.",
    )
    clean = deployment.regimes[0]
    page.gallery(list(clean.thumbnails[:8]), [str(group) for group in clean.groups[:8]], "The first images of the clean reference.")
