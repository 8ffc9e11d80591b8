"""The drift report: an HTML page, from the verdict down to the single statistic, and its figures."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from components.drift_detection import detectors
from components.drift_detection.detectors import level_of_each
from components.drift_detection.evidence import BUDGET_CAVEAT
from components.drift_detection.explain import ExplainedWindow, StatisticShift, psi_reading
from components.drift_detection.findings import WatchFindings, in_plain_words
from components.drift_detection.reference import LEAST_LEARNED
from components.drift_detection.unlabelled import LABEL_FREE_CAVEAT
from driftloop.contracts import CONFIRMED_BY, FOR_CLASS, FOR_TRAINING, GATE, HARM, LABEL_REQUESTS, POOLED_WINDOWS, QUOTA
from driftloop.inference.reference import CLEAN_REGIME
from driftloop.plurals import counted, rounded
from driftloop.reporting.page import Page
from driftloop.reporting.plot_style import MUTED, PALETTE, axes
from driftloop.reporting.wording import percent
from driftloop.watch_record import ClassRecall, RecordedWindow, WindowLabels

#: Windows shown in the history.
MOST_WINDOWS = 60
ALARM_COLOUR = PALETTE[3]
#: p-values below are drawn here.
LEAST_DRAWN = 1e-6
#: Shifts beyond so many standard deviations are drawn as this one: what matters there is that they are far away.
MOST_SHIFT = 6.0
#: Of the detectors' p-values, in the order of registration.
DETECTOR_COLOURS = tuple(colour for colour in PALETTE if colour != ALARM_COLOUR)
TONES: dict[str, Literal["good", "warning", "bad"]] = {"stable": "good", "alert": "warning", "needs_labels": "warning", "retrain": "bad"}


def build_report(findings: WatchFindings) -> Page:
    """The page, ready to be written."""
    page = Page(
        "Drift report",
        lead=in_plain_words(findings),
        question="Do the images of production still look like those that the champion was accepted for, and if not, does it matter?",
    )
    _verdict(page, findings)
    _next(page, findings)
    _windows(page, findings)
    _tags(page, findings)
    if findings.explained is not None:
        _what_moved(page, findings)
        _outputs(page, findings.explained, findings.info.classes)
        _gallery(page, findings.explained)
        _pictures(page, findings)
    _harm(page, findings)
    _method(page, findings)
    page.conclude(
        f"{findings.drifted_windows} of {counted(len(findings.tested), 'window')} of this watch drifted; drift is "
        f"{'' if findings.confirmed else 'not '}confirmed (by {CONFIRMED_BY} consecutive windows)."
        + "".join(f" Of the requests with {found.level.title} it is, by their own windows." for found in findings.tags if found.confirmed),
        limits=[
            "A window that does not alarm is not shown to be the same: small drifts need more images than a window has.",
            BUDGET_CAVEAT,
            *([LABEL_FREE_CAVEAT] if findings.label_free is not None else []),
        ],
        decision=f"{findings.verdict.name}: {findings.verdict.reason}",
    )
    return page


def _verdict(page: Page, findings: WatchFindings) -> None:
    page.notice(f"{findings.verdict.name}: {findings.verdict.reason}", TONES[findings.verdict.name])
    test = findings.explained.tested.test if findings.explained else None
    page.tiles(
        {
            "verdict": findings.verdict.name,
            "windows drifted": f"{findings.drifted_windows} of {len(findings.tested)}",
            f"confirmed by {CONFIRMED_BY}": findings.confirmed and findings.pooled is None,
        }
        | ({"confirmed by windows together": findings.pooled.windows} if findings.pooled else {})
        | {f"p, {detector.title}": test.p_values[detector.name] if test else None for detector in detectors.DETECTORS}
        | {"accuracy drop": None if findings.drop is None else f"{100 * findings.drop.value:.1f} points"}
    )
    page.text(
        f"Champion: version {findings.info.champion_version}. Requests up to {findings.info.until[:19].replace('T', ' ')} UTC; "
        f"{findings.cut.waiting:,} wait for a larger window; {findings.info.other_version_rows:,} of other versions were not tested."
    )
    if findings.cut.skipped:
        page.notice(f"{findings.cut.skipped:,} windows of an old backlog were left out: drift_config.max_windows.", "warning")


def _next(page: Page, findings: WatchFindings) -> None:
    page.section("Next", essential=True)
    page.points(findings.next_steps, essential=True)


def window_name(findings: WatchFindings, index: int) -> str:
    """A window of this watch by the name that it has everywhere: number of the watch, and its index there."""
    return f"{findings.info.sequence}/{index}"


def _windows(page: Page, findings: WatchFindings) -> None:
    page.section(
        "Windows",
        "Each window is tested against what the champion was accepted for: one image a group, in time order. A window is named by "
        "its watch and "
        "its number there, as in `drift_report.json`.",
        essential=True,
    )
    if not findings.tested and not findings.history.windows:
        page.text("No window has been tested yet.", essential=True)
        return
    if findings.cut.ungrouped:
        page.text(
            f"{findings.cut.ungrouped:,} of these requests name no group (patient, lot, site): each was taken as one of its own. Where "
            "several of them show the same one, false alarms are more frequent than promised."
        )
    fresh = [window.record for window in findings.tested]
    names = [f"{watch}/{window}" for watch, window in findings.history.places] + [
        window_name(findings, index) for index in range(len(fresh))
    ]
    level = findings.level
    page.figure(
        history_plot([*findings.history.windows, *fresh], names, level.alpha, fresh=len(fresh), permutations=level.permutations),
        f"p-values of the last {min(MOST_WINDOWS, len(names))} windows; a filled mark is an alarm of that test; grey ground: this "
        "watch; a bracket: windows that drifted only together. Dotted: the least "
        f"p-value that {level.permutations:,} permutations can give; values below 1e-6 are drawn there.",
        key="drift-history",
        essential=True,
    )
    page.text(f"[[drift-history]]: {history_sentence(fresh, level.alpha)}", essential=True)
    if findings.pooled:
        page.notice(findings.pooled.sentence(), "warning")
    page.table(
        [_window_row(findings, index) for index in range(len(findings.tested))],
        f"A window drifts when one of its p-values is at most {level_of_each(findings.level.alpha):.4g}. Accuracy: on random labels.",
        key="drift-windows",
    )


def _tags(page: Page, findings: WatchFindings) -> None:
    """The levels of tags, each tested by itself."""
    if not findings.levels:
        return
    page.section(
        "Subgroups",
        "Each level of a tag is tested against its own part of the reference, since a tenth of the traffic drowns in the rest.",
        essential=True,
    )
    drifting = [found for found in findings.tags if found.confirmed]
    for found in drifting:
        page.notice(f"The requests with {found.level.title} drift, confirmed by {CONFIRMED_BY} of their own windows.", "warning")
    drops = {harm.tag: harm.judged for harm in findings.harms if harm.tag}
    tested = {found.level.title: found for found in findings.tags}
    rows: list[dict[str, object]] = []
    for level in findings.levels:
        of_level, drop = tested.get(level.title), drops.get(level.title)
        row: dict[str, object] = {"tag": level.title, "new requests": level.requests, "in reference": level.groups}
        if of_level is None:
            row |= {"windows": None, "drifted": None, "least p": None, "level": None, "drift": "too few to test"}
        else:
            row |= {
                "windows": len(of_level.fresh),
                "drifted": sum(window.drifted for window in of_level.fresh),
                "least p": min((p for window in of_level.fresh for p in window.p_values.values()), default=None),
                "level": level_of_each(of_level.alarm.alpha),
                "drift": "confirmed" if of_level.confirmed else f"none confirmed; {of_level.cut.waiting:,} requests wait",
            }
        rows.append(row | {"accuracy drop": None if drop is None else f"{100 * drop.value:.1f} points, n = {drop.n}"})
    page.table(
        rows,
        f"Images in the reference: one a group; a level is tested from {LEAST_LEARNED} on. A window of it drifts where a p-value is at "
        "most its level. All levels share half of the budget of false alarms.",
        key="drift-tags",
        essential=True,
    )
    named = ", ".join(found.level.title for found in drifting)
    said = f"drift is confirmed of {named}" if named else "no level has a confirmed drift of its own"
    page.text(f"[[drift-tags]]: {said}.", essential=True)


def history_sentence(windows: Sequence[RecordedWindow], alpha: float) -> str:
    """Which tests alarmed in how many of this watch's windows."""
    if not windows:
        return "This watch has no window of its own."
    level = level_of_each(alpha)
    counts = {
        detector.title: sum(window.p_values.get(detector.name, 1.0) <= level for window in windows) for detector in detectors.DETECTORS
    }
    said = ", ".join(f"{title} in {count}" for title, count in counts.items())
    text = (
        f"Of {counted(len(windows), 'window')} of this watch {sum(window.drifted for window in windows)} drifted; alarms by test: {said}."
    )
    if not any(counts.values()):
        return text + " No p-value reaches the level."
    least = min((window.p_values[name], name) for window in windows for name in window.p_values)
    return text + f" The smallest p-value is {least[0]:.2g} ({next(d.title for d in detectors.DETECTORS if d.name == least[1])})."


