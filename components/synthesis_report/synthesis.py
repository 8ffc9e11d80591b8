"""Theme 8: all variants in one table, what to choose, what was learnt, what was done well or not, and where this stands."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from components.synthesis_report.lessons import (
    FAILED,
    OPEN,
    WORKED,
    Lesson,
    expectations,
    google_levels,
    lessons,
    microsoft_levels,
    next_step,
    practices,
    variant_advice,
)
from components.synthesis_report.material import GRAPH_FILES, VARIANT_NAMES, RunMaterial
from driftloop.contracts import AUTOMATED_RETRAINING, BASELINE_TRAINING, MODEL_OPTIMIZATION, ONNX_DEPLOYMENT
from driftloop.evaluation.intervals import Proportion
from driftloop.reporting import PALETTE, Page, axes
from driftloop.reporting.chapter import Chapter
from driftloop.reporting.plot_style import MUTED
from driftloop.reporting.wording import extremes, percent, points

#: What models are compared by beside their accuracy: names among the numbers of a chapter, and titles of columns.
COLUMNS = {"balanced": "balanced accuracy", "auroc": "AUROC", "sensitivity": "sens. at 95 % spec.", "ece": "ECE"}


def synthesis(material: RunMaterial) -> Chapter:
    """The chapter."""
    page = Page("Theme 8: Synthesis", question="What does it all come to: which model is to be used when, and what was learnt?")
    rows = performance_rows(material)
    _performance(page, material, rows)
    _choice(page, material)
    _lessons(page, material)
    _surprises(page, material)
    _practices(page, material)
    _maturity(page, material)
    found = lessons(material)
    number = {verdict: sum(lesson.verdict == verdict for lesson in found) for verdict in (WORKED, FAILED, OPEN)}
    page.conclude(
        f"Of {len(found)} things that this run tried, {number[WORKED]} worked, {number[FAILED]} did not, and {number[OPEN]} "
        f"{'was' if number[OPEN] == 1 else 'were'} not decided.",
        decision=next_step(material),
    )
    return page.chapter


def performance_rows(material: RunMaterial) -> list[dict[str, Any]]:
    """A row a variant; what was not measured is None. A retrained champion's graphs are not of the network that was once optimised."""
    facts, deployed = material.facts, material.deployed
    retrained = AUTOMATED_RETRAINING in facts
    rows = []
    for name, step in (("baseline, PyTorch", BASELINE_TRAINING), ("optimised, PyTorch", MODEL_OPTIMIZATION)):
        if step in facts:
            exported = step == MODEL_OPTIMIZATION and not retrained
            timed = _timed(deployed, "pytorch") if exported else {}
            rows.append(
                _row(
                    name,
                    material.proportion(step),
                    {"auroc": facts[step].get("roc_auc")} | _quality(material.chapters.get(step)),
                    deployed.get("sizes_mb", {}).get("model.pth") if exported else None,
                    timed,
                    facts[step].get("seconds"),
                )
            )
    for variant, file in GRAPH_FILES.items():
        accuracy = material.proportion(ONNX_DEPLOYMENT, f"accuracy_{variant.removeprefix('onnx_')}")
        if accuracy:
            rows.append(
                _row(
                    f"{'champion' if retrained else 'optimised'}, {VARIANT_NAMES[variant]}",
                    accuracy,
                    _quality(material.chapters.get(ONNX_DEPLOYMENT), file),
                    deployed.get("sizes_mb", {}).get(file),
                    _timed(deployed, file),
                    None,
                )
            )
    return rows + _retrained_rows(material)


def _retrained_rows(material: RunMaterial) -> list[dict[str, Any]]:
    facts, again = material.candidate_facts.get(AUTOMATED_RETRAINING), material.candidate_facts.get(ONNX_DEPLOYMENT, {})
    if not facts or not material.summary.accuracy.retrained:
        return []
    file = again.get("served", "")
    named = next((VARIANT_NAMES[variant] for variant, graph in GRAPH_FILES.items() if graph == file), "as served")
    return [
        _row(
            f"retrained, {named}",
            material.summary.accuracy.retrained,
            _quality(material.candidate_chapters.get(ONNX_DEPLOYMENT), file),
            again.get("sizes_mb", {}).get(file),
            _timed(again, file),
            facts.get("seconds"),
        )
    ]


def _quality(chapter: Chapter | None, file: str = "") -> dict[str, float | None]:
    """What a chapter measured of a model, or of a graph by its file, under the names of `COLUMNS`."""
    numbers = chapter.numbers if chapter else {}
    return {name: numbers[own] for name in COLUMNS if (own := f"{name} {file}".strip()) in numbers}


def _timed(deployed: Any, variant: str) -> dict[str, float]:
    return next((row for row in deployed.get("benchmark") or [] if row["variant"] == variant and row["batch"] == 1), {})


