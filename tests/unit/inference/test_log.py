"""The inference log: nothing half written, nothing twice, nothing lost but what was still held back."""

import io
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from driftloop.errors import InputError, IntegrityError, StoreError
from driftloop.inference.image_statistics import image_statistics
from driftloop.inference.log import EMBEDDING_DTYPE, LOG_SCHEMA, logged_statistics, read_images, read_log
from driftloop.inference.log_files import hour_folder, log_files
from driftloop.inference.log_writer import InferenceLogger, LogLimits
from driftloop.inference.served_model import ServedPredictions
from driftloop.inference.spool import encoded
from driftloop.store import Store, open_store
from driftloop.store.local import LocalStore
from tests.factories.troubled_stores import TroubledStore

NOON = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
BY: dict = {"version": "1", "classes": ["NORMAL", "PNEUMONIA"]}
LATE = NOON + timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def images(count: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 8, 8, channels), dtype=np.uint8)


def predictions(count: int) -> ServedPredictions:
    rng = np.random.default_rng(count)
    first = rng.uniform(0, 1, count).astype(np.float32)
    return ServedPredictions(np.stack([first, 1 - first], axis=1), rng.normal(0, 1, (count, 4)).astype(np.float16))


def logger(store: Store, **changes: object) -> InferenceLogger:
    return InferenceLogger(store, **changes)  # type: ignore[arg-type]


def minutes(count: int, start: datetime = NOON) -> list[datetime]:
    return [start + timedelta(minutes=index) for index in range(count)]


def test_what_is_logged_is_read_back_exactly(store: Store) -> None:
    seen, said = images(5), predictions(5)
    with logger(store) as log:
        ids = log.log(seen, said, [1, 2, 3, 4, 5], groups=["p1", None, "p2", "p2", "p3"], times=minutes(5), **BY)
    rows = read_log(store, after=None, until=LATE)
    assert list(rows.columns) == LOG_SCHEMA.names
    assert list(rows["request_id"]) == ids
    np.testing.assert_array_equal(np.stack([np.frombuffer(data, EMBEDDING_DTYPE) for data in rows["embedding"]]), said.embedding)
    np.testing.assert_array_equal(np.stack(rows["probabilities"]), said.probabilities)
    np.testing.assert_array_equal(logged_statistics(rows), image_statistics(seen))
    np.testing.assert_array_equal(read_images(store, rows), seen)
    assert list(rows["predicted"]) == [("NORMAL", "PNEUMONIA")[label] for label in said.labels]
    np.testing.assert_array_equal(rows["confidence"], said.probabilities.max(axis=1))
    assert rows["group"].isna().tolist() == [False, True, False, False, False]
    assert list(rows["latency_ms"]) == [1, 2, 3, 4, 5]
    assert set(rows["status"]) == {"ok"}
    assert list(rows["time"]) == [pd.Timestamp(time) for time in minutes(5)]


def test_the_confidence_is_that_of_the_class_that_is_named(store: Store) -> None:
    said = replace(predictions(40), shares=(0.8, 0.2))
    assert (said.labels != said.probabilities.argmax(axis=1)).any()
    with logger(store) as log:
        log.log(images(40), said, 1.0, times=minutes(40), **BY)
    rows = read_log(store, after=None, until=LATE)
    assert list(rows["predicted"]) == [("NORMAL", "PNEUMONIA")[label] for label in said.labels]
    np.testing.assert_array_equal(rows["confidence"], said.probabilities[range(40), said.labels])


def test_rows_that_an_earlier_release_left_in_the_spool_have_the_confidence_of_the_most_probable_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, said = open_store(str(tmp_path / "store")), predictions(3)

    def as_then(fields: dict, arrays: dict) -> bytes:
        return encoded(fields, {name: of for name, of in arrays.items() if name != "confidence"})

    monkeypatch.setattr("driftloop.inference.log_writer.encoded", as_then)
    with logger(store) as log:
        log.log(images(3), said, 1.0, times=minutes(3), **BY)
    np.testing.assert_array_equal(read_log(store, after=None, until=LATE)["confidence"], said.probabilities.max(axis=1))


