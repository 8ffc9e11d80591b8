"""Promotion, step by step. It may be killed anywhere and repeated: the old champion serves until the last write has succeeded."""

import os
from pathlib import Path

from components.model_promotion.evidence import Evidence, read_evidence, require_bound
from driftloop import registry
from driftloop.errors import GateRefused
from driftloop.progress import figures
from driftloop.registry.refusals import keep_refusal
from driftloop.store import Store, open_store


def run(candidate_dir: str | Path, dataset_dir: str | Path, evidence_dir: str | Path, *, store: str) -> str:
    """Register and promote the candidate if the gate said so; the version that serves afterwards.

    Raises:
        InputError: evidence that is about another candidate or dataset.
        GateRefused: the gate did not say promote, and no champion serves.
        Conflict: another champion than the one in the evidence serves by now, or this candidate was rolled back; the champion stays.
    """
    home = open_store(store)
    evidence = read_evidence(evidence_dir)
    if evidence.decision != "promote":
        keep_refusal(home, evidence_dir)
        return _keep(home, evidence)
    require_bound(evidence, candidate_dir, dataset_dir)
    version = registry.register(home, candidate_dir, evidence_dir, run=os.environ.get("DRIFTLOOP_RUN_ID", ""))
    champion = registry.promote(home, version, expected=evidence.champion_version, reason=_reason(evidence))
    figures(f"version {champion.version} serves" + (f", before it {champion.previous}" if champion.previous else ""))
    return champion.version


def _keep(home: Store, evidence: Evidence) -> str:
    """The champion that goes on serving when the gate did not say promote."""
    champion = registry.current(home)
    if champion is None:
        raise GateRefused(f"{home.uri}: the gate says {evidence.decision} ({_reason(evidence)}), and there is no champion to go on with")
    figures(f"version {champion.version} goes on serving; the gate said {evidence.decision}")
    return champion.version


def _reason(evidence: Evidence) -> str:
    return "; ".join(evidence.reasons) or f"the gate said {evidence.decision}"