def _window_row(findings: WatchFindings, index: int) -> dict[str, object]:
    window, test = findings.tested[index].record, findings.tested[index].test
    row: dict[str, object] = {
        "window": window_name(findings, index),
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


def _what_moved(page: Page, findings: WatchFindings) -> None:
    explained = findings.explained
    if explained is None:
        return
    name = window_name(findings, explained.number)
    page.section(f"What moved in window {name}", essential=True)
    page.text(shift_sentence(explained.explanation.statistics), essential=True)
    page.figure(
        shift_plot(explained.explanation.statistics),
        "Shift of each image statistic's mean, in standard deviations of the reference; red: alarms by itself.",
        key="drift-shifts",
        essential=True,
    )
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
            for shift in explained.explanation.statistics
        ],
        "The shift, the KS distance and PSI are effect sizes; only the p-values decide.",
        key="drift-statistics",
    )
    large = [shift.name for shift in explained.explanation.statistics if psi_reading(shift.psi) == "large"]
    page.text(
        f"[[drift-statistics]]: by the rule of thumb for PSI {', '.join(large) if large else 'none'} moved largely. The rule knows "
        "no chance: with few "
        "images PSI is above its limits without any drift, which is why it explains here and decides nothing."
    )
    page.figure(
        histograms_plot(explained),
        "The statistics that moved most: reference (blue) and window (red).",
        key="drift-histograms",
    )
    page.text(f"[[drift-histograms]]: {histogram_sentence(explained)}")
    if len(findings.tested) > 1:
        shifts = window_shifts(findings)
        page.figure(
            heat_map(shifts, [window_name(findings, index) for index in range(len(findings.tested))], findings.info.statistic_names),
            f"Shift of each statistic in each window of this watch, in standard deviations of the reference of window {name}; "
            f"colours end at {MOST_SHIFT:g}.",
            key="drift-heat",
        )
        page.text(f"[[drift-heat]]: {heat_sentence(shifts, findings)}")


