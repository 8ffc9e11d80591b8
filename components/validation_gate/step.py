"""The gate, step by step: find the opponents, let all models answer the same images, decide, write the evidence down."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.validation_gate.answers import Answers
from components.validation_gate.decision import Decision, GateInputs, decide, headline
from components.validation_gate.measurements import measure_candidate
from components.validation_gate.opponents import Opponents, find_opponents, split_identity
from components.validation_gate.report import build_report
from components.validation_gate.summary import write_summary
from driftloop import runtime
from driftloop.bundle import read_model, verify
from driftloop.contracts import GATE_EVIDENCE, GATE_PAGE, VALIDATION_GATE
from driftloop.dataset.description import Description, read_description
from driftloop.evaluation.paired import mcnemar_exact
from driftloop.inference.reference import CLEAN_REGIME
from driftloop.reporting.chapter import write_chapter
from driftloop.settings import GateSettings, check_parameter, critical_names
from driftloop.step_facts import write_facts, write_json
from driftloop.store import open_store
from driftloop.tracking import leave_record

#: What `gate.json` and the step's facts both hold.
SHARED = ("decision", "reasons", "criteria", "accuracy", "labels_needed", "test_uses", "champion_version", "margin")


def run(
    dataset: str,
    candidate: str,
    evidence: str,
    summary: str,
    *,
    margin: float,
    critical_classes: str = "",
    config: dict[str, Any] | None = None,
    champion: str | None = None,
    traffic: str | None = None,
) -> str:
    """Judge the bundle `candidate` on the splits of `dataset`; write gate.json and facts.json into `evidence`, Markdown to `summary`.

    Returns:
        The decision: "promote", "reject" or "inconclusive".

    Raises:
        SettingError: a setting or the margin is out of range, or a critical class is none of the dataset.
        InputError: no labelled test images, or a bundle that was not exported.
        IntegrityError: bytes that do not match their checksum.
    """
    settings = GateSettings.complete(config)
    margin = check_parameter("gate_margin", margin)
    description = read_description(dataset)
    critical = critical_names(critical_classes, description.classes)
    read_model(candidate)
    checksums = verify(candidate)
    with tempfile.TemporaryDirectory(prefix="driftloop-gate-") as scratch:
        opponents = find_opponents(open_store(description.store), description, champion, traffic, Path(scratch))
        runtime.progress(0.1, f"against champion version {opponents.version}" if opponents.champion else "no champion yet")
        inputs = measure_candidate(description, candidate, opponents, settings)
    decision = decide(inputs, margin=margin, settings=settings, critical=critical)
    gate = gate_record(inputs, decision, opponents, description) | {
        "candidate": checksums.digest,
        "margin": margin,
        "settings": settings.model_dump(),
        "critical_classes": critical,
        "accuracy": accuracies(inputs),
        "recalls": recalls(inputs),
        "regimes": regimes_at_the_gate(inputs),
    }
    Path(evidence).mkdir(parents=True, exist_ok=True)
    write_json(Path(evidence, GATE_EVIDENCE), gate)
    write_facts(evidence, VALIDATION_GATE, {name: gate[name] for name in SHARED}, candidate)
    write_summary(summary, gate, decision)
    page = build_report(gate, decision)
    page.write(Path(evidence, GATE_PAGE))
    write_chapter(evidence, VALIDATION_GATE, page.chapter, candidate)
    leave_record(description.store, VALIDATION_GATE, evidence, {GATE_PAGE: Path(evidence, GATE_PAGE)})
    runtime.report_metrics(headline(decision.decision, decision.criteria))
    return decision.decision


def accuracies(inputs: GateInputs) -> dict[str, dict[str, Any] | None]:
    """The accuracies of both models, each with its 95 % interval; None where there are no such answers."""
    shares: dict[str, dict[str, Any] | None] = {}
    for name, answers in answers_by_kind(inputs).items():
        answered = answers is not None and len(answers.labels) > 0
        shares[f"candidate_{name}"] = answers.accuracy(answers.candidate_right).model_dump() if answers and answered else None
        beside = answers is not None and answered and answers.champion is not None
        shares[f"champion_{name}"] = answers.accuracy(answers.champion_right).model_dump() if answers and beside else None
    return shares


def recalls(inputs: GateInputs) -> dict[str, dict[str, Any]]:
    """The candidate's recall of each class that has images, by kind of images, each with its 95 % interval."""
    answered = {name: answers for name, answers in answers_by_kind(inputs).items() if answers is not None and len(answers.labels)}
    return {name: recall_of_classes(answers, inputs.classes) for name, answers in answered.items()}


