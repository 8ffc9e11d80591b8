"""`watch/<sequence>.json`: the one record that a watch leaves. `driftloop.watch_store` writes, closes and reads records."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from driftloop.contracts import CONFIRMED_BY, RETRAIN
from driftloop.inference.log_files import LogCoverage
from driftloop.plurals import rounded
from driftloop.schema import SCHEMA_VERSION, check_schema

#: Form 1 had neither states nor coverage: it was written once, at the end, and covered everything up to a time.
RECORD_SCHEMA = 2
#: A record is started with the verdict, before anything is trained, and closed with the report.
STARTED, CLOSED, FAILED = "started", "closed", "failed"

#: What a watch measured of service and model, as records keep it, for alert rules and dashboards.
WATCH_METRICS = {
    "requests": "requests since the watch before",
    "error_share": "share of them that failed",
    "p50_ms": "median latency",
    "p95_ms": "95th percentile of the latency; its baseline is the benchmark of the export",
    "p99_ms": "99th percentile",
    "per_second": "requests a second",
    "mean_confidence": "mean probability of the predicted class; its baseline is the least confident accepted regime",
    "labelled": "requests with a label",
    "accuracy": "over the watch's uniformly random labels",
    "calibration_error": "over the same labels",
}


class RecordedWindow(BaseModel):
    """One window of a watch, tested."""

    model_config = ConfigDict(frozen=True)

    first: str = Field(description="time of its first request, ISO 8601 in UTC")
    last: str = Field(description="time of its last request")
    rows: int = Field(description="how many requests it holds")
    p_values: dict[str, float] = Field({}, description="p-values by detector")
    p_statistics: float | None = Field(None, description="the same of the image statistics, as records had it before p_values")
    p_embedding: float | None = Field(None, description="the same of the embeddings, as records had it before p_values")
    drifted: bool = Field(description="whether it fits no accepted regime, alone or together with its neighbours")
    groups: int = Field(0, description="groups of which an image was tested; 0: not known")
    pooled: int = Field(0, description="so many windows, of which it is the last, drifted together; 0: none, or it was not looked at")
    together: bool = Field(False, description="whether it drifted only together with its neighbours")
    accuracy: float | None = Field(None, description="over the random labels that it had when it was tested; null without any")
    mixture: dict[str, float] = Field({}, description="shares of the accepted regimes that it is nearest to; empty: not known")
    label_free_drop: float | None = Field(None, description="accuracy drop estimated without labels; null: not known")
    predicted: dict[str, int] = Field({}, description="its requests by predicted class; empty: not counted, as records had it before")

    @model_validator(mode="before")
    @classmethod
    def _with_both_forms(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        fields = {name: content.get(f"p_{name}") for name in ("statistics", "embedding")}
        p_values = {name: value for name, value in fields.items() if value is not None} | content.get("p_values", {})
        return content | {"p_values": p_values} | {f"p_{name}": p_values.get(name) for name in fields}


def with_pools(windows: Sequence[RecordedWindow]) -> list[RecordedWindow]:
    """The windows, oldest first, with those marked as drifted that did so only together with later ones: their records came before."""
    marked = list(windows)
    for last, window in enumerate(windows):
        for at in range(max(0, last - window.pooled + 1), last + 1):
            if not marked[at].drifted:
                marked[at] = marked[at].model_copy(update={"drifted": True, "together": True})
    return marked


class TagPart(BaseModel):
    """The requests of one level of a tag in a window of all requests."""

    model_config = ConfigDict(frozen=True)

    watch: int = Field(description="number of the watch that tested the window of all requests")
    window: int = Field(description="its index there")
    rows: int = Field(description="how many of its requests are of that level")


class RecordedTagWindow(BaseModel):
    """One window of the requests of one level of a tag, tested against that level's part of the reference."""

    model_config = ConfigDict(frozen=True)

    tag: str = Field(description="the level, as in site=B")
    first: str = Field(description="time of its first request, ISO 8601 in UTC")
    last: str = Field(description="time of its last request")
    groups: int = Field(description="groups of which an image was tested")
    p_values: dict[str, float] = Field(description="p-values by detector")
    drifted: bool = Field(description="whether it fits none of that level's accepted regimes")
    mixture: dict[str, float] = Field({}, description="shares of the accepted regimes that it is nearest to")
    parts: list[TagPart] = Field(description="the windows of all requests that its own lie in, oldest first")

    @property
    def rows(self) -> int:
        """How many requests it holds."""
        return sum(part.rows for part in self.parts)


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
    labels: int = Field(description="random labels")
    right: int = Field(description="of these, how many the champion got right")
    skipped: int = Field(0, description="requests that labellers have looked at and not labelled")
    effect: float = Field(1.0, description="labels over as many independent ones: above 1 where several are of one patient or lot")

    @property
    def time(self) -> datetime:
        """Of its last request."""
        return datetime.fromisoformat(self.last)

    @property
    def share(self) -> float:
        """With which probability one of its requests has a label."""
        return self.labels / self.rows if self.rows else 0.0


