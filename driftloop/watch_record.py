"""`watch/<sequence>.json`: the one record that a watch leaves. `driftloop.watch_store` writes, closes and reads records."""

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from driftloop.contracts import CONFIRMED_BY, RETRAIN
from driftloop.inference.log_files import LogCoverage
from driftloop.schema import SCHEMA_VERSION, check_schema

#: Form 1 had neither states nor coverage: it was written once, at the end, and covered everything up to a time.
RECORD_SCHEMA = 2
#: A record is started with the verdict, before anything is trained, and closed with the report.
STARTED, CLOSED, FAILED = "started", "closed", "failed"


class RecordedWindow(BaseModel):
    """One window of a watch, tested."""

    model_config = ConfigDict(frozen=True)

    first: str = Field(description="time of its first request, ISO 8601 in UTC")
    last: str = Field(description="time of its last request")
    rows: int = Field(description="how many requests it holds")
    p_values: dict[str, float] = Field({}, description="p-values by detector")
    p_statistics: float | None = Field(None, description="the same of the image statistics, as records had it before p_values")
    p_embedding: float | None = Field(None, description="the same of the embeddings, as records had it before p_values")
    drifted: bool = Field(description="whether it fits no accepted regime")
    accuracy: float | None = Field(None, description="over the random labels that it had when it was tested; null without any")
    mixture: dict[str, float] = Field({}, description="shares of the accepted regimes that it is nearest to; empty: not known")
    label_free_drop: float | None = Field(None, description="accuracy drop estimated without labels; null: not known")

    @model_validator(mode="before")
    @classmethod
    def _with_both_forms(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        fields = {name: content.get(f"p_{name}") for name in ("statistics", "embedding")}
        p_values = {name: value for name, value in fields.items() if value is not None} | content.get("p_values", {})
        return content | {"p_values": p_values} | {f"p_{name}": p_values.get(name) for name in fields}


class WindowLabels(BaseModel):
    """The random labels of a window that harm is judged by, as far as they have come."""

    model_config = ConfigDict(frozen=True)

    watch: int = Field(description="number of the watch that tested the window")
    window: int = Field(description="its index there")
    drift: int = Field(description="number of the watch with which its drift began; 0: it did not drift")
    tag: str = Field("", description="of its requests; empty: all of them")
    mixture: dict[str, float] = Field({}, description="shares of the accepted regimes that it is nearest to; empty: the clean one")
    last: str = Field(description="time of its last request, ISO 8601 in UTC")
    rows: int = Field(description="requests that the labels stand for")
    labels: int = Field(description="random labels, one a group")
    right: int = Field(description="of these, how many the champion got right")
    skipped: int = Field(0, description="requests that labellers have looked at and not labelled")

    @property
    def time(self) -> datetime:
        """Of its last request."""
        return datetime.fromisoformat(self.last)

    @property
    def share(self) -> float:
        """With which probability one of its requests has a label."""
        return self.labels / self.rows if self.rows else 0.0


class WatchRecord(BaseModel):
    """What a watch covered, what it decided, and what became of it. Times are ISO 8601 in UTC."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = Field(RECORD_SCHEMA, description="form of the record")
    sequence: int = Field(description="number of the watch, from 1")
    state: Literal["started", "closed", "failed"] = Field(
        "closed", description="started with its verdict; then closed by its report, or failed"
    )
    failure: str = Field("", description="why it failed, as far as that is known")
    run_id: str = Field(description="run whose watch it is")
    since: str = Field(description="end of the watch before; empty for the first one")
    until: str = Field(description="end of what this watch covered")
    started: str = Field("", description="when the verdict was recorded")
    finished: str = Field("", description="when the record was closed; empty until then")
    champion_version: str = Field(description="version that was watched")
    rows: int = Field(description="the champion's requests that no watch before had covered")
    sampled: float = Field(1.0, description="share of the requests that was looked at; below 1 where they were too many")
    coverage: LogCoverage | None = Field(None, description="log files that were covered so far; null in form 1, which went by time")
    window_rows: str = Field("", description="object with the rows of its drifted windows and those that wait for a window; or empty")
    label_table: str = Field("", description="object with all labels that were known; or empty")
    labels_through: str = Field("", description="last label file in that table")
    windows: list[RecordedWindow] = Field(description="windows that this watch tested, oldest first")
    confirmed: bool = Field(description=f"whether drift was confirmed by {CONFIRMED_BY} windows")
    labels: int = Field(0, description="uniformly random labels of the champion's confirmed windows that the watch had")
    labels_by_window: list[WindowLabels] = Field([], description="the newest windows with labels, by which harm is judged; oldest first")
    drop: dict[str, float] | None = Field(
        None, description="accuracy drop by those labels, with its bounds and information; null: not judged"
    )
    verdict: str = Field(description="stable, alert, needs_labels or retrain")
    reason: str = Field(description="of the verdict, in one sentence")
    decision: str | None = Field(None, description="promote, reject, inconclusive, or null where no gate has decided")
    outcome: str = Field("", description="watched, kept or promoted; empty unless closed")
    promoted_version: str | None = Field(None, description="version that serves now, where one was promoted")

    @property
    def tried_to_retrain(self) -> bool:
        """Whether the watch began a retraining, whatever became of it: each counts for cooldown and budget."""
        return self.decision is not None or (self.verdict == RETRAIN and self.state != CLOSED)

    @property
    def last_write(self) -> str:
        """When the record was closed, or else started."""
        return self.finished or self.started


def parse_record(data: bytes, where: str) -> WatchRecord:
    """A record of this form or of the one before.

    Args:
        data: as stored.
        where: for the message.

    Raises:
        ValueError: it is damaged.
        StoreError: it is of a form that this driftloop does not read.
    """
    content = json.loads(data)
    return WatchRecord.model_validate(content | {SCHEMA_VERSION: check_schema(content, where, RECORD_SCHEMA)})
