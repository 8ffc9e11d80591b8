"""The gate's evidence as the registry takes it: on a candidate that becomes a version, and on one that was refused.

A refused candidate is not a version, but it has used the test split: its evidence stays under `versions/refused/`. (That of a refused
retraining is in the record of its watch.)
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from driftloop.contracts import GATE_EVIDENCE
from driftloop.errors import Conflict, InputError
from driftloop.schema import parse_json
from driftloop.store import Store

REFUSED = "versions/refused/"


class GateEvidence(BaseModel):
    """The part of `gate.json` that registration and promotion act on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    decision: Literal["promote", "reject", "inconclusive"]
    """what the gate decided"""
    reasons: list[str]
    """why, one line each"""
    champion_version: str | None
    """champion that the candidate was compared with; None where there was none"""
    candidate: str
    """digest of the bundle that was judged (SHA-256 of its SHA256SUMS)"""
    dataset: str
    """manifest hash of the dataset that it was judged on"""


def read_evidence(directory: str | Path) -> GateEvidence:
    """The evidence in `directory`.

    Raises:
        InputError: there is none, or it lacks something.
    """
    path = Path(directory, GATE_EVIDENCE)
    if not path.exists():
        raise InputError(f"{directory}: no {GATE_EVIDENCE}; pass the `evidence` output of validation_gate")
    try:
        return GateEvidence.model_validate_json(path.read_bytes())
    except ValidationError as invalid:
        problem = invalid.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        raise InputError(f"{path}: {where}: {problem['msg']}; pass the `evidence` output of validation_gate") from None


def keep_refusal(store: Store, evidence_dir: str | Path) -> None:
    """Keep what the gate said, once: a step that is repeated has the same evidence, and so the same key."""
    evidence = Path(evidence_dir, GATE_EVIDENCE).read_bytes()
    try:
        store.create(f"{REFUSED}{hashlib.sha256(evidence).hexdigest()[:16]}.json", evidence)
    except Conflict:
        return


def refusals(store: Store) -> list[dict[str, Any]]:
    """The gate.json of each refused candidate.

    Raises:
        IntegrityError: one is damaged, so how often its test split was used is not known.
    """
    return [parse_json(store.read(info.key), f"{store.uri}/{info.key}") for info in store.list(REFUSED)]
