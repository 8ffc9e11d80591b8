"""The traffic artifact survives the way through its files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftloop.errors import InputError
from driftloop.inference.traffic import Traffic, TrafficInfo, label_indices, read_traffic, write_traffic
from driftloop.watch_record import RecordedWindow, WatchRecord


def record(sequence: int) -> WatchRecord:
    judged = RecordedWindow(first="a", last="b", rows=200, p_statistics=0.01, p_embedding=0.2, drifted=True, accuracy=None)
    return WatchRecord(
        sequence=sequence,
        run_id="run",
        since="",
        until="2025-03-01T10:00:00+00:00",
        finished="2025-03-01T11:00:00+00:00",
        champion_version="1",
        rows=200,
        windows=[judged],
        confirmed=False,
        verdict="stable",
        reason="one window of three",
        decision=None,
        outcome="watched",
        promoted_version=None,
    )


def traffic(rows: int = 3) -> Traffic:
    frame = pd.DataFrame(
        {
            "request_id": [f"r{index}" for index in range(rows)],
            "time": pd.date_range("2025-03-01", periods=rows, freq="s", tz="UTC").astype("datetime64[us, UTC]"),
            "embedding": [np.arange(4, dtype="<f2").tobytes()] * rows,
            "statistics": [np.arange(6, dtype=np.float32)] * rows,
            "image_index": np.arange(rows) - 1,
            "label": (["a", "b", None] * rows)[:rows],
            "label_origin": (["random", "ranked", None] * rows)[:rows],
            "fresh": (np.arange(rows) > 0),
        }
    )
    info = TrafficInfo(
        sequence=3,
        store="s3://bucket/model",
        champion_version="2",
        since="",
        until="2025-03-01T12:00:00+00:00",
        classes=["a", "b"],
        statistic_names=["brightness"],
        rows=rows,
        fresh_rows=max(0, rows - 1),
        other_version_rows=4,
    )
    return Traffic(frame, np.arange(max(0, rows - 1) * 16, dtype=np.uint8).reshape(-1, 4, 4, 1), info, [record(1), record(2)])


def test_traffic_is_read_as_it_was_written(tmp_path: Path):
    written = traffic()
    write_traffic(tmp_path / "artifact", written)
    read = read_traffic(tmp_path / "artifact")
    assert read.info == written.info
    assert read.records == written.records
    assert np.array_equal(read.images, written.images)
    assert list(read.rows["request_id"]) == list(written.rows["request_id"])
    assert list(read.rows["embedding"]) == list(written.rows["embedding"])
    assert all(np.array_equal(a, b) for a, b in zip(read.rows["statistics"], written.rows["statistics"], strict=True))
    assert read.rows["time"].dtype == written.rows["time"].dtype


def test_fresh_rows(tmp_path: Path):
    write_traffic(tmp_path, traffic())
    read = read_traffic(tmp_path)
    assert list(read.fresh["request_id"]) == ["r1", "r2"]
    assert list(read.rows.loc[read.rows["label"].notna(), "request_id"]) == ["r0", "r1"]


def test_labels_as_class_numbers_with_minus_one_for_none_and_for_foreign_ones(tmp_path: Path):
    write_traffic(tmp_path, traffic())
    rows = read_traffic(tmp_path).rows
    assert label_indices(rows, ["b", "a"]).tolist() == [1, 0, -1]
    assert label_indices(rows, ["b"]).tolist() == [-1, 0, -1]


def test_empty_traffic_keeps_its_shape(tmp_path: Path):
    write_traffic(tmp_path, traffic(0))
    read = read_traffic(tmp_path)
    assert (len(read.rows), read.images.shape, len(read.fresh)) == (0, (0, 4, 4, 1), 0)


def test_a_folder_that_holds_no_traffic_is_one_clear_line(tmp_path: Path):
    with pytest.raises(InputError, match="pass the `traffic` output"):
        read_traffic(tmp_path)


def test_traffic_without_its_last_file_does_not_count(tmp_path: Path):
    write_traffic(tmp_path, traffic())
    (tmp_path / "traffic.json").unlink()
    with pytest.raises(InputError, match="not the traffic of a watch"):
        read_traffic(tmp_path)