def _row(
    name: str,
    accuracy: Proportion | None,
    quality: Mapping[str, float | None],
    size: float | None,
    timed: dict[str, float],
    seconds: float | None,
) -> dict[str, Any]:
    """A row; `quality` as of `_quality`."""
    return {
        "variant": name,
        "accuracy": accuracy,
        **{title: quality.get(name) for name, title in COLUMNS.items()},
        "MB": size,
        "p50 ms": timed.get("p50_ms"),
        "p95 ms": timed.get("p95_ms"),
        "images/s": timed.get("images_per_second"),
        "trained, s": seconds,
    }


def _performance(page: Page, material: RunMaterial, rows: list[dict[str, Any]]) -> None:
    page.section("Performance of all variants")
    if not rows:
        page.text("No variant was measured in this run, nor by the run that made its champion, as far as the facts say.")
        return
    page.table(
        [
            {
                "variant": row["variant"],
                "accuracy": percent(row["accuracy"].value) if row["accuracy"] else None,
                "95 % interval": f"{100 * row['accuracy'].low:.1f}–{100 * row['accuracy'].high:.1f}" if row["accuracy"] else None,
                **{title: row[title] for title in COLUMNS.values()},
            }
            for row in rows
        ],
        "What each variant gets right on the clean test split. Sensitivity at the threshold that kept a specificity of 95 % on "
        "validation images; ECE: expected calibration error. A dash: not measured.",
        key="performance",
    )
    page.table(
        [
            {
                "variant": row["variant"],
                "MB": row["MB"],
                "p50 ms": row["p50 ms"],
                "p95 ms": row["p95 ms"],
                "images/s": round(row["images/s"]) if row["images/s"] else None,
                "training, s": round(row["trained, s"]) if row["trained, s"] else None,
            }
            for row in rows
        ],
        "What each variant costs: one image a call on one thread of the CPU. Exported variants were not trained again.",
        key="costs",
    )
    known = [row for row in rows if row["accuracy"]]
    page.figure(performance_plot(known), "Accuracy of all variants on the clean test split, with 95 % intervals.", key="performance-plot")
    page.text(f"[[performance-plot]] and [[performance]]: {performance_sentence(known)}")
    page.text(f"[[costs]]: {cost_sentence(rows)}")


def performance_plot(rows: list[dict[str, Any]]) -> Figure:
    """Accuracies with their intervals."""
    figure, (axis,) = axes(7.2, 0.8 + 0.32 * len(rows))
    for place, row in enumerate(reversed(rows)):
        share = row["accuracy"]
        axis.plot([100 * share.low, 100 * share.high], [place, place], color=PALETTE[0], linewidth=2)
        axis.plot(100 * share.value, place, "o", color=PALETTE[0])
    best = max(row["accuracy"].value for row in rows)
    axis.axvline(100 * best, color=MUTED, linestyle=":", linewidth=1)
    axis.set_yticks(range(len(rows)), [row["variant"] for row in reversed(rows)])
    axis.set_xlabel("accuracy, % (dotted: the highest)")
    return figure


def performance_sentence(rows: list[dict[str, Any]]) -> str:
    """The best variant, and which cannot be told from it by their intervals."""
    values = {row["variant"]: row["accuracy"].value for row in rows}
    best = max(rows, key=lambda row: row["accuracy"].value)
    near = [row["variant"] for row in rows if row is not best and row["accuracy"].high >= best["accuracy"].low]
    text = extremes("the accuracy", {name: 100 * value for name, value in values.items()}, "{:.1f} %")
    if near:
        return (
            f"{text} These have intervals that overlap with that of the best, so that accuracy alone does not put one before the other: "
            f"{'; '.join(near)}."
        )
    return (
        f"{text} No other interval overlaps with that of the best."
        if len(rows) > 1
        else text or f"{best['variant']} is the only one measured."
    )


def cost_sentence(rows: list[dict[str, Any]]) -> str:
    """Fastest and slowest, smallest and largest, and what training took."""
    times = {row["variant"]: row["p50 ms"] for row in rows if row["p50 ms"]}
    sizes = {row["variant"]: row["MB"] for row in rows if row["MB"]}
    trained = {row["variant"]: row["trained, s"] for row in rows if row["trained, s"]}
    said = [
        extremes("the median latency in ms", times, "{:.2f}"),
        extremes("the size in MB", sizes, "{:.2f}"),
        extremes("the training time in seconds", trained, "{:,.0f}"),
    ]
    return " ".join(part for part in said if part) or "Costs were not measured in this run."


