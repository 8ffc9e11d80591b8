"""Promotion, step by step. It may be killed anywhere and repeated: the old champion serves until the last write has succeeded.

That the evidence is about this candidate, and the candidate unchanged since the gate, is checked where it is registered
(`driftloop.registry.register`); that its champion still serves, where the pointer is moved (`driftloop.registry.promote`).
"""

import os
from pathlib import Path

from driftloop import registry
from driftloop.contracts import MODEL_PROMOTION, PROMOTE
from driftloop.dataset.description import read_description
from driftloop.errors import GateRefused, InputError
from driftloop.registry.gate_evidence import GateEvidence, keep_refusal, read_evidence
from driftloop.runtime import report_metrics
from driftloop.store import Store, open_store
from driftloop.tracking import leave_record


def run(candidate: str | Path, dataset: str | Path, evidence: str | Path, *, store: str) -> str:
    """Register and promote the candidate if the gate said so; the version that serves afterwards.

    Raises:
        InputError: evidence that is about another candidate or dataset.
        IntegrityError: a candidate that does not match its SHA256SUMS.
        GateRefused: the gate did not say promote, and no champion serves.
        Conflict: another champion than the one in the evidence serves by now, or this candidate was rolled back; the champion stays.
    """
    home = open_store(store)
    judged = read_evidence(evidence)
    if judged.decision != PROMOTE:
        keep_refusal(home, evidence)
        return _keep_champion(home, judged)
    _require_dataset(judged, dataset)
    version = registry.register(home, candidate, evidence, run=os.environ.get("DRIFTLOOP_RUN_ID", ""))
    champion = registry.promote(home, version, expected=judged.champion_version, reason=_reason(judged))
    leave_record(home, MODEL_PROMOTION, {"version": champion.version, "previous": champion.previous, "reason": champion.reason}, {})
    report_metrics(f"version {champion.version} serves" + (f", before it {champion.previous}" if champion.previous else ""))
    return champion.version


def _require_dataset(evidence: GateEvidence, dataset_dir: str | Path) -> None:
    manifest = read_description(dataset_dir).manifest_hash
    if manifest != evidence.dataset:
        raise InputError(
            f"{dataset_dir}: the gate judged on another dataset ({evidence.dataset[:12]}, this is {manifest[:12]}); run the gate again"
        )


def _keep_champion(home: Store, evidence: GateEvidence) -> str:
    """The champion that goes on serving when the gate did not say promote."""
    champion = registry.current(home)
    if champion is None:
        raise GateRefused(f"{home.uri}: the gate says {evidence.decision} ({_reason(evidence)}), and there is no champion to go on with")
    report_metrics(f"version {champion.version} goes on serving; the gate said {evidence.decision}")
    return champion.version


def _reason(evidence: GateEvidence) -> str:
    return "; ".join(evidence.reasons) or f"the gate said {evidence.decision}"
