"""What stands before the themes: the executive summary, and the introduction."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from components.synthesis_report.lessons import SERVED_NAMES, next_step, way_back
from components.synthesis_report.material import FULL_LOOP, TRAINING, VARIANT_NAMES, RunMaterial
from driftloop.contracts import (
    CLEAN_TEST,
    CONFIRMED_BY,
    DATA_ANALYSIS,
    DRIFT_DETECTION,
    DRIFTED_HOLD_OUT,
    INCONCLUSIVE,
    KEPT,
    PRODUCTION_MONITORING,
    PROMOTE,
    PROMOTED,
    WATCHED,
)
from driftloop.evaluation.classification import MOST_CLASSES
from driftloop.evaluation.intervals import Proportion, groups_of_more
from driftloop.reporting import PALETTE, Page, axes
from driftloop.reporting.chapter import Chapter, Tone
from driftloop.reporting.plot_style import INK, MUTED
from driftloop.reporting.wording import compared, percent, points, share_cells, with_interval
from driftloop.summary import AccuracySummary

#: Windows of a watch that the summary lists.
MOST_WINDOWS = 10
#: Of the summary's accuracies: which model, on which images.
ACCURACY_ROWS = {
    "baseline": ("baseline (plain CNN)", CLEAN_TEST),
    "optimized": ("optimised", CLEAN_TEST),
    "onnx_fp32": ("ONNX FP32", CLEAN_TEST),
    "onnx_int8": ("ONNX INT8", CLEAN_TEST),
    "retrained": ("retrained, as served", CLEAN_TEST),
    "champion_on_drifted": ("champion, as served", DRIFTED_HOLD_OUT),
    "retrained_on_drifted": ("retrained, as served", DRIFTED_HOLD_OUT),
}
TONES: dict[str, Tone] = {
    "stable": "good",
    "alert": "warning",
    "needs_labels": "warning",
    "retrain": "warning",
    PROMOTE: "good",
    INCONCLUSIVE: "warning",
}

#: Of the summary's targets, as people read them.
TARGET_NAMES = {
    "baseline": "accuracy of the baseline",
    "optimized": "accuracy of the optimised model",
    "optimized_over_baseline": "gain over the baseline",
    "int8_drop": "accuracy that INT8 loses",
    "drift_confirmed": "the replayed drift is found",
    "drift_recovered": "share of the loss that retraining wins back",
    "clean_non_inferior": "clean accuracy is kept (lower bound)",
}


def story(material: RunMaterial) -> str:
    """What happened, in a sentence or two."""
    summary = material.summary
    before, after = summary.champion.before, summary.champion.after
    if summary.error:
        return f"This run failed: {summary.error.rstrip('.')}. What its steps had found by then is reported here."
    if summary.drift is None:
        if summary.gate is None:
            return "A model was trained; no gate has judged it."
        if summary.gate.decision == PROMOTE:
            return f"A model was trained and exported, and the gate let it pass: version {after} serves."
        return (
            f"A model was trained and exported, and the gate said {summary.gate.decision}: "
            f"{'version ' + after + ' goes on serving' if after else 'nothing serves yet'}."
        )
    if summary.gate is None:
        return f"Production was watched; nothing was retrained, and version {before} goes on serving. Verdict: {summary.drift.verdict}."
    if summary.gate.decision == PROMOTE:
        return f"Production drifted, the model was retrained, and the gate promoted it: version {after} replaced version {before}."
    return f"Production drifted and a candidate was trained, but the gate did not promote it: version {before} goes on serving."


def outcome_of(material: RunMaterial) -> str:
    """One of `contracts.OUTCOMES`, of a run with a watch."""
    if material.summary.gate is None:
        return WATCHED
    return PROMOTED if material.summary.gate.decision == PROMOTE else KEPT


def executive_summary(material: RunMaterial) -> Chapter:
    """Two pages for who reads no further."""
    summary = material.summary
    page = Page("Executive summary", lead=story(material))
    page.tiles(_tiles(material))
    if summary.error:
        page.notice(f"The run failed: {summary.error}", "bad")
    if summary.drift:
        page.notice(f"Drift: {summary.drift.reason}", TONES[summary.drift.verdict])
    if summary.gate:
        page.notice(f"Gate: {summary.gate.decision}: {'; '.join(summary.gate.reasons)}", TONES.get(summary.gate.decision, "bad"))
    _accuracies(page, summary.accuracy)
    page.section("Recommendation", essential=True)
    page.points(recommendations(material), essential=True)
    _windows(page, material)
    page.section("Targets")
    page.text("Set for the default run, whose traffic drifts, before it was run. What this run did not measure has no answer.")
    page.table(
        [
            {
                "target": TARGET_NAMES.get(name, name),
                "goal": target.goal,
                "measured": f"{target.measured:.3f}" if isinstance(target.measured, float) else target.measured,
                "met": target.met,
            }
            for name, target in summary.targets.items()
        ],
        "What the default run sets out to reach.",
        key="targets",
    )
    page.text(f"[[targets]]: {targets_sentence(material)}")
    return page.chapter


def _windows(page: Page, material: RunMaterial) -> None:
    drift = material.facts.get(DRIFT_DETECTION, {})
    windows = drift.get("windows", [])
    if not windows:
        return
    watch = material.facts.get(PRODUCTION_MONITORING, {}).get("sequence")
    shown = list(enumerate(windows))[-MOST_WINDOWS:]
    page.section("The watch, window by window", essential=True)
    page.table(
        [
            {
                "window": f"{watch}/{index}" if watch is not None else str(index),
                "rows": window["rows"],
                **{f"p ({title})": window["p_values"].get(name) for name, title in drift["detectors"].items()},
                "drifted": window["drifted"],
            }
            for index, window in shown
        ],
        f"The last {len(shown)} of {len(windows)} windows. A window drifts when one of its p-values is small enough; drift is "
        f"confirmed by {CONFIRMED_BY}.",
        key="watch-windows",
        essential=True,
    )


def _tiles(material: RunMaterial) -> dict[str, object]:
    summary = material.summary
    tiles: dict[str, object] = {}
    if summary.drift:
        tiles["drift verdict"] = summary.drift.verdict
    if summary.gate:
        tiles["gate decision"] = summary.gate.decision
    tiles["serves now"] = f"version {summary.champion.after}" if summary.champion.after else "nothing"
    served = SERVED_NAMES.get(material.deployed.get("served", ""), "")
    speedup = getattr(summary.speedup, served, None) if served else None
    if served and speedup:
        tiles[f"{VARIANT_NAMES[served]}, as served, over PyTorch"] = f"{speedup:.1f}x"
    return tiles


def _accuracies(page: Page, accuracy: AccuracySummary) -> None:
    measured = {name: share for name in ACCURACY_ROWS if (share := getattr(accuracy, name)) is not None}
    page.section("Key numbers", essential=True)
    if not measured:
        page.text("No accuracy was measured.", essential=True)
        return
    page.figure(
        accuracy_plot(measured),
        "Accuracy with 95 % intervals: blue on clean images, red on drifted ones.",
        key="accuracies",
        essential=True,
    )
    page.table(
        [{"model": ACCURACY_ROWS[name][0], "images": ACCURACY_ROWS[name][1]} | share_cells(share) for name, share in measured.items()],
        "Shares of correctly classified images with Wilson's intervals [[cite:wilson1927]], widened where several are of one group; the "
        "clean test split chose nothing.",
        key="accuracy-table",
        essential=True,
    )
    page.text(f"[[accuracies]] and [[accuracy-table]]: {accuracy_sentences(measured)}", essential=True)


def accuracy_sentences(measured: dict[str, Proportion]) -> str:
    """What the accuracies say, pair by pair."""
    said = []
    if {"baseline", "optimized"} <= measured.keys():
        said.append(compared("the optimised model", measured["optimized"], "the baseline", measured["baseline"]))
    if {"champion_on_drifted", "retrained_on_drifted"} <= measured.keys():
        said.append(
            "On drifted images: "
            + compared("the retrained model", measured["retrained_on_drifted"], "the champion", measured["champion_on_drifted"])
        )
    if not said:
        said = [f"{ACCURACY_ROWS[name][0]} on the {ACCURACY_ROWS[name][1]}: {with_interval(share)}." for name, share in measured.items()]
    return (
        " ".join(said)
        + " Whether one of two models is better is decided on the same images, pair by pair, which these intervals do not show."
    )


def accuracy_plot(measured: dict[str, Proportion]) -> Figure:
    """Every accuracy with its interval."""
    figure, (axis,) = axes(7.0, 0.34 * len(measured) + 0.8)
    for index, (name, share) in enumerate(measured.items()):
        colour = PALETTE[3] if ACCURACY_ROWS[name][1] == DRIFTED_HOLD_OUT else PALETTE[0]
        axis.errorbar(
            100 * share.value,
            -index,
            xerr=[[100 * (share.value - share.low)], [100 * (share.high - share.value)]],
            fmt="o",
            color=colour,
            capsize=3,
        )
    axis.set_yticks([-index for index in range(len(measured))], [", ".join(ACCURACY_ROWS[name]) for name in measured])
    axis.set_xlabel("accuracy, %")
    return figure


def recommendations(material: RunMaterial) -> list[str]:
    """What to do, from verdict and decision."""
    summary = material.summary
    if summary.error and summary.gate and summary.gate.decision != PROMOTE and not summary.champion.after:
        return [next_step(material)]  # nothing is broken: the same run again would be refused again
    if summary.error:
        return ["Mend what the error says and start the run again: steps before it are taken from the cache where the pipeline has one."]
    points_ = []
    if summary.champion.after:
        points_.append(f"{way_back(material)[:1].upper()}{way_back(material)[1:]}.")
    if summary.gate and summary.gate.decision == INCONCLUSIVE:
        needed = material.gate.get("labels_needed", {})
        criteria = material.gate.get("criteria", [])
        groups = {one["name"]: groups_of_more(one.get("labels"), one.get("groups", 0), one.get("n", 0)) for one in criteria}
        wanted = ", ".join(
            f"{count:,} {f'of about {groups[name]:,} groups ' if groups.get(name) else ''}for {name}" for name, count in needed.items()
        )
        points_.append(
            "The data did not decide. "
            f"{'Labelled images that would: ' + wanted + '.' if wanted else 'No number of labels would help: see the gate.'}"
        )
    points_.append(next_step(material))
    return points_


def targets_sentence(material: RunMaterial) -> str:
    """How many targets were met, and which were missed."""
    measured = {name: target for name, target in material.summary.targets.items() if target.met is not None}
    missed = [TARGET_NAMES.get(name, name) for name, target in measured.items() if not target.met]
    text = f"{len(measured) - len(missed)} of {len(measured)} targets that this run measured are met"
    return text + (f"; missed: {', '.join(missed)}." if missed else ".") if measured else "This run measured none of the targets."


def introduction(material: RunMaterial) -> Chapter:
    """Purpose, data, method, and what was fixed beforehand."""
    data = material.facts.get(DATA_ANALYSIS, {})
    page = Page("Introduction")
    page.text(
        "An image classifier is trained once and used for a long time, on images that change: another device, another light, "
        "another site, another "
        "season. Its accuracy falls without an error message, since nobody tells it the right answers. This report follows one "
        "model through such a "
        "life and answers, for each stage, one question: what was to be found out, what was found, by which evidence, with which "
        "limits, and what "
        "follows from it."
    )
    page.figure(loop_diagram(material), "The loop. Filled: the stages that this run went through.", alt=loop_alt(material), key="loop")
    page.text(f"[[loop]]: {loop_alt(material)} {SCOPES[material.pipeline]}")
    page.section("The data, and why these")
    counts = data.get("counts", {})
    page.text(
        f"The images come from `{data.get('source', material.summary.source)}`: {sum(counts.values()):,} images of "
        f"{of_classes(data.get('classes', []))}, scaled to {data.get('image_size')} pixels. "
        + (
            "They are drawn by a program. That makes the truth known for every image, also in production, so that verdicts and "
            "decisions of this loop "
            "can be held against it; it also means that no figure here says how well a model would do on real images."
            if str(data.get("source", "")).startswith("synthetic")
            else "Every figure here is about images like those: for images of another kind, the source has to be theirs."
        )
        if counts
        else "The facts of the data are not among those of this run: its champion was made by an earlier one."
    )
    page.section("Method")
    page.points(
        [
            "Choosing and judging are kept apart. Epochs, learning rates, ranges and temperatures are chosen on validation "
            "images; the test split is "
            "looked at once by each step and chooses nothing.",
            "Every accuracy has an interval, and two models are compared on the same images [[cite:tango1998]]. A difference "
            "whose interval contains zero "
            "is called neither gain nor loss.",
            "Drift is a question to a statistical test, not to a threshold on a distance: permutation tests keep their level "
            "whatever the data "
            "[[cite:gretton2012]] [[cite:phipson2010]], several statistics are corrected for their number [[cite:holm1979]], and "
            "drift is confirmed by "
            f"{CONFIRMED_BY} windows in a row.",
            "Drift is not harm. Whether accuracy has fallen is judged from labels of random requests, by bounds that hold however "
            "often one looks "
            "[[cite:howard2021]].",
            "Nothing reaches users but through a gate, which judges what will be served, and every promotion can be undone in one step.",
            "`No` and `the data do not decide` are answers. A step that failed, was skipped or refused is reported as such.",
        ]
    )
    page.section("What was fixed beforehand")
    page.text(
        "The figures below were set before the run, by default or by its parameters. Moving a limit after the result is known "
        "makes any result a success; "
        "the report therefore shows limits beside results, and the synthesis says what would have been a surprise."
    )
    page.table(fixed_rows(material), "What was fixed before the run.", key="fixed")
    page.section("How to read this report")
    page.text(
        "Each chapter begins with its question and its answer and ends with its limits. Sentences about a figure are derived from "
        "the numbers that the "
        "figure is drawn from. `pt` and points are hundredths of a share: from 80 % to 82 % are two points. Words of the trade "
        "are explained in the "
        "glossary, and everything that is needed to do it again stands in the appendix."
    )
    return page.chapter


SCOPES = {
    TRAINING: "This run trains, exports and judges the first model; nothing was watched yet.",
    FULL_LOOP: "This run goes all the way: it trains a model, replays production to it, watches, and answers what it sees.",
    "drift-watch": "This run watches a model that serves.",
}


def of_classes(names: Sequence[str]) -> str:
    """The classes by name, of many their number."""
    return f"the classes {', '.join(names)}" if len(names) <= MOST_CLASSES else f"{len(names)} classes"


def fixed_rows(material: RunMaterial) -> list[dict[str, object]]:
    """Limits of the run, as far as they are known."""
    given = material.parameters
    goals = {name: target.goal for name, target in material.summary.targets.items()}
    alpha = given.get("drift_alpha", material.facts.get(DRIFT_DETECTION, {}).get("alpha"))
    rows: list[dict[str, object]] = [
        {
            "what": "accuracy of the baseline, of the optimised model",
            "limit": f"{goals.get('baseline', '-')}, {goals.get('optimized', '-')}",
            "why": "below, the task is not solved, and watching it is idle",
        },
        {"what": "accuracy that INT8 may lose", "limit": goals.get("int8_drop", "-"), "why": "a faster wrong answer helps nobody"},
        {
            "what": "false-alarm rate of a window's test",
            "limit": "-" if alpha is None else f"{float(alpha):.2g}",
            "why": "an alarm that comes by chance is soon ignored",
        },
        {"what": "windows that confirm a drift", "limit": CONFIRMED_BY, "why": "one unlucky window retrains nothing"},
        {
            "what": "clean accuracy that a candidate may lose",
            "limit": percent(float(given.get("gate_margin", material.gate.get("margin", 0.02)))),
            "why": "what was known must not be forgotten",
        },
        {
            "what": "share of the loss to win back",
            "limit": goals.get("drift_recovered", "-"),
            "why": "a retraining that changes little is not worth its labels",
        },
        {"what": "seed", "limit": str(material.summary.seed), "why": "the same run gives the same numbers, times aside"},
    ]
    return rows


#: The stages, in the order of the loop: name, where it stands in the drawing, and the step that shows that it was gone through.
STAGES = (
    ("1 data", 0, 1),
    ("2 baseline", 1, 1),
    ("3 optimisation", 2, 1),
    ("4 ONNX", 3, 1),
    ("gate", 4, 1),
    ("serve", 4, 0),
    ("5 monitoring", 3, 0),
    ("6 drift verdict", 2, 0),
    ("7 retraining", 1, 0),
)


def passed_stages(material: RunMaterial) -> list[str]:
    """Names of the stages that this run went through."""
    made = set(material.facts) if material.pipeline != "drift-watch" else set()
    watched = material.summary.drift is not None
    shown = {
        "1 data": "data_analysis" in made,
        "2 baseline": "baseline_training" in made,
        "3 optimisation": "model_optimization" in made,
        "4 ONNX": "onnx_deployment" in made,
        "gate": material.summary.gate is not None or material.first_gate_passed,
        "serve": bool(material.summary.champion.after),
        "5 monitoring": watched,
        "6 drift verdict": watched,
        "7 retraining": "automated_retraining" in material.candidate_facts,
    }
    return [name for name, passed in shown.items() if passed]


def loop_alt(material: RunMaterial) -> str:
    """The drawing in words."""
    passed = passed_stages(material)
    missing = [name for name, _, _ in STAGES if name not in passed]
    return (
        "Data are analysed, a baseline and an optimised model are trained, the model is exported and judged by a gate, and "
        "serves; production is "
        "monitored, tested for drift, and where a drift does harm the model is retrained, exported and judged again. "
        + (f"Not gone through: {', '.join(missing)}." if missing else "This run went through all of it.")
    )


def loop_diagram(material: RunMaterial) -> Figure:
    """The stages as boxes in two rows, with the way back."""
    figure, (axis,) = axes(8.2, 2.3)
    passed = passed_stages(material)
    for name, column, row in STAGES:
        filled = name in passed
        axis.add_patch(
            FancyBboxPatch(
                (column * 2, row * 1.5),
                1.5,
                0.7,
                boxstyle="round,pad=0.06",
                facecolor=PALETTE[0] if filled else "none",
                edgecolor=PALETTE[0] if filled else MUTED,
            )
        )
        axis.text(column * 2 + 0.75, row * 1.5 + 0.35, name, ha="center", va="center", fontsize=9, color="#ffffff" if filled else INK)
    ways = [((1.6, 1.85), (1.9, 1.85)), ((3.6, 1.85), (3.9, 1.85)), ((5.6, 1.85), (5.9, 1.85)), ((7.6, 1.85), (7.9, 1.85))]
    ways += [
        ((8.75, 1.4), (8.75, 0.8)),
        ((7.9, 0.35), (7.6, 0.35)),
        ((5.9, 0.35), (5.6, 0.35)),
        ((3.9, 0.35), (3.6, 0.35)),
        ((3.0, 0.8), (6.2, 1.42)),
    ]
    for start, end in ways:
        axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=MUTED))
    axis.set(xlim=(-0.2, 9.8), ylim=(-0.2, 2.4))
    axis.axis("off")
    return figure


def best_gain(material: RunMaterial) -> str:
    """The gain of the optimisation, for the conclusion; empty where it was not measured."""
    first, second = material.summary.accuracy.baseline, material.summary.accuracy.optimized
    if first is None or second is None:
        return ""
    return f"Optimisation moved the accuracy from {percent(first.value)} to {percent(second.value)} ({points(second.value - first.value)})."
