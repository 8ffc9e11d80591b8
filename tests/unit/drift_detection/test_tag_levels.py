"""Which levels of tags a watch tests, against what, at which level, and how their windows are put together."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.reference import LEAST_LEARNED, AcceptedTraffic, Regimes, Sample, prepare_regimes, read_champion
from components.drift_detection.tags import (
    TAGS_SHARE,
    TagFindings,
    TagLevel,
    alarm_of_level,
    examine_level,
    levels_in,
    number_of_tests,
    waiting_tags,
)
from components.drift_detection.windows import CutRows, WatchHistory, effective_size, level_of, permutations_for
from driftloop.settings import DriftSettings
from driftloop.tags import MOST_LEVELS, MOST_TAGS
from driftloop.watch_record import RecordedTagWindow, TagPart, WatchRecord
from tests.factories.drift_traffic import draw_regime, write_champion_with_references
from tests.factories.records import watch_record

START = datetime(2025, 3, 1, tzinfo=UTC)
SETTINGS = DriftSettings()
#: Smaller windows than a user may have.
SMALL = SETTINGS.model_copy(update={"window_size": 14, "minimum_window": 4})


def tags(**given: str) -> str:
    return json.dumps(given, sort_keys=True)


def accepted(folder: Path, *references: tuple[str, Sequence[str], Sequence[str] | None]) -> AcceptedTraffic:
    """A champion with references by name, the tags of their images, and their groups where not every image is its own."""
    rng = np.random.default_rng(0)
    regimes = []
    for name, texts, groups in references:
        regime = replace(draw_regime(name, len(texts), rng), tags=np.array(texts))
        regimes.append(regime if groups is None else replace(regime, groups=np.array(groups)))
    return read_champion(write_champion_with_references(folder, regimes), rng)


def traffic(texts: Sequence[Any], fresh: Sequence[bool] | None = None) -> pd.DataFrame:
    return pd.DataFrame({"tags": pd.Series(texts, dtype=object), "fresh": [True] * len(texts) if fresh is None else list(fresh)})


def test_levels_are_shown_with_their_requests_and_tested_where_the_reference_has_enough_groups(tmp_path: Path) -> None:
    of_a, of_b = [tags(site="A")] * LEAST_LEARNED, [tags(site="B")] * (LEAST_LEARNED - 1)
    # Site C has images enough, of too few patients.
    of_c = [tags(site="C")] * LEAST_LEARNED
    groups = [*(f"g{index}" for index in range(len(of_a + of_b))), *(f"p{index // 2}" for index in range(len(of_c)))]
    champion = accepted(tmp_path, ("reference", [*of_a, *of_b, *of_c], groups))
    rows = traffic(
        [tags(site="C"), tags(site="B"), None, tags(site="A"), tags(site="A"), "", tags(ward="1"), tags(site="D")], [True] * 4 + [False] * 4
    )
    found = {level.title: level for level in levels_in(rows, champion, np.random.default_rng(0))}
    assert list(found) == ["site=A", "site=C", "site=B", "site=D", "ward=1"]
    assert {name: (level.inside.nonzero()[0].tolist(), level.requests, level.groups) for name, level in found.items()} == {
        "site=A": ([3, 4], 1, LEAST_LEARNED),
        "site=C": ([0], 1, LEAST_LEARNED // 2),
        "site=B": ([1], 1, LEAST_LEARNED - 1),
        "site=D": ([7], 0, 0),
        "ward=1": ([6], 0, 0),
    }
    assert [name for name, level in found.items() if level.regimes is not None] == ["site=A"]
    regimes = found["site=A"].regimes
    assert regimes is not None
    np.testing.assert_array_equal(regimes.samples[0].statistics, champion.references[0].statistics[:LEAST_LEARNED])
    assert regimes.names == ("reference",)
    ((whole, clusters),) = regimes.whole
    assert (len(whole), clusters.sizes.tolist()) == (LEAST_LEARNED, [1] * LEAST_LEARNED)


def test_a_level_is_compared_with_its_part_of_every_reference_that_has_enough_of_it(tmp_path: Path) -> None:
    few = LEAST_LEARNED // 2
    plain, of_b = [""] * LEAST_LEARNED, tags(site="B")
    twice = [f"p{index // 2}" for index in range(2 * LEAST_LEARNED)]
    champion = accepted(
        tmp_path,
        ("reference", [*[of_b] * (2 * LEAST_LEARNED), *plain], [*twice, *(f"g{index}" for index in range(len(plain)))]),
        ("regime-1", [*[of_b] * few, *plain], None),
        ("regime-2", [*plain, *[of_b] * LEAST_LEARNED], None),
    )
    (level,) = levels_in(traffic([of_b]), champion, np.random.default_rng(0))
    assert level.groups == LEAST_LEARNED + few + LEAST_LEARNED
    assert level.regimes is not None
    assert level.regimes.names == ("reference", "regime-2")
    assert [len(sample) for sample in level.regimes.samples] == [LEAST_LEARNED, LEAST_LEARNED]
    assert [(len(sample), set(clusters.sizes)) for sample, clusters in level.regimes.whole] == [
        (2 * LEAST_LEARNED, {2}),
        (LEAST_LEARNED, {1}),
    ]
    np.testing.assert_array_equal(level.regimes.samples[1].statistics, champion.references[2].statistics[LEAST_LEARNED:])


def test_of_too_many_tags_and_levels_those_are_taken_that_the_references_know_best(tmp_path: Path) -> None:
    reference = (
        [tags(device="x", ward="1", site="A", camera="k")] * 3 + [tags(device="x", ward="1", site="A")] * 2 + [tags(device="x")] * 20
    )
    champion = accepted(tmp_path / "tags", ("reference", reference, None))
    rows = traffic([tags(angle="1", beam="1", device="x")] * 2 + [tags(ward="1", site="A", beam="1")])
    names = [level.name for level in levels_in(rows, champion, np.random.default_rng(0))]
    # Equally known are ward and site (by name), then what no reference has, by requests.
    assert names == ["device", "site", "ward", "beam"]
    assert len(names) == MOST_TAGS

    known = [tags(site=f"s{number}") for number in range(MOST_LEVELS - 1)] * 2 + [tags(site="t")] * 20
    champion = accepted(tmp_path / "levels", ("reference", known, None))
    seen = [tags(site=f"s{number}") for number in range(MOST_LEVELS - 1)] + [tags(site="v")] * 2 + [tags(site="u")] * 3 + [tags(site="t")]
    seen += [tags(site="s5")]
    levels = [level.level for level in levels_in(traffic(seen), champion, np.random.default_rng(0))]
    assert levels == ["t", "s5", "s0", "s1", "s2", "s3", "s4", "s6", "s7", "s8"], "neither u nor v, which no reference knows"


def window(tag: str, hour: int, *, drifted: bool = False, parts: Sequence[TagPart] = ()) -> RecordedTagWindow:
    time = (START + timedelta(hours=hour)).isoformat()
    return RecordedTagWindow(tag=tag, first=time, last=time, groups=10, p_values={}, drifted=drifted, parts=list(parts))


def findings(
    windows: Sequence[RecordedTagWindow], *, confirmed: bool, fresh: int = 0, waiting: Sequence[int] = (), name: str = "site"
) -> TagFindings:
    return TagFindings(
        level=TagLevel(name, "B", np.zeros(0, bool), 0),
        alarm=level_of(0.05, SETTINGS, windows=90),
        size=10,
        cut=CutRows([], 0, 0, 0, 0, 10),
        waiting=np.array(waiting, np.int64),
        tested=[None] * fresh,  # type: ignore[list-item]
        windows=list(windows),
        confirmed=confirmed,
    )


def test_what_is_found_of_a_level_tells_its_windows_and_its_drifts() -> None:
    """A drift that is over for days, then one that is going on, and an alarm at last."""
    flags = "TTFFFFTFTFFT"
    windows = [window("site=B", 24 * number, drifted=flag == "T") for number, flag in enumerate(flags)]
    found = findings(windows, confirmed=True, fresh=2)
    assert found.flags == [flag == "T" for flag in flags]
    assert found.ends == [START + timedelta(days=number) for number in range(len(flags))]
    assert found.fresh == windows[-2:]
    assert findings(windows, confirmed=True).fresh == []
    assert found.drifting == [windows[6], windows[8]]
    assert replace(found, confirmed=False).drifting == []
    assert found.open == [windows[11]], "the newest drift is over, and the last alarm may be confirmed"
    assert findings(windows[:9], confirmed=True).open == [windows[6], windows[8]]


def test_the_budget_is_shared_by_levels_that_are_tested_now_or_were_of_this_champion() -> None:
    regimes = prepare_regimes(["a"], [drawn(40, 0)], np.random.default_rng(0))
    levels = [TagLevel("site", "B", np.zeros(0, bool), 0, regimes), TagLevel("site", "C", np.zeros(0, bool), 0)]
    records = [
        watch_record(1, champion_version="1", tag_windows=[window("site=X", 0)]),
        watch_record(2, champion_version="2", tag_windows=[window("site=B", 1), window("site=D", 1)]),
    ]
    assert number_of_tests(levels, records, "2") == 2
    assert number_of_tests(levels, records, "1") == 2
    assert number_of_tests(levels, records, "3") == 1
    assert number_of_tests([], [], "3") == 0


@pytest.mark.parametrize("tests", [1, 4])
@pytest.mark.parametrize("windows", [10.0, 2000.0])
def test_the_level_of_a_level_is_its_part_of_the_budget(tests: int, windows: float) -> None:
    settings = DriftSettings(windows_per_90_days=120, false_alarms_per_90_days=0.8)
    asked = level_of(0.05, settings, windows=90)
    alarm = alarm_of_level(asked, settings, tests=tests, windows=windows)
    budget, rate = TAGS_SHARE * 0.8 / tests, max(120, windows)
    assert alarm.alpha == pytest.approx(min(0.05, math.sqrt(budget / (2 * rate))))
    assert (alarm.budget, alarm.windows_per_90_days, alarm.asked) == (pytest.approx(budget), rate, 0.05)
    assert alarm.permutations == permutations_for(alarm.alpha, at_least=settings.permutations)
    assert (alarm.pooled_alpha, alarm.pooled_permutations) == (asked.pooled_alpha, asked.pooled_permutations)
    many = DriftSettings(permutations=999_999)
    assert alarm_of_level(asked, many, tests=1, windows=1).permutations == 999_999


def drawn(count: int, seed: int, shift: float = 0.0) -> Sample:
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(count, 6)) + shift).astype(np.float16).astype(np.float32)
    return Sample(vectors, rng.normal(size=(count, 3)).astype(np.float32), np.full((count, 2), 0.5, np.float32))


def log_of(sample: Sample, *, watches: Sequence[int], windows: Sequence[int], waits: Sequence[str]) -> pd.DataFrame:
    """A request a minute; which window of all requests had each (0, -1: none), and the tags whose windows it waits for."""
    names = [f"r{row}" for row in range(len(sample))]
    return pd.DataFrame(
        {
            "request_id": names,
            "time": [START + timedelta(minutes=row) for row in range(len(sample))],
            "group": None,
            "image_sha256": names,
            "embedding": [row.astype("<f2").tobytes() for row in sample.embedding],
            "statistics": list(sample.statistics),
            "probabilities": list(sample.probabilities),
            "label": None,
            "label_origin": None,
            "predicted": "a",
            "watch": list(watches),
            "window": list(windows),
            "tag_waits": list(waits),
        }
    )


#: Twenty rows that an earlier watch had covered, of which the last ten wait; thirty of this watch, of which the last five are in no window.
WATCHES = [*[3] * 20, *[0] * 30]
WINDOWS = [*[0] * 12, *[1] * 8, *[-1] * 30]
WAITS = [*[""] * 10, *["device site"] * 10, *[""] * 30]
FRESH = np.array([*[-1] * 20, *[0] * 15, *[1] * 10, *[-1] * 5])


def examined(
    regimes: Regimes,
    *,
    shift: float = 0.0,
    records: Sequence[WatchRecord] = (),
    decided: int = -1,
    ripe: datetime | None = START,
    level: TagLevel | None = None,
) -> TagFindings:
    rows = log_of(drawn(50, 3, shift), watches=WATCHES, windows=WINDOWS, waits=WAITS)
    inside = np.arange(50) % 5 > 0
    history = WatchHistory(windows=[], places=[], open_windows=0, days_since_retraining=None, recent_retrainings=0, decided=decided)
    return examine_level(
        rows,
        FRESH,
        level or TagLevel("site", "B", inside, 24, regimes),
        regimes,
        records,
        history,
        SMALL,
        level_of(0.05, SETTINGS, windows=90),
        tests=2,
        sequence=4,
        version="1",
        until=(START + timedelta(hours=2)).isoformat(),
        ripe=ripe,
        rng=np.random.default_rng(1),
    )


@pytest.fixture(scope="module")
def regimes() -> Regimes:
    return prepare_regimes(["reference", "regime-1"], [drawn(80, 0), drawn(60, 1, 4.0)], np.random.default_rng(0))


def test_windows_of_a_level_are_cut_from_its_rows_that_wait_and_those_of_this_watch_s_windows(regimes: Regimes) -> None:
    found = examined(regimes)
    # Of rows 10 to 19, which wait, and 20 to 44: 28 of site B, 14 a window, none left.
    assert (found.size, [one.rows for one in found.windows], len(found.waiting)) == (14, [14, 14], 0)
    assert found.fresh == found.windows
    assert [one.parts for one in found.windows] == [
        [TagPart(watch=3, window=0, rows=1), TagPart(watch=3, window=1, rows=7), TagPart(watch=4, window=0, rows=6)],
        [TagPart(watch=4, window=0, rows=6), TagPart(watch=4, window=1, rows=8)],
    ]
    first, second = found.windows
    assert (first.tag, first.groups, first.drifted) == ("site=B", 14, False)
    shares = dict(zip(regimes.names, found.tested[0].test.weights.tolist(), strict=True))
    assert first.mixture == {name: share for name, share in shares.items() if share > 0}
    # Halfway between two, the one that lies far out has no share, and is not there.
    three = prepare_regimes(["a", "b", "c"], [drawn(80, 0), drawn(60, 1, 4.0), drawn(60, 2, 40.0)], np.random.default_rng(0))
    assert set(examined(three, shift=2.0).windows[0].mixture) == {"a", "b"}
    assert (first.first, first.last) == tuple((START + timedelta(minutes=row)).isoformat() for row in (11, 27))
    assert first.p_values == found.tested[0].record.p_values
    assert (second.first, second.last) == tuple((START + timedelta(minutes=row)).isoformat() for row in (28, 44))
    assert (found.confirmed, found.level.title) == (False, "site=B")
    # Two windows since minute 11.
    assert found.alarm == alarm_of_level(
        level_of(0.05, SETTINGS, windows=90), SMALL, tests=2, windows=2 * timedelta(days=90) / timedelta(minutes=109)
    )


def test_a_level_s_rows_that_fill_no_window_wait_until_they_are_ripe(regimes: Regimes) -> None:
    few = TagLevel("site", "B", np.isin(np.arange(50), [5, 12, 17, 21, 34, 44, 48]), 5, regimes)
    found = examined(regimes, level=few)
    assert (found.windows, found.waiting.tolist()) == ([], [12, 17, 21, 34, 44])
    assert examined(regimes, level=few, ripe=START + timedelta(minutes=44)).windows[0].rows == 5
    waits_for_another = replace(few, name="ward")
    assert examined(regimes, level=waits_for_another).waiting.tolist() == [21, 34, 44]


def test_windows_are_no_larger_than_a_quarter_of_the_level_s_reference() -> None:
    small = prepare_regimes(["reference"], [drawn(36, 0)], np.random.default_rng(0))
    assert examined(small).size == effective_size(14, 36) == 9


def test_a_level_s_drift_is_confirmed_with_its_earlier_windows_since_the_last_decision(regimes: Regimes) -> None:
    def earlier(number: int, *tag: str, version: str = "1") -> WatchRecord:
        return watch_record(number, champion_version=version, tag_windows=[window(name, -22, drifted=True) for name in tag])

    quiet = examined(regimes, shift=2.0, level=TagLevel("site", "B", np.arange(50) < 24, 10, regimes))
    assert [one.drifted for one in quiet.windows] == [True]
    assert not quiet.confirmed, "of one"
    few = TagLevel("site", "B", np.arange(50) < 24, 10, regimes)

    def with_record(record: WatchRecord, decided: int = -1) -> TagFindings:
        return examined(regimes, shift=2.0, level=few, records=[record], decided=decided)

    known = with_record(earlier(3, "site=B", "site=C"))
    assert (known.confirmed, [one.tag for one in known.windows]) == (True, ["site=B", "site=B"])
    assert known.fresh == known.windows[1:]
    for other in (earlier(3, "site=C"), earlier(3, "site=B", version="2")):
        assert not with_record(other).confirmed
        assert len(with_record(other).windows) == 1
    settled = with_record(earlier(3, "site=B"), decided=3)
    assert (settled.confirmed, len(settled.windows)) == (False, 2)
    assert with_record(earlier(3, "site=B"), decided=2).confirmed
    # Its earlier windows count for the rate: two in a day.
    assert known.alarm.windows_per_90_days == pytest.approx(2 * 90)


def test_a_row_may_wait_for_windows_of_several_tags() -> None:
    found = [findings([], confirmed=False, waiting=[1, 2]), findings([], confirmed=False, waiting=[2], name="ward")]
    assert waiting_tags(found, 4).tolist() == ["", "site", "site ward", ""]
    assert waiting_tags([], 2).tolist() == ["", ""]