def test_files_lie_by_the_hour_of_writing_and_are_counted_and_a_stretch_of_time_excludes_its_start(store: Store) -> None:
    times = [NOON, NOON + timedelta(hours=1), NOON + timedelta(hours=2), NOON + timedelta(days=1)]
    clock = iter([NOON + timedelta(days=2), NOON + timedelta(days=2, hours=1)])
    log = logger(store, clock=lambda: next(clock))
    ids = []
    for part in (times[:3], times[3:]):
        ids += log.log(images(len(part)), predictions(len(part)), 1.0, times=part, **BY)
        log.flush()
    assert [(file.folder, file.writer, file.number) for file in log_files(store)] == [
        ("logs/dt=2026-03-03/hour=12/", log.writer, 1),
        ("logs/dt=2026-03-03/hour=13/", log.writer, 2),
    ]
    assert list(read_log(store, after=NOON, until=times[2])["request_id"]) == ids[1:3]
    assert list(read_log(store, after=None, until=NOON)["request_id"]) == ids[:1]
    assert len(read_log(store, after=times[3], until=times[3] + timedelta(days=9))) == 0


def test_listing_starts_at_a_folder_and_passes_over_what_is_no_log_file(store: Store) -> None:
    for hour in range(3):
        log = logger(store, clock=lambda hour=hour: NOON + timedelta(hours=hour))
        log.log(images(1), predictions(1), 1.0, **BY)
        log.close()
    store.put("logs/replays/abc.json", b"{}")
    store.put("logs/dt=2026-03-01/hour=14/notes.parquet", b"")
    store.put("logs/dt=2026-03-01/hour=14/20260301T120000000000-0123456789ab.parquet", b"")
    files = list(log_files(store, hour_folder(NOON + timedelta(hours=1))))
    assert [(file.folder[-3:-1], file.number) for file in files] == [("13", 1), ("14", None), ("14", 1), ("14", None)]


def test_a_file_with_a_column_less_or_more_is_read(store: Store) -> None:
    with logger(store) as log:
        log.log(images(3), predictions(3), 1.0, times=minutes(3), **BY)
    (file,) = log_files(store)
    table = pq.read_table(io.BytesIO(store.read(file.key)))
    stream = io.BytesIO()
    pq.write_table(table.drop_columns(["group"]).append_column("new", [[1, 2, 3]]), stream)
    store.put(file.key, stream.getvalue())
    rows = read_log(store, after=None, until=LATE)
    assert (list(rows.columns), len(rows), rows["group"].isna().all()) == (LOG_SCHEMA.names, 3, True)


def test_a_file_of_a_newer_release_is_not_taken_for_a_damaged_one(store: Store) -> None:
    with logger(store) as log:
        log.log(images(1), predictions(1), 1.0, times=[NOON], **BY)
    (file,) = log_files(store)
    table = pq.read_table(io.BytesIO(store.read(file.key)))
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"driftloop_schema_version": "3"}), stream)
    store.put(file.key, stream.getvalue())
    with pytest.raises(StoreError, match="written by a newer driftloop"):
        read_log(store, after=None, until=LATE)


def test_times_in_other_zones_are_stored_in_utc(store: Store) -> None:
    with logger(store) as log:
        log.log(images(1), predictions(1), 1.0, times=[NOON.astimezone(timezone(timedelta(hours=9)))], **BY)
        with pytest.raises(ValueError, match="no time zone"):
            log.log(images(1), predictions(1), 1.0, times=[NOON.replace(tzinfo=None)], **BY)
    assert read_log(store, after=None, until=NOON)["time"].iloc[0] == pd.Timestamp(NOON)


def test_an_empty_store_reads_as_no_rows(store: Store) -> None:
    rows = read_log(store, after=None, until=LATE)
    assert list(rows.columns) == LOG_SCHEMA.names
    assert len(rows) == 0
    assert str(rows["time"].dtype).endswith("UTC]")


def test_rows_are_held_back_until_there_are_enough_of_them(store: Store) -> None:
    log = logger(store, limits=LogLimits(rows=4))
    log.log(images(3), predictions(3), 1.0, **BY)
    assert not list(store.list("logs/"))
    log.log(images(1), predictions(1), 1.0, **BY)
    log.close()
    assert len(list(log_files(store))) == 1


