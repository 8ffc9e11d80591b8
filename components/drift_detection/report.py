"""The figures of the drift report.

The drift report: one HTML page, from the verdict down to the single statistic.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.drift_detection.evidence import BUDGET_CAVEAT
from components.drift_detection.explain import ExplainedWindow, StatisticShift, psi_reading
from components.drift_detection.findings import WatchFindings, in_plain_words
from components.drift_detection.window_test import CAVEAT
from driftloop.reporting.page import Page
from driftloop.reporting.plot_style import MUTED, PALETTE, axes
from driftloop.watch_record import RecordedWindow

#: Windows shown in the history, and points a side in the map.
MOST_WINDOWS, MOST_POINTS = 60, 600


def history_plot(past: Sequence[RecordedWindow], fresh: Sequence[RecordedWindow], alpha: float) -> Figure:
    """Both p-values of the latest windows, against the level; drifted windows are filled, this watch's have a grey ground."""
    windows = [*past, *fresh][-MOST_WINDOWS:]
    at = np.arange(len(windows)) - (len(windows) - min(len(fresh), MOST_WINDOWS))
    figure, (plot,) = axes(8.0, 2.9)
    for name, values, colour in (
        ("image statistics (KS, Holm)", [window.p_statistics for window in windows], PALETTE[0]),
        ("embedding (MMD)", [window.p_embedding for window in windows], PALETTE[1]),
    ):
        clipped = np.maximum(values, 1e-6)
        plot.plot(at, clipped, color=colour, linewidth=1, zorder=2)
        drifted = np.array([window.drifted for window in windows])
        plot.scatter(at, clipped, s=26, facecolor=np.where(drifted, colour, "white"), edgecolor=colour, zorder=3, label=name)
    plot.axhline(alpha / 2, color=PALETTE[3], linestyle="--", linewidth=1)
    plot.annotate(
        "alarm below", (0, alpha / 2), xycoords=("axes fraction", "data"), xytext=(3, -10), textcoords="offset points", fontsize=8
    )
    if fresh:
        plot.axvspan(-0.5, at[-1] + 0.5, color=MUTED, alpha=0.10, linewidth=0)
    plot.set(yscale="log", ylim=(5e-7, 2), xlabel="window (0: first of this watch)", ylabel="p-value")
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    plot.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def shift_plot(shifts: Sequence[StatisticShift]) -> Figure:
    """By how many reference standard deviations each statistic's mean has moved."""
    figure, (plot,) = axes(6.4, 0.7 + 0.3 * len(shifts))
    at = np.arange(len(shifts))[::-1]
    values = np.clip([one.shift for one in shifts], -6, 6)
    plot.barh(at, values, height=0.6, color=[PALETTE[3] if one.moved else PALETTE[5] for one in shifts])
    plot.axvline(0, color=MUTED, linewidth=0.8)
    plot.set_yticks(at, [one.name for one in shifts])
    plot.set_xlabel("shift of the mean, in standard deviations of the reference (red: alarms by itself; cut at 6)")
    reach = max(1.0, float(np.abs(values).max()) * 1.1)
    plot.set_xlim(-reach, reach)
    return figure


def embedding_map(reference: np.ndarray, window: np.ndarray, rng: np.random.Generator) -> Figure:
    """Reference and window on the two main axes (PCA) of their embeddings (N, D) and (M, D)."""
    sides = [rows if len(rows) <= MOST_POINTS else rows[rng.choice(len(rows), MOST_POINTS, replace=False)] for rows in (reference, window)]
    flat, share = principal_axes(np.concatenate(sides))
    figure, (plot,) = axes(5.6, 4.2)
    split = len(sides[0])
    plot.scatter(flat[:split, 0], flat[:split, 1], s=9, color=PALETTE[0], alpha=0.5, linewidth=0, label=f"reference ({split} shown)")
    plot.scatter(
        flat[split:, 0], flat[split:, 1], s=9, color=PALETTE[3], alpha=0.6, linewidth=0, label=f"window ({len(flat) - split} shown)"
    )
    plot.set(xlabel=f"first axis ({share[0]:.0%} of the variance)", ylabel=f"second axis ({share[1]:.0%})")
    plot.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, D) on their first two principal axes (N, 2), and the share of the variance on each (2,); one axis is padded."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(variances)[::-1][:2]
    flat, share = centred @ directions[:, order], variances[order] / max(float(variances.sum()), 1e-30)
    missing = 2 - len(order)
    return np.pad(flat, ((0, 0), (0, missing))), np.pad(share, (0, missing))


