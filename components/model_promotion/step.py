"""What the gate's evidence must say before anything is promoted on it: about this candidate, on this dataset.

Promotion, step by step. It may be killed anywhere and repeated: the old champion serves until the last write has succeeded.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from driftloop import bundle, registry
from driftloop.dataset.description import read_description
from driftloop.errors import GateRefused, InputError
from driftloop.registry.versions import keep_refusal
from driftloop.runtime import figures
from driftloop.store import Store, open_store

NAME = "gate.json"


class Evidence(BaseModel):
    """The part of `gate.json` that promotion acts on.

    `candidate` is the SHA-256 of the judged bundle's SHA256SUMS, `dataset` the manifest hash of the dataset it was judged on,
    `champion_version` the champion it was compared with (None: there was none).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    decision: Literal["promote", "reject", "inconclusive"]
    reasons: list[str]
    champion_version: str | None
    candidate: str
    dataset: str


def read_evidence(directory: str | Path) -> Evidence:
    """The evidence in `directory`.

    Raises:
        InputError: there is none, or it lacks something.
    """
    path = Path(directory, NAME)
    if not path.exists():
        raise InputError(f"{directory}: no {NAME}; pass the `evidence` output of validation_gate")
    try:
        return Evidence.model_validate_json(path.read_bytes())
    except ValidationError as invalid:
        problem = invalid.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "file"
        raise InputError(f"{path}: {where}: {problem['msg']}; pass the `evidence` output of validation_gate") from None


def require_bound(evidence: Evidence, candidate_dir: str | Path, dataset_dir: str | Path) -> None:
    """Make sure that the evidence is about these very files.

    Raises:
        InputError: it is about another candidate or another dataset.
        IntegrityError: the candidate does not match its own SHA256SUMS.
    """
    bundle.verify(candidate_dir)
    digest = bundle.sha256_file(Path(candidate_dir, bundle.SUMS))
    if digest != evidence.candidate:
        raise InputError(
            f"{candidate_dir}: the gate judged another candidate ({evidence.candidate[:12]}, this is {digest[:12]}); run the gate again"
        )
    manifest = read_description(dataset_dir).manifest_hash
    if manifest != evidence.dataset:
        raise InputError(
            f"{dataset_dir}: the gate judged on another dataset ({evidence.dataset[:12]}, this is {manifest[:12]}); run the gate again"
        )


def run(candidate: str | Path, dataset: str | Path, evidence: str | Path, *, store: str) -> str:
    """Register and promote the candidate if the gate said so; the version that serves afterwards.

    Raises:
        InputError: evidence that is about another candidate or dataset.
        GateRefused: the gate did not say promote, and no champion serves.
        Conflict: another champion than the one in the evidence serves by now, or this candidate was rolled back; the champion stays.
    """
    home = open_store(store)
    judged = read_evidence(evidence)
    if judged.decision != "promote":
        keep_refusal(home, evidence)
        return _keep(home, judged)
    require_bound(judged, candidate, dataset)
    version = registry.register(home, candidate, evidence, run=os.environ.get("DRIFTLOOP_RUN_ID", ""))
    champion = registry.promote(home, version, expected=judged.champion_version, reason=_reason(judged))
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
