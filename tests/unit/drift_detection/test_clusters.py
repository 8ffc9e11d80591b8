"""Windows of few, large groups: the mean of as many images of each."""

import numpy as np
import pytest

from components.drift_detection.clusters import ASSUMED_ICC, Clusters, clusters_of, images_to_average
from components.drift_detection.reference import Regimes, Sample, prepare_regimes
from components.drift_detection.window_test import clustered_test
from driftloop.contracts import LEAST_GROUPS


def of_sizes(*sizes: int) -> Clusters:
    return clusters_of(np.repeat(np.arange(len(sizes)), sizes), len(sizes))


def test_rows_are_found_by_their_group_and_those_of_none_are_left_out() -> None:
    clusters = clusters_of(np.array([1, 0, -1, 1, 2, 1]), 4)
    assert clusters.sizes.tolist() == [1, 3, 1, 0]
    assert clusters.rows(np.array([0, 1, 2]), 1).tolist() == [[1], [0], [4]]
    assert clusters.rows(np.array([1]), 3).tolist() == [[0, 3, 5]]
    assert clusters.of_at_least(1).tolist() == [0, 1, 2]


def test_as_many_images_are_averaged_as_make_the_difference_precise() -> None:
    assert images_to_average([of_sizes(*[60] * 18), of_sizes(*[40] * 8)]) == 40
    assert images_to_average([of_sizes(*[60] * 18), of_sizes(*[60] * 7, *[1] * 30)]) == 1
    assert images_to_average([of_sizes(*[1] * 100), of_sizes(*[60] * 18)]) == 1
    # Twenty more images of eight groups are worth less than the other ten groups.
    assert images_to_average([of_sizes(*[40] * 8, *[20] * 10)]) == 20
    assert images_to_average([of_sizes(*[40] * 8, *[2] * 2)]) == 40


def test_the_rows_of_a_group_stay_in_their_order() -> None:
    owners = np.random.default_rng(0).integers(-1, 40, 5000)
    clusters = clusters_of(owners, 40)
    for group in range(40):
        assert clusters.rows(np.array([group]), clusters.sizes[group])[0].tolist() == np.flatnonzero(owners == group).tolist()


def test_it_is_the_number_of_the_least_variance_that_leaves_groups_enough() -> None:
    """By all numbers, with the variance of a mean of `n` images of a group as Kish has it: (1 + (n - 1) icc) / n."""
    rng, chosen = np.random.default_rng(1), []
    for _ in range(300):
        sides = [rng.integers(0, most, rng.integers(LEAST_GROUPS, 40)) for most in rng.integers(2, 40, 2)]
        variances = {}
        for images in range(1, max(sizes.max() for sizes in sides) + 1):
            groups = [np.sum(sizes >= images) for sizes in sides]
            if images == 1 or min(groups) >= LEAST_GROUPS:
                variances[images] = (1 + (images - 1) * ASSUMED_ICC) / images * sum(1 / max(count, 1) for count in groups)
        chosen.append(images_to_average([of_sizes(*sizes) for sizes in sides]))
        assert variances[chosen[-1]] == pytest.approx(min(variances.values()))
    assert len(set(chosen)) > 10
    assert images_to_average([of_sizes(*[2] * (LEAST_GROUPS - 1)), of_sizes(*[2] * 50)]) == 1, "too few groups, even for two"


def lots(rng: np.random.Generator, count: int, *, icc: float, shift: float = 0.0) -> tuple[Sample, Clusters]:
    """Lots of 15 to 40 images, as many vectors alike as `icc` says."""
    sizes = rng.integers(15, 41, count)
    owners = np.repeat(np.arange(count), sizes)
    parts = [
        (np.sqrt(icc) * rng.normal(size=(count, d))[owners] + np.sqrt(1 - icc) * rng.normal(size=(len(owners), d)) + shift) for d in (8, 6)
    ]
    embedding, statistics = (part.astype(np.float32) for part in parts)
    return Sample(embedding, statistics, np.full((len(owners), 2), 0.5, np.float32)), clusters_of(owners, count)


def regimes_of(rng: np.random.Generator, *wholes: tuple[Sample, Clusters]) -> Regimes:
    names = ["reference", "regime-1"][: len(wholes)]
    firsts = [sample.take(clusters.rows(np.arange(len(clusters.sizes)), 1)[:, 0]) for sample, clusters in wholes]
    return Regimes(**vars(prepare_regimes(names, firsts, rng)) | {"whole": wholes})


def alarms(trials: int, *, icc: float, shift: float = 0.0, groups: int = 18) -> float:
    rng = np.random.default_rng([groups, int(100 * icc), int(100 * shift)])
    count = 0
    for _ in range(trials):
        regimes = regimes_of(rng, lots(rng, groups, icc=icc))
        test = clustered_test(lots(rng, groups, icc=icc, shift=shift), regimes, alpha=0.05, permutations=199, rng=rng)
        assert test is not None
        assert test.averaged >= 15
        count += test.drifted
    return count / trials


@pytest.mark.parametrize("icc", [0.2, 0.5])
def test_lots_that_resemble_themselves_alarm_as_rarely_as_promised(icc: float) -> None:
    assert alarms(150, icc=icc) <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 150)


def test_a_drift_of_all_lots_is_seen() -> None:
    assert alarms(20, icc=0.2, shift=0.5) >= 0.8


def test_what_the_report_shows_are_the_images_that_stand_for_the_groups() -> None:
    rng = np.random.default_rng(0)
    reference, learned = lots(rng, 12, icc=0.2), lots(rng, 20, icc=0.2, shift=4)
    regimes = regimes_of(rng, reference, learned)
    test = clustered_test(lots(rng, 10, icc=0.2, shift=4), regimes, alpha=0.05, permutations=199, rng=rng)
    assert test is not None
    assert not test.drifted
    assert test.weights[1] == pytest.approx(1, abs=0.1)
    large = np.flatnonzero(learned[1].sizes >= test.averaged)
    assert set(test.drawn[1]) <= set(large)
    assert test.rows <= 10


def test_single_images_are_left_to_the_ordinary_test() -> None:
    rng = np.random.default_rng(0)
    single = Sample(rng.normal(size=(30, 8)), rng.normal(size=(30, 6)), np.full((30, 2), 0.5)), of_sizes(*[1] * 30)
    regimes = regimes_of(rng, lots(rng, 12, icc=0.2))
    assert clustered_test(single, regimes, alpha=0.05, permutations=199, rng=rng) is None