def shift_sentence(shifts: Sequence[StatisticShift]) -> str:
    """What alarms by itself, and what moved most in size."""
    moved = sorted((shift for shift in shifts if shift.moved), key=lambda shift: -abs(shift.shift))
    if not moved:
        largest = max(shifts, key=lambda shift: abs(shift.shift))
        return (
            f"No image statistic alarms by itself; the largest shift is that of {largest.name}, {largest.shift:+.2f} SD (p = "
            f"{largest.p_value:.2g})."
        )
    said = ", ".join(f"{shift.name} ({shift.shift:+.2f} SD)" for shift in moved)
    return f"Statistics that alarm by themselves, the most shifted first: {said}."


def most_moved(explained: ExplainedWindow) -> list[int]:
    """The columns of the statistics that moved most, at most three."""
    return np.argsort([-abs(shift.shift) for shift in explained.explanation.statistics], kind="stable")[:3].tolist()


def histograms_plot(explained: ExplainedWindow) -> Figure:
    """Densities of the most moved statistics in reference and window."""
    columns = most_moved(explained)
    figure, plots = axes(8.0, 2.3, len(columns))
    before, now = explained.reference.statistics, explained.tested.sample.statistics
    for plot, column in zip(plots, columns, strict=True):
        both = np.concatenate([before[:, column], now[:, column]]).astype(np.float64)
        edges = np.linspace(both.min(), max(both.max(), both.min() + 1e-9), 26).tolist()
        for rows, colour in ((before, PALETTE[0]), (now, ALARM_COLOUR)):
            plot.hist(rows[:, column], edges, density=True, histtype="stepfilled", alpha=0.3, color=colour)
            plot.hist(rows[:, column], edges, density=True, histtype="step", color=colour, linewidth=1.3)
        plot.set_xlabel(explained.explanation.statistics[column].name)
        plot.set_yticks([])
    return figure


