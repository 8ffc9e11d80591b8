"""What a rehearsal found: `rehearsal.json`, in documented and versioned fields; an interface that scripts may rely on.

`schema_version` grows by one whenever a field changes its meaning or goes; new fields may be added without. An alarm is false only on
traffic that the serving champion was accepted for, which `AcceptedDrifts` keeps track of.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from driftloop.contracts import CONFIRMING_WINDOWS, MOST_LEARNED_REGIMES

SCHEMA_VERSION = 1
#: The name of clean traffic.
NONE = "none"
#: Windows of a kind that make it learned.
LEAST_WINDOWS = 2


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
        self._learned.append(frozenset(drift for drift in played if kinds[kind(drift)] >= LEAST_WINDOWS))


def kind(drift: str) -> str:
    """A drift without its severity: what a gradual one keeps from window to window."""
    return drift.rpartition(":")[0] or drift


class Record(BaseModel):
    """Closed, so that a misspelt field is an error where it is written."""

    model_config = ConfigDict(extra="forbid")


class WindowRecord(Record):
    """One window of traffic and the watch after it."""

    window: int
    """Number, from 1."""
    day: str
    """Its simulated date."""
    until: str
    """Simulated time up to which it was watched, ISO 8601 in UTC."""
    drift: str
    """What was played: `none`, or such as `blur+noise:1`."""
    accepted: bool
    """Whether the champion was accepted for that."""
    version: str
    """The champion that answered."""
    requests: int
    """How many were answered."""
    correct: int
    """Requests answered rightly, by the known truth."""
    accuracy: float
    """`correct / requests`."""
    drifted: bool | None
    """Whether a drift test of this watch rejected; null where too few rows waited."""
    p_value: float | None
    """The smaller one of both tests, undoubled; null as above."""
    confirmed: bool
    """Whether drift was confirmed, which takes several windows."""
    verdict: str
    """`stable`, `alert`, `needs_labels` or `retrain`."""
    reason: str
    """For the verdict."""
    decision: str | None
    """`promote`, `reject` or `inconclusive`; null where nothing was retrained."""
    promoted: str | None
    """The version that replaced the champion."""
    labels: int
    """Labels that arrived with this window."""
    events: list[str]
    """What happened, in words."""


class Rehearsal(Record):
    """The whole history; rates and delays count windows."""

    schema_version: int = SCHEMA_VERSION
    """Of these fields."""
    seed: int
    """Of everything random."""
    source: str
    """Where the images came from."""
    drift: str
    """What was asked for: one drift, or several with commas between them."""
    windows_per_day: int
    """Windows of traffic a simulated day, each of which is watched."""
    labels_after: float
    """Days until the labels that a watch asks for arrive."""
    ranked_labels: bool
    """Whether the most shifted images are labelled as well, or the uniformly random ones only."""
    labels_per_window: int
    """Uniformly random labels that arrive with every window besides."""
    subgroup: float | None
    """Share of the traffic that drifts; null: all of it, or what the drift itself names."""
    windows: list[WindowRecord]
    """In the order in which they were played."""
    first_drift: int | None
    """Number of the first drifted window."""
    false_alarms: int
    """Verdicts other than stable on windows that the champion was accepted for."""
    single_alarms: int
    """Windows among those that drifted by the test."""
    detection_delay: int | None
    """Drifted windows played until the drift was confirmed, that one included: 2 at best."""
    accuracy: float | None
    """True accuracy over all windows."""
    accuracy_since_drift: float | None
    """True accuracy from the first drifted window on, whichever champion answered."""
    retrainings: int
    """Candidates that the gate judged."""
    promotions: int
    """Of them, those that replaced the champion."""
    rollbacks: int
    """Of the champion, in the rehearsal's own store."""
    accuracy_before: float | None
    """True accuracy until the drift set in."""
    accuracy_in_drift: float | None
    """Of the champion of that time, once it had."""
    accuracy_after: float | None
    """After the last promotion; null when there was none, or nothing after it."""
    labels: int
    """Labels that arrived in all."""
    notes: list[str]
    """What a reader must know besides, such as a stream that ended early."""
    error: str | None = None
    """Why the rehearsal ended before its time."""
    seconds: float
    """That it took."""


class PolicyResult(Record):
    """What one policy made of the world that it shares with others."""

    name: str
    """Of its file, without the suffix."""
    changes: dict[str, Any]
    """Its parameters, where they differ from those of the rehearsal."""
    rehearsal: Rehearsal
    """Its history."""

    @property
    def accuracy(self) -> float | None:
        """True accuracy since the drift set in; of a rehearsal without one, over all windows."""
        return self.rehearsal.accuracy if self.rehearsal.first_drift is None else self.rehearsal.accuracy_since_drift


class Comparison(Record):
    """The same traffic under several policies."""

    schema_version: int = SCHEMA_VERSION
    """Of these fields."""
    policies: list[PolicyResult]
    """In the order in which they were named."""


def conclude(windows: list[WindowRecord], **about: Any) -> Rehearsal:
    """The figures of a history.

    Args:
        windows: the records in order.
        about: what was asked for, rollbacks, notes, error, seconds.
    """
    first = next((window.window for window in windows if window.drift != NONE), None)
    accepted = [window for window in windows if window.accepted]
    promoted = [window.window for window in windows if window.promoted]
    old = next((window.version for window in windows if window.window == first), None)
    return Rehearsal(
        windows=windows,
        first_drift=first,
        false_alarms=sum(is_false_alarm(windows, index) for index in range(len(windows))),
        single_alarms=sum(bool(window.drifted) for window in accepted),
        detection_delay=_delay(windows, first),
        retrainings=sum(window.decision is not None for window in windows),
        promotions=len(promoted),
        accuracy=_accuracy(windows),
        accuracy_since_drift=_accuracy(window for window in windows if first is not None and window.window >= first),
        accuracy_before=_accuracy(window for window in windows if first is None or window.window < first),
        accuracy_in_drift=_accuracy(window for window in windows if window.drift != NONE and window.version == old),
        accuracy_after=_accuracy(window for window in windows if promoted and window.window > promoted[-1]),
        labels=sum(window.labels for window in windows),
        **about,
    )


def is_false_alarm(windows: Sequence[WindowRecord], index: int) -> bool:
    """Whether the verdict of a window that the champion was accepted for was not `stable`.

    A drift that has just gone is still confirmed by the windows before: that is an echo of a true alarm and not a false one.
    """
    window, before = windows[index], windows[max(0, index - CONFIRMING_WINDOWS + 1) : index]
    echo = not window.drifted and any(not earlier.accepted for earlier in before)
    return window.accepted and window.verdict != "stable" and not echo


def _delay(windows: Sequence[WindowRecord], first: int | None) -> int | None:
    if first is None:
        return None
    confirmed = next((window.window for window in windows if window.window >= first and window.confirmed), None)
    return None if confirmed is None else confirmed - first + 1


def _accuracy(windows: Iterable[WindowRecord]) -> float | None:
    chosen = list(windows)
    requests = sum(window.requests for window in chosen)
    return round(sum(window.correct for window in chosen) / requests, 4) if requests else None
