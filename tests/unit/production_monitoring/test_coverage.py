"""Which rows a watch covers, with which labels and images."""

from datetime import datetime, timedelta

import numpy as np
import pytest

from driftloop import bundle
from driftloop.errors import InputError, IntegrityError, NoChampion, SettingError
from driftloop.inference.log import read_images
from driftloop.store import open_store
from tests.unit.production_monitoring.conftest import MINUTE, START, Production


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
    production.requests(30, at=0)
    production.commit(1, until=10)
    production.commit(2, until=50)
    later = production.requests(20, at=60)
    traffic = production.watch(until=200)
    assert traffic.info.sequence == 3
    assert traffic.info.since == (START + 50 * MINUTE).isoformat()
    assert sorted(traffic.fresh["request_id"]) == sorted(later)
    assert [record.sequence for record in traffic.records] == [1, 2]
    assert traffic.info.fresh_rows == 20
    assert traffic.info.rows == 50


def test_a_row_at_the_boundary_belongs_to_exactly_one_watch(production: Production):
    ids = production.requests(2, at=0)
    first = production.watch(until=0)
    production.commit(1, until=0)
    second = production.watch(until=10)
    assert (list(first.fresh["request_id"]), list(second.fresh["request_id"])) == (ids[:1], ids[1:])


def test_an_empty_end_means_now(production: Production):
    production.requests(5)
    traffic = production.watch(until="")
    assert traffic.info.fresh_rows == 5
    assert abs(datetime.fromisoformat(traffic.info.until) - datetime.now(START.tzinfo)) < timedelta(minutes=5)


def test_an_end_before_the_last_record_gives_an_empty_watch_not_an_older_mark(production: Production):
    production.requests(5)
    production.commit(1, until=50)
    traffic = production.watch(until=20)
    assert traffic.info.fresh_rows == 0
    assert traffic.info.until == (START + 50 * MINUTE).isoformat()


def test_an_empty_watch_works_and_says_so(production: Production):
    traffic = production.watch()
    assert (traffic.info.rows, len(traffic.rows), len(traffic.images)) == (0, 0, 0)
    assert traffic.images.shape[1:] == (16, 16, 1)
    assert "The watch is empty" in (production.folder / "dashboard.html").read_text()
    assert production.json("alerts.json")["fired"] == ["no traffic"]
    facts = production.json("facts.json")["production_monitoring"]
    assert (facts["rows"], facts["accuracy"], facts["p95_ms"]) == (0, None, None)


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
    assert production.metrics["error_share"] == pytest.approx(0.1)


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
    production.commit(1, until=50)
    fresh = production.requests(10, at=60)
    production.label(old[4:6], ["dark", "bright"])
    traffic = production.watch(context_rows=2)
    context = traffic.rows[~traffic.rows["fresh"]]
    assert sorted(context["request_id"]) == sorted(old[4:6])
    assert sorted(traffic.rows.loc[traffic.rows["label"].notna(), "request_id"]) == sorted(old[4:6])
    assert sorted(traffic.fresh["request_id"]) == sorted(fresh)


def test_context_takes_labelled_rows_first_and_then_the_newest(production: Production):
    old = production.requests(30, at=0)
    production.commit(1, until=50)
    production.label(old[:2], ["dark", "bright"])
    traffic = production.watch(context_rows=5)
    assert list(traffic.rows["request_id"]) == old[:2] + old[-3:]


def test_rows_beyond_the_look_back_are_left_alone(production: Production):
    ancient = production.requests(10, at=0)
    production.label(ancient[:1], ["dark"])
    production.commit(1, until=60 * 24 * 40)
    assert production.watch(until=60 * 24 * 41, look_back_days=30).info.rows == 0


def test_older_rows_of_other_versions_are_no_context(production: Production):
    other = production.requests(10, at=0, version="0")
    production.label(other, ["dark"] * 10)
    production.commit(1, until=50)
    assert production.watch().info.rows == 0


def test_a_backlog_is_cut_and_the_next_watch_takes_the_rest(production: Production):
    ids = production.requests(130, at=0) + production.requests(50, at=600, seed=10)
    first = production.watch(max_rows=150)
    assert list(first.fresh["request_id"]) == ids[:150]
    assert first.info.until == (START + 600 * MINUTE + timedelta(seconds=19)).isoformat()
    assert "the next takes the rest" in (production.folder / "dashboard.html").read_text()
    production.store.create("watch/00000001.json", _record_until(production, first.info.until))
    second = production.watch(max_rows=150)
    assert list(second.fresh["request_id"]) == ids[150:]


def _record_until(production: Production, until: str) -> bytes:
    production.commit(999, until=0)
    data = production.store.read("watch/00000999.json")
    production.store.delete("watch/00000999.json")
    return data.replace((START).isoformat().encode(), until.encode()).replace(b'"sequence":999', b'"sequence":1')


def test_images_are_packed_in_the_order_of_the_rows(production: Production):
    production.requests(25)
    traffic = production.watch()
    assert list(traffic.rows["image_index"]) == list(range(25))
    assert np.array_equal(traffic.images, read_images(production.store, traffic.rows))


def test_when_images_do_not_all_fit_those_of_labelled_rows_are_packed_first(production: Production):
    ids = production.requests(5000)
    production.label(ids[:7], ["dark"] * 7)
    traffic = production.watch(image_mib=1)
    packed = traffic.rows[traffic.rows["image_index"] >= 0]
    assert len(packed) == len(traffic.images) == 2**20 // 256
    assert set(ids[:7]) <= set(packed["request_id"])
    assert set(ids[-100:]) <= set(packed["request_id"])
    assert packed["image_index"].is_monotonic_increasing


def test_images_that_a_retention_rule_deleted_leave_their_rows(production: Production):
    production.requests(10, at=0)
    production.requests(10, at=30)
    images = [entry.key for entry in production.store.list("logs/") if entry.key.endswith(".npy")]
    production.store.delete(images[0])
    traffic = production.watch()
    assert list(traffic.rows["image_index"]) == [-1] * 10 + list(range(10))
    assert "10 logged images are gone" in (production.folder / "dashboard.html").read_text()


def test_the_champion_arrives_verified(production: Production):
    production.watch()
    bundle.verify(production.folder / "champion")


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
