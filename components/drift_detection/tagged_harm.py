"""Harm of a level of a tag, whose drift is confirmed or whose images look as accepted, by its own labels; and what labels are asked for."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pandas as pd

from components.drift_detection.harm import CONCEPT_ALPHA, DRIFT_ALPHA, HALF_LABEL, STRATUM_LABELS, Stratum, drop_of, expected_of, score
from components.drift_detection.judged_harm import HALF_LIVES, JudgedHarm, counted_labels
from components.drift_detection.label_requests import requests_for
from components.drift_detection.label_tallies import (
    OverSampled,
    WindowPlaces,
    design_effect,
    labels_to_be_had,
    random_labels,
    randomly_labelled,
    window_labels,
)
from components.drift_detection.policy import Verdict, shows_harm
from components.drift_detection.reference import AcceptedTraffic, Sample
from components.drift_detection.tags import TAGS_SHARE, TagFindings
from components.drift_detection.windows import Coverage
from driftloop.contracts import GATE, RANKED
from driftloop.drifts import windows_that_confirm
from driftloop.settings import DriftSettings
from driftloop.watch_record import RecordedTagWindow, WatchRecord

#: A level with a smaller part of a drift's requests is judged by windows of its own alone: labels of all requests hardly meet it.
LEAST_PART = 0.02
#: How often, at one look, labels of a level that lost nothing look like harm: that only holds back the word harmless, all levels together.
SUSPICION = 0.05


def unknown_levels(
    rows: pd.DataFrame,
    harm: JudgedHarm,
    found: Sequence[TagFindings],
    accepted: AcceptedTraffic,
    *,
    judging: np.ndarray,
    tests: int,
) -> list[str]:
    """The levels whose own drift is not confirmed, and that a drift of all requests may yet have harmed: a sentence each.

    Of the random labels of the drift those count that fall into the level: of fewer groups than `STRATUM_LABELS`, where more can be had,
    they say nothing, and others may look like harm.

    Args:
        rows: of the log.
        harm: of the drift of all requests.
        found: of the levels that can be tested.
        accepted: the champion.
        judging: (N,) bool, the rows kept for the gate, whose labels do not count.
        tests: how many levels are tested.
    """
    unknown, drifting = [], harm.coverage.covered & harm.coverage.confirmed
    for of_level in found:
        inside = drifting & of_level.level.inside
        accuracies = accepted.accuracies_of(of_level.level.title)
        if of_level.confirmed or not accuracies or inside.sum() < max(1, LEAST_PART * drifting.sum()):
            continue
        judged = rows[inside & ~judging]
        labelled, distinct = judged[randomly_labelled(judged)], len(random_labels(judged))
        if distinct < min(STRATUM_LABELS, labels_to_be_had(judged)):
            unknown.append(f"{of_level.level.title}: {distinct} random labels of its own, {STRATUM_LABELS} are needed to tell")
        elif distinct:
            right = (labelled["predicted"] == labelled["label"]).to_numpy(dtype=bool)
            n, effect = len(right), design_effect(right, labelled)
            mixture = of_level.windows[-1].mixture if of_level.windows else {}
            expected, images = expected_of([Stratum(1.0, n, int(right.sum()), mixture)], accuracies)
            careful = min(right.sum() / effect + HALF_LABEL, n / effect)
            beyond = float(score(expected * images, images, careful, n / effect, 0.0))
            if beyond > NormalDist().inv_cdf(1 - SUSPICION / tests):
                unknown.append(f"{of_level.level.title}: right on {right.sum()} of {n} random labels, {expected:.0%} was accepted")
    return unknown


def judge_level(
    rows: pd.DataFrame,
    coverage: Coverage,
    places: WindowPlaces,
    found: TagFindings,
    accepted: AcceptedTraffic,
    records: Sequence[WatchRecord],
    settings: DriftSettings,
    *,
    judging: np.ndarray,
    tests: int,
) -> JudgedHarm:
    """Harm of a level's confirmed drift, from its own labels against its own accuracy; all levels share a part of its error.

    Where no drift of it is confirmed, that of its windows since the last decision which look as accepted: concept drift, if it is shown.

    Args:
        rows, coverage, places, records, settings, judging: as for `judge_harm`.
        found: the level.
        accepted: the champion.
        tests: how many levels are tested.
    """
    of_level, members = level_places(in_question(found), places)
    if not found.confirmed:
        members &= places.undecided
    inside = coverage.covered & found.level.inside & np.isin(coverage.window + places.past, np.flatnonzero(members))
    recent = members & places.within(HALF_LIVES * settings.harm_half_life_days)
    own = replace(coverage, covered=inside, drifted=inside, confirmed=inside)
    tallies = window_labels(
        rows,
        own,
        of_level,
        recent,
        records[-1].labels_by_window if records else [],
        judging=judging,
        drifted=found.confirmed,
        tag=found.level.title,
    )
    accuracies = accepted.accuracies_of(found.level.title)
    alpha = TAGS_SHARE * (DRIFT_ALPHA if found.confirmed else CONCEPT_ALPHA) / tests
    drop = drop_of(tallies, accuracies, half_life_days=settings.harm_half_life_days, alpha=alpha) if accuracies else None
    return JudgedHarm(
        confirmed=found.confirmed,
        drift=places.places[int(members.argmax())][0] if found.confirmed and members.any() else 0,
        drop=drop if found.confirmed else None,
        concept_drop=None if found.confirmed else drop,
        concept=not found.confirmed and shows_harm(drop, settings),
        drifting=tallies if found.confirmed else [],
        steady=[] if found.confirmed else tallies,
        in_drift=recent & found.confirmed,
        concerned=members,
        coverage=replace(coverage, confirmed=inside),
        tag=found.level.title,
        **counted_labels(rows, inside, judging, settings),
    )


def in_question(found: TagFindings) -> list[RecordedTagWindow]:
    """The windows of a level whose harm is judged: those of its confirmed drift, or those that look as accepted."""
    return found.drifting if found.confirmed else [window for window in found.windows if not window.drifted]


def level_places(windows: Sequence[RecordedTagWindow], places: WindowPlaces) -> tuple[WindowPlaces, np.ndarray]:
    """The windows of all requests as far as they are of these windows of a level, and which of them hold any: (W,) bool."""
    rows: Counter[tuple[int, int]] = Counter()
    mixtures = {}
    for window in windows:
        for part in window.parts:
            rows[part.watch, part.window] += part.rows
            mixtures[part.watch, part.window] = window.mixture
    members = np.array([place in rows for place in places.places], dtype=bool)
    own = [
        window.model_copy(update={"rows": rows[place], "mixture": mixtures[place], "drifted": True, "together": False})
        if place in rows
        else window
        for place, window in zip(places.places, places.windows, strict=True)
    ]
    return replace(places, windows=own), members


def oversampled(found: Sequence[TagFindings], places: WindowPlaces, count: int) -> OverSampled:
    """The rows of levels that had a confirmed drift under this champion: labels were asked of them more often than of the others.

    Args:
        found: of the levels.
        places: of all windows.
        count: N, rows of the traffic.
    """
    inside, rows = np.zeros(count, dtype=bool), np.zeros(len(places.places), dtype=np.int64)
    by_tag: dict[str, np.ndarray] = {}
    for of_level in found:
        if any(windows_that_confirm(of_level.flags)):
            inside |= of_level.level.inside
            own, members = level_places(of_level.windows, places)
            there = np.where(members, [window.rows for window in own.windows], 0)
            by_tag[of_level.level.name] = by_tag.get(of_level.level.name, 0) + there
    for there in by_tag.values():
        rows = np.maximum(rows, there)
    return OverSampled(inside, rows)


def rows_of_open_drifts(rows: pd.DataFrame, found: Sequence[TagFindings], coverage: Coverage, places: WindowPlaces) -> np.ndarray:
    """The rows of levels whose drift is not over: what later watches judge harm by and train on, (N,) bool."""
    keep = np.zeros(len(rows), dtype=bool)
    for of_level in found:
        _, members = level_places([*of_level.drifting, *of_level.open], places)
        keep |= of_level.level.inside & coverage.covered & np.isin(coverage.window + places.past, np.flatnonzero(members))
    return keep


@dataclass(frozen=True)
class Judged:
    """A drift whose harm is judged: that of all requests, or of a level of a tag."""

    harm: JudgedHarm
    verdict: Verdict
    places: WindowPlaces
    """The windows, as far as they are of these requests."""
    coverage: Coverage
    """The rows that labels may be asked for."""
    reference: Sample
    """What its most shifted images are most unlike of."""


def judged_level(harm: JudgedHarm, verdict: Verdict, found: TagFindings, places: WindowPlaces) -> Judged:
    """The drift of a level, or what its images mean now, with its own part of every window."""
    assert found.level.regimes is not None
    coverage = replace(harm.coverage, covered=harm.coverage.confirmed)
    return Judged(harm, verdict, level_places(in_question(found), places)[0], coverage, found.level.regimes.samples[0])


def requests_of_watch(
    rows: pd.DataFrame,
    drifts: Sequence[Judged],
    chosen: JudgedHarm,
    settings: DriftSettings,
    rng: np.random.Generator,
    *,
    teaching: np.ndarray,
    judging: np.ndarray,
    critical: Collection[str],
    until: str,
) -> pd.DataFrame:
    """The lists of a watch, see `requests_for`: quotas of its windows, and random requests for every drift whose harm is in question.

    There is one labelling team, so these drifts share `random_requests` equally. A stratum of a level's list is the level's part of a
    window, as in `3/0 site=B`. What is drawn at random stands first; a request that two lists name stands there once.

    Args:
        rows: of the log.
        drifts: that of all requests, then those of levels.
        chosen: the one that the verdict is about, whose most shifted images are listed.
        settings, rng, teaching, judging, critical, until: as for `requests_for`.
    """
    asking = max(1, sum(bool(drift.verdict.purpose) for drift in drifts))
    lists = []
    for drift in drifts:
        tag = drift.harm.tag
        if tag and not drift.verdict.purpose:
            continue
        own = {"random_requests": settings.random_requests // asking}
        own |= {} if drift.harm is chosen else {"ranked_requests": 0}
        own |= {"quota_requests": 0, "class_requests": 0} if tag else {}
        asked = requests_for(
            rows,
            drift.coverage,
            drift.places,
            drift.harm.concerned,
            drift.reference,
            settings.model_copy(update=own),
            rng,
            teaching=teaching,
            judging=judging,
            purpose=drift.verdict.purpose,
            critical=critical,
            until=until,
            goes_on=drift.verdict.purpose == GATE or drift.harm.labels_could_decide(settings),
        )
        lists.append(asked.assign(stratum=asked["stratum"].astype(str) + f" {tag}") if tag else asked)
    every = pd.concat([part for part in lists if len(part)] or lists[:1], ignore_index=True)
    order = np.argsort(every["origin"].to_numpy() == RANKED, kind="stable")
    joined = every.iloc[order].drop_duplicates("request_id", keep="first", ignore_index=True)
    return joined.assign(rank=joined.groupby("origin").cumcount() + 1)