TONES: dict[str, Literal["good", "warning", "bad"]] = {"stable": "good", "alert": "warning", "needs_labels": "warning", "retrain": "bad"}


def build_report(findings: WatchFindings) -> Page:
    """The page, ready to be written."""
    page = Page("Drift report", lead=in_plain_words(findings))
    _verdict(page, findings)
    _windows(page, findings)
    if findings.spotlight is not None:
        _what_moved(page, findings.spotlight)
        _outputs(page, findings.spotlight, findings.info.classes)
        _gallery(page, findings.spotlight)
        _map(page, findings.spotlight, findings.settings.seed)
    _harm(page, findings)
    _method(page, findings)
    return page


def _verdict(page: Page, findings: WatchFindings) -> None:
    page.notice(f"{findings.verdict.name}: {findings.verdict.reason}", TONES[findings.verdict.name])
    drifted = sum(one.window.drifted for one in findings.judged)
    judgement = findings.spotlight.judged.judgement if findings.spotlight else None
    page.tiles(
        {
            "verdict": findings.verdict.name,
            "windows drifted": f"{drifted} of {len(findings.judged)}",
            "confirmed by 2 of 3": findings.confirmed,
            "p, image statistics": None if judgement is None else judgement.statistics.p_value,
            "p, embedding": None if judgement is None else judgement.embedding.p_value,
            "accuracy drop": None if findings.drop is None else f"{100 * findings.drop.value:.1f} points",
        }
    )
    page.text(
        f"Champion: version {findings.info.champion_version}. Requests up to {findings.info.until[:19].replace('T', ' ')} UTC; "
        f"{findings.cut.waiting:,} wait for a larger window; {findings.info.other_version_rows:,} of other versions were not judged."
    )
    if findings.cut.skipped:
        page.notice(f"{findings.cut.skipped:,} windows of an old backlog were left out: drift_config.max_windows.", "warning")


def _windows(page: Page, findings: WatchFindings) -> None:
    page.section("Windows", "Each window is tested against what the champion was accepted for: one image a group, in time order.")
    if not findings.judged and not findings.history.windows:
        page.text("No window has been judged yet.")
        return
    page.figure(
        history_plot(findings.history.windows, [one.window for one in findings.judged], findings.level.alpha),
        "p-values by window; filled: drifted; grey ground: this watch.",
    )
    page.table(
        [_window_row(findings, index) for index in range(len(findings.judged))],
        f"A window drifts when one of its p-values is at most {findings.level.alpha / 2:.4g}. Accuracy: on random labels.",
    )


def _window_row(findings: WatchFindings, index: int) -> dict[str, object]:
    one = findings.judged[index]
    row: dict[str, object] = {
        "window": index,
        "from": one.window.first[5:16].replace("T", "\u00a0").replace("-", "\u2011"),
        "requests": one.window.rows,
        "tested": one.judgement.rows,
        "p statistics": one.window.p_statistics,
        "p embedding": one.window.p_embedding,
        "MMD²": f"{one.judgement.embedding.mmd2:.4f}".replace("-", "\u2212"),
        "n/(n+m)": one.judgement.share,
        "drifted": one.window.drifted,
        "accuracy": one.window.accuracy,
    }
    return row | {"best fit": _mixture(findings, one.judgement.weights)} if len(findings.regimes) > 1 else row


def _mixture(findings: WatchFindings, weights: np.ndarray) -> str:
    return " + ".join(
        f"{weight:.0%} {name}" if weight < 1 else name for name, weight in zip(findings.regimes, weights, strict=True) if weight > 0
    )


def _what_moved(page: Page, shown: ExplainedWindow) -> None:
    explanation = shown.explanation
    page.section(f"What moved in window {shown.number}")
    moved = explanation.moved
    page.text(
        f"Statistics that alarm by themselves: {', '.join(one.name for one in moved)}." if moved else "No image statistic alarms by itself."
    )
    page.figure(shift_plot(explanation.statistics), "Shift of each image statistic.")
    page.table(
        [
            {
                "statistic": one.name,
                "reference median": one.reference_median,
                "window median": one.window_median,
                "shift (SD)": one.shift,
                "KS distance": one.distance,
                "p (Holm)": one.p_value,
                "PSI": one.psi,
                "PSI reading": psi_reading(one.psi),
            }
            for one in explanation.statistics
        ],
        "The shift, the KS distance and PSI are effect sizes; only the p-values decide.",
    )


