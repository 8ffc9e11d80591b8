"""What a listing says of a store, to the very second and byte."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftloop.housekeeping.store_contents import Tally, read_store_contents, store_usage
from driftloop.store import ObjectInfo
from driftloop.store.local import LocalStore

CUTOFF = datetime(2026, 3, 1, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
HASH = "a" * 64


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def write(store: LocalStore, key: str, when: datetime, size: int = 1) -> None:
    store.put(key, b"x" * size)
    os.utime(store.path(key), times=(when.timestamp(),) * 2)


def test_a_sum_counts_objects_and_bytes_and_keeps_the_newest_time() -> None:
    tally = Tally()
    assert (tally.size, tally.objects, tally.touched.year) == (0, 0, 1)
    for size, when in ((3, CUTOFF), (4, CUTOFF - DAY)):
        tally.add(ObjectInfo("key", size, when))
    assert (tally.size, tally.objects, tally.touched) == (7, 2, CUTOFF)


def test_of_a_version_what_stays_for_good_is_not_removable(store: LocalStore) -> None:
    for name, size in (("registration.json", 1), ("model.json", 2), ("gate.json", 4), ("SHA256SUMS", 8), ("model.onnx", 16)):
        write(store, f"versions/3/{name}", CUTOFF, size)
    write(store, "versions/4/model.onnx", CUTOFF - DAY, 32)
    for foreign in ("versions/refused/gate.json", "versions/03/model.json", "versions/5"):
        write(store, foreign, CUTOFF)
    contents = read_store_contents(store, CUTOFF)
    assert contents.versions.keys() == {"3", "4"}
    whole, half = contents.versions["3"], contents.versions["4"]
    assert (whole.name, whole.prefix, whole.complete, half.complete) == ("3", "versions/3/", True, False)
    assert (whole.whole.size, whole.whole.objects, whole.removable.size, whole.removable.objects) == (31, 5, 24, 2)
    assert whole.written.keys() == {"registration.json", "model.json", "gate.json", "SHA256SUMS"}
    assert contents.complete_versions == {"3"}


def test_all_of_a_dataset_is_removable_whatever_its_files_are_called(store: LocalStore) -> None:
    for name, when in (
        ("dataset.json", CUTOFF),
        ("model.json", CUTOFF),
        ("checkpoints/old/a", CUTOFF - SECOND),
        ("checkpoints/young/a", CUTOFF),
        ("old", CUTOFF - SECOND),
    ):
        write(store, f"datasets/{HASH}/{name}", when)
    write(store, f"datasets/{HASH[:-1]}/dataset.json", CUTOFF)
    contents = read_store_contents(store, CUTOFF)
    (dataset,) = contents.datasets.values()
    assert (dataset.name, dataset.whole.objects, dataset.removable.objects, dataset.old_checkpoints.objects) == (HASH, 5, 5, 1)
    assert contents.complete_datasets == {HASH}


def test_what_was_written_at_the_very_cutoff_is_young(store: LocalStore) -> None:
    ends = {"doctor/": CUTOFF, "watch/rows/": CUTOFF - 90 * DAY, "watch/requests/": CUTOFF - 90 * DAY, "blocks/": CUTOFF}
    for prefix, end in ends.items():
        write(store, f"{prefix}old", end - SECOND)
        write(store, f"{prefix}young", end)
    contents = read_store_contents(store, CUTOFF)
    tallies = (contents.old_probes, contents.old_window_rows, contents.old_label_requests, contents.old_blocks)
    assert [tally.objects for tally in tallies] == [1, 1, 1, 1]


@pytest.mark.parametrize(("named", "old"), [("", 2), ("watch/labels/b", 1), ("watch/labels/c", 2), ("watch/labels/gone", 2)])
def test_tables_of_labels_go_up_to_the_one_that_is_needed(store: LocalStore, named: str, old: int) -> None:
    for days, name in ((3, "a"), (2, "b"), (1, "c")):
        write(store, f"watch/labels/{name}", CUTOFF - days * DAY)
    assert read_store_contents(store, CUTOFF, named).old_label_tables.objects == old
    assert read_store_contents(store, CUTOFF - 2 * DAY, named).old_label_tables.objects == 1, "and only from before the cutoff"


def test_growth_is_what_was_written_between_the_last_two_records(store: LocalStore) -> None:
    assert store_usage(store).growth is None
    write(store, "watch/00000001.json", CUTOFF - DAY, 5)
    assert store_usage(store).growth is None
    write(store, "watch/00000002.json", CUTOFF, 10)
    write(store, "watch/00000003.json", CUTOFF + DAY, 20)
    write(store, "watch/heartbeat.json", CUTOFF + 2 * DAY, 40)
    write(store, "logs/a", CUTOFF, 80)
    write(store, "logs/b", CUTOFF + SECOND, 160)
    write(store, "logs/c", CUTOFF + DAY, 320)
    write(store, "logs/d", CUTOFF + DAY + SECOND, 640)
    usage = store_usage(store)
    assert usage.areas == {"logs": 1200, "watch": 75}
    assert (usage.objects, usage.total) == (8, 1275)
    assert usage.growth == {"logs": 480, "watch": 20}
