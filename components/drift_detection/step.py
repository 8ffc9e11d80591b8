"""Theme 6: has production drifted from what the champion was accepted for, and does it matter?"""

from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from components.drift_detection.evidence import write_evidence
from components.drift_detection.explain import explain_window
from components.drift_detection.findings import WatchFindings
from components.drift_detection.judged_harm import judge_harm
from components.drift_detection.kept_rows import kept_rows, recorded_watch
from components.drift_detection.label_requests import requests_for
from components.drift_detection.label_tallies import WindowPlaces
from components.drift_detection.policy import Situation, decide, missing_for_retraining
from components.drift_detection.reference import answered_rows, read_champion
from components.drift_detection.report import build_report
from components.drift_detection.reported_metrics import log_drift_metrics
from components.drift_detection.unlabelled import estimate_without_labels, with_expectations
from components.drift_detection.window_test import tested_windows
from components.drift_detection.windows import (
    cover_rows,
    cut_windows,
    drift_is_confirmed,
    effective_size,
    expected_windows,
    level_of,
    read_history,
    untested,
)
from driftloop.dataset.group_names import GroupNames
from driftloop.inference.confirmed_rows import accepted_rows
from driftloop.inference.labels import write_requested
from driftloop.inference.traffic import read_traffic
from driftloop.registry.bundle_link import linked_bundle
from driftloop.runtime import MetricsLog
from driftloop.settings import DriftSettings, RetrainSettings
from driftloop.store import open_store
from driftloop.watch_store import start_watch


def run(
    traffic: str,
    champion: str,
    evidence: str,
    report: str,
    *,
    store: str,
    alpha: float,
    config: dict[str, Any] | None = None,
    retrain_config: dict[str, Any] | None = None,
    metrics: MetricsLog,
) -> str:
    """Test a watch's rows, decide what follows, write the evidence and the report, and start the watch's record.

    The record is in the store before anything is trained, so that a retraining that dies is known to the next watch.

    Args:
        traffic: directory written by production_monitoring.
        champion: bundle of the model that served those rows, with its drift reference, or a link to it.
        evidence: directory to write drift_report.json, windows.parquet, label_requests.csv and facts.json into.
        report: HTML file to write.
        store: the model's home: holds the images and what `champion` links to, and takes the record.
        alpha: level of a window's test before the budget lowers it, in the range of `drift_alpha`.
        config: overrides of DriftSettings.
        retrain_config: overrides of RetrainSettings, the same that a retraining will get: it is started with enough labels only.
        metrics: takes the figures for the pipeline's UI.

    Returns:
        The verdict: `stable`, `alert`, `needs_labels` or `retrain`.

    Raises:
        InputError: no traffic, no champion with a reference, or vectors that cannot be compared.
        SettingError: an alpha or a setting out of range.
        Conflict: another run has this watch.
    """
    settings, retrain = DriftSettings.complete(config), RetrainSettings.complete(retrain_config)
    home, watch = open_store(store), read_traffic(traffic)
    rng = np.random.default_rng([settings.seed, watch.info.sequence])
    with TemporaryDirectory(prefix="driftloop-champion-") as scratch:
        accepted = read_champion(linked_bundle(home, champion, scratch), rng)

    rows = answered_rows(watch)
    history = read_history(watch.records, champion_version=watch.info.champion_version, until=watch.info.until)
    pending = untested(rows)
    size = effective_size(settings.window_size, len(accepted.regimes.samples[0]))
    cut = cut_windows(rows[pending], size=size, minimum=settings.minimum_window, most=settings.max_windows)
    level = level_of(alpha, settings, windows=expected_windows(watch.records, rows[pending], cut.windows, watch.info.until))

    tested = with_expectations(accepted, tested_windows(rows[pending], cut.windows, accepted.regimes, level, rng))
    drifted = [window.record.drifted for window in tested]
    confirmed = drift_is_confirmed(history.open_flags, drifted)
    coverage = cover_rows(rows, pending, cut.windows, drifted, history)
    places = WindowPlaces.of(history, [window.record for window in tested], watch.info.sequence)

    harm = judge_harm(rows, coverage, places, accepted.accuracies, watch.records, settings, confirmed=confirmed)
    covered = harm.coverage.frame(rows)
    label_free = estimate_without_labels(accepted, tested)
    situation = Situation(
        tested=len(tested),
        drifted=sum(drifted),
        confirmed=confirmed,
        waiting=cut.waiting,
        waiting_groups=cut.waiting_groups,
        minimum=min(settings.minimum_window, size),
        stuck=cut.stuck,
        drop=harm.drop,
        concept_drop=harm.concept_drop,
        labels_to_decide=harm.labels_to_decide(settings),
        labels=harm.labels,
        obtainable=harm.obtainable,
        skipped=harm.skipped,
        labels_at_refusal=history.labels_at_refusal,
        missing_for_retraining=missing_for_retraining(watch, covered, accepted.model, retrain) if harm.judged else "",
        label_free_drop=label_free.drop if label_free else None,
        label_free_growth=harm.label_free_growth(places, label_free.drop if label_free else None),
        days_since_retraining=history.days_since_retraining,
        recent_retrainings=history.recent_retrainings,
    )
    verdict = decide(situation, settings, retrain)

    explained = explain_window(watch, home, rows[pending], cut.windows, tested, accepted, alpha=level.alpha, settings=settings, rng=rng)
    findings = WatchFindings(
        info=watch.info,
        settings=settings,
        level=level,
        size=size,
        cut=cut,
        regimes=list(accepted.regimes.names),
        history=history,
        tested=tested,
        confirmed=confirmed,
        explained=explained,
        clean=accepted.clean,
        accuracies=accepted.accuracies,
        harm=harm,
        label_free=label_free,
        verdict=verdict,
        coverage=covered,
        requests=requests_for(
            rows,
            coverage,
            places,
            harm.concerned,
            explained.reference if explained else accepted.regimes.samples[0],
            settings,
            rng,
            teaching=~accepted_rows(rows, retrain, GroupNames.known(home)),
            purpose=verdict.purpose,
            until=watch.info.until,
        ),
    )
    write_evidence(evidence, findings, traffic, champion)
    build_report(findings).write(report)
    adopted = bool(watch.records) and watch.records[-1].coverage is None
    asked = set(findings.requests["request_id"])
    kept = kept_rows(rows, pending, cut, tested, watch.info.sequence, coverage=coverage, asked=asked, adopted=adopted)
    start_watch(home, recorded_watch(home, watch, findings, kept))
    write_requested(home, watch.info.sequence, findings.requests)
    log_drift_metrics(findings, metrics)
    return verdict.name
