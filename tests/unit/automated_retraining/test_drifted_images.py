"""Which production rows a retraining may use."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.automated_retraining.drifted_images import (
    collect_drifted_images,
    fetch_images,
    groups_per_window,
    read_coverage,
    unknown_labels,
)
from components.automated_retraining.grown_dataset import open_parent
from driftloop.dataset import UNLABELLED
from driftloop.dataset.roles import REGIME
from driftloop.errors import InputError
from driftloop.inference.confirmed_rows import confirmed_rows
from driftloop.inference.traffic import Traffic, read_traffic
from driftloop.settings import RetrainSettings
from driftloop.store import open_store
from tests.factories.records import CLASSES
from tests.factories.retraining import confirmed_windows, labelled_requests, write_retraining_inputs, write_traffic_and_evidence


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


def test_images_of_other_classes_are_counted_and_neither_learned_nor_accepted_nor_are_their_copies(tmp_path: Path) -> None:
    rows, images = labelled_requests(10, 10)
    rows.loc[:2, "label"] = "EFFUSION"
    rows.loc[9, ["label", "label_origin", "image_sha256"]] = [None, None, rows.loc[0, "image_sha256"]]
    traffic, coverage = traffic_of(tmp_path, rows, images), confirmed_windows(rows)
    kept = confirmed_rows(traffic, coverage, CLASSES)
    assert list(kept["request_id"]) == [f"r{number:05d}" for number in range(3, 9)]
    assert unknown_labels(traffic, coverage, CLASSES) == {"EFFUSION": 3}


def test_the_size_of_a_window_is_the_median_groups_of_the_confirmed_ones(tmp_path: Path) -> None:
    rows, images = labelled_requests(120, 0)
    rows.loc[:39, "group"] = "one"
    rows.loc[40:49, "group"] = None
    traffic = traffic_of(tmp_path, rows, images)
    assert groups_per_window(traffic, confirmed_windows(rows, size=50)) == 20
    assert groups_per_window(traffic, confirmed_windows(rows, size=60)) == 40
    assert groups_per_window(traffic, confirmed_windows(rows, size=50, confirmed=False)) == 0


@pytest.mark.parametrize(("window", "accepted"), [(58, 0), (57, 178)])
def test_a_regime_has_the_groups_of_four_windows_or_there_is_none(tmp_path: Path, window: int, accepted: int) -> None:
    inputs = write_retraining_inputs(tmp_path, labelled=120, unlabelled=220)
    traffic, store = read_traffic(inputs.traffic), open_store(inputs.store)
    coverage = confirmed_windows(traffic.rows, size=window)
    drifted = collect_drifted_images(store, traffic, coverage, open_parent(store, inputs.parent.manifest_hash), RetrainSettings(), {})
    assert (drifted.roles == REGIME).sum() == accepted
    assert (drifted.regime_groups, drifted.wanted_groups) == (178 + 53, 4 * window)


@pytest.mark.parametrize(("side", "labelled", "taken"), [(512, 660, 660), (512, 200, 341), (512, 1_010, 1_000), (300, 660, 994)])
def test_the_labels_that_were_asked_for_are_all_learned_from_however_large_their_images_are(
    tmp_path: Path, side: int, labelled: int, taken: int
) -> None:
    inputs = write_retraining_inputs(tmp_path, labelled=labelled, unlabelled=400)
    traffic, store = read_traffic(inputs.traffic), open_store(inputs.store)
    parent = open_parent(store, inputs.parent.manifest_hash).model_copy(update={"image_size": side, "channels": 3})
    kept = confirmed_rows(traffic, confirmed_windows(traffic.rows), CLASSES)
    rows, images = fetch_images(store, kept, parent, RetrainSettings().image_mib)
    assert len(images) == len(rows) == taken
    assert (rows["label"] != UNLABELLED).sum() == min(labelled, taken)


def test_a_directory_without_evidence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"windows\.parquet; pass the `evidence` output"):
        read_coverage(tmp_path)