def _outputs(page: Page, shown: ExplainedWindow, names: list[str]) -> None:
    explanation = shown.explanation
    classes = explanation.classes
    page.section("What the classifier says", "These explain and never decide.")
    page.table(
        [
            {"class": name, "share in reference": before, "share in window": now}
            for name, before, now in zip(names, classes.reference_shares.tolist(), classes.window_shares.tolist(), strict=True)
        ],
        f"Predicted classes: chi-square p = {classes.p_value:.3g}, Cohen's w = {classes.effect_size:.2f} ({classes.reading}).",
    )
    fixed = explanation.fixed_threshold
    page.table(
        [
            {
                "detector": "BBSD: softmax outputs, KS with Holm",
                "value": float(explanation.outputs.distances.max()),
                "p": explanation.outputs.p_value,
            },
            {"detector": f"fixed-threshold MMD > {fixed.threshold:g} (teaching only)", "value": fixed.mmd, "p": None},
        ]
    )


def _gallery(page: Page, shown: ExplainedWindow) -> None:
    if not shown.gallery:
        page.section("Most shifted images", "No image of this window was kept.")
        return
    page.section("Most shifted images", "By the MMD witness function; beside each the reference image that the champion finds most alike.")
    images, captions = [], []
    for pair in shown.gallery:
        images += [pair.image, pair.thumbnail]
        captions += [f"shifted: {pair.score:+.3f}", f"nearest in {pair.regime}"]
    page.gallery(images, captions)


def _map(page: Page, shown: ExplainedWindow, seed: int) -> None:
    page.section("Embedding map")
    figure = embedding_map(shown.reference.embedding, shown.judged.sample.embedding, np.random.default_rng(seed))
    page.figure(figure, f"Reference and window {shown.number} on the main axes of the champion's embedding.")


def _harm(page: Page, findings: WatchFindings) -> None:
    page.section("Does it matter?", "Harm is judged only from uniformly random labels of requests in confirmed windows.")
    rows = []
    if findings.clean is not None:
        rows.append({"accuracy": "clean test split, as served", "value": findings.clean.value, "labels": findings.clean.n})
    if findings.drop is not None and findings.clean is not None:
        rows.append({"accuracy": "drifted requests", "value": findings.clean.value - findings.drop.value, "labels": findings.drop.n})
    if rows:
        page.table(rows)
    if findings.drop is None:
        page.text("There are no random labels for confirmed windows yet.")
    else:
        value, low, high = (f"{100 * share:.1f}" for share in (findings.drop.value, findings.drop.low, findings.drop.high))
        page.text(f"Drop: {value} points; with 95 % confidence at least {low}, and with 95 % confidence at most {high}.")
    if findings.label_free is not None:
        page.notice(f"Estimate without labels (average thresholded confidence): accuracy {findings.label_free.accuracy:.3f}. {CAVEAT}")
    counts = findings.requests["origin"].value_counts()
    if len(counts):
        page.text(
            f"label_requests.csv lists {counts.get('random', 0)} images drawn at random (for harm and for the gate) and "
            f"{counts.get('ranked', 0)} of the most shifted (for training only)."
        )


def _method(page: Page, findings: WatchFindings) -> None:
    level = findings.level
    page.section("How this was decided")
    page.text(
        f"A window of up to {findings.size} images is compared with the reference by Kolmogorov-Smirnov over its image statistics (Holm) "
        f"and by kernel MMD over embeddings ({level.permutations:,} permutations), each at alpha / 2. alpha is {level.alpha:.4g}: at most "
        f"the {level.asked:g} asked for, and such that {level.windows_per_90_days:g} windows in 90 days give no more than about "
        f"{level.budget:g} false confirmed alarms. Drift is confirmed by 2 of 3 consecutive windows."
    )
    page.text(BUDGET_CAVEAT)
    if len(findings.regimes) > 1:
        page.text(f"A window is stable when it fits any of the accepted regimes ({', '.join(findings.regimes)}) or a mixture of them.")
