"""A weak drift comes and goes: for a while one acceptance stands for what looks like another drift."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from components.drift_detection.acceptance import Acceptance, acceptance_of
from components.drift_detection.judged_harm import JudgedHarm
from components.drift_detection.label_tallies import WindowPlaces
from components.drift_detection.windows import Coverage, drift_is_confirmed, read_history
from driftloop.accepted_drifts import accept
from driftloop.drifts import windows_of_newest_drift
from driftloop.settings import DriftSettings
from driftloop.store import Store, open_store
from driftloop.watch_record import RecordedWindow, WatchRecord
from driftloop.watch_store import HISTORY_KEPT
from tests.factories.records import watch_record

START, SETTINGS = datetime(2025, 3, 1, tzinfo=UTC), DriftSettings()
NOTHING = np.zeros(0, bool)


def day(number: float) -> str:
    return (START + timedelta(days=number)).isoformat()


def daily(flags: list[bool], estimates: dict[int, float] | None = None) -> WindowPlaces:
    """A watch a day, from 1, each with a window."""
    windows = [
        RecordedWindow(first=day(number), last=day(number), rows=200, drifted=flag, label_free_drop=(estimates or {}).get(number))
        for number, flag in enumerate(flags)
    ]
    return WindowPlaces(windows, [(number + 1, 0) for number in range(len(flags))], past=len(flags) - 1, open=len(flags))


def confirmed(places: WindowPlaces, tag: str = "") -> JudgedHarm:
    """The newest drift, without labels."""
    newest = np.array(windows_of_newest_drift(places.drifted.tolist(), places.ends), dtype=bool)
    return JudgedHarm(
        confirmed=True,
        drift=places.places[int(newest.argmax())][0],
        drop=None,
        concept_drop=None,
        concept=False,
        drifting=[],
        steady=[],
        in_drift=newest,
        concerned=newest,
        coverage=Coverage(NOTHING, NOTHING, NOTHING, NOTHING),
        labels=0,
        gate_labels=0,
        gate_independent=0,
        gate_obtainable=0,
        harm_labels=100,
        skipped=0,
        tag=tag,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """In which the drift of days 0 and 1 was accepted on day 2."""
    store = open_store(str(tmp_path / "store"))
    accept(store, "1", 1, by="ada", reason="the new scanner", at=day(2))
    return store


def found(
    store: Store, places: WindowPlaces, *, version: str = "1", tag: str = "", records: tuple[WatchRecord, ...] = ()
) -> Acceptance | None:
    return acceptance_of(store, version, confirmed(places, tag), places, records, SETTINGS)


def test_its_own_acceptance_holds_for_a_drift_as_long_as_it_lasts(store: Store) -> None:
    acceptance = found(store, daily([True] * 90))
    assert acceptance == Acceptance("accepted on 2025-03-03 by ada (the new scanner)", 1)
    assert acceptance.growth(0.3) is None
    accept(store, "1", 1, by="bo", reason="site B moved", tag="site=B", at=day(3))
    assert found(store, daily([True] * 90), tag="site=B") == Acceptance("accepted on 2025-03-04 by bo (site B moved)", 1)


def test_it_holds_where_windows_before_it_are_marked_as_drifted_afterwards(store: Store) -> None:
    accept(store, "1", 5, by="ada", reason="the new lens", at=day(8))
    acceptance = found(store, daily([False] * 3 + [True] * 8, dict.fromkeys(range(11), 0.2)))
    assert acceptance == Acceptance("accepted on 2025-03-09 by ada (the new lens)", 5), "watch 4 is its first now"
    assert acceptance.growth(0.2) is None
    # A window that was still open then is of another drift.
    places = daily([False] * 3 + [True] * 8, dict.fromkeys(range(11), 0.2))
    places.windows[3] = places.windows[3].model_copy(update={"last": day(9)})
    assert found(store, places) != acceptance


def test_it_stands_for_a_drift_that_begins_within_four_weeks_and_says_so(store: Store) -> None:
    within, after = (daily([True, True, *[False] * days, True, True]) for days in (28, 29))
    acceptance = found(store, within)
    assert acceptance is not None
    assert acceptance.said == "accepted on 2025-03-03 by ada (the new scanner), which stands for drifts that begin until 2025-03-31"
    assert found(store, after) is None
    assert found(store, within, version="2") is None
    assert found(store, within, tag="site=B") is None


def test_another_drift_is_compared_with_what_was_accepted_by_the_estimate_without_labels(store: Store) -> None:
    flags = [True, True, *[False] * 5, True, True]
    acceptance = found(store, daily(flags, {0: 0.04, 1: 0.06, 3: 0.5, 7: 0.3, 8: 0.3}))
    assert acceptance is not None
    assert acceptance.label_free_drop == pytest.approx(0.05)
    assert acceptance.growth(0.3) == pytest.approx(0.25)
    assert acceptance.growth(None) is None
    unknown = found(store, daily(flags))
    assert unknown is not None
    assert unknown.growth(0.3) == 0.3, "where nothing is known of it, with what the champion was accepted for"


def test_it_stands_no_longer_once_labels_have_shown_harm(store: Store) -> None:
    places = daily([True, True, *[False] * 5, True, True])
    harmful, harmless = {"value": 0.08, "low": 0.02}, {"value": 0.02, "low": 0.01}
    just_harmful = {"value": SETTINGS.retrain_drop, "low": 0.01}
    for drop in (harmful, just_harmful):
        assert found(store, places, records=(watch_record(8, until=day(7), drop=drop),)) is None
    for earlier in (
        watch_record(8, until=day(7), drop=harmless),
        watch_record(8, until=day(7), drop={"value": 0.08, "low": -0.01}),
        watch_record(8, until=day(7), drop={"value": 0.08, "low": 0.0}),
        watch_record(2, until=day(1), drop=harmful),
        watch_record(2, until=day(2), drop=harmful),
        watch_record(8, until=day(7), drop=harmful, tag="site=B"),
        watch_record(8, until=day(7), drop=harmful, champion_version="2"),
    ):
        assert found(store, places, records=(earlier,)) is not None


def test_a_weak_harmless_drift_of_three_months_needs_an_acceptance_a_month(tmp_path: Path) -> None:
    """Half of its windows alarm: eight or nine acceptances were needed."""
    store, given = open_store(str(tmp_path / "store")), 0
    flags = (np.random.default_rng(0).random(90) < 0.5).tolist()
    for number in range(1, 90):
        places = daily(flags[: number + 1])
        if drift_is_confirmed(flags[:number], [flags[number]]) and found(store, places) is None:
            accept(store, "1", confirmed(places).drift, by="ada", reason="it is weak", at=day(number))
            given += 1
    assert given <= 4


def by_week(store: Store, flags: list[bool], estimates: list[float] | None = None) -> list[Acceptance | None]:
    """What the watches of a long history find, one a week, with the records that the store would still have."""
    records: list[WatchRecord] = []
    found: list[Acceptance | None] = []
    for number, (flag, estimate) in enumerate(zip(flags, estimates or [None] * len(flags), strict=True), start=1):
        now = START + timedelta(weeks=number - 1)
        window = RecordedWindow(first=now.isoformat(), last=now.isoformat(), rows=200, drifted=flag, label_free_drop=estimate)
        history = read_history(records, champion_version="1", until=now.isoformat())
        places = WindowPlaces.of(history, [window], number)
        harm = confirmed(places) if drift_is_confirmed(history.open_flags, [flag]) else None
        acceptance = acceptance_of(store, "1", harm, places, records, SETTINGS) if harm else None
        found.append(acceptance)
        stands = [acceptance.recorded("")] if acceptance else []
        records.append(watch_record(number, until=now.isoformat(), windows=[window], acceptances=stands))
        records = [record for record in records if now - datetime.fromisoformat(record.until) <= HISTORY_KEPT]
    return found


def test_a_drift_that_lasts_for_years_stays_accepted_and_one_after_it_is_not(store: Store) -> None:
    years = [True, True, True, *[True, True, False] * 50]
    found = by_week(store, [*years, *[False] * 2, *[True] * 3])
    assert set(found[1 : len(years)]) == {Acceptance("accepted on 2025-03-03 by ada (the new scanner)", 1)}
    assert set(found[-2:]) == {None}


def test_what_stands_for_a_drift_that_lasts_for_years_is_compared_with_what_was_accepted_for_as_long(store: Store) -> None:
    found = by_week(store, [True, True, False, False, *[True] * 150], [0.04, 0.06, 0.0, 0.0, *[0.3] * 150])
    said = "accepted on 2025-03-03 by ada (the new scanner), which stands for drifts that begin until 2025-03-31"
    assert set(found[5:]) == {Acceptance(said, 1, 0.05)}
