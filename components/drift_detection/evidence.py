"""The evidence directory: drift_report.json, windows.parquet, label_requests.csv, facts.json."""

from pathlib import Path
from typing import Any

from components.drift_detection.explain import psi_reading
from components.drift_detection.findings import WatchFindings, in_plain_words
from components.drift_detection.window_test import CAVEAT
from driftloop.step_facts import write_facts, write_json

STEP = "drift_detection"
REPORT, COVERAGE, REQUESTS = "drift_report.json", "windows.parquet", "label_requests.csv"
BUDGET_CAVEAT = (
    "The budget covers sampling error only, not real variation from day to day: take references from several days. Given one fixed "
    "reference the true level varies around the nominal one, the less so the smaller n / (n + m) is."
)


def write_evidence(directory: str | Path, findings: WatchFindings, *inherited: str | Path) -> None:
    """Write all four files; `inherited` directories hand on the facts of the steps before."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    summary = summarise(findings)
    write_json(directory / REPORT, summary | {"details": _details(findings)})
    findings.coverage.to_parquet(directory / COVERAGE, index=False)
    findings.requests.to_csv(directory / REQUESTS, index=False)
    write_facts(directory, STEP, summary, *inherited)


def summarise(findings: WatchFindings) -> dict[str, Any]:
    """What the steps after this one, the record of the watch and the final report need."""
    judgement = findings.spotlight.judged.judgement if findings.spotlight else None
    return {
        "verdict": findings.verdict.name,
        "reason": findings.verdict.reason,
        "in_plain_words": in_plain_words(findings),
        "p_values": {
            "statistics": None if judgement is None else judgement.statistics.p_value,
            "embedding": None if judgement is None else judgement.embedding.p_value,
        },
        "confirmed": findings.confirmed,
        "windows": [one.window.model_dump() for one in findings.judged],
        "drop": None if findings.drop is None else findings.drop.as_dict(),
        "labels": findings.labels,
        "clean_accuracy": None if findings.clean is None else findings.clean.model_dump(),
        "label_free": None
        if findings.label_free is None
        else {"accuracy": findings.label_free.accuracy, "drop": findings.label_free.drop, "caveat": CAVEAT},
        "alpha": findings.level.alpha,
        "alpha_asked": findings.level.asked,
        "permutations": findings.level.permutations,
        "windows_per_90_days": findings.level.windows_per_90_days,
        "false_alarms_per_90_days": findings.level.budget,
        "window_size": findings.size,
        "waiting": findings.cut.waiting,
        "skipped_windows": findings.cut.skipped,
        "regimes": findings.regimes,
        "requests": {name: int(count) for name, count in findings.requests["origin"].value_counts().items()},
    }


def _details(findings: WatchFindings) -> dict[str, Any]:
    gallery = findings.spotlight.gallery if findings.spotlight else []
    return {
        "budget_caveat": BUDGET_CAVEAT,
        "windows": [_window_details(findings, index) for index in range(len(findings.judged))],
        "explained_window": findings.spotlight.number if findings.spotlight else None,
        "explanation": _explanation(findings),
        "history": [window.model_dump() for window in findings.history.windows],
        "most_shifted": [{"position": pair.position, "score": pair.score, "nearest_in": pair.regime} for pair in gallery],
        "settings": findings.settings.model_dump(),
    }


def _window_details(findings: WatchFindings, index: int) -> dict[str, Any]:
    judgement = findings.judged[index].judgement
    return {
        "window": index,
        "images": judgement.rows,
        "reference_images": judgement.reference_rows,
        "n/(n+m)": judgement.share,
        "mixture": dict(zip(findings.regimes, judgement.weights.tolist(), strict=True)),
        "mmd2": judgement.embedding.mmd2,
        "statistics_p_values": dict(zip(findings.info.statistic_names, judgement.statistics.p_values.tolist(), strict=True)),
        "statistics_holm": dict(zip(findings.info.statistic_names, judgement.statistics.adjusted.tolist(), strict=True)),
        "correction": "Holm over the statistics; statistics and embedding at alpha / 2 each",
        "drifted": judgement.drifted,
    }


def _explanation(findings: WatchFindings) -> dict[str, Any] | None:
    if findings.spotlight is None:
        return None
    explanation = findings.spotlight.explanation
    return {
        "decides": False,
        "statistics": [vars(one) | {"psi_reading": psi_reading(one.psi)} for one in explanation.statistics],
        "bbsd": {"p_value": explanation.outputs.p_value, "distances": explanation.outputs.distances.tolist()},
        "class_prior": {
            "p_value": explanation.classes.p_value,
            "cohens_w": explanation.classes.effect_size,
            "reading": explanation.classes.reading,
            "total_variation": explanation.classes.total_variation,
            "reference": dict(zip(findings.info.classes, explanation.classes.reference_shares.tolist(), strict=True)),
            "window": dict(zip(findings.info.classes, explanation.classes.window_shares.tolist(), strict=True)),
        },
        "fixed_threshold_mmd": vars(explanation.fixed_threshold) | {"note": "teaching only"},
    }
