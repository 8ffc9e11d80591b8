"""Which images answer which question."""

from pathlib import Path

import numpy as np
import pytest

from components.onnx_deployment import held_out
from driftloop.bundle import read_model
from driftloop.dataset import Description, write_dataset
from driftloop.errors import InputError
from driftloop.store import open_store
from tests.factories.datasets import SIDE, sample_table
from tests.factories.trained_bundle import write_deployment_inputs


@pytest.fixture
def dataset(tmp_path: Path) -> Description:
    parts = {}
    for level, (split, count) in enumerate(
        {"train": 40, "drifted_train": 8, "val": 10, "drifted_val": 4, "test": 6, "reference": 9}.items()
    ):
        labels = np.arange(count) % 2
        parts[split] = (np.full((count, SIDE, SIDE, 1), level, np.uint8), labels, sample_table(split, count))
    parts["val"][1][:3] = -1
    return write_dataset(open_store(str(tmp_path)), parts, classes=["a", "b"], source="flat")


def levels(cases: list[held_out.Cases]) -> set[int]:
    return {int(level) for part in cases for level in np.unique(part.images)}


def test_ranges_come_from_training_images_and_choices_from_held_out_ones_never_from_the_test_split(dataset: Description) -> None:
    test = levels(held_out.open_cases(dataset, held_out.TEST_SPLITS))
    assert levels(held_out.open_cases(dataset, held_out.RANGE_SPLITS)) == {0, 1}
    for splits in (held_out.TEMPERATURE_SPLITS, held_out.VARIANT_SPLITS):
        assert not levels(held_out.open_cases(dataset, splits)) & (test | {0, 1})


def test_images_without_a_label_are_left_out(dataset: Description) -> None:
    cases = held_out.open_cases(dataset, held_out.TEMPERATURE_SPLITS)
    assert [len(part) for part in cases] == [7, 4]
    assert (held_out.case_labels(cases) >= 0).all()


def test_splits_that_are_missing_are_skipped_and_none_at_all_is_an_error(dataset: Description) -> None:
    assert [part.split for part in held_out.open_cases(dataset, ("val", "elsewhere"))] == ["val"]
    with pytest.raises(InputError, match="no labelled images in elsewhere"):
        held_out.open_cases(dataset, ("elsewhere",))


def test_groups_of_different_splits_are_different_groups(dataset: Description) -> None:
    groups = held_out.case_groups(held_out.open_cases(dataset, held_out.VARIANT_SPLITS))
    assert len(set(groups)) == len(groups) == 7 + 4 + 9


def test_a_small_split_is_drawn_whole_beside_a_large_one(dataset: Description) -> None:
    images = held_out.draw_images(held_out.open_cases(dataset, held_out.RANGE_SPLITS), 24, seed=0)
    assert len(images) == 24
    assert (images[:, 0, 0, 0] == 1).sum() == 8
    again = held_out.draw_images(held_out.open_cases(dataset, held_out.RANGE_SPLITS), 24, seed=0)
    np.testing.assert_array_equal(images, again)


def test_asking_for_more_images_than_there_are_gives_all(dataset: Description) -> None:
    assert len(held_out.draw_images(held_out.open_cases(dataset, held_out.RANGE_SPLITS), 999, seed=0)) == 48


def test_a_dataset_of_other_classes_is_refused(tmp_path: Path, dataset: Description) -> None:
    inputs = write_deployment_inputs(tmp_path / "other", {"train": 32}, steps=1)
    with pytest.raises(InputError, match=r"classes of the dataset \['a', 'b'\], of the model \['class 0', 'class 1'\]"):
        held_out.check_fit(dataset, read_model(inputs.model))
    model = read_model(inputs.model).model_copy(update={"classes": dataset.classes, "deep_range": 4095})
    with pytest.raises(InputError, match="range of levels of the dataset 0, of the model 4095"):
        held_out.check_fit(dataset, model)