def test_a_repeated_request_is_one_row_the_first(store: Store) -> None:
    for latency in (1.0, 2.0):
        with logger(store) as log:
            log.log(images(2), predictions(2), latency, request_ids=["a", "b"], times=minutes(2), **BY)
    rows = read_log(store, after=None, until=LATE)
    assert list(rows["request_id"]) == ["a", "b"]
    assert list(rows["latency_ms"]) == [1, 1]


def test_failed_requests_have_a_status_and_no_prediction(store: Store) -> None:
    with logger(store) as log:
        log.log(images(1), None, 3.0, times=[NOON], status="timeout", **BY)
    row = read_log(store, after=None, until=LATE).iloc[0]
    assert row["status"] == "timeout"
    assert row[["predicted", "confidence", "probabilities", "embedding"]].isna().all()


def test_a_share_of_the_images_is_kept_by_request_id(store: Store) -> None:
    seen = images(400)
    with logger(store, image_share=0.25) as log:
        log.log(seen, predictions(400), 1.0, request_ids=[f"r{index:03d}" for index in range(400)], times=[NOON] * 400, **BY)
    rows = read_log(store, after=None, until=LATE)
    kept = rows["image"].notna()
    assert 70 <= kept.sum() <= 130
    np.testing.assert_array_equal(read_images(store, rows[kept]), seen[np.flatnonzero(kept)])
    with pytest.raises(InputError, match="its image was not kept"):
        read_images(store, rows)
    with pytest.raises(InputError, match="no rows"):
        read_images(store, rows[:0])


def test_images_come_in_the_order_of_the_rows_whatever_their_files(store: Store) -> None:
    seen = images(10)
    with logger(store, limits=LogLimits(rows=1)) as log:
        for index in range(0, 10, 2):
            log.log(seen[index : index + 2], predictions(2), 1.0, times=minutes(2, NOON + timedelta(minutes=10 * index)), **BY)
    rows = read_log(store, after=None, until=LATE)
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_array_equal(read_images(store, rows.iloc[order]), seen[order])


def test_images_of_a_version_that_takes_another_size_go_into_a_file_of_their_own(store: Store) -> None:
    """A promotion changes the size between two rows, and batches of both versions may still alternate."""
    small, large = images(3), np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    with logger(store) as log:
        log.log(small[:2], predictions(2), 1.0, times=minutes(2), version="1", classes=BY["classes"])
        log.log(large, predictions(2), 1.0, times=minutes(2), version="2", classes=BY["classes"])
        log.log(small[2:], predictions(1), 1.0, times=minutes(1), version="1", classes=BY["classes"])
    rows = read_log(store, after=None, until=LATE)
    assert len(rows) == 5
    by_version = {version: read_images(store, of) for version, of in rows.groupby("model_version")}
    assert {image.tobytes() for image in by_version["1"]} == {image.tobytes() for image in small}
    assert {image.tobytes() for image in by_version["2"]} == {image.tobytes() for image in large}


def test_a_changed_image_is_noticed(store: Store) -> None:
    with logger(store) as log:
        log.log(images(1), predictions(1), 1.0, times=[NOON], **BY)
    rows = read_log(store, after=None, until=LATE)
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, 8, 8, 1), np.uint8))
    store.put(rows["image"].iloc[0].partition("#")[0], stream.getvalue())
    with pytest.raises(IntegrityError, match="does not match the checksum"):
        read_images(store, rows)


@pytest.mark.parametrize("content", [b"not parquet", b""])
def test_a_foreign_file_in_the_log_is_named(store: Store, content: bytes) -> None:
    store.create("logs/dt=2026-03-01/hour=12/alien.parquet", content)
    with pytest.raises(IntegrityError, match=r"alien\.parquet is not an inference log file"):
        read_log(store, after=None, until=LATE)


class Failing(LocalStore):
    """A local store that refuses writes once `allowed` of them are done."""

    def __init__(self, root: Path, allowed: int) -> None:
        super().__init__(root)
        self.allowed = allowed

    def create(self, key: str, data: bytes) -> str:
        if self.allowed == 0:
            raise StoreError("the store is away")
        self.allowed -= 1
        return super().create(key, data)