def histogram_sentence(explained: ExplainedWindow) -> str:
    """How far the two distributions of the most moved statistic overlap."""
    shift = explained.explanation.statistics[most_moved(explained)[0]]
    return (
        f"The distributions of {shift.name} differ by at most {100 * shift.distance:.0f} points of cumulative share (the "
        "Kolmogorov-Smirnov distance); its "
        f"median goes from {shift.reference_median:.3g} to {shift.window_median:.3g}. "
        + (
            "More than half of the images could be told apart by this number alone."
            if shift.distance > 0.5
            else "Single images cannot be told apart by this number; many together can."
        )
    )


def window_shifts(findings: WatchFindings) -> np.ndarray:
    """Means of the statistics of each window of this watch, in SD of the explained window's reference from its mean, (windows, F)."""
    if findings.explained is None:
        return np.zeros((0, 0))
    reference = findings.explained.reference.statistics.astype(np.float64)
    spread = np.where(reference.std(0) > 0, reference.std(0), 1.0)
    return np.stack([(window.sample.statistics.mean(0) - reference.mean(0)) / spread for window in findings.tested])


def heat_map(shifts: np.ndarray, windows: Sequence[str], names: Sequence[str]) -> Figure:
    """Statistics by windows; blue: lower, red: higher than the reference."""
    figure, (plot,) = axes(7.4, 0.9 + 0.3 * shifts.shape[1])
    reach = min(MOST_SHIFT, max(1.0, float(np.abs(shifts).max())))
    image = plot.imshow(shifts.T, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    plot.set_yticks(range(len(names)), list(names))
    shown = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), 12)).round().astype(int))
    plot.set_xticks(shown, [windows[index] for index in shown])
    plot.set_xlabel("window")
    plot.grid(False)
    figure.colorbar(image, ax=plot, label="shift, SD")
    return figure


