"""Which drifts the serving champion was accepted for, so that alarms on them can be told from alarms on new ones.

`rehearsal.json`: what a rehearsal found, in documented and versioned fields; an interface that scripts may rely on.

`schema_version` grows by one whenever a field changes its meaning or goes; new fields may be added without.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from components.drift_detection.windows import OF
from driftloop.contracts import MOST_LEARNED_REGIMES

NONE = "none"


#: Windows of a kind that make it learned.
LEAST = 2


class AcceptedDrifts:
    """Clean traffic always; besides, what the last promotions learned, as many as a champion carries references for."""

    def __init__(self) -> None:
        self._learned: deque[frozenset[str]] = deque(maxlen=MOST_LEARNED_REGIMES)

    def __contains__(self, drift: object) -> bool:
        return drift == NONE or any(drift in learned for learned in self._learned)

    def promote(self, drifts: Iterable[str]) -> None:
        """Accept what the champion was just replaced for.

        Args:
            drifts: of each window that drifted while it served. A kind seen in one window only is not counted as learned: that
                window hardly shows in the new reference.
        """
        played = [drift for drift in drifts if drift != NONE]
        kinds = Counter(map(kind, played))
        self._learned.append(frozenset(drift for drift in played if kinds[kind(drift)] >= LEAST))


def kind(drift: str) -> str:
    """A drift without its severity: what a gradual one keeps from window to window."""
    return drift.rpartition(":")[0] or drift


SCHEMA_VERSION = 1


class Record(BaseModel):
    """Closed, so that a misspelt field is an error where it is written."""

    model_config = ConfigDict(extra="forbid")


class WindowRecord(Record):
    """One window of traffic and the watch after it."""

    window: int = Field(description="number, from 1")
    day: str = Field(description="its simulated date")
    drift: str = Field(description="what was played: none, or such as blur+noise:1")
    accepted: bool = Field(description="whether the champion was accepted for that")
    version: str = Field(description="the champion that answered")
    requests: int
    correct: int = Field(description="requests answered rightly, by the known truth")
    accuracy: float = Field(description="correct / requests")
    drifted: bool | None = Field(description="whether a drift test of this watch rejected; null where too few rows waited")
    p_value: float | None = Field(description="the smaller one of both tests, undoubled; null as above")
    confirmed: bool = Field(description="drift confirmed by 2 of 3 windows")
    verdict: str = Field(description="stable, alert, needs_labels or retrain")
    reason: str
    decision: str | None = Field(description="promote, reject or inconclusive; null where nothing was retrained")
    promoted: str | None = Field(description="the version that replaced the champion")
    labels: int = Field(description="labels that arrived with this window")
    events: list[str] = Field(description="what happened, in words")


class Rehearsal(Record):
    """The whole history; rates and delays count windows."""

    schema_version: int = SCHEMA_VERSION
    seed: int
    source: str
    drift: str
    windows: list[WindowRecord]
    first_drift: int | None = Field(description="number of the first drifted window")
    false_alarms: int = Field(description="verdicts other than stable on windows that the champion was accepted for")
    single_alarms: int = Field(description="windows among those that drifted by the test")
    detection_delay: int | None = Field(description="drifted windows played until the drift was confirmed, that one included: 2 at best")
    retrainings: int = Field(description="candidates that the gate judged")
    promotions: int
    rollbacks: int
    accuracy_before: float | None = Field(description="true accuracy until the drift set in")
    accuracy_in_drift: float | None = Field(description="of the champion of that time, once it had")
    accuracy_after: float | None = Field(description="after the last promotion; null when there was none, or nothing after it")
    labels: int = Field(description="labels that arrived in all")
    notes: list[str] = Field(description="what a reader must know besides, such as a stream that ended early")
    error: str | None = Field(None, description="why the rehearsal ended before its time")
    seconds: float


def conclude(windows: list[WindowRecord], **about: Any) -> Rehearsal:
    """The figures of a history.

    Args:
        windows: the records in order.
        about: seed, source, drift, rollbacks, notes, error, seconds.
    """
    first = next((one.window for one in windows if one.drift != NONE), None)
    known = [one for one in windows if one.accepted]
    promoted = [one.window for one in windows if one.promoted]
    old = next((one.version for one in windows if one.window == first), None)
    return Rehearsal(
        windows=windows,
        first_drift=first,
        false_alarms=sum(is_false_alarm(windows, index) for index in range(len(windows))),
        single_alarms=sum(bool(one.drifted) for one in known),
        detection_delay=_delay(windows, first),
        retrainings=sum(one.decision is not None for one in windows),
        promotions=len(promoted),
        accuracy_before=_accuracy(one for one in windows if first is None or one.window < first),
        accuracy_in_drift=_accuracy(one for one in windows if one.drift != NONE and one.version == old),
        accuracy_after=_accuracy(one for one in windows if promoted and one.window > promoted[-1]),
        labels=sum(one.labels for one in windows),
        **about,
    )


def is_false_alarm(windows: Sequence[WindowRecord], index: int) -> bool:
    """Whether the verdict of a window that the champion was accepted for was not `stable`.

    A drift that has just gone is still confirmed by the windows before: that is an echo of a true alarm and no false one.
    """
    one, before = windows[index], windows[max(0, index - OF + 1) : index]
    echo = not one.drifted and any(not other.accepted for other in before)
    return one.accepted and one.verdict != "stable" and not echo


def _delay(windows: Sequence[WindowRecord], first: int | None) -> int | None:
    found = next((one.window for one in windows if first and one.window >= first and one.confirmed), None)
    return None if found is None or first is None else found - first + 1


def _accuracy(windows: Iterable[WindowRecord]) -> float | None:
    chosen = list(windows)
    requests = sum(one.requests for one in chosen)
    return round(sum(one.correct for one in chosen) / requests, 4) if requests else None
