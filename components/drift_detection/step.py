"""Theme 6: has production drifted from what the champion was accepted for, and does it matter?"""

from dataclasses import replace
from datetime import datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from components.drift_detection.acceptance import Acceptance, acceptance_of
from components.drift_detection.evidence import write_evidence
from components.drift_detection.explain import explain_window
from components.drift_detection.findings import WatchFindings
from components.drift_detection.judged_harm import JudgedHarm, judge_harm
from components.drift_detection.kept_rows import kept_rows, recorded_watch
from components.drift_detection.label_requests import asked_labels
from components.drift_detection.label_tallies import WindowPlaces
from components.drift_detection.labelling_sheet import write_sheet
from components.drift_detection.policy import Situation, Verdict, decide, gravest, missing_for_retraining, verdict_of_tag
from components.drift_detection.pooled import drifted_together, with_marks
from components.drift_detection.recalls import class_recalls
from components.drift_detection.reference import answered_rows, read_champion
from components.drift_detection.report import build_report
from components.drift_detection.reported_metrics import log_drift_metrics
from components.drift_detection.tagged_harm import (
    Judged,
    judge_level,
    judged_level,
    oversampled,
    requests_of_watch,
    rows_of_open_drifts,
    unknown_levels,
)
from components.drift_detection.tags import TAGS_SHARE, examine_level, levels_in, number_of_tests, waiting_tags
from components.drift_detection.unlabelled import estimate_without_labels, with_expectations
from components.drift_detection.window_test import tested_windows
from components.drift_detection.windows import (
    cover_rows,
    cut_windows,
    drift_is_confirmed,
    effective_size,
    expected_in_90_days,
    level_of,
    read_history,
    untested,
)
from driftloop.accepted_drifts import accept
from driftloop.contracts import DRIFT_DETECTION, PRODUCTION_MONITORING
from driftloop.dataset.group_names import GroupNames
from driftloop.inference.confirmed_rows import accepted_rows, judging_rows
from driftloop.inference.labels import write_requested
from driftloop.inference.traffic import read_traffic
from driftloop.inference.watch_tables import FOR_TAG
from driftloop.registry.bundle_link import linked_bundle
from driftloop.reporting.chapter import write_chapter
from driftloop.runtime import MetricsLog
from driftloop.settings import DriftSettings, RetrainSettings, critical_names
from driftloop.step_facts import read_facts
from driftloop.store import open_store
from driftloop.tracking import leave_record
from driftloop.watch_store import start_watch


