"""The gate, step by step: find the opponents, let all models answer the same images, decide, write the evidence down."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.validation_gate.answers import Answers, accuracy
from components.validation_gate.decision import Decision, Evidence, decide, headline
from components.validation_gate.measurements import gather
from components.validation_gate.opponents import Opponents, find_opponents, split_identity
from components.validation_gate.summary import write_summary
from driftloop import runtime
from driftloop.bundle import SUMS, read_model, sha256_file, verify
from driftloop.dataset.description import Description, read_description
from driftloop.evaluation.paired import mcnemar_exact
from driftloop.settings import GateSettings, check_parameter
from driftloop.step_facts import write_facts, write_json
from driftloop.store import open_store

STEP = "validation_gate"


def run(
    dataset: str,
    candidate: str,
    evidence: str,
    summary: str,
    *,
    margin: float,
    config: dict[str, Any] | None = None,
    champion: str | None = None,
    traffic: str | None = None,
) -> str:
    """Judge the bundle `candidate` on the splits of `dataset`; write gate.json and facts.json into `evidence`, Markdown to `summary`.

    Returns:
        The decision: "promote", "reject" or "inconclusive".

    Raises:
        SettingError: a setting or the margin is out of range.
        InputError: no labelled test images, or a bundle that was not exported.
        IntegrityError: bytes that do not match their checksum.
    """
    settings = GateSettings.complete(config)
    margin = check_parameter("gate_margin", margin)
    description = read_description(dataset)
    read_model(candidate)
    verify(candidate)
    with tempfile.TemporaryDirectory(prefix="driftloop-gate-") as scratch:
        opponents = find_opponents(open_store(description.store), description, champion, traffic, Path(scratch))
        runtime.progress(0.1, f"against champion version {opponents.version}" if opponents.champion else "no champion yet")
        material = gather(description, candidate, opponents, settings)
    decision = decide(material, margin=margin, settings=settings)
    accuracies = {name: found.model_dump() if found else None for name, found in proportions(material).items()}
    gate = account(material, decision, opponents, description) | {
        "candidate": sha256_file(Path(candidate, SUMS)),
        "margin": margin,
        "settings": settings.model_dump(),
        "accuracy": accuracies,
    }
    Path(evidence).mkdir(parents=True, exist_ok=True)
    write_json(Path(evidence, "gate.json"), gate)
    shared = ("decision", "reasons", "criteria", "accuracy", "labels_needed", "test_uses", "champion_version", "margin")
    write_facts(evidence, STEP, {name: gate[name] for name in shared}, candidate)
    write_summary(summary, gate, decision)
    runtime.figures(headline(decision.decision, decision.criteria))
    return decision.decision


def proportions(material: Evidence) -> dict[str, Any]:
    """The accuracies of both models, each with its 95 % interval; None where there are no such answers."""
    found: dict[str, Any] = {}
    for name, answers in (("clean", material.clean), ("drifted", material.drifted)):
        usable = answers is not None and len(answers.labels) > 0
        found[f"candidate_{name}"] = accuracy(answers.candidate_right) if usable and answers else None
        found[f"champion_{name}"] = accuracy(answers.champion_right) if usable and answers and answers.champion is not None else None
    return found


def account(material: Evidence, decision: Decision, opponents: Opponents, description: Description) -> dict[str, Any]:
    """All that the decision rests on, as `gate.json` keeps it."""
    return {
        "version": 1,
        "decision": decision.decision,
        "reasons": decision.reasons,
        "criteria": [asdict(one) for one in decision.criteria],
        "slices": [asdict(one) for one in decision.slices],
        "labels_needed": decision.labels_needed,
        "champion_version": opponents.version,
        "best_earlier_version": opponents.earlier_version or None,
        "dataset": description.manifest_hash,
        "test_split": split_identity(description),
        "test_uses": material.test_uses,
        "discordant": {"clean": pairs(material.clean), "drifted": pairs(material.drifted)},
        "latency": asdict(material.latency) if material.latency else None,
        "sizes": dict(zip(("candidate", "champion"), material.sizes, strict=True)) if material.sizes else None,
    }


def pairs(answers: Answers | None) -> dict[str, float] | None:
    """Discordant images with McNemar's exact two-sided p-value, for the reader: no criterion rests on it."""
    if answers is None or answers.champion is None or not len(answers.labels):
        return None
    found = answers.difference()
    p = mcnemar_exact(found.gained, found.lost)
    return {"gained": found.gained, "lost": found.lost, "n": found.n, "effective_n": found.effective_n, "mcnemar_p": p}