class AskedLabels(BaseModel):
    """The labels that a watch asks for, and how far they can decide."""

    model_config = ConfigDict(frozen=True)

    images: int = Field(description="images on the list")
    listed: int = Field(0, description="those on it whose random labels would judge harm")
    have: int = Field(0, description="random labels that judge harm already")
    needed: int = Field(0, description="about so many in all would decide whether the drift matters; 0: not in question, or not known")
    in_vain: bool = Field(False, description="whether no number would: what was accepted stands on too few independent images")
    obtainable: int = Field(0, description="images that somebody could label and that would judge harm, on the list or not")
    without_image: int = Field(0, description="unlabelled requests of the windows in question whose image the log did not keep")


class ClassRecall(BaseModel):
    """How often a class is still recognised under a confirmed drift, as far as labels tell."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="of the class")
    critical: bool = Field(description="whether it was declared critical")
    low: float = Field(description="lower bound of its recall, valid at all looks at the drift together")
    high: float = Field(description="upper bound, likewise")
    accepted: float | None = Field(description="recall that was accepted for such images; null: not known, and taken as 1")
    bounded: bool = Field(description="whether a loss of drift_config.class_drop is excluded")
    fallen: bool = Field(description="whether labels show a loss, and look like one of class_drop or more")
    requests: int = Field(0, description="requests predicted as it")
    labels: int = Field(0, description="labels drawn at random among these")
    cases: int = Field(0, description="uniformly random labels that name it")
    labels_to_tell: int | None = Field(None, description="random labels in all that would tell; null: not known, or nothing is open")
    in_vain: bool = Field(False, description="whether not even a million random labels are likely to tell")

    @property
    def told(self) -> bool:
        """Whether labels say that it is still recognised, or that it is not."""
        return self.bounded or self.fallen

    def sentence(self) -> str:
        """What labels say: "recall of X is between .00 and .70 (accepted: .90); about 3,100 random labels in all would tell"."""
        accepted = "not known" if self.accepted is None else f"{self.accepted:.2f}"
        said = f"recall of {self.name} is between {self.low:.2f} and {self.high:.2f} (accepted: {accepted})"
        if self.told:
            return said
        if self.in_vain:
            return f"{said}; no number of random labels is likely to tell"
        if self.labels_to_tell is None:
            return f"{said}; more random labels are needed"
        return f"{said}; about {rounded(self.labels_to_tell):,} random labels in all would tell"


class StandingAcceptance(BaseModel):
    """What a confirmed drift was accepted as: the first records of a drift that lasts are kept for long, not for ever."""

    model_config = ConfigDict(frozen=True)

    tag: str = Field("", description="level whose drift it is, as in site=B; empty: that of all requests")
    drift: int = Field(description="number of the watch with which the accepted drift began")
    label_free_drop: float | None = Field(
        None, description="accuracy drop estimated without labels of what was accepted, where that is another drift; null: it is this one"
    )


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
    tag_windows: list[RecordedTagWindow] = Field([], description="the same of single levels of tags, oldest first within a level")
    tag: str = Field("", description="level of a tag that verdict, labels and drop are of, as in site=B; empty: all requests")
    confirmed: bool = Field(description=f"whether drift was confirmed by {CONFIRMED_BY} windows of all requests")
    concept: bool = Field(False, description="whether labels show harm on images that look as accepted: what they mean has changed")
    labels: int = Field(0, description="uniformly random labels of the champion's confirmed windows that the watch had")
    labels_by_window: list[WindowLabels] = Field([], description="the newest windows with labels, by which harm is judged; oldest first")
    drop: dict[str, float] | None = Field(
        None, description="accuracy drop by those labels, with its bounds and information; null: not judged"
    )
    recalls: list[ClassRecall] = Field([], description="critical and rare classes under a confirmed drift; empty without one")
    harmless_drift: int = Field(
        0, description="number of the watch with which the confirmed drift began, where labels showed it to be harmless; 0: not so"
    )
    acceptances: list[StandingAcceptance] = Field(
        [], description="of the confirmed drifts, those that were accepted or stand for one that was"
    )
    metrics: dict[str, float] = Field({}, description="measured of service and model, by the names of WATCH_METRICS")
    baseline: dict[str, float] = Field({}, description="the champion's own numbers, by the same names")
    alerts: dict[str, str] = Field({}, description="limits of monitor_config that were passed: name and sentence")
    labels_requested: int = Field(0, description="images that this watch asked labels for")
    verdict: str = Field(description="stable, alert, needs_labels or retrain")
    reason: str = Field(description="of the verdict, in one sentence")
    asked: AskedLabels | None = Field(None, description="the labels that it asks for; null: not known")
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