@pytest.mark.parametrize("allowed", [0, 1, 2, 3])
def test_a_failed_flush_keeps_the_rows_for_the_next_one(tmp_path: Path, allowed: int) -> None:
    store = Failing(tmp_path / "store", allowed)
    log = logger(store)
    ids = []
    for part in (0, 1):
        ids += log.log(images(2), predictions(2), 1.0, times=[NOON, NOON + timedelta(hours=part)], **BY)
        with suppress(StoreError):
            log.flush()
        for row in read_images_of_every_row(store):
            assert row.shape == (8, 8, 1)
    store.allowed = 99
    log.close()
    rows = read_log(store, after=None, until=LATE)
    assert sorted(rows["request_id"]) == sorted(ids)
    np.testing.assert_array_equal(read_images(store, rows.set_index("request_id", drop=False).loc[ids]), np.concatenate([images(2)] * 2))


@pytest.mark.parametrize("hours", [0, 8])
def test_a_flush_whose_answer_was_lost_is_not_written_twice(tmp_path: Path, hours: int) -> None:
    store, now = TroubledStore(tmp_path / "store", answerless=True), [NOON]
    log = logger(store, clock=lambda: now[0])
    log.log(images(2), predictions(2), 1.0, times=[NOON, NOON], **BY)
    with pytest.raises(StoreError, match="broke"):
        log.flush()
    store.answerless = False
    now[0] += timedelta(hours=hours)
    log.close()
    assert [file.number for file in log_files(store)] == [1]


def test_a_file_that_goes_out_late_lies_where_watches_look_then(tmp_path: Path) -> None:
    store, now = Failing(tmp_path / "store", 0), [NOON]
    log = logger(store, clock=lambda: now[0])
    log.log(images(2), predictions(2), 1.0, times=[NOON, NOON], **BY)
    with pytest.raises(StoreError, match="away"):
        log.flush()
    now[0] += timedelta(days=3)
    store.allowed = 99
    log.close()
    assert [(file.folder, file.number) for file in log_files(store)] == [("logs/dt=2026-03-04/hour=12/", 1)]
    assert len(read_images(store, read_log(store, after=None, until=LATE))) == 2


def read_images_of_every_row(store: Store) -> Iterator[np.ndarray]:
    """Whatever rows can be read at any moment, their images can be too."""
    rows = read_log(store, after=None, until=LATE)
    return iter(read_images(store, rows)) if len(rows) else iter(())


def test_threads_share_a_logger_without_losing_or_doubling_rows(store: Store) -> None:
    log = logger(store, limits=LogLimits(rows=7))

    def send(worker: int) -> None:
        for number in range(20):
            log.log(
                images(2), predictions(2), 1.0, request_ids=[f"{worker}-{number}-{index}" for index in range(2)], times=[NOON, NOON], **BY
            )

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    files = [entry.key for entry in store.list("logs/") if entry.key.endswith(".parquet")]
    assert sum(pq.read_table(io.BytesIO(store.read(key))).num_rows for key in files) == 160
    assert read_log(store, after=None, until=LATE)["request_id"].nunique() == 160


def test_a_closed_logger_takes_no_more_rows(store: Store) -> None:
    log = logger(store)
    log.close()
    with pytest.raises(ValueError, match="was closed"):
        log.log(images(1), predictions(1), 1.0, **BY)


def test_rows_of_a_block_that_raised_are_kept(store: Store) -> None:
    def serve() -> None:
        with logger(store) as log:
            log.log(images(1), predictions(1), 1.0, times=[NOON], **BY)
            raise RuntimeError("the request after it failed")

    with pytest.raises(RuntimeError, match="after it failed"):
        serve()
    assert len(read_log(store, after=None, until=LATE)) == 1


def test_arguments_of_other_lengths_are_refused(store: Store) -> None:
    with logger(store) as log, pytest.raises(ValueError, match=r"2 images, but other arguments have \[3\]"):
        log.log(images(2), predictions(3), 1.0, **BY)
