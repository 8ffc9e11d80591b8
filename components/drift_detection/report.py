"""The drift report: one HTML page, from the verdict down to the single statistic."""

from typing import Literal

import numpy as np

from components.drift_detection.evidence import BUDGET_CAVEAT
from components.drift_detection.figures import embedding_map, history_plot, shift_plot
from components.drift_detection.findings import Findings
from components.drift_detection.label_free import CAVEAT
from components.drift_detection.plain_words import for_a_manager
from components.drift_detection.psi import psi_reading
from components.drift_detection.spotlight import Spotlight
from driftloop.reporting.page import Page

TONES: dict[str, Literal["good", "warning", "bad"]] = {"stable": "good", "alert": "warning", "needs_labels": "warning", "retrain": "bad"}


def build_report(findings: Findings) -> Page:
    """The page, ready to be written."""
    page = Page("Drift report", lead=for_a_manager(findings))
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


def _verdict(page: Page, findings: Findings) -> None:
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


def _windows(page: Page, findings: Findings) -> None:
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


def _window_row(findings: Findings, index: int) -> dict[str, object]:
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


def _mixture(findings: Findings, weights: np.ndarray) -> str:
    return " + ".join(
        f"{weight:.0%} {name}" if weight < 1 else name for name, weight in zip(findings.regimes, weights, strict=True) if weight > 0
    )


def _what_moved(page: Page, shown: Spotlight) -> None:
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


def _outputs(page: Page, shown: Spotlight, names: list[str]) -> None:
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


def _gallery(page: Page, shown: Spotlight) -> None:
    if not shown.gallery:
        page.section("Most shifted images", "No image of this window was kept.")
        return
    page.section("Most shifted images", "By the MMD witness function; beside each the reference image that the champion finds most alike.")
    images, captions = [], []
    for pair in shown.gallery:
        images += [pair.image, pair.thumbnail]
        captions += [f"shifted: {pair.score:+.3f}", f"nearest in {pair.regime}"]
    page.gallery(images, captions)


def _map(page: Page, shown: Spotlight, seed: int) -> None:
    page.section("Embedding map")
    figure = embedding_map(shown.reference.embedding, shown.judged.sample.embedding, np.random.default_rng(seed))
    page.figure(figure, f"Reference and window {shown.number} on the main axes of the champion's embedding.")


def _harm(page: Page, findings: Findings) -> None:
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


def _method(page: Page, findings: Findings) -> None:
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
