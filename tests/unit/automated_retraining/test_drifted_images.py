"""Which production rows a retraining may use."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.automated_retraining.drifted_images import read_coverage, rows_per_window, unknown_labels
from driftloop.errors import InputError
from driftloop.inference.confirmed_rows import confirmed_rows
from driftloop.inference.traffic import Traffic, read_traffic
from tests.factories.records import CLASSES
from tests.factories.retraining import confirmed_windows, labelled_requests, write_traffic_and_evidence


def traffic_of(folder: Path, rows: pd.DataFrame, images: np.ndarray) -> Traffic:
    path, _ = write_traffic_and_evidence(folder, str(folder / "store"), rows, images, confirmed_windows(rows))
    return read_traffic(path)


def test_only_rows_of_confirmed_windows_count(tmp_path: Path) -> None:
    rows, images = labelled_requests(100, 100)
    coverage = confirmed_windows(rows, size=25)
    coverage["confirmed"] = coverage["window"].isin([1, 3])
    kept = confirmed_rows(traffic_of(tmp_path, rows, images), coverage, CLASSES)
    assert set(kept["window"]) == {1, 3}
    assert len(kept) == 50
    assert kept["request_id"].is_monotonic_increasing


def test_rows_without_an_image_and_failed_requests_are_left_out(tmp_path: Path) -> None:
    rows, images = labelled_requests(30, 30)
    rows.loc[0, "image"] = None
    rows.loc[1, "status"] = "error"
    kept = confirmed_rows(traffic_of(tmp_path, rows, images), confirmed_windows(rows), CLASSES)
    assert list(kept["request_id"]) == [f"r{number:05d}" for number in range(2, 30)]


def test_copies_of_an_image_count_once_and_a_random_label_goes_first(tmp_path: Path) -> None:
    rows, images = labelled_requests(5, 0)
    rows["image_sha256"] = "same"
    rows["label"] = [None, "NORMAL", "NORMAL", "NORMAL", None]
    rows["label_origin"] = [None, "ranked", "import", "random", None]
    kept = confirmed_rows(traffic_of(tmp_path, rows, images), confirmed_windows(rows), CLASSES)
    assert list(kept["request_id"]) == ["r00003"]


def test_a_request_without_a_patient_is_grouped_by_its_image(tmp_path: Path) -> None:
    rows, images = labelled_requests(4, 4)
    rows["group"] = [None, "", "p1", "p1"]
    kept = confirmed_rows(traffic_of(tmp_path, rows, images), confirmed_windows(rows), CLASSES)
    assert kept["group"].nunique() == 3
    assert kept["group"].str.len().gt(0).all()


def test_labels_of_other_classes_are_counted_and_not_used(tmp_path: Path) -> None:
    rows, images = labelled_requests(10, 10)
    rows.loc[:2, "label"] = "EFFUSION"
    traffic, coverage = traffic_of(tmp_path, rows, images), confirmed_windows(rows)
    kept = confirmed_rows(traffic, coverage, CLASSES)
    assert (kept["label"] == -1).sum() == 3
    assert (kept.loc[kept["label"] == -1, "origin"] == "").all()
    assert unknown_labels(traffic, coverage, CLASSES) == {"EFFUSION": 3}


def test_the_size_of_a_window_is_the_median_of_the_confirmed_ones() -> None:
    rows, _ = labelled_requests(120, 0)
    assert rows_per_window(confirmed_windows(rows, size=50)) == 50
    assert rows_per_window(confirmed_windows(rows, size=50, confirmed=False)) == 0


def test_a_directory_without_evidence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"windows\.parquet; pass the `evidence` output"):
        read_coverage(tmp_path)
