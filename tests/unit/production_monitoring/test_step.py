"""Which rows a watch covers, with which labels and images."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from components.production_monitoring.collect import RowSample, next_period, open_drift_since
from driftloop import bundle, registry
from driftloop.errors import InputError, IntegrityError, NoChampion, SettingError
from driftloop.inference.image_statistics import statistic_names
from driftloop.inference.log import LOG_SCHEMA
from driftloop.inference.reference import read_reference, write_reference
from driftloop.inference.watch_tables import write_label_table, write_window_rows
from driftloop.registry.bundle_link import linked_bundle
from driftloop.store import ObjectInfo, open_store
from driftloop.store.local import LocalStore
from driftloop.watch_store import roll_up
from tests.factories.candidates import write_gate_evidence
from tests.factories.records import watch_record
from tests.unit.production_monitoring.conftest import MINUTE, NOW, START, Production, window_at


def test_the_first_watch_covers_everything_up_to_its_end(production: Production):
    early = production.requests(30, at=0)
    production.requests(30, at=100)
    traffic = production.watch(until=50)
    assert traffic.info.sequence == 1
    assert traffic.info.since == ""
    assert sorted(traffic.rows["request_id"]) == sorted(early)
    assert traffic.rows["fresh"].all()
    assert traffic.rows["time"].is_monotonic_increasing


def test_the_next_watch_begins_where_the_last_record_ended(production: Production):
    old = production.requests(30, at=0)
    production.commit(until=10)
    production.commit(until=50)
    later = production.requests(20, at=60)
    traffic = production.watch(until=200)
    assert traffic.info.sequence == 3
    assert traffic.info.since == (START + 50 * MINUTE).isoformat()
    assert sorted(traffic.fresh["request_id"]) == sorted(later)
    assert [record.sequence for record in traffic.records] == [1, 2]
    assert (traffic.info.requests, traffic.info.fresh_rows) == (20, 20)
    assert sorted(traffic.rows.loc[~traffic.rows["fresh"], "request_id"]) == sorted(old)


def test_a_file_with_a_row_after_the_end_is_left_to_the_next_watch_as_a_whole(production: Production):
    ids = production.requests(2, at=0)
    assert len(production.watch(until=0).fresh) == 0
    production.commit(until=0)
    assert list(production.watch(until=10).fresh["request_id"]) == ids
    production.commit(until=10)
    assert len(production.watch(until=20).fresh) == 0


def test_rows_that_a_second_replica_held_back_are_judged_by_the_next_watch_and_never_twice(production: Production):
    """0.1.0 lost them: it went by time."""
    early = production.requests(300, at=0)
    production.commit(until=60)
    late = production.requests(300, at=0.5, seed=10)
    new = production.requests(50, at=61, seed=11)
    traffic = production.watch(until=120)
    assert sorted(traffic.fresh["request_id"]) == sorted(late + new)
    assert traffic.info.late_rows == 300
    assert "300 requests reached the log after the watch" in (production.folder / "dashboard.html").read_text()
    assert set(early).isdisjoint(traffic.fresh["request_id"])
    production.commit(until=120)
    assert len(production.watch(until=180).fresh) == 0


def test_a_request_that_was_logged_twice_is_one(production: Production):
    ids = production.requests(10, at=0, ids=[f"r{index}" for index in range(10)])
    production.commit(until=20)
    production.requests(12, at=30, ids=[*ids, "r10", "r11"])
    assert list(production.watch().fresh["request_id"]) == ["r10", "r11"]


def test_a_request_that_a_killed_writer_and_a_retry_both_logged_counts_once(production: Production):
    ids = production.requests(10, at=0, ids=[f"r{index}" for index in range(10)])
    production.requests(4, at=1, ids=[*ids[:3], "r10"])
    traffic = production.watch()
    assert sorted(traffic.fresh["request_id"]) == sorted([*ids, "r10"])
    assert (traffic.info.requests, traffic.info.sampled) == (11, 1.0)
    assert "a uniform sample" not in (production.folder / "dashboard.html").read_text()


def test_an_end_in_the_future_is_refused(production: Production):
    """0.1.0 took it, and every later watch was empty."""
    with pytest.raises(InputError, match=r"until: 2062-11-24T00:00:00 lies in the future \(it is .* now\); leave it empty"):
        production.watch(until="2062-11-24T00:00:00")
    assert list(production.store.list("watch/")) == []


def test_a_file_that_ends_with_the_watch_is_covered_and_nothing_is_late_in_a_first_watch(production: Production):
    production.requests(61, at=0)
    traffic = production.watch(until=1)
    assert (traffic.info.fresh_rows, traffic.info.late_rows) == (61, 0)
    production.commit(until=1)
    production.requests(2, at=1)
    assert production.watch(until=2).info.late_rows == 1, "a row at the very end of the watch before is late, the one after it is not"


@pytest.mark.parametrize(
    ("drifted", "since"),
    [
        *(("T", 1), ("TF", 1), ("TFF", math.inf), ("TFFT", 4), ("TFFFT", 5), ("FT", 2), ("F", math.inf), ("", math.inf)),
        *(("TTFFF", 1), ("TTFFFF", 1), ("TTFFFFF", math.inf), ("TTFFFFFT", 8), ("TFTFFFTT", 1)),
    ],
)
def test_a_drift_is_open_until_no_later_window_can_confirm_it(drifted: str, since: float):
    """Two windows a day: a confirmed drift goes on over what is less than two and a half days of quiet."""

    windows = [window_at(720 * number, drifted=flag == "T") for number, flag in enumerate(drifted)]
    records = [watch_record(number, windows=[window]) for number, window in enumerate(windows, 1)]
    other = watch_record(99, champion_version="2", windows=[window_at(720 * 99, drifted=True)])
    assert open_drift_since([*records, other], "1") == since


def test_clocks_may_differ_by_less_than_an_hour():
    assert next_period([], (NOW + timedelta(minutes=50)).isoformat(), NOW).until == NOW + timedelta(minutes=50)
    with pytest.raises(InputError, match="lies in the future"):
        next_period([], (NOW + timedelta(minutes=70)).isoformat(), NOW)


def test_a_record_that_ends_in_the_future_does_not_end_watching(production: Production):
    production.requests(5, at=0)
    production.commit(until=10, until_as_recorded="2062-11-24T00:00:00+00:00")
    later = production.requests(5, at=20)
    traffic = production.watch(until="")
    assert sorted(traffic.fresh["request_id"]) == sorted(later)
    assert traffic.info.until < "2062"


def test_an_empty_end_means_now(production: Production):
    production.requests(5)
    traffic = production.watch(until="")
    assert traffic.info.fresh_rows == 5
    assert abs(datetime.fromisoformat(traffic.info.until) - datetime.now(START.tzinfo)) < timedelta(minutes=5)


def test_an_end_before_the_last_record_gives_an_empty_watch_not_an_older_mark(production: Production):
    production.requests(5)
    production.commit(until=50)
    traffic = production.watch(until=20)
    assert traffic.info.fresh_rows == 0
    assert traffic.info.until == (START + 50 * MINUTE).isoformat()


def test_an_empty_watch_works_and_says_so(production: Production):
    traffic = production.watch()
    assert (traffic.info.rows, len(traffic.rows), traffic.info.requests) == (0, 0, 0)
    assert "The watch is empty" in (production.folder / "dashboard.html").read_text()
    assert production.json("alerts.json")["fired"] == ["no traffic"]
    facts = production.json("facts.json")["production_monitoring"]
    assert (facts["rows"], facts["accuracy"], facts["p95_ms"]) == (0, None, None)
    assert facts["baseline"].keys() == {"p95_ms", "mean_confidence"}


def test_rows_of_other_versions_are_counted_and_not_judged(production: Production):
    own = production.requests(30, at=0)
    production.requests(12, at=1, version="7")
    traffic = production.watch()
    assert sorted(traffic.rows["request_id"]) == sorted(own)
    assert traffic.info.other_version_rows == 12


def test_failed_requests_count_as_errors_and_are_not_judged(production: Production):
    production.requests(90)
    production.requests(10, at=5, status="timeout")
    traffic = production.watch()
    assert traffic.info.rows == 90
    assert production.metrics.values["error_share"] == pytest.approx(0.1)


def test_labels_are_joined_and_the_newest_one_counts(production: Production):
    ids = production.requests(40)
    production.label(ids[:3], ["dark", "dark", "bright"])
    production.label(ids[2:3], ["dark"], origin="import")
    rows = production.watch().rows.set_index("request_id")
    assert list(rows.loc[ids[:3], "label"]) == ["dark"] * 3
    assert list(rows.loc[ids[:3], "label_origin"]) == ["random"] * 3
    assert rows.loc[ids[3:], ["label", "label_origin"]].isna().all(axis=None)


def test_a_label_that_comes_late_brings_its_older_row_along(production: Production):
    old = production.requests(30, at=0)
    production.commit(until=50)
    fresh = production.requests(10, at=60)
    production.label(old[4:6], ["dark", "bright"])
    traffic = production.watch(context_rows=2)
    context = traffic.rows[~traffic.rows["fresh"]]
    assert sorted(context["request_id"]) == sorted(old[4:6])
    assert sorted(traffic.rows.loc[traffic.rows["label"].notna(), "request_id"]) == sorted(old[4:6])
    assert sorted(traffic.fresh["request_id"]) == sorted(fresh)


def test_context_takes_labelled_rows_first_and_then_the_newest(production: Production):
    old = production.requests(30, at=0)
    production.commit(until=50)
    production.label(old[:2], ["dark", "bright"])
    traffic = production.watch(context_rows=5)
    assert list(traffic.rows["request_id"]) == old[:2] + old[-3:]


@pytest.mark.parametrize("state", ["closed", "failed"])
def test_rows_that_wait_for_a_window_are_taken_along_whatever_the_context(production: Production, state: str):
    waiting = production.requests(30, at=0)
    kept = write_window_rows(production.store, 1, production.watch().rows.assign(watch=0, window=-1))
    production.commit(until=50, window_rows=kept, windows=[], state=state)
    fresh = production.requests(5, at=60, seed=10)
    rows = production.watch(context_rows=0, look_back_days=0).rows
    assert list(rows["request_id"]) == waiting + fresh
    assert list(rows["fresh"]) == [False] * 30 + [True] * 5


def test_rows_of_a_drift_that_is_over_are_left_alone(production: Production):
    production.requests(10, at=0)
    production.commit(until=10)
    production.requests(10, at=20, seed=10)
    window = window_at(30, rows=10)
    production.commit(until=30, windows=[window, window])
    assert production.watch().info.rows == 20
    # Until so many windows have followed it is still tested together with new ones.
    production.commit(until=40, windows=[window] * 7)
    assert production.watch().info.rows == 0


def test_labels_of_a_weak_drift_reach_its_rows_after_many_quiet_windows(production: Production):
    """At a window an hour a drift goes on over two days of quiet, for whoever judges it: its labels must not be lost meanwhile."""
    old = production.requests(10, at=0)
    production.commit(until=10)
    production.requests(3, at=60, seed=10)
    production.commit(until=70)
    for hour in range(2, 20):
        production.requests(1, at=60 * hour, seed=10 + hour)
        production.commit(until=60 * hour + 10, windows=[window_at(60 * hour + 10)], window_rows="")
    production.label(old[:2], ["dark", "bright"])
    rows = production.watch(until=60 * 20).rows.set_index("request_id")
    assert list(rows.loc[old[:2], "label"]) == ["dark", "bright"]


def test_rows_of_three_weeks_ago_still_take_their_labels(production: Production):
    day = 24 * 60
    old = production.requests(10, at=0)
    production.commit(until=10)
    for number in range(1, 22):
        production.requests(3, at=number * day, seed=10 + number)
        production.commit(until=number * day + 10)
    production.label(old[:3], ["dark", "bright", "?"])
    rows = production.watch(until=22 * day, context_rows=6).rows.set_index("request_id")
    assert list(rows.loc[old[:2], "label"]) == ["dark", "bright"]
    assert pd.isna(rows.loc[old[2], "label"])
    assert list(rows.loc[old[:3], "label_origin"]) == ["random", "random", "skipped"]
    assert list(rows.loc[old[:3], "watch"]) == [1] * 3, "and still know their window"


def test_rows_beyond_the_look_back_are_left_alone(production: Production):
    ancient = production.requests(10, at=0)
    production.label(ancient[:1], ["dark"])
    production.commit(until=60 * 24 * 40)
    assert production.watch(until=60 * 24 * 41, look_back_days=30).info.rows == 0


def test_older_rows_of_other_versions_are_no_context(production: Production):
    other = production.requests(10, at=0, version="0")
    production.label(other, ["dark"] * 10)
    production.commit(until=50)
    assert production.watch().info.rows == 0


def test_of_a_backlog_the_watch_looks_at_a_uniform_sample_and_says_so(production: Production):
    """0.1.0 took the oldest rows and fell behind for ever, while `status` said "on time"."""
    ids = production.requests(400, at=0) + production.requests(400, at=600, seed=10) + production.requests(200, at=700, version="7")
    traffic = production.watch(max_rows=200)
    assert traffic.info.sampled == 0.2
    assert (traffic.info.requests, traffic.info.other_version_rows) == (800, 200)
    assert 130 <= len(traffic.fresh) == traffic.info.fresh_rows <= 190
    halves = traffic.fresh["request_id"].isin(ids[:400])
    assert 50 <= halves.sum() <= 110
    assert "a uniform sample of 20.0% of them" in (production.folder / "dashboard.html").read_text()
    assert production.metrics.values["rows"] == 800
    assert sorted(production.watch(max_rows=200).fresh["request_id"]) == sorted(traffic.fresh["request_id"]), "a retry sees the same"
    production.commit(until=1000)
    assert production.watch(until=2000).info.requests == 0


def test_a_sample_has_the_same_rows_whatever_the_order_of_the_parts():
    rng = np.random.default_rng(0)
    rows = LOG_SCHEMA.empty_table().to_pandas()
    rows["request_id"] = [f"r{index}" for index in range(5000)]
    rows["time"] = pd.date_range("2025-01-01", periods=5000, freq="s", tz="UTC")
    expected = None
    for size in (5000, 700, 33):
        sample = RowSample(100)
        shuffled = rows.iloc[rng.permutation(5000)]
        for start in range(0, 5000, size):
            sample.add(shuffled.iloc[start : start + size])
        kept = set(sample.rows()["request_id"])
        assert len(kept) == 100
        assert expected in (None, kept)
        expected = kept


def test_a_watch_makes_as_many_requests_to_the_store_as_the_formula_says(production: Production, monkeypatch: pytest.MonkeyPatch):
    """0.1.0 read 1,444 objects where a label had come for a row of 35 days ago."""
    for hour in range(0, 40 * 24, 12):
        ids = production.requests(6, at=60 * hour, seed=hour)
        production.commit(until=60 * hour + 30, window_rows="", windows=[window_at(60 * hour + 30, rows=6)])
    production.label(ids[:1], ["dark"])
    roll_up(production.store)
    for hour in range(2):
        production.requests(20, at=60 * (40 * 24 + hour), seed=hour)
        production.commit(until=60 * (40 * 24 + hour) + 30)
    production.requests(6, at=60 * (40 * 24 + 5))
    production.requests(6, at=60 * (40 * 24 + 5), seed=8)
    production.label(ids[1:2], ["dark"])
    reads: list[str] = []
    listed: list[str] = []
    read, listing = LocalStore.read, LocalStore.list

    def counted(store: LocalStore, key: str) -> bytes:
        reads.append(key.split("/")[0] + ("/rows" if "/rows/" in key else ""))
        return read(store, key)

    def counted_listing(store: LocalStore, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        for entry in listing(store, prefix, after):
            listed.append(entry.key)
            yield entry

    monkeypatch.setattr(LocalStore, "read", counted)
    monkeypatch.setattr(LocalStore, "list", counted_listing)
    traffic = production.watch(until=60 * (40 * 24 + 6))
    assert traffic.info.fresh_rows == 12
    bundle_files = 2  # SHA256SUMS, for the champion's files, and the pointer
    # the history and two records after it, two label files, the rows of two watches with an open drift, two new log files
    assert Counter(reads) == {"champion.json": 1, "versions": bundle_files - 1, "watch": 3, "labels": 2, "watch/rows": 2, "logs": 2}
    files = len(list(listing(production.store, "logs/")))
    assert len([key for key in listed if key.startswith("logs/")]) == files, "all files of this test were written in one hour"
    assert len([key for key in listed if key.startswith("watch/")]) <= 3


def test_a_watch_that_was_not_finished_is_an_alert(production: Production):
    production.requests(10)
    production.watch()
    assert "unfinished watch" not in production.json("alerts.json")["fired"]
    production.commit(until=20, state="failed", failure="out of memory", verdict="retrain")
    production.watch()
    assert production.json("alerts.json")["fired"][0] == "unfinished watch"
    page = (production.folder / "dashboard.html").read_text()
    assert "watch 1 (retrain) was not finished: out of memory" in page
    assert re.search(r"The last verdict is that of watch 1, up to [^,]+, on version \w+: retrain\. That on these requests comes", page)


def test_labels_are_read_once_and_known_for_ever_after(production: Production):
    ids = production.requests(10)
    production.label(ids[:3], ["dark"] * 3)
    first = production.watch()
    assert (len(first.labels), first.info.new_labels) == (3, True)
    table = write_label_table(production.store, 1, first.labels)
    production.commit(until=20, label_table=table, labels_through=first.info.labels_through)
    second = production.watch()
    assert (len(second.labels), second.info.new_labels, second.info.label_table) == (3, False, table)
    production.store.delete(table)
    third = production.watch()
    assert (len(third.labels), third.info.label_table) == (3, ""), "a table that is gone is made of the files again"
    assert third.info.new_labels, "and this watch writes it anew, so that the next one does not read all the files"


def test_the_champion_goes_by_reference_and_a_watch_writes_no_more_for_a_large_one(production: Production):
    def written() -> int:
        return sum(path.stat().st_size for path in production.folder.rglob("*") if path.is_file())

    production.requests(10)
    production.watch()
    before = written()
    small = production.root / "candidate-0"
    (regime,) = read_reference(small / bundle.REFERENCE)
    large = {name: np.concatenate([getattr(regime, name)] * 100) for name in ("embedding", "statistics", "probabilities", "thumbnails")}
    groups = np.array([f"{number}-{group}" for number in range(100) for group in regime.groups])
    noise = np.random.default_rng(0).integers(0, 256, large["thumbnails"].shape, np.uint8)
    write_reference(small / bundle.REFERENCE, [replace(regime, **large | {"groups": groups, "thumbnails": noise})], statistic_names(1))
    bundle.seal(small)
    evidence = write_gate_evidence(production.root / "evidence-large", small, champion="1", dataset=bundle.read_model(small).dataset)
    version = registry.register(production.store, small, evidence)
    registry.promote(production.store, version, expected="1", reason="test")
    production.requests(10, at=1, version=version)
    traffic = production.watch()
    assert traffic.info.champion_version == version
    assert registry.version_info(production.store, version).bytes > 5_000_000
    assert written() < before + 20_000
    whole = linked_bundle(production.store, production.folder / "champion", production.root / "scratch")
    assert bundle.verify(whole).digest == registry.version_info(production.store, version).digest


def test_a_damaged_champion_stops_the_watch(production: Production):
    key = "versions/1/model.onnx"
    production.store.put(key, production.store.read(key) + b"x")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        production.watch()


def test_a_store_without_a_champion_is_one_line_with_its_cure(production: Production):
    production.store = open_store(str(production.root / "elsewhere"))
    with pytest.raises(NoChampion, match="driftloop run training --store"):
        production.watch()


def test_an_end_that_is_not_a_valid_time_is_one_line_with_its_cure(production: Production):
    with pytest.raises(InputError, match="leave it empty for now"):
        production.watch(until="yesterday")


def test_an_unknown_setting_names_the_nearest_one(production: Production):
    with pytest.raises(SettingError, match=r"did you mean monitor_config\.max_rows"):
        production.watch(max_row=5)
