"""Theme 6: has production drifted from what the champion was accepted for, and does it matter?"""

from typing import Any

import numpy as np

from components.drift_detection.evidence import write_evidence
from components.drift_detection.explain import explain_window
from components.drift_detection.findings import WatchFindings
from components.drift_detection.harm import correct_answers, drop_from
from components.drift_detection.label_requests import requests_for
from components.drift_detection.policy import decide, situation_of
from components.drift_detection.reference import answered_rows, read_champion
from components.drift_detection.report import build_report
from components.drift_detection.window_test import estimate_without_labels, tested_windows
from components.drift_detection.windows import cover_rows, cut_windows, drift_is_confirmed, effective_size, level_of, read_history, untested
from driftloop.inference.traffic import read_traffic
from driftloop.runtime import MetricsLog, report_metrics
from driftloop.settings import DriftSettings


def run(
    traffic: str, champion: str, evidence: str, report: str, *, alpha: float, config: dict[str, Any] | None = None, metrics: MetricsLog
) -> str:
    """Judge a watch's rows and write the evidence and the report.

    Args:
        traffic: directory written by production_monitoring.
        champion: bundle of the model that served those rows, with its drift reference.
        evidence: directory to write drift_report.json, windows.parquet, label_requests.csv and facts.json into.
        report: HTML file to write.
        alpha: level of one window's test before the budget lowers it, in the range of `drift_alpha`.
        config: overrides of DriftSettings.
        metrics: takes the figures for the pipeline's UI.

    Returns:
        The verdict: `stable`, `alert`, `needs_labels` or `retrain`.

    Raises:
        InputError: no window, no champion with a reference, or vectors that cannot be compared.
        SettingError: an alpha or a setting out of range.
    """
    settings = DriftSettings.complete(config)
    watch = read_traffic(traffic)
    rng = np.random.default_rng([settings.seed, watch.info.sequence])
    accepted = read_champion(champion, rng)

    rows = answered_rows(watch)
    history = read_history(watch.records, champion_version=watch.info.champion_version, until=watch.info.until)
    pending = untested(rows, history)
    size = effective_size(settings.window_size, len(accepted.regimes.samples[0]))
    pieces = cut_windows(rows[pending], size=size, minimum=settings.minimum_window, most=settings.max_windows)
    level = level_of(alpha, settings, windows=history.recent_windows + len(pieces.windows))

    judged = tested_windows(rows[pending], pieces.windows, accepted.regimes, level, rng)
    drifted = [one.window.drifted for one in judged]
    is_confirmed = drift_is_confirmed(history.votes, drifted)
    coverage = cover_rows(rows, pending, pieces.windows, drifted, history)

    # Labels of long ago say nothing about a drift that goes on growing: harm is judged, and labels are asked for, in the newest windows.
    concerned = rows[coverage.latest_confirmed(settings.harm_windows) if is_confirmed else coverage.drifted & pending]
    drop = drop_from(accepted.clean, concerned) if is_confirmed and accepted.clean else None
    _, labels = correct_answers(rows[coverage.confirmed])
    label_free = estimate_without_labels(accepted, judged)
    situation = situation_of(settings, size, pieces, drifted, is_confirmed, accepted.clean, drop, labels, label_free, history)
    verdict = decide(situation, settings)

    shown = explain_window(watch, rows[pending], pieces.windows, judged, accepted, alpha=level.alpha, settings=settings, rng=rng)
    findings = WatchFindings(
        info=watch.info,
        settings=settings,
        level=level,
        size=size,
        cut=pieces,
        regimes=list(accepted.regimes.names),
        history=history,
        judged=judged,
        confirmed=is_confirmed,
        spotlight=shown,
        clean=accepted.clean,
        drop=drop,
        labels=labels,
        label_free=label_free,
        verdict=verdict,
        coverage=coverage.frame(rows),
        requests=requests_for(concerned, shown.reference if shown else accepted.regimes.samples[0], settings, rng),
    )
    write_evidence(evidence, findings, traffic, champion)
    build_report(findings).write(report)
    _tell(findings, metrics)
    return verdict.name


def _tell(findings: WatchFindings, metrics: MetricsLog) -> None:
    """The figures that matter, for the UI and for the log."""
    drifted = sum(one.window.drifted for one in findings.judged)
    named: dict[str, float] = {"windows": len(findings.judged), "windows_drifted": drifted, "alpha": findings.level.alpha}
    text = f"{findings.verdict.name}: {drifted} of {len(findings.judged)} windows drifted"
    if findings.spotlight:
        judgement = findings.spotlight.judged.judgement
        named |= {
            "p_statistics": judgement.statistics.p_value,
            "p_embedding": judgement.embedding.p_value,
            "mmd2": judgement.embedding.mmd2,
        }
        text += f", p {judgement.statistics.p_value:.2g} (statistics) {judgement.embedding.p_value:.2g} (embedding)"
    if findings.drop:
        named |= {"accuracy_drop": findings.drop.value, "accuracy_drop_low": findings.drop.low, "accuracy_drop_high": findings.drop.high}
        text += f", accuracy down {100 * findings.drop.value:.1f} points on {findings.drop.n} labels"
    for name, value in named.items():
        metrics.log_metric(name, value)
    report_metrics(text)
