"""Shares of images that come in groups."""

import numpy as np
import pytest
from scipy import stats

from driftloop.evaluation.clustered import independent_images, proportion_right
from driftloop.evaluation.intervals import Proportion, wilson


def answers(patients: int, images: int, icc: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Right answers of a model that is right on 90 % of the images, and the patient of each."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), images)
    accuracy = rng.beta(0.9 * (1 - icc) / icc, 0.1 * (1 - icc) / icc, patients)[groups]
    return rng.random(len(groups)) < accuracy, groups


def test_images_that_stand_for_themselves_are_all_independent() -> None:
    right = np.arange(100) % 10 > 0
    assert proportion_right(right, None) == wilson(90, 100)
    assert proportion_right(right, np.arange(100)) == wilson(90, 100).model_copy(update={"groups": 100})
    assert proportion_right(right, None).independent == 100


@pytest.mark.parametrize(("patients", "images", "icc"), [(25, 40, 0.2), (200, 5, 0.5), (400, 2, 0.3)])
def test_of_groups_there_are_as_many_as_kishs_formula_says(patients: int, images: int, icc: float) -> None:
    found = [independent_images(*answers(patients, images, icc, seed)) for seed in range(200)]
    # Estimated from so few groups it is uncertain, and its median stands for it.
    assert np.median(found) == pytest.approx(patients * images / (1 + (images - 1) * icc), rel=0.25)


def test_a_share_of_groups_has_the_interval_of_as_many_independent_images() -> None:
    right, groups = answers(25, 40, 0.2, 0)
    found = proportion_right(right, groups)
    assert (found.value, found.n) == (right.mean(), 1000)
    assert found.effective_n is not None
    assert found.independent == found.effective_n < 300
    assert found.high - found.low > 1.8 * (wilson(int(right.sum()), 1000).high - wilson(int(right.sum()), 1000).low)


def test_groups_of_which_none_is_ever_wrong_count_as_no_more_than_one_image_each() -> None:
    for patients in (6, 60):
        widened = (stats.t.ppf(0.99, patients - 1) / stats.norm.ppf(0.99)) ** 2
        assert independent_images(np.ones(600, bool), np.repeat(np.arange(patients), 600 // patients)) == pytest.approx(patients / widened)
    assert independent_images(np.ones(60, bool), np.zeros(60)) < 0.01, "of one patient nothing follows for the others"


def test_a_share_that_an_older_release_has_written_counts_as_it_did() -> None:
    old = Proportion.model_validate({"value": 0.9, "low": 0.87, "high": 0.92, "n": 1000})
    assert old.independent == 1000
