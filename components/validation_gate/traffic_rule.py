"""Promotion by what comes in now, where the usual criteria leave the decision open.

A champion that fails on most of today's traffic must not stay because the few images of yesterday's kind cannot prove a margin of two
points. Where every other rule is inconclusive, the gain weighted by the traffic of the last four weeks decides, at half the usual error.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from components.validation_gate.answers import Answers
from components.validation_gate.criteria import NEW, Criterion
from components.validation_gate.recognised import recognises
from driftloop.watch_record import RecordedWindow, WatchRecord, with_pools

#: The traffic that a share is of.
LOOKED_BACK = timedelta(days=28)
#: What no kind of images counts less than: it may come back.
LEAST_SHARE = 0.05
#: The criterion, as reasons and tables call it.
TRAFFIC_NOW = "traffic as it is now"


def share_of_new(records: Sequence[WatchRecord], champion: str | None, until: str, tag: str = "", *, concept: bool = False) -> float | None:
    """The share of the champion's requests in windows of the four weeks before `until` that fitted nothing accepted; None without any.

    It is fixed by the watches, before any candidate answers. Rows count as many as they stand for, where a watch took a sample, and
    windows that drifted only together with later ones count as drifted. Of the drift of one level of a tag, which alone the candidate
    has learned, it is that level's requests in its own drifted windows. Where images that look as accepted mean something else, it is the
    windows that did not drift which the candidate has learned of.

    Args:
        records: of watches, oldest first, that of the present one included.
        champion: version that is watched; a window fits what its own champion was accepted for.
        until: end of the present watch, ISO 8601 in UTC.
        tag: level whose drift the candidate has learned, as in site=B; empty: that of all requests.
        concept: whether it has learned what images that look as accepted mean now.
    """
    records = [record for record in records if record.champion_version == champion]
    recent = _recent_windows(records, until)
    total = sum(window.rows / sampled for sampled, window in recent.values())
    if not total:
        return None
    if not tag:
        return sum(window.rows / sampled for sampled, window in recent.values() if window.drifted is not concept) / total
    learned = [window for record in records for window in record.tag_windows if window.tag == tag and window.drifted is not concept]
    parts = [(part.rows, (part.watch, part.window)) for window in learned for part in window.parts]
    return sum(rows / recent[place][0] for rows, place in parts if place in recent) / total


def shares_of_regimes(records: Sequence[WatchRecord], champion: str | None, until: str) -> dict[str, float]:
    """The share of the champion's requests in those four weeks that were nearest to each accepted regime, of windows that fitted one.

    With `share_of_new` they are 1. For the reader only: a window may lie between regimes, and older records do not say.

    Args:
        records, champion, until: as for `share_of_new`.

    Returns:
        By regime; empty where a window does not say.
    """
    recent = _recent_windows([record for record in records if record.champion_version == champion], until)
    total = sum(window.rows / sampled for sampled, window in recent.values())
    fitting = [(sampled, window) for sampled, window in recent.values() if not window.drifted]
    shares: dict[str, float] = {}
    for sampled, window in fitting:
        for name, share in window.mixture.items():
            shares[name] = shares.get(name, 0.0) + share * window.rows / sampled / total
    return shares if all(window.mixture for _, window in fitting) else {}


def _recent_windows(records: Sequence[WatchRecord], until: str) -> dict[tuple[int, int], tuple[float, RecordedWindow]]:
    """By place, the windows of the four weeks before `until` and of what share of the requests their watch took a sample."""
    begin = datetime.fromisoformat(until) - LOOKED_BACK
    own = [((record.sequence, index), record.sampled, window) for record in records for index, window in enumerate(record.windows)]
    marked = with_pools([window for _, _, window in own])
    return {
        place: (sampled, window)
        for (place, sampled, _), window in zip(own, marked, strict=True)
        if datetime.fromisoformat(window.last) > begin
    }


def weightings(new: float, regimes: Sequence[str]) -> list[dict[str, float]]:
    """Shares of the regimes, which sum to 1, each at least `LEAST_SHARE`: one dict for each way to read the records.

    Records do not say which accepted regime a window fitted, so that of all but the new drift may have fallen to any of them.
    """
    accepted = [regime for regime in regimes if regime != NEW]
    new = min(max(new, LEAST_SHARE), 1 - LEAST_SHARE * len(accepted))
    rest = 1 - new - LEAST_SHARE * len(accepted)
    return [{NEW: new} | {regime: LEAST_SHARE + rest * (regime == usual) for regime in accepted} for usual in accepted]


def weighted_gain(regimes: dict[str, Answers], new: float, *, alpha: float) -> Criterion:
    """The gain over the traffic as it is now lies above 0: sum over regimes of share times difference, at its worst reading.

    The bound combines those of the regimes (MOVER; Zou & Donner 2008): low = sum w d - sqrt(sum w^2 (d - low_d)^2).

    Args:
        regimes: answers by regime; CLEAN and NEW are there.
        new: from `share_of_new`.
        alpha: one-sided error of the lower bound; the upper one is not tested.
    """
    differences = {name: answers.difference(confidence=1 - alpha) for name, answers in regimes.items()}
    readings = []
    for shares in weightings(new, list(regimes)):
        gain = sum(share * differences[name].estimate for name, share in shares.items())
        low = gain - math.hypot(*(share * (differences[name].estimate - differences[name].low) for name, share in shares.items()))
        high = gain + math.hypot(*(share * (differences[name].high - differences[name].estimate) for name, share in shares.items()))
        readings.append((low, high, gain, shares))
    low, high, gain, shares = min(readings, key=lambda reading: reading[0])
    note = ", ".join(f"{100 * share:.0f} % {name}" for name, share in shares.items()) + f"; bounds at {100 * (1 - alpha):.3g} %"
    total = sum(difference.n for difference in differences.values())
    groups = sum(difference.groups for difference in differences.values())
    return Criterion(
        TRAFFIC_NOW, low > 0, False, gain, low, high, 0.0, total, unit="points", note=note, regime=" + ".join(regimes), groups=groups
    )


def below_floor(regimes: dict[str, Answers], floor: float, classes: Sequence[str], *, minimum: int) -> list[str]:
    """The regimes that are shown to lose more than `floor`, as a share, and the classes and slices of each that are.

    A class that the champion is not shown to recognise there cannot be lost: one that answers it to everything has all of it right.

    Args:
        regimes: answers by regime.
        floor: what may be lost.
        classes: names, in the order of the labels.
        minimum: classes with fewer images are not looked at, as slices are not.
    """
    fallen = []
    for regime, answers in regimes.items():
        of_class = {name: answers.labels == index for index, name in enumerate(classes) if recognises(answers, index)}
        parts = {regime: np.ones(len(answers.labels), bool)}
        parts |= {f"class {name} ({regime})": rows for name, rows in of_class.items() if rows.sum() >= minimum}
        parts |= {f"{name} ({regime})": rows for name, rows in answers.slices.items()}
        fallen += [name for name, rows in parts.items() if answers.difference(rows).high < -floor]
    return fallen
