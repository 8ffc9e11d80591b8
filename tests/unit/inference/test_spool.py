"""What waits on this machine's disk for the store: it outlives its writer, has a bound, and never stands in a caller's way."""

import errno
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from driftloop.errors import StoreError
from driftloop.inference.log import read_images, read_log
from driftloop.inference.log_files import log_files
from driftloop.inference.log_writer import InferenceLogger, LogLimits
from driftloop.inference.served_model import ServedPredictions
from driftloop.inference.spool import Segment, Spool, encoded, records
from driftloop.store.local import LocalStore
from tests.factories.troubled_stores import TroubledStore

BY: dict = {"version": "1", "classes": ["NORMAL", "PNEUMONIA"]}
NEVER = LogLimits(seconds=3600)


@pytest.fixture
def store(tmp_path: Path) -> TroubledStore:
    return TroubledStore(tmp_path / "store", away=True)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


def answers(count: int) -> ServedPredictions:
    rng = np.random.default_rng(count)
    first = rng.uniform(0, 1, count).astype(np.float32)
    return ServedPredictions(np.stack([first, 1 - first], axis=1), rng.normal(0, 1, (count, 4)).astype(np.float16))


def fill(log: InferenceLogger, count: int, name: str = "r") -> list[str]:
    return [log.log(images(1, at), answers(1), 1.0, request_ids=[f"{name}{at}"], **BY)[0] for at in range(count)]


def logged(store: LocalStore) -> list[str]:
    return sorted(read_log(store, after=None, until=datetime.now(UTC) + timedelta(days=1))["request_id"])


def on_disk(spool: Path) -> int:
    """Bytes of all its segments; the log's thread may give one another name between a look at the folder and one at the file."""
    while True:
        try:
            return sum(path.stat().st_size for path in spool.rglob("*.rows"))
        except FileNotFoundError:
            continue