def heat_sentence(shifts: np.ndarray, findings: WatchFindings) -> str:
    """When the most moved statistic began to move."""
    column = int(np.abs(shifts).max(0).argmax())
    values, name = shifts[:, column], findings.info.statistic_names[column]
    largest = int(np.abs(values).argmax())
    half = int(np.flatnonzero(np.abs(values) >= abs(values[largest]) / 2)[0])
    return (
        f"{name} moves most: {values[largest]:+.2f} SD in window {window_name(findings, largest)}. It first reaches half of that in window "
        f"{window_name(findings, half)}"
        + (
            ": it was there from the beginning of this watch."
            if half == 0
            else f", {counted(half, 'window')} after the first: this is when the change set in."
        )
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
    page.text(
        f"The mix of predicted classes differs from the reference by {percent(classes.total_variation)} (total variation), an "
        "effect that counts as "
        f"{classes.reading} [[cite:cohen1988]]."
    )
    outputs = {"detector": "BBSD: softmax outputs, KS with Holm", "value": float(explanation.outputs.distances.max())}
    rows = [outputs | {"p": explanation.outputs.p_value}]
    fixed = explanation.fixed_threshold
    if fixed is not None:
        rows.append({"detector": f"fixed-threshold MMD > {fixed.threshold:g} (teaching only)", "value": fixed.mmd, "p": None})
    page.table(rows, "Tests of the classifier's outputs, and the fixed threshold of the course where it was asked for.")


def _gallery(page: Page, explained: ExplainedWindow) -> None:
    if not explained.gallery:
        page.section("Most shifted images", "No image of this window was kept.")
        return
    page.section("Most shifted images", "By the MMD witness function; beside each the reference image that the champion finds most alike.")
    images, captions = [], []
    for pair in explained.gallery:
        images += [pair.image, pair.thumbnail]
        captions += [f"shifted: {pair.score:+.3f}", f"nearest in {pair.regime}"]
    page.gallery(images, captions, "The most shifted images of the window, each followed by the nearest image of its reference.")


def _pictures(page: Page, findings: WatchFindings) -> None:
    explained = findings.explained
    if explained is None:
        return
    name = window_name(findings, explained.number)
    for detector in detectors.DETECTORS:
        if detector.picture is None:
            continue
        page.section(detector.picture.title)
        page.figure(
            detector.picture.draw(explained.reference, explained.tested.sample),
            detector.picture.caption.format(window=name),
            key=f"drift-picture-{detector.name}",
        )
        p_value, level = explained.tested.test.p_values[detector.name], level_of_each(findings.level.alpha)
        page.text(
            f"[[drift-picture-{detector.name}]] shows two of many dimensions; the test sees them all. Its p-value here is {p_value:.2g}, "
            f"{'at or below' if p_value <= level else 'above'} the level of {level:.4g}: the two clouds "
            f"{'are' if p_value <= level else 'are not shown to be'} of different distributions."
        )


def _harm(page: Page, findings: WatchFindings) -> None:
    page.section(
        "Does it matter?",
        "Harm is judged only from uniformly random labels, by windows: each stands for its requests, recent ones more than old ones.",
        essential=True,
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
        if harm.tag:
            rows.append({"accuracy": f"accepted: {harm.tag}", "value": harm.drop.expected, "labels": round(harm.drop.expected_n)})
        whose = f"drifted requests with {harm.tag}" if harm.tag else "drifted requests"
        rows.append({"accuracy": whose, "value": harm.drop.expected - harm.drop.value, "labels": harm.drop.n})
    if harm.concept_drop is not None:
        right = harm.concept_drop.expected - harm.concept_drop.value
        rows.append({"accuracy": "requests that look as accepted", "value": right, "labels": harm.concept_drop.n})
    if rows:
        page.table(rows, "Accuracy that was accepted, and accuracy of production on random labels.", essential=True)
    if findings.drop is None:
        page.text("There are no random labels for confirmed windows yet.")
    else:
        value, low, high = (f"{100 * share:.1f}" for share in (findings.drop.value, findings.drop.low, findings.drop.high))
        page.text(
            f"Drop: {value} points from what was accepted for such images; at least {low}, and at most {high}. Each holds at all looks "
            f"at a drift together, but for a chance of {100 * findings.drop.alpha:.0f} %. The {findings.drop.n:,} labels are worth "
            f"{findings.drop.effective:,.0f} that would weigh the same. {drop_sentence(findings.drop.low, findings.drop.high)}",
            essential=True,
        )
        if any(name != CLEAN_REGIME and known is findings.clean for name, known in findings.accuracies.items()):
            page.text("Of a learned regime no accuracy is known: it is taken to be the clean one.")
    if findings.recalls:
        page.table(
            [_recall_row(recall) for recall in findings.recalls],
            "How often single classes are still recognised, critical and rare ones first. Bounds hold at all looks at a drift together.",
            key="drift-recalls",
        )
        unseen = [recall for recall in findings.recalls if not recall.told]
        if unseen:
            page.text(f"What cannot be seen: {'; '.join(recall.sentence() for recall in unseen)}.", essential=True)
        if any(recall.accepted is None for recall in findings.recalls):
            page.text("Where no accepted recall is known it is taken to be 1: the gate measures it with the next model.")
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
            f"{counts.get(HARM, 0) + counts.get(GATE, 0)} more at random (for harm and for the gate), {counts.get(FOR_CLASS, 0)} "
            f"at random among those named a critical or rare class, and {counts.get(FOR_TRAINING, 0)} "
            "of the most shifted (for training only)."
        )


def drop_sentence(low: float, high: float) -> str:
    """What bounds on a drop of accuracy show."""
    if low > 0:
        return "Accuracy is shown to have fallen."
    if high < 0:
        return "Accuracy is shown to have risen."
    return "Whether accuracy has fallen is not shown either way."


def _recall_row(recall: ClassRecall) -> dict[str, object]:
    return {
        "class": recall.name,
        "critical": recall.critical,
        "accepted recall": recall.accepted,
        "at least": recall.low,
        "at most": recall.high,
        "requests named so": recall.requests,
        "labels among them": recall.labels,
        "random labels of it": recall.cases,
        "labels that would tell": None if recall.labels_to_tell is None else rounded(recall.labels_to_tell),
    }


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
        f"Drift is confirmed by {CONFIRMED_BY} consecutive windows; or, as half of that budget is set aside for it, by the last "
        f"{', '.join(map(str, POOLED_WINDOWS[:-1]))} or {POOLED_WINDOWS[-1]} windows tested as one, at a level of "
        f"{level.pooled_alpha:.2g} each, where the rest still drifts without the most extreme of them."
    )
    if len(findings.regimes) > 1:
        page.text(f"A window is stable when it fits any of the accepted regimes ({', '.join(findings.regimes)}) or a mixture of them.")


