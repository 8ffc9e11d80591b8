"""What the gate's evidence must say before anything is promoted on it: about this candidate, on this dataset."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from driftloop import bundle
from driftloop.dataset.description import read_description
from driftloop.errors import InputError

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