def test_a_record_that_was_cut_off_or_damaged_is_left_out_and_all_others_count(tmp_path: Path) -> None:
    whole = encoded({"request_ids": ["a"]}, {"pixels": images(1)})
    for cut in (1, 10, len(whole) // 2, len(whole) - 1):
        path = tmp_path / f"{cut}.rows"
        path.write_bytes(whole + whole[:cut])
        with open(path, "rb") as stream:
            (kept,) = records(stream)
        np.testing.assert_array_equal(kept.arrays["pixels"], images(1))
    for at, bits in ((0, 1), (5, 0x80), (15, 0x80), (-3, 1)):  # magic, both lengths (the second a petabyte), pixels
        flipped = bytearray(whole)
        flipped[at] ^= bits
        path = tmp_path / f"flipped-{at}.rows"
        path.write_bytes(whole + bytes(flipped) + whole)
        with open(path, "rb") as stream:
            assert len(list(records(stream))) == 2


def test_rows_go_to_the_store_by_number_size_and_age(tmp_path: Path) -> None:
    for limits in (LogLimits(rows=5, seconds=3600), LogLimits(bytes=2000, seconds=3600), LogLimits(seconds=0.2)):
        store = LocalStore(tmp_path / f"store-{limits.rows}-{limits.bytes}")
        log = InferenceLogger(store, limits=limits)
        fill(log, 5)
        until = time.monotonic() + 30
        while not list(log_files(store)):
            assert time.monotonic() < until
            time.sleep(0.02)
        log.close()
        assert logged(store) == [f"r{at}" for at in range(5)]


def test_it_tells_for_how_long_the_oldest_row_has_waited(store: TroubledStore, tmp_path: Path) -> None:
    with InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool") as log:
        assert log.counts.lag_seconds == 0
        fill(log, 2)
        first = log.counts.lag_seconds
        with pytest.raises(StoreError):
            log.flush()
        fill(log, 2, "later")
        assert log.counts.lag_seconds > first >= 0, "the store has refused the oldest"
        store.away = False
        log.flush()
        assert log.counts.lag_seconds == 0


def test_nobody_waits_for_a_store_that_hangs(tmp_path: Path) -> None:
    class Hanging(LocalStore):
        free = threading.Event()

        def create(self, key: str, data: bytes) -> str:
            self.free.wait(60)
            return super().create(key, data)

    store = Hanging(tmp_path / "store")
    log = InferenceLogger(store, limits=LogLimits(rows=2, seconds=0.1))
    fill(log, 20)
    assert (log.counts.logged, log.counts.written, log.counts.waiting) == (20, 0, 20)
    store.free.set()
    log.close()
    assert len(logged(store)) == 20


def test_the_next_writer_on_a_spool_takes_over_what_one_without_a_process_left(store: TroubledStore, tmp_path: Path) -> None:
    for name in ("a", "b"):
        log = InferenceLogger(store, limits=LogLimits(rows=3, seconds=3600), spool=tmp_path / "spool")
        fill(log, 8, name)
        log.close(write=False)
    store.away = False
    with InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool") as log:
        assert log.counts.waiting == 16
        fill(log, 1, "c")
    assert logged(store) == sorted([*(f"a{at}" for at in range(8)), *(f"b{at}" for at in range(8)), "c0"])
    assert not list((tmp_path / "spool").iterdir())


def test_two_writers_share_a_spool_and_neither_takes_what_the_other_still_fills(store: TroubledStore, tmp_path: Path) -> None:
    store.away = False
    first = InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool")
    fill(first, 3, "a")
    with InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool") as second:
        assert second.counts.waiting == 0
        fill(second, 2, "b")
    assert logged(store) == ["b0", "b1"]
    first.close()
    assert logged(store) == ["a0", "a1", "a2", "b0", "b1"]


def test_a_file_that_was_written_before_its_writer_died_is_not_written_again_in_a_later_hour(tmp_path: Path) -> None:
    store, now = TroubledStore(tmp_path / "store", answerless=True), datetime(2026, 3, 1, 12, tzinfo=UTC)
    log = InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool", clock=lambda: now)
    fill(log, 2)
    with pytest.raises(StoreError, match="broke"):
        log.flush()
    log.close(write=False)
    store.answerless = False
    with InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool", clock=lambda: now + timedelta(hours=9)):
        pass
    assert [(file.folder, file.number) for file in log_files(store)] == [("logs/dt=2026-03-01/hour=12/", 1)]


def test_beyond_its_bound_a_spool_does_without_the_oldest_images_and_then_without_the_oldest_rows(
    store: TroubledStore, tmp_path: Path
) -> None:
    record = len(encoded({}, {})) + 800
    log = InferenceLogger(store, limits=LogLimits(rows=4, seconds=3600, spool_bytes=record * 20), spool=tmp_path / "spool")
    ids = fill(log, 200)
    counts = log.counts
    assert counts.waiting_bytes <= record * 20
    assert on_disk(tmp_path / "spool") == counts.waiting_bytes
    assert 0 < counts.dropped_rows < 200
    assert counts.dropped_images > 0
    assert counts.waiting == 200 - counts.dropped_rows
    store.away = False
    log.close()
    rows = read_log(store, after=None, until=datetime.now(UTC) + timedelta(days=1)).set_index("request_id")
    assert len(rows) == counts.waiting
    assert {ids[-1], ids[-2]} <= set(rows.index)
    assert rows.loc[ids[-1], "image"] is not None
    np.testing.assert_array_equal(read_images(store, rows.loc[[ids[-1]]].reset_index()), images(1, 199))
    assert 0 < rows["image"].isna().sum() < len(rows)


def test_a_full_disk_is_counted_and_raises_nothing_and_what_was_there_stays(
    store: TroubledStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool")
    fill(log, 3, "a")
    write = os.write

    def half_then_full(file: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", full)
        return write(file, bytes(data)[: len(data) // 2])

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half_then_full)
    fill(log, 2, "lost")
    monkeypatch.setattr(os, "write", write)
    fill(log, 2, "b")
    assert log.counts.dropped_rows == 2
    store.away = False
    log.close()
    assert logged(store) == ["a0", "a1", "a2", "b0", "b1"]


def test_a_full_disk_is_said_once_a_minute_and_nothing_empty_stays_there(
    store: TroubledStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool")

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        fill(log, 5)
    assert [record.getMessage() for record in caplog.records] == ["rows of the log are lost, 1 so far: [Errno 28] No space left on device"]
    log.flush()
    assert log.counts.dropped_rows == 5
    assert not list((tmp_path / "spool").rglob("*.rows"))
    log.close()


def test_a_full_disk_that_cannot_even_do_without_images_raises_nothing(
    store: TroubledStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = len(encoded({}, {})) + 800
    log = InferenceLogger(store, limits=LogLimits(rows=4, seconds=3600, spool_bytes=record * 20), spool=tmp_path / "spool")

    def full(segment: Segment) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Segment, "without_images", full)
    ids = fill(log, 100)
    counts = log.counts
    assert counts.dropped_images == 0
    assert 0 < counts.dropped_rows < 100
    assert counts.waiting == 100 - counts.dropped_rows
    store.away = False
    log.close()
    assert set(logged(store)) == set(ids[counts.dropped_rows :])


def test_rewriting_a_segment_on_a_full_disk_leaves_it_as_it_was(
    store: TroubledStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = InferenceLogger(store, limits=LogLimits(seconds=3600), spool=tmp_path / "spool")
    fill(log, 2)
    (path,) = (tmp_path / "spool").rglob("*.rows")
    segment, before = Segment(path, path.stat().st_size, 2, 0.0), path.read_bytes()

    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("driftloop.inference.spool.encoded", full)
    with pytest.raises(OSError, match="No space left"):
        segment.without_images()
    assert path.read_bytes() == before
    assert not list((tmp_path / "spool").rglob("*.partial"))
    log.close(write=False)


def test_images_go_before_any_row_even_where_the_spool_holds_one_segment(store: TroubledStore, tmp_path: Path) -> None:
    big = images(1).repeat(8, 1).repeat(8, 2)
    record = len(encoded({}, {})) + big.nbytes + 700
    log = InferenceLogger(store, limits=LogLimits(seconds=3600, spool_bytes=record * 40), spool=tmp_path / "spool")
    for at in range(160):
        log.log(big, answers(1), 1.0, request_ids=[f"r{at}"], **BY)
    counts = log.counts
    assert counts.dropped_rows == 0
    assert 0 < counts.dropped_images < 160
    assert counts.waiting_bytes <= record * 40
    store.away = False
    log.close()
    rows = read_log(store, after=None, until=datetime.now(UTC) + timedelta(days=1)).set_index("request_id")
    assert len(rows) == 160
    assert (rows["image"].isna()["r0"], rows["image"].isna()["r159"]) == (True, False)


def test_writers_that_share_a_spool_each_have_their_part_and_one_alone_has_all_of_it(store: TroubledStore, tmp_path: Path) -> None:
    with InferenceLogger(LocalStore(tmp_path / "other"), limits=NEVER) as log:
        fill(log, 100)
        hundred = log.counts.waiting_bytes
    limits, spool = LogLimits(rows=4, seconds=0.4, spool_bytes=hundred, writers=2), tmp_path / "spool"
    first = InferenceLogger(store, limits=limits, spool=spool)
    fill(first, 90, "a")
    assert (first.counts.dropped_rows, first.counts.dropped_images) == (0, 0)
    first.close(write=False)
    # What two left is taken over by one.
    first = InferenceLogger(store, limits=limits, spool=spool)
    fill(first, 1, "b")
    assert (first.counts.waiting, first.counts.dropped_images) == (91, 0)
    second = InferenceLogger(store, limits=limits, spool=spool)
    fill(second, 45, "c")
    assert (second.counts.dropped_rows, second.counts.dropped_images) == (0, 0)
    until = time.monotonic() + 30
    while on_disk(spool) > limits.spool_bytes:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert first.counts.dropped_images > 0
    assert (second.counts.dropped_rows, second.counts.dropped_images) == (0, 0)
    store.away = False
    first.close()
    second.close()


def test_a_segment_that_cannot_be_written_is_set_aside_and_those_behind_it_are_written(
    store: TroubledStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = InferenceLogger(store, limits=LogLimits(rows=2, seconds=3600), spool=tmp_path / "spool")
    fill(log, 6)
    log.close(write=False)
    first = sorted((tmp_path / "spool").rglob("*.rows"))[0]
    # Whole by its checksum, and no row of the log.
    first.write_bytes(encoded({"request_ids": ["x"]}, {}))
    store.away = False
    with InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool") as log:
        log.flush()
        assert (log.counts.written, log.counts.dropped_rows, log.counts.waiting) == (4, 1, 0)
    assert logged(store) == ["r2", "r3", "r4", "r5"]
    (kept,) = [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    assert kept.name == "000001.damaged"
    assert str(kept) in caplog.text


def test_a_segment_whose_only_record_was_cut_off_holds_nothing_up(store: TroubledStore, tmp_path: Path) -> None:
    log = InferenceLogger(store, limits=LogLimits(rows=1, seconds=3600), spool=tmp_path / "spool")
    fill(log, 3)
    log.close(write=False)
    first = sorted((tmp_path / "spool").rglob("000001*.rows"))[0]
    first.write_bytes(first.read_bytes()[:50])
    store.away = False
    with InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool"):
        pass
    assert logged(store) == ["r1", "r2"]
    assert not list((tmp_path / "spool").iterdir())


def test_writers_that_begin_and_end_at_once_never_take_each_others_rows(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")

    def run(worker: int) -> None:
        for number in range(15):
            with InferenceLogger(store, limits=NEVER, spool=tmp_path / "spool") as log:
                fill(log, 2, f"{worker}-{number}-")

    threads = [threading.Thread(target=run, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = [entry.key for entry in store.list("logs/") if entry.key.endswith(".parquet")]
    assert len(files) == 60
    assert len(logged(store)) == 120
    assert not list((tmp_path / "spool").iterdir())


def test_a_writer_that_ends_while_another_looks_at_its_folder_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = Spool(tmp_path / "spool", "mine"), Spool(tmp_path / "spool", "other")
    looks = {name: getattr(os, name) for name in ("scandir", "listdir")}

    def ended_meanwhile(name: str, path: str) -> object:
        if Path(path) == other.home:
            monkeypatch.undo()
            other.close()
        return looks[name](path)

    for name in looks:
        monkeypatch.setattr(os, name, partial(ended_meanwhile, name))
    assert mine.bytes_of_others() == 0
    assert not other.home.exists()
    mine.close()
