"""What a step leaves for the trackers: `tracking/records/<run>/<step>-<digest>/`, `record.json` last, beside the files that it names.

The digest is of the facts, so a step that is repeated and finds the same leaves the same record.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from driftloop.bundle import DESCRIPTION, ModelDescription
from driftloop.errors import Conflict, StoreError
from driftloop.schema import of_known_form
from driftloop.step_facts import read_facts
from driftloop.store import Store, open_store

#: Below it lie the records, and what says which of them a tracker has got.
TRACKING = "tracking/"
RECORDS = f"{TRACKING}records/"
#: In a store that nobody tracks no record is left: they are for trackers alone, and an hourly watch would pile them up.
WANTED = f"{TRACKING}wanted"
#: The form in which a record is written.
RECORD_SCHEMA = 1
#: The fact that holds a list of epochs.
HISTORY, EPOCH = "history", "epoch"


class StepRecord(BaseModel):
    """What a tracker shows of one step of a run."""

    model_config = ConfigDict(frozen=True)

    run: str
    """id of the pipeline's run"""
    step: str
    """the component's name"""
    at: str
    """ISO 8601, UTC: when the step had found all this"""
    parameters: dict[str, str]
    """what was decided before, by dotted name"""
    metrics: dict[str, float]
    """what was measured, by dotted name; finite"""
    curves: dict[str, list[tuple[int, float]]]
    """epoch and value, by name"""
    files: list[str]
    """names of the files beside the record"""
    group: str = ""
    """what this is one of within its run, such as the trials of a search; empty for a step"""
    schema_version: int = RECORD_SCHEMA
    """form of the record"""

    _of_a_known_form = of_known_form("record.json", RECORD_SCHEMA)

    @property
    def name(self) -> str:
        """`<run>/<step>-<digest>`, the digest of what was found and not of the time."""
        content = json.dumps(self.model_dump(exclude={"at"} if self.group else {"at", "group"}), sort_keys=True)
        return f"{self.run}/{self.step}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def want_records(store: Store) -> None:
    """From now on steps leave records in this store."""
    with suppress(Conflict):
        store.create(WANTED, b"")


def leave_record(
    store: str | Store,
    step: str,
    facts: str | Path | Mapping[str, Any],
    files: Mapping[str, str | Path],
    run: str = "",
    group: str = "",
) -> None:
    """Leave what a step found in the store, where records are wanted, if its run has a name (DRIFTLOOP_RUN_ID).

    A tracker is only for looking at: a store that fails now is reported by the step that needs it.

    Args:
        store: the model's home, or its URI.
        step: the component's name.
        facts: those of the step, or a directory that carries them; a bundle's training configuration is taken from there, too.
        files: name -> path of what people want to open: card, report. What is not there is left out.
        run: its id, where it is not the one that this process works for.
        group: see `StepRecord.group`.
    """
    run = run or os.environ.get("DRIFTLOOP_RUN_ID", "")
    if not run:
        return
    with suppress(StoreError):
        home = open_store(store) if isinstance(store, str) else store
        if not home.exists(WANTED):
            return
        training: Mapping[str, Any] = {}
        if isinstance(facts, Mapping):
            stated = facts
        else:
            stated, description = read_facts(facts).get(step, {}), Path(facts, DESCRIPTION)
            if description.exists():
                training = ModelDescription.model_validate_json(description.read_bytes()).training
        record = as_record(run, step, stated, training, [name for name, path in files.items() if Path(path).is_file()])
        record = record.model_copy(update={"group": group})
        folder = f"{RECORDS}{record.name}/"
        for name in record.files:
            home.upload(folder + name, files[name])
        with suppress(Conflict):
            home.create(f"{folder}record.json", record.model_dump_json(indent=1).encode())


def as_record(run: str, step: str, facts: Mapping[str, Any], training: Mapping[str, Any], files: list[str]) -> StepRecord:
    """A step's facts as a tracker wants them: numbers are metrics, texts and the training's configuration parameters, epochs curves."""
    leaves = _leaves("", {name: value for name, value in facts.items() if name != HISTORY})
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in facts.get(HISTORY, []):
        for name, value in row.items():
            if name != EPOCH and _is_number(value):
                curves.setdefault(name, []).append((int(row[EPOCH]), float(value)))
    return StepRecord(
        run=run,
        step=step,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        parameters={name: str(value) for name, value in leaves.items() if not _is_number(value)}
        | {f"training.{name}": str(value) for name, value in _leaves("", training).items()},
        metrics={name: float(value) for name, value in leaves.items() if _is_number(value)},
        curves=curves,
        files=files,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _leaves(name: str, value: Any) -> dict[str, Any]:
    """The plain values of what is nested, by dotted names; a share's own value by the share's name. Lists are for the reports."""
    if isinstance(value, Mapping):
        leaves: dict[str, Any] = {}
        for key, inner in value.items():
            leaves |= _leaves(name if key == "value" and name else f"{name}.{key}" if name else str(key), inner)
        return leaves
    return {} if value is None or isinstance(value, list) else {name: value}