def _choice(page: Page, material: RunMaterial) -> None:
    page.section(
        "When to use what",
        "No variant is best in everything, or there would be no choice to make. Accuracy, speed, size and the effort of running "
        "it pull in different "
        "directions, and the weights are the user's.",
    )
    page.table(variant_advice(material), "When to use which variant; figures are of this run.", key="advice")
    deployed = material.deployed
    if deployed.get("served_reason"):
        page.text(
            f"What this run serves, and why: {deployed['served_reason']}. The choice was made on images that the gate does not judge on."
        )
    drop = deployed.get("int8_drop")
    if drop:
        page.text(
            f"The trade-off between speed and accuracy, in numbers: INT8 changes the accuracy by {points(-drop['value'])} and is "
            f"{deployed['speedup']['onnx_int8'] / deployed['speedup']['onnx_fp32']:.1f} times as fast as FP32. "
            + (
                "Nothing is paid for the speed here, as far as the images can tell."
                if drop["value"] <= 0
                else "Whether that is a good bargain depends on what a wrong answer costs and on how many requests there are."
            )
        )
    page.text(
        "The trade-off between knowing and doing: every label that is spent on judging a model is not spent on teaching it. This "
        "loop gives a fixed part of "
        "the random labels to the gate and never lets the same patient do both; a bolder split would learn faster and know less "
        "about what it has learnt."
    )


def _lessons(page: Page, material: RunMaterial) -> None:
    page.section("Lessons")
    found = lessons(material)
    if not found:
        page.text("This run measured nothing that could be called a lesson.")
        return
    page.text(
        "A lesson is called `worked` when its interval shows a gain, `did not work` when it shows a loss, and `not decided` "
        "otherwise; most of what is told "
        "about training networks would be of the third kind, were it measured."
    )
    page.table(
        [{"what": lesson.what, "verdict": lesson.verdict, "evidence": lesson.evidence} for lesson in found],
        "What this run tried, and what came of it.",
        key="lessons",
    )
    page.points([sentence for sentence in (lesson_sentence(found, verdict) for verdict in (WORKED, FAILED, OPEN)) if sentence])


def lesson_sentence(found: list[Lesson], verdict: str) -> str:
    """All lessons of one verdict in a sentence."""
    named = [lesson.what for lesson in found if lesson.verdict == verdict]
    if not named:
        return ""
    endings = {
        WORKED: "To be kept.",
        FAILED: "To be left out, or to be understood before they are tried again; at the length of an ablation, regularisation is "
        "judged too early.",
        OPEN: "More images or more seeds would decide; until then they are a matter of taste.",
    }
    return f"[[lessons]], {verdict}: {', '.join(named)}. {endings[verdict]}"


def _surprises(page: Page, material: RunMaterial) -> None:
    rows = expectations(material)
    page.section(
        "Surprises",
        "A surprise is a result outside of the range that was written down before the run, in the program that writes this "
        "report. Without such a range "
        "everything can be called expected afterwards.",
    )
    page.table(rows, "What was expected of each result, and what came; pt: points.", key="surprises")
    surprising = [str(row["result"]) for row in rows if str(row["reading"]).startswith("surprise")]
    measured = sum(row["measured"] is not None for row in rows)
    page.text(
        f"[[surprises]]: {measured} of {len(rows)} results were measured in this run, and {len(surprising)} of them are surprises"
        + (
            f": {', '.join(surprising)}. Each of these deserves a look at its chapter before anything is built on it."
            if surprising
            else "."
        )
    )


def _practices(page: Page, material: RunMaterial) -> None:
    every = practices(material)
    page.section(
        "Best practices", "Done or not, and where; a dash where this run's branch cannot show it. Not done is said as plainly as done."
    )
    page.table(
        [
            {
                "practice": practice.name,
                "guards against": practice.guards_against,
                "done": practice.done,
                "where": practice.where if practice.done is not None else "not shown by this run",
            }
            for practice in every
        ],
        "Practices of the trade [[cite:sculley2015]].",
        key="practices",
    )
    not_done = [practice.name.lower() for practice in every if practice.done is False]
    page.text(
        f"[[practices]]: {sum(practice.done is True for practice in every)} of {len(every)} are shown to be done; not done: "
        f"{', '.join(not_done)}."
    )


def _maturity(page: Page, material: RunMaterial) -> None:
    page.section("Maturity", "Two scales are in use; both ask how much of the loop works without hands.")
    page.table(google_levels(material), "Levels of Google Cloud [[cite:google2020]].", key="google")
    page.table(microsoft_levels(material), "Levels of Microsoft [[cite:microsoft2021]].", key="microsoft")
    page.text(f"The next step: {next_step(material)}")
    page.text(
        "Neither scale asks whether the automation decides well. A loop that retrains at every threshold it crosses stands as "
        "high as one that can tell "
        "chance from change; that part of maturity is in the error rates of the chapters above."
    )