def history_plot(windows: Sequence[RecordedWindow], names: Sequence[str], alpha: float, *, fresh: int, permutations: int) -> Figure:
    """The detectors' p-values of the latest windows, against the level.

    Args:
        windows: oldest first, the `fresh` ones of this watch at the end; the last `MOST_WINDOWS` are drawn.
        names: of the windows.
        alpha: level of a window's test.
        permutations: B: no permutation test can give less than 1 / (B + 1).
    """
    windows, names = windows[-MOST_WINDOWS:], names[-MOST_WINDOWS:]
    at = np.arange(len(windows))
    level = level_of_each(alpha)
    figure, (plot,) = axes(8.0, 2.9)
    for index, detector in enumerate(detectors.DETECTORS):
        colour = DETECTOR_COLOURS[index % len(DETECTOR_COLOURS)]
        # A window that was tested before the detector was registered leaves a gap.
        measured = np.array([window.p_values.get(detector.name, np.nan) for window in windows])
        p_values = np.maximum(measured, LEAST_DRAWN)
        plot.plot(at, p_values, color=colour, linewidth=1, zorder=2)
        label = f"{detector.title} ({detector.method})"
        plot.scatter(at, p_values, s=26, facecolor=np.where(measured <= level, colour, "white"), edgecolor=colour, zorder=3, label=label)
    plot.axhline(level, color=ALARM_COLOUR, linestyle="--", linewidth=1)
    plot.axhline(1 / (permutations + 1), color=MUTED, linestyle=":", linewidth=1)
    plot.axhline(LEAST_DRAWN, color=MUTED, linestyle=":", linewidth=0.6)
    plot.annotate("alarm below", (0, level), xycoords=("axes fraction", "data"), xytext=(3, -10), textcoords="offset points", fontsize=8)
    for last, window in enumerate(windows):
        if window.pooled:
            plot.plot([at[max(0, last - window.pooled + 1)], at[last]], [1.4, 1.4], color=ALARM_COLOUR, linewidth=2.5, marker="|", zorder=4)
    if fresh:
        plot.axvspan(len(windows) - min(fresh, len(windows)) - 0.5, at[-1] + 0.5, color=MUTED, alpha=0.10, linewidth=0)
    plot.set(yscale="log", ylim=(LEAST_DRAWN / 2, 2), xlabel="window (watch/number)", ylabel="p-value")
    shown = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), 12)).round().astype(int))
    plot.set_xticks(shown, [names[index] for index in shown])
    plot.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(detectors.DETECTORS))
    return figure


def shift_plot(shifts: Sequence[StatisticShift]) -> Figure:
    """By how many reference standard deviations each statistic's mean has moved."""
    figure, (plot,) = axes(6.4, 0.7 + 0.3 * len(shifts))
    at = np.arange(len(shifts))[::-1]
    values = np.clip([shift.shift for shift in shifts], -MOST_SHIFT, MOST_SHIFT)
    plot.barh(at, values, height=0.6, color=[ALARM_COLOUR if shift.moved else MUTED for shift in shifts])
    plot.axvline(0, color=MUTED, linewidth=0.8)
    plot.set_yticks(at, [shift.name for shift in shifts])
    plot.set_xlabel("shift of the mean, in standard deviations of the reference (red: alarms by itself; cut at 6)")
    reach = max(1.0, float(np.abs(values).max()) * 1.1)
    plot.set_xlim(-reach, reach)
    return figure