def answers_by_kind(inputs: GateInputs) -> dict[str, Answers | None]:
    """What both models answer on each kind of images.

    Without a new drift the drifted ones are those accepted already: it is these that the next watches measure harm against.
    """
    drifted = inputs.accepted if inputs.recent is not None else inputs.drifted
    return {"clean": inputs.clean, "drifted": drifted, "recent": inputs.recent}


def recall_of_classes(answers: Answers, classes: list[str]) -> dict[str, Any]:
    """The candidate's recall of each class that has images."""
    of_class = {label: answers.labels == index for index, label in enumerate(classes)}
    return {label: answers.accuracy(answers.candidate_right, rows).model_dump() for label, rows in of_class.items() if rows.any()}


def regimes_at_the_gate(inputs: GateInputs) -> dict[str, dict[str, Any]]:
    """The candidate's accuracy and recalls in each learned regime: what the next watches measure harm of such images against.

    Beside them, for the reader: the champion's accuracy there, the difference, and the share of traffic that was nearest to it.
    """
    return {
        name: {
            "accuracy": answers.accuracy(answers.candidate_right).model_dump(),
            "recalls": recall_of_classes(answers, inputs.classes),
            "champion": answers.accuracy(answers.champion_right).model_dump(),
            "difference": asdict(answers.difference()),
            "share": inputs.regime_shares.get(name),
        }
        for name, answers in inputs.regimes.items()
    }


def gate_record(inputs: GateInputs, decision: Decision, opponents: Opponents, description: Description) -> dict[str, Any]:
    """All that the decision rests on, as `gate.json` keeps it."""
    return {
        "version": 1,
        "decision": decision.decision,
        "reasons": decision.reasons,
        "criteria": [asdict(criterion) for criterion in decision.criteria],
        "slices": [asdict(result) for result in decision.slices],
        "labels_needed": decision.labels_needed,
        "champion_version": opponents.version,
        "best_earlier_version": opponents.earlier_version or None,
        "dataset": description.manifest_hash,
        "test_split": split_identity(description),
        "test_uses": inputs.test_uses,
        "drifted_uses": inputs.drifted_uses if inputs.drifted is not None or inputs.recent is not None else 0,
        "new_share": inputs.new_share,
        "clean_share": inputs.regime_shares.get(CLEAN_REGIME),
        "by_traffic": decision.by_traffic,
        "discordant": {"clean": discordant_pairs(inputs.clean), "drifted": discordant_pairs(inputs.drifted)},
        "latency": asdict(inputs.latency) if inputs.latency else None,
        "sizes": dict(zip(("candidate", "champion"), inputs.sizes, strict=True)) if inputs.sizes else None,
    }


def discordant_pairs(answers: Answers | None) -> dict[str, float] | None:
    """Discordant images with McNemar's exact two-sided p-value, for the reader: no criterion rests on it."""
    if answers is None or answers.champion is None or not len(answers.labels):
        return None
    pairs = answers.difference()
    p = mcnemar_exact(pairs.gained, pairs.lost)
    return {"gained": pairs.gained, "lost": pairs.lost, "n": pairs.n, "effective_n": pairs.effective_n, "mcnemar_p": p}
