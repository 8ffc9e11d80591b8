"""The drift report: an HTML page, from the verdict down to the single statistic, and its figures."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.drift_detection import detectors
from components.drift_detection.detectors import level_of_each
from components.drift_detection.evidence import BUDGET_CAVEAT
from components.drift_detection.explain import ExplainedWindow, StatisticShift, psi_reading
from components.drift_detection.findings import WatchFindings, in_plain_words
from components.drift_detection.unlabelled import LABEL_FREE_CAVEAT
from driftloop.contracts import CONFIRMED_BY, FOR_TRAINING, GATE, HARM, LABEL_REQUESTS, QUOTA
from driftloop.inference.reference import CLEAN_REGIME
from driftloop.reporting.page import Page
from driftloop.reporting.plot_style import MUTED, PALETTE, axes
from driftloop.watch_record import RecordedWindow, WindowLabels

#: Windows shown in the history.
MOST_WINDOWS = 60
ALARM_COLOUR = PALETTE[3]
#: Of the detectors' p-values, in the order of registration.
DETECTOR_COLOURS = tuple(colour for colour in PALETTE if colour != ALARM_COLOUR)
TONES: dict[str, Literal["good", "warning", "bad"]] = {"stable": "good", "alert": "warning", "needs_labels": "warning", "retrain": "bad"}


def build_report(findings: WatchFindings) -> Page:
    """The page, ready to be written."""
    page = Page("Drift report", lead=in_plain_words(findings))
    _verdict(page, findings)
    _windows(page, findings)
    if findings.explained is not None:
        _what_moved(page, findings.explained)
        _outputs(page, findings.explained, findings.info.classes)
        _gallery(page, findings.explained)
        _pictures(page, findings.explained)
    _harm(page, findings)
    _method(page, findings)
    return page


def _verdict(page: Page, findings: WatchFindings) -> None:
    page.notice(f"{findings.verdict.name}: {findings.verdict.reason}", TONES[findings.verdict.name])
    test = findings.explained.tested.test if findings.explained else None
    page.tiles(
        {
            "verdict": findings.verdict.name,
            "windows drifted": f"{findings.drifted_windows} of {len(findings.tested)}",
            f"confirmed by {CONFIRMED_BY}": findings.confirmed,
        }
        | {f"p, {detector.title}": test.p_values[detector.name] if test else None for detector in detectors.DETECTORS}
        | {"accuracy drop": None if findings.drop is None else f"{100 * findings.drop.value:.1f} points"}
    )
    page.text(
        f"Champion: version {findings.info.champion_version}. Requests up to {findings.info.until[:19].replace('T', ' ')} UTC; "
        f"{findings.cut.waiting:,} wait for a larger window; {findings.info.other_version_rows:,} of other versions were not tested."
    )
    if findings.cut.skipped:
        page.notice(f"{findings.cut.skipped:,} windows of an old backlog were left out: drift_config.max_windows.", "warning")


def _windows(page: Page, findings: WatchFindings) -> None:
    page.section("Windows", "Each window is tested against what the champion was accepted for: one image a group, in time order.")
    if not findings.tested and not findings.history.windows:
        page.text("No window has been tested yet.")
        return
    if findings.cut.ungrouped:
        page.text(
            f"{findings.cut.ungrouped:,} of these requests name no group (patient, lot, site): each was taken as one of its own. Where "
            "several of them show the same one, false alarms are more frequent than promised."
        )
    page.figure(
        history_plot(findings.history.windows, [window.record for window in findings.tested], findings.level.alpha),
        "p-values by window; filled: drifted; grey ground: this watch.",
    )
    page.table(
        [_window_row(findings, index) for index in range(len(findings.tested))],
        f"A window drifts when one of its p-values is at most {level_of_each(findings.level.alpha):.4g}. Accuracy: on random labels.",
    )


def _window_row(findings: WatchFindings, index: int) -> dict[str, object]:
    window, test = findings.tested[index].record, findings.tested[index].test
    row: dict[str, object] = {
        "window": index,
        "from": window.first[5:16].replace("T", "\u00a0").replace("-", "\u2011"),
        "requests": window.rows,
        "tested": test.rows,
    } | ({"images averaged": test.averaged} if test.averaged > 1 else {})
    row |= {f"p {detector.name}": test.p_values[detector.name] for detector in detectors.DETECTORS}
    row |= {detector.effect_title: _signed(test.results[detector.name].effect) for detector in detectors.DETECTORS if detector.effect}
    row |= {"n/(n+m)": test.share, "drifted": window.drifted, "accuracy": window.accuracy}
    return row | {"best fit": _mixture(findings, test.weights)} if len(findings.regimes) > 1 else row


def _signed(effect: float | None) -> str | None:
    return None if effect is None else f"{effect:.4f}".replace("-", "\u2212")


def _mixture(findings: WatchFindings, weights: np.ndarray) -> str:
    return " + ".join(
        f"{weight:.0%} {name}" if weight < 1 else name for name, weight in zip(findings.regimes, weights, strict=True) if weight > 0
    )


def _what_moved(page: Page, explained: ExplainedWindow) -> None:
    explanation = explained.explanation
    page.section(f"What moved in window {explained.number}")
    moved = explanation.moved
    page.text(
        f"Statistics that alarm by themselves: {', '.join(shift.name for shift in moved)}."
        if moved
        else "No image statistic alarms by itself."
    )
    page.figure(shift_plot(explanation.statistics), "Shift of each image statistic.")
    page.table(
        [
            {
                "statistic": shift.name,
                "reference median": shift.reference_median,
                "window median": shift.window_median,
                "shift (SD)": shift.shift,
                "KS distance": shift.distance,
                "p (Holm)": shift.p_value,
                "PSI": shift.psi,
                "PSI reading": psi_reading(shift.psi),
            }
            for shift in explanation.statistics
        ],
        "The shift, the KS distance and PSI are effect sizes; only the p-values decide.",
    )


def _outputs(page: Page, explained: ExplainedWindow, names: list[str]) -> None:
    explanation = explained.explanation
    classes = explanation.classes
    page.section("What the classifier says", "These explain and never decide.")
    page.table(
        [
            {"class": name, "share in reference": before, "share in window": now}
            for name, before, now in zip(names, classes.reference_shares.tolist(), classes.window_shares.tolist(), strict=True)
        ],
        f"Predicted classes: chi-square p = {classes.p_value:.3g}, Cohen's w = {classes.effect_size:.2f} ({classes.reading}).",
    )
    outputs = {"detector": "BBSD: softmax outputs, KS with Holm", "value": float(explanation.outputs.distances.max())}
    rows = [outputs | {"p": explanation.outputs.p_value}]
    fixed = explanation.fixed_threshold
    if fixed is not None:
        rows.append({"detector": f"fixed-threshold MMD > {fixed.threshold:g} (teaching only)", "value": fixed.mmd, "p": None})
    page.table(rows)


def _gallery(page: Page, explained: ExplainedWindow) -> None:
    if not explained.gallery:
        page.section("Most shifted images", "No image of this window was kept.")
        return
    page.section("Most shifted images", "By the MMD witness function; beside each the reference image that the champion finds most alike.")
    images, captions = [], []
    for pair in explained.gallery:
        images += [pair.image, pair.thumbnail]
        captions += [f"shifted: {pair.score:+.3f}", f"nearest in {pair.regime}"]
    page.gallery(images, captions)


def _pictures(page: Page, explained: ExplainedWindow) -> None:
    for picture in (detector.picture for detector in detectors.DETECTORS if detector.picture):
        page.section(picture.title)
        page.figure(picture.draw(explained.reference, explained.tested.sample), picture.caption.format(window=explained.number))


def _harm(page: Page, findings: WatchFindings) -> None:
    page.section(
        "Does it matter?",
        "Harm is judged only from uniformly random labels, by windows: each stands for its requests, recent ones more than old ones.",
    )
    harm = findings.harm
    rows: list[dict[str, object]] = [
        {
            "accuracy": f"accepted: {'clean test split' if name == CLEAN_REGIME else name}",
            "value": known.value,
            "labels": known.n,
        }
        for name, known in findings.accuracies.items()
    ]
    if harm.drop is not None:
        rows.append({"accuracy": "drifted requests", "value": harm.drop.expected - harm.drop.value, "labels": harm.drop.n})
    if harm.concept_drop is not None:
        right = harm.concept_drop.expected - harm.concept_drop.value
        rows.append({"accuracy": "requests that look as accepted", "value": right, "labels": harm.concept_drop.n})
    if rows:
        page.table(rows)
    if findings.drop is None:
        page.text("There are no random labels for confirmed windows yet.")
    else:
        value, low, high = (f"{100 * share:.1f}" for share in (findings.drop.value, findings.drop.low, findings.drop.high))
        page.text(
            f"Drop: {value} points from what was accepted for such images; at least {low}, and at most {high}. Each holds at all looks "
            f"at a drift together, but for a chance of {100 * findings.drop.alpha:.0f} %. The {findings.drop.n:,} labels are worth "
            f"{findings.drop.effective:,.0f} that would weigh the same."
        )
        if any(name != CLEAN_REGIME and known is findings.clean for name, known in findings.accuracies.items()):
            page.text("Of a learned regime no accuracy is known: it is taken to be the clean one.")
    if harm.recorded:
        page.table([_label_row(tally) for tally in harm.recorded[-MOST_WINDOWS:]], "Random labels by window.")
    if harm.skipped:
        page.text(f"Labellers have skipped {harm.skipped:,} requests; if they were the hard ones, the truth is worse than this.")
    if findings.label_free is not None:
        page.notice(
            f"Estimate without labels (average thresholded confidence): accuracy {findings.label_free.accuracy:.3f}. {LABEL_FREE_CAVEAT}"
        )
    counts = findings.requests["purpose"].value_counts()
    if len(counts):
        page.text(
            f"{LABEL_REQUESTS} lists {counts.get(QUOTA, 0)} images drawn at random as the quota of each window, "
            f"{counts.get(HARM, 0) + counts.get(GATE, 0)} more at random (for harm and for the gate), and {counts.get(FOR_TRAINING, 0)} "
            "of the most shifted (for training only)."
        )


def _label_row(tally: WindowLabels) -> dict[str, object]:
    return {
        "window": f"{tally.watch}/{tally.window}",
        "until": tally.last[5:16].replace("T", "\u00a0").replace("-", "\u2011"),
        "drift since watch": tally.drift or None,
        "requests": tally.rows,
        "labels": tally.labels,
        "right": tally.right,
        "skipped": tally.skipped,
    }


def _method(page: Page, findings: WatchFindings) -> None:
    level = findings.level
    sentences = [detector.sentence.format(permutations=level.permutations) for detector in detectors.DETECTORS]
    page.section("How this was decided")
    page.text(
        f"A window of up to {findings.size} images is compared with the reference by {' and by '.join(sentences)}, "
        f"each at alpha / {len(sentences)}. alpha is {level.alpha:.4g}: at most the {level.asked:g} asked for, and such that "
        f"{level.windows_per_90_days:g} windows in 90 days give no more than about {level.budget:g} false confirmed alarms. "
        f"Drift is confirmed by {CONFIRMED_BY} consecutive windows."
    )
    page.text(BUDGET_CAVEAT)
    if len(findings.regimes) > 1:
        page.text(f"A window is stable when it fits any of the accepted regimes ({', '.join(findings.regimes)}) or a mixture of them.")


def history_plot(past: Sequence[RecordedWindow], fresh: Sequence[RecordedWindow], alpha: float) -> Figure:
    """The detectors' p-values of the latest windows, against the level; drifted windows are filled, this watch's have a grey ground."""
    windows = [*past, *fresh][-MOST_WINDOWS:]
    at = np.arange(len(windows)) - (len(windows) - min(len(fresh), MOST_WINDOWS))
    drifted = np.array([window.drifted for window in windows])
    level = level_of_each(alpha)
    figure, (plot,) = axes(8.0, 2.9)
    for index, detector in enumerate(detectors.DETECTORS):
        colour = DETECTOR_COLOURS[index % len(DETECTOR_COLOURS)]
        # A window that was tested before the detector was registered leaves a gap.
        p_values = np.maximum([window.p_values.get(detector.name, np.nan) for window in windows], 1e-6)
        plot.plot(at, p_values, color=colour, linewidth=1, zorder=2)
        name = f"{detector.title} ({detector.method})"
        plot.scatter(at, p_values, s=26, facecolor=np.where(drifted, colour, "white"), edgecolor=colour, zorder=3, label=name)
    plot.axhline(level, color=ALARM_COLOUR, linestyle="--", linewidth=1)
    plot.annotate("alarm below", (0, level), xycoords=("axes fraction", "data"), xytext=(3, -10), textcoords="offset points", fontsize=8)
    if fresh:
        plot.axvspan(-0.5, at[-1] + 0.5, color=MUTED, alpha=0.10, linewidth=0)
    plot.set(yscale="log", ylim=(5e-7, 2), xlabel="window (0: first of this watch)", ylabel="p-value")
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    plot.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(detectors.DETECTORS))
    return figure


def shift_plot(shifts: Sequence[StatisticShift]) -> Figure:
    """By how many reference standard deviations each statistic's mean has moved."""
    figure, (plot,) = axes(6.4, 0.7 + 0.3 * len(shifts))
    at = np.arange(len(shifts))[::-1]
    values = np.clip([shift.shift for shift in shifts], -6, 6)
    plot.barh(at, values, height=0.6, color=[ALARM_COLOUR if shift.moved else MUTED for shift in shifts])
    plot.axvline(0, color=MUTED, linewidth=0.8)
    plot.set_yticks(at, [shift.name for shift in shifts])
    plot.set_xlabel("shift of the mean, in standard deviations of the reference (red: alarms by itself; cut at 6)")
    reach = max(1.0, float(np.abs(values).max()) * 1.1)
    plot.set_xlim(-reach, reach)
    return figure
