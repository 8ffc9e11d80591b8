"""The traffic artifact survives the way through its files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from driftloop.errors import InputError
from driftloop.inference.traffic import Traffic, label_indices, read_traffic, write_traffic
from driftloop.watch_record import RecordedWindow, WatchRecord
from tests.factories.records import traffic_info, watch_record


def record(sequence: int) -> WatchRecord:
    judged = RecordedWindow(first="a", last="b", rows=200, p_statistics=0.01, p_embedding=0.2, drifted=True, accuracy=None)
    return watch_record(sequence, rows=200, windows=[judged], reason="one window of three")


def traffic(rows: int = 3) -> Traffic:
    frame = pd.DataFrame(
        {
            "request_id": [f"r{index}" for index in range(rows)],
            "time": pd.date_range("2025-03-01", periods=rows, freq="s", tz="UTC").astype("datetime64[us, UTC]"),
            "embedding": [np.arange(4, dtype="<f2").tobytes()] * rows,
            "statistics": [np.arange(6, dtype=np.float32)] * rows,
            "label": (["a", "b", None] * rows)[:rows],
            "label_origin": (["random", "ranked", None] * rows)[:rows],
            "fresh": (np.arange(rows) > 0),
        }
    )
    info = traffic_info(
        sequence=3,
        store="s3://bucket/model",
        champion_version="2",
        classes=["a", "b"],
        statistic_names=["brightness"],
        rows=rows,
        fresh_rows=max(0, rows - 1),
        other_version_rows=4,
    )
    labels = pd.DataFrame({"request_id": ["r0"], "label": ["a"], "origin": ["random"], "labelled_at": [pd.Timestamp("2025-03-02T00:00Z")]})
    return Traffic(frame, info, [record(1), record(2)], labels)


def test_traffic_is_read_as_it_was_written(tmp_path: Path):
    written = traffic()
    write_traffic(tmp_path / "artifact", written)
    read = read_traffic(tmp_path / "artifact")
    assert read.info == written.info
    assert read.records == written.records
    pd.testing.assert_frame_equal(read.labels, written.labels)
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
    assert (len(read.rows), len(read.fresh), len(read.labels)) == (0, 0, 1)


def test_a_folder_that_holds_no_traffic_is_one_clear_line(tmp_path: Path):
    with pytest.raises(InputError, match="pass the `traffic` output"):
        read_traffic(tmp_path)


def test_traffic_without_its_last_file_does_not_count(tmp_path: Path):
    write_traffic(tmp_path, traffic())
    (tmp_path / "traffic.json").unlink()
    with pytest.raises(InputError, match="not the traffic of a watch"):
        read_traffic(tmp_path)
