"""Which acceptance holds for a confirmed drift: its own, or one of a drift before it that still stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

from components.drift_detection.judged_harm import JudgedHarm
from components.drift_detection.label_tallies import WindowPlaces
from driftloop.accepted_drifts import AcceptedDrift, find_acceptance, standing_acceptance
from driftloop.settings import DriftSettings
from driftloop.store import Store
from driftloop.watch_record import StandingAcceptance, WatchRecord


@dataclass(frozen=True)
class Acceptance:
    """As far as it holds for a drift."""

    said: str
    """When, by whom and why, as a verdict says it."""
    drift: int
    """Number of the watch with which the accepted drift began."""
    label_free_drop: float | None = None
    """Mean estimate without labels of the windows that were accepted, where they are another drift's; None: they are its own."""

    def growth(self, newest: float | None) -> float | None:
        """By how much the newest estimate without labels exceeds that of another drift that was accepted; None: not known, or its own."""
        return None if newest is None or self.label_free_drop is None else newest - self.label_free_drop

    def recorded(self, tag: str) -> StandingAcceptance:
        """As the record of a watch keeps it, for a level of a tag or for all requests (empty)."""
        return StandingAcceptance(tag=tag, drift=self.drift, label_free_drop=self.label_free_drop)


def acceptance_of(
    store: Store, version: str, harm: JudgedHarm, places: WindowPlaces, records: Sequence[WatchRecord], settings: DriftSettings
) -> Acceptance | None:
    """That of the confirmed drift, else the newest of another that stands for it: unless labels have shown harm since.

    A weak drift is quiet for days and then counts as another. It is taken for the same for a while, but not without being compared with
    what was accepted, as far as can be without labels. What stood for a drift stands as long as that lasts: records are kept for long, not
    for ever, so each says what stood at its watch, and a drift whose first records have gone begins with another.

    Args:
        store: the model's home.
        version: of the champion.
        harm: of the drift.
        places: all windows.
        records: of the watches before, oldest first.
        settings: of the policy.
    """
    if not harm.drift:
        return None
    own = find_acceptance(store, version, harm.drift, harm.tag)
    if own is not None:
        return Acceptance(own.said, own.drift)
    first = places.windows[int(harm.concerned.argmax())]
    other, growth_over = standing_acceptance(store, version, datetime.fromisoformat(first.first), harm.tag), None
    if other is not None and datetime.fromisoformat(first.last) <= other.time:
        # Windows that drifted only together with later ones are marked afterwards: what was accepted then begins with an earlier watch.
        return Acceptance(other.said, other.drift)
    stood = _stood_before(records, version, harm)
    if stood is not None:
        other, growth_over = find_acceptance(store, version, stood.drift, harm.tag), stood.label_free_drop
        if other is not None and growth_over is None:
            return Acceptance(other.said, other.drift)
    if other is None or any(_shows_harm(record, other, settings) for record in records):
        return None
    if growth_over is None:
        estimates = [
            window.label_free_drop
            for (watch, _), window in zip(places.places, places.windows, strict=True)
            if window.drifted and other.drift <= watch < harm.drift and window.label_free_drop is not None
        ]
        growth_over = fmean(estimates or [0.0])
    return Acceptance(f"{other.said}, which stands for drifts that begin until {other.until:%Y-%m-%d}", other.drift, growth_over)


def _stood_before(records: Sequence[WatchRecord], version: str, harm: JudgedHarm) -> StandingAcceptance | None:
    """What stood for this drift at its newest watch that says so: a drift that a watch since its beginning confirmed is this one."""
    own = (record for record in reversed(records) if record.champion_version == version and record.sequence >= harm.drift)
    return next((stood for record in own for stood in record.acceptances if stood.tag == harm.tag), None)


def _shows_harm(record: WatchRecord, accepted: AcceptedDrift, settings: DriftSettings) -> bool:
    """Whether a watch after the acceptance found harm of such requests."""
    drop = record.drop
    if drop is None or (record.champion_version, record.tag) != (accepted.version, accepted.tag):
        return False
    later = datetime.fromisoformat(record.until) > accepted.time
    return later and drop["value"] >= settings.retrain_drop and drop["low"] > 0