def run(
    traffic: str,
    champion: str,
    evidence: str,
    report: str,
    sheet: str,
    *,
    store: str,
    alpha: float,
    critical_classes: str = "",
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
        sheet: HTML file to write: the images to label, for people.
        store: the model's home: holds the images and what `champion` links to, and takes the record.
        alpha: level of a window's test before the budget lowers it, in the range of `drift_alpha`.
        critical_classes: names, separated by commas, of classes for which an unknown recall is not harmless.
        config: overrides of DriftSettings.
        retrain_config: overrides of RetrainSettings, the same that a retraining will get: it is started with enough labels only.
        metrics: takes the figures for the pipeline's UI.

    Returns:
        The verdict: `stable`, `alert`, `needs_labels` or `retrain`.

    Raises:
        InputError: no traffic, no champion with a reference, or vectors that cannot be compared.
        SettingError: an alpha or a setting out of range, or a critical class that the champion does not know.
        Conflict: another run has this watch.
    """
    settings, retrain = DriftSettings.complete(config), RetrainSettings.complete(retrain_config)
    home, watch = open_store(store), read_traffic(traffic)
    rng = np.random.default_rng([settings.seed, watch.info.sequence])
    with TemporaryDirectory(prefix="driftloop-champion-") as scratch:
        accepted = read_champion(linked_bundle(home, champion, scratch), rng)
    critical = critical_names(critical_classes, accepted.model.classes)

    rows = answered_rows(watch)
    history = read_history(watch.records, champion_version=watch.info.champion_version, until=watch.info.until)
    pending = untested(rows)
    size = effective_size(settings.window_size, len(accepted.regimes.samples[0]))
    ripe = datetime.fromisoformat(watch.info.until) - timedelta(days=settings.wait_days) if settings.wait_days else None
    cut = cut_windows(rows[pending], size=size, minimum=settings.minimum_window, most=settings.max_windows, ripe=ripe)
    expected = expected_in_90_days(watch.records, rows[pending], cut.windows, watch.info.until)
    # Draws of their own: tags change nothing about the test of all requests but its level.
    rng_of_tags = np.random.default_rng([settings.seed, watch.info.sequence, 1])
    levels = levels_in(rows, accepted, rng_of_tags)
    tests = number_of_tests(levels, watch.records, watch.info.champion_version)
    share = 1 - TAGS_SHARE if tests else 1.0
    level = level_of(alpha, settings, windows=expected.windows, looks=expected.looks, share=share)

    tested = with_expectations(accepted, tested_windows(rows[pending], cut.windows, accepted.regimes, level, rng))
    drifted = [window.record.drifted for window in tested]
    confirmed = drift_is_confirmed(history.open_flags, drifted)
    pooled = None if confirmed else drifted_together(rows, pending, cut.windows, tested, history, accepted.regimes, level, rng)
    if pooled:
        tested, history = with_marks(tested, history, pooled)
        drifted, confirmed = [window.record.drifted for window in tested], True
    every_row = cover_rows(rows, pending, cut.windows, drifted, history)
    # What is only here for the sake of its tag says nothing about the others of its window.
    others = ~rows[FOR_TAG].to_numpy(dtype=bool)
    coverage = replace(every_row, covered=every_row.covered & others, confirmed=every_row.confirmed & others)
    places = WindowPlaces.of(history, [window.record for window in tested], watch.info.sequence)

    names = GroupNames.known(home)
    judging = judging_rows(rows, retrain, names)
    fresh = np.where(every_row.covered & (every_row.window >= 0), every_row.window, -1)
    tags = [
        examine_level(
            rows,
            fresh,
            of_tag,
            of_tag.regimes,
            watch.records,
            history,
            settings,
            level,
            tests=tests,
            sequence=watch.info.sequence,
            version=watch.info.champion_version,
            until=watch.info.until,
            ripe=ripe,
            rng=rng_of_tags,
        )
        for of_tag in levels
        if of_tag.regimes is not None
    ]
    due = history.calendar_due(settings)
    # After a rollback the newest record is of another champion, which has counted nothing for this one.
    own_records = [record for record in watch.records if record.champion_version == watch.info.champion_version]
    harms = [
        judge_harm(
            rows,
            coverage,
            places,
            accepted.accuracies,
            own_records,
            settings,
            judging=judging,
            confirmed=confirmed,
            oversampled=oversampled(tags, places, len(rows)),
            share=share,
            calendar_due=due,
        )
    ]
    of_levels = [
        (found, judge_level(rows, every_row, places, found, accepted, own_records, settings, judging=judging, tests=tests))
        for found in tags
    ]
    concerned = [(found, harm) for found, harm in of_levels if harm.confirmed or harm.concept]
    harms += [harm for _, harm in concerned]
    recalls = class_recalls(
        rows,
        coverage,
        places,
        harms[0].in_drift,
        accepted.recalls,
        settings,
        judging=judging,
        critical=critical,
        classes=accepted.model.classes,
        gate_share=retrain.gate_share,
    )
    unknown = unknown_levels(rows, harms[0], tags, accepted, judging=judging, tests=tests)
    label_free = estimate_without_labels(accepted, tested)

    def judged(harm: JudgedHarm, acceptance: Acceptance | None) -> Verdict:
        estimate = label_free.drop if label_free and not harm.tag else None
        calendar_due = due and not harm.tag
        # What the classes of a level's requests were predicted as is not recorded: classes are judged over all requests.
        critical_ones = [] if harm.tag else [recall for recall in recalls if recall.critical]
        missing = ""
        if harm.judged or calendar_due or settings.retrain_on == "alarm":
            missing = missing_for_retraining(
                watch, harm.coverage.frame(rows), accepted.model, retrain, since_decision=not (harm.confirmed or harm.concept)
            )
        situation = Situation(
            tested=len(tested),
            drifted=sum(drifted),
            confirmed=harm.confirmed,
            waiting=cut.waiting,
            waiting_groups=cut.waiting_groups,
            minimum=cut.needed,
            stuck=cut.stuck,
            drop=harm.drop,
            concept_drop=harm.concept_drop,
            accepted=acceptance.said if acceptance else "",
            accepted_growth=acceptance.growth(estimate) if acceptance else None,
            labels_to_decide=harm.labels_to_decide(settings, retrain),
            too_few_accepted=harm.too_few_accepted(settings),
            labels=harm.labels,
            gate_labels=harm.gate_labels,
            gate_independent=harm.gate_independent,
            gate_obtainable=harm.gate_obtainable,
            skipped=harm.skipped,
            unknown_recalls=tuple(recall.sentence() for recall in critical_ones if not recall.told),
            fallen_recalls=tuple(recall.sentence() for recall in critical_ones if recall.fallen),
            unknown_levels=() if harm.tag else tuple(unknown),
            labels_at_refusal=history.labels_at_refusal(harm.tag, harm.drift),
            rolled_back=history.rolled_back(harm.tag, harm.drift),
            concept_rejected=history.concept_rejected(harm.tag),
            missing_for_retraining=missing,
            calendar_due=calendar_due,
            label_free_drop=estimate,
            label_free_growth=harm.label_free_growth(places, estimate),
            days_since_retraining=history.days_since_retraining,
            recent_retrainings=history.recent_retrainings,
        )
        return verdict_of_tag(harm.tag, decide(situation, harm.own_settings(settings), retrain))

    acceptances = [acceptance_of(home, watch.info.champion_version, harm, places, watch.records, settings) for harm in harms]
    verdicts = [judged(harm, acceptance) for harm, acceptance in zip(harms, acceptances, strict=True)]
    chosen = gravest(verdicts)
    harm, verdict, covered = harms[chosen], verdicts[chosen], harms[chosen].coverage.frame(rows)
    in_force = harm.own_settings(settings)

    explained = explain_window(watch, home, rows[pending], cut.windows, tested, accepted, alpha=level.alpha, settings=settings, rng=rng)
    reference = explained.reference if explained else accepted.regimes.samples[0]
    drifts = [Judged(harms[0], verdicts[0], places, coverage, reference)]
    drifts += [judged_level(of_level, said, found, places) for (found, of_level), said in zip(concerned, verdicts[1:], strict=True)]
    requests = requests_of_watch(
        rows,
        drifts,
        harm,
        settings,
        rng,
        teaching=~accepted_rows(rows, retrain, names),
        judging=judging,
        critical=critical,
        until=watch.info.until,
    )
    findings = WatchFindings(
        info=watch.info,
        settings=in_force,
        level=level,
        size=size,
        cut=cut,
        regimes=list(accepted.regimes.names),
        history=history,
        tested=tested,
        confirmed=confirmed,
        pooled=pooled,
        explained=explained,
        clean=accepted.clean,
        accuracies=accepted.accuracies,
        harm=harm,
        harms=harms,
        levels=levels,
        tags=tags,
        recalls=recalls,
        label_free=label_free,
        verdict=verdict,
        coverage=covered,
        requests=requests,
        asked=asked_labels(requests, rows, harm, drifts[chosen].places, in_force, judging=judging, verdict=verdict),
        acceptances=[acceptance.recorded(harm.tag) for harm, acceptance in zip(harms, acceptances, strict=True) if acceptance],
    )
    write_evidence(evidence, findings, traffic, champion)
    page = build_report(findings)
    page.write(report)
    write_sheet(sheet, home, rows, requests, watch.info.classes)
    write_chapter(evidence, DRIFT_DETECTION, page.chapter)
    adopted = bool(watch.records) and watch.records[-1].coverage is None
    asked = set(findings.requests["request_id"])
    kept = kept_rows(
        rows,
        pending,
        cut,
        tested,
        watch.info.sequence,
        coverage=every_row,
        asked=asked,
        adopted=adopted,
        tag_waits=waiting_tags(tags, len(rows)),
        of_tags=rows_of_open_drifts(rows, tags, every_row, places),
    )
    start_watch(home, recorded_watch(home, watch, findings, kept, read_facts(traffic).get(PRODUCTION_MONITORING, {})))
    if verdict.harmless and settings.accept_harmless_after and harm.concerned.sum() >= settings.accept_harmless_after:
        reason = f"harmless after {harm.concerned.sum()} windows"
        accept(home, watch.info.champion_version, harm.drift, by="the policy", reason=reason, tag=harm.tag, at=watch.info.until)
    write_requested(home, watch.info.sequence, findings.requests)
    leave_record(home, DRIFT_DETECTION, evidence, {"report.html": report})
    log_drift_metrics(findings, metrics)
    return verdict.name
