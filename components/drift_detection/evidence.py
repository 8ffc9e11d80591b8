"""The evidence directory: drift_report.json, windows.parquet, label_requests.csv, facts.json."""

from pathlib import Path
from typing import Any

from components.drift_detection import detectors
from components.drift_detection.explain import psi_reading
from components.drift_detection.findings import WatchFindings, in_plain_words
from components.drift_detection.unlabelled import LABEL_FREE_CAVEAT
from driftloop.contracts import DRIFT_DETECTION, DRIFT_REPORT, LABEL_REQUESTS, WINDOW_ROWS
from driftloop.deliverables import harmless
from driftloop.step_facts import write_facts, write_json

BUDGET_CAVEAT = (
    "The budget covers sampling error only, not real variation from day to day: take references from several days. Given one fixed "
    "reference the true level varies around the nominal one, the less so the smaller n / (n + m) is."
)


def write_evidence(directory: str | Path, findings: WatchFindings, *inherited: str | Path) -> None:
    """Write all four files; `inherited` directories hand on the facts of the steps before."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    summary = drift_facts(findings)
    write_json(directory / DRIFT_REPORT, summary | {"details": _details(findings)})
    findings.coverage.to_parquet(directory / WINDOW_ROWS, index=False)
    requests = findings.requests.assign(group=findings.requests["group"].map(harmless, na_action="ignore"))
    requests.to_csv(directory / LABEL_REQUESTS, index=False)
    write_facts(directory, DRIFT_DETECTION, summary, *inherited)


def drift_facts(findings: WatchFindings) -> dict[str, Any]:
    """What the steps after this one, the record of the watch and the final report need."""
    test = findings.explained.tested.test if findings.explained else None
    return {
        "verdict": findings.verdict.name,
        "reason": findings.verdict.reason,
        "nothing_to_win": findings.verdict.nothing_to_win,
        "in_plain_words": in_plain_words(findings),
        "detectors": {detector.name: detector.title for detector in detectors.DETECTORS},
        "p_values": {detector.name: test.p_values[detector.name] if test else None for detector in detectors.DETECTORS},
        "confirmed": findings.confirmed,
        "tag": findings.harm.tag,
        "tags": tag_rows(findings),
        "confirmed_together": _together(findings),
        "windows": [window.record.model_dump() for window in findings.tested],
        "drop": None if findings.drop is None else findings.drop.as_dict(),
        "concept": findings.harm.concept,
        "labels": findings.labels,
        "gate_labels": findings.harm.gate_labels,
        "recalls": [recall.model_dump() | {"sentence": recall.sentence()} for recall in findings.recalls],
        "skipped_requests": findings.harm.skipped,
        "clean_accuracy": None if findings.clean is None else findings.clean.model_dump(),
        "label_free": None
        if findings.label_free is None
        else {"accuracy": findings.label_free.accuracy, "drop": findings.label_free.drop, "caveat": LABEL_FREE_CAVEAT},
        "alpha": findings.level.alpha,
        "alpha_asked": findings.level.asked,
        "pooled_alpha": findings.level.pooled_alpha,
        "permutations": findings.level.permutations,
        "windows_per_90_days": findings.level.windows_per_90_days,
        "false_alarms_per_90_days": findings.level.budget,
        "window_size": findings.size,
        "waiting": findings.cut.waiting,
        "skipped_windows": findings.cut.skipped,
        "ungrouped_requests": findings.cut.ungrouped,
        "regimes": findings.regimes,
        "regime_accuracy": {name: accuracy.model_dump() for name, accuracy in findings.accuracies.items()},
        "store": findings.info.store,
        "harmless": findings.verdict.harmless,
        "asked": findings.asked.model_dump(),
        "requests": {name: int(count) for name, count in findings.requests["origin"].value_counts().items()},
        "requests_for": {name: int(count) for name, count in findings.requests["purpose"].value_counts().items()},
    }


def tag_rows(findings: WatchFindings) -> list[dict[str, Any]]:
    """A row for each level of a tag in the traffic: what was tested of it, and what its labels say."""
    tested = {found.level.title: found for found in findings.tags}
    drops = {harm.tag: harm.judged for harm in findings.harms if harm.tag}
    rows: list[dict[str, Any]] = []
    for level in findings.levels:
        found, drop = tested.get(level.title), drops.get(level.title)
        row: dict[str, Any] = {
            "tag": level.title,
            "requests": level.requests,
            "reference_groups": level.groups,
            "tested": found is not None,
        }
        if found is not None:
            row |= {
                "window_size": found.size,
                "alpha": found.alarm.alpha,
                "windows": [window.model_dump() for window in found.fresh],
                "waiting": found.cut.waiting,
                "confirmed": found.confirmed,
                "drop": None if drop is None else drop.as_dict(),
            }
        rows.append(row)
    return rows


def _together(findings: WatchFindings) -> dict[str, Any] | None:
    pooled = findings.pooled
    if pooled is None:
        return None
    return {"windows": pooled.windows, "images": pooled.test.rows, "p_values": pooled.test.p_values, "why": pooled.sentence()}


def _details(findings: WatchFindings) -> dict[str, Any]:
    gallery = findings.explained.gallery if findings.explained else []
    return {
        "budget_caveat": BUDGET_CAVEAT,
        "windows": [_window_details(findings, index) for index in range(len(findings.tested))],
        "explained_window": findings.explained.number if findings.explained else None,
        "explanation": _explanation(findings),
        "history": [window.model_dump() for window in findings.history.windows],
        "labels_by_window": [tally.model_dump() | {"share": tally.share} for tally in findings.harm.recorded],
        "drop_without_drift": None if findings.harm.concept_drop is None else findings.harm.concept_drop.as_dict(),
        "most_shifted": [{"position": pair.position, "score": pair.score, "nearest_in": pair.regime} for pair in gallery],
        "settings": findings.settings.model_dump(),
    }


def _window_details(findings: WatchFindings, index: int) -> dict[str, Any]:
    test = findings.tested[index].test
    details: dict[str, Any] = {
        "window": index,
        "images": test.rows,
        "reference_images": test.reference_rows,
        "images_averaged": test.averaged,
        "n/(n+m)": test.share,
        "mixture": dict(zip(findings.regimes, test.weights.tolist(), strict=True)),
    }
    for detector in detectors.DETECTORS:
        result = test.results[detector.name]
        if detector.effect:
            details[detector.effect] = result.effect
        for name, values in result.by_statistic.items():
            details[name] = dict(zip(findings.info.statistic_names, values.tolist(), strict=True))
    methods = [f"{detector.title} ({detector.method})" for detector in detectors.DETECTORS]
    return details | {"correction": f"{', '.join(methods)}: each at alpha / {len(methods)}", "drifted": test.drifted}


def _explanation(findings: WatchFindings) -> dict[str, Any] | None:
    if findings.explained is None:
        return None
    explanation = findings.explained.explanation
    named = {
        "decides": False,
        "statistics": [vars(shift) | {"psi_reading": psi_reading(shift.psi)} for shift in explanation.statistics],
        "bbsd": {"p_value": explanation.outputs.p_value, "distances": explanation.outputs.distances.tolist()},
        "class_prior": {
            "p_value": explanation.classes.p_value,
            "cohens_w": explanation.classes.effect_size,
            "reading": explanation.classes.reading,
            "total_variation": explanation.classes.total_variation,
            "reference": dict(zip(findings.info.classes, explanation.classes.reference_shares.tolist(), strict=True)),
            "window": dict(zip(findings.info.classes, explanation.classes.window_shares.tolist(), strict=True)),
        },
    }
    if explanation.fixed_threshold is not None:
        named["fixed_threshold_mmd"] = vars(explanation.fixed_threshold) | {"note": "teaching only"}
    return named
