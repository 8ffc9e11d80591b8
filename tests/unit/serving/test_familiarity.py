"""How unusual an image looks: level, power and odd references, against loops that are written down from the definition."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import ndimage, stats

from driftloop.errors import InputError
from driftloop.inference.image_statistics import image_statistics
from driftloop.inference.reference import Regime
from driftloop.serving.familiarity import APPEARANCE, MOST_IMAGES, NEIGHBOUR, Familiarity, Unusual
from tests.factories.drift_traffic import answer, draw_images, draw_regime


def regime(statistics: np.ndarray, embedding: np.ndarray, groups: list[str] | None = None, name: str = "reference") -> Regime:
    count = len(statistics)
    groups = groups or [f"image-{number}" for number in range(count)]
    return Regime(
        name,
        embedding.astype(np.float16),
        statistics.astype(np.float32),
        np.full((count, 2), 0.5, np.float32),
        np.array(groups),
        np.zeros((count, 4, 4, 1), np.uint8),
    )


def draw(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Skewed and dependent statistics (N, 6), and an embedding (N, 5)."""
    common = rng.normal(size=(count, 1))
    return np.exp(0.8 * common + 0.6 * rng.normal(size=(count, 6))).astype(np.float32), (common + rng.normal(size=(count, 5))).astype(
        np.float16
    )


def judge_images(familiarity: Familiarity, images: np.ndarray) -> list[Unusual]:
    return familiarity.judge(image_statistics(images), answer(images)[1])


def by_loops(reference: Regime, statistics: np.ndarray, embedding: np.ndarray) -> tuple[float, str]:
    """The p-value of one image and the score that gives it, one image of the bag after the other."""
    bag = np.vstack([reference.statistics, statistics]).astype(float)
    points = np.vstack([reference.embedding, embedding]).astype(float)
    neighbour = min(NEIGHBOUR, len(bag) - 1)
    apart = [sorted(np.sqrt(((points - point) ** 2).sum(axis=1)).tolist())[neighbour] for point in points]
    medians = [sorted(column)[(len(bag) - 1) // 2 if len(bag) % 2 else len(bag) // 2 - 1] for column in bag.T]
    ranks = np.empty((len(bag), bag.shape[1] + 1))
    for number, row in enumerate(bag):
        for column, value in enumerate(row):
            tail = 2 * min((bag[:, column] <= value).sum(), (bag[:, column] >= value).sum())
            mean = np.abs(bag[:, column] - medians[column]).mean() or 1.0
            off = abs(value - medians[column])
            ranks[number, column] = tail - off / (off + mean)
        out = np.array(apart) - sorted(apart)[len(bag) // 2]
        tail = 2 * math.ceil(sum(other >= apart[number] for other in apart) / 2)
        ranks[number, -1] = tail - max(out[number], 0) / (max(out[number], 0) + (np.abs(out).mean() or 1.0))
    least = ranks.min(axis=1)
    names = ("brightness", "contrast", "sharpness", "noise", "entropy", "edge_density", APPEARANCE)
    return float(np.mean(least <= least[-1] + 1e-6)), names[int(ranks[-1].argmin())]


@pytest.mark.parametrize("count", [4, 5, 6, 39, 80])
def test_equals_loops_over_the_images(count: int) -> None:
    rng = np.random.default_rng(count)
    reference = regime(*draw(count, rng))
    statistics, embedding = draw(25, rng)
    statistics[::3] *= np.float32(3)
    embedding[1::3] *= np.float16(4)
    judged = Familiarity([reference]).judge(statistics, embedding)
    expected = [by_loops(reference, *image) for image in zip(statistics, embedding, strict=True)]
    assert [unusual.p_value for unusual in judged] == pytest.approx([p_value for p_value, _ in expected])
    assert [unusual.statistic for unusual in judged] == [statistic for _, statistic in expected]


@pytest.mark.parametrize("count", [4, 30, 120])
def test_p_values_of_images_like_the_reference_are_uniform(count: int) -> None:
    rng = np.random.default_rng(7)
    p_values = []
    for _ in range(1500):
        statistics, embedding = draw(count + 1, rng)
        [unusual] = Familiarity([regime(statistics[:-1], embedding[:-1])]).judge(statistics[-1:], embedding[-1:])
        p_values.append(unusual.p_value)
    # They lie on the grid 1 / (n + 1), ..., 1; spread over its steps they are continuous.
    spread = np.array(p_values) - rng.random(len(p_values)) / (count + 1)
    assert stats.kstest(spread, "uniform").pvalue > 0.01


def test_level_holds_on_real_statistics_with_their_ties() -> None:
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(20):
        familiarity = Familiarity([draw_regime("reference", 100, rng)])
        p_values += [unusual.p_value for unusual in judge_images(familiarity, draw_images(50, rng)[0])]
    for level in (0.02, 0.1, 0.5):
        assert stats.binomtest(sum(p <= level for p in p_values), len(p_values), level, alternative="greater").pvalue > 0.005


def test_blurred_images_are_found_and_named() -> None:
    rng = np.random.default_rng(4)
    familiarity = Familiarity([draw_regime("reference", 400, rng)])
    images = draw_images(40, rng)[0]
    blurred = ndimage.gaussian_filter(images.astype(float), (0, 0.8, 0.8, 0)).astype(np.uint8)
    judged = judge_images(familiarity, blurred)
    assert np.mean([unusual.p_value <= 0.01 for unusual in judged]) > 0.95
    assert {unusual.statistic for unusual in judged} <= {"contrast", "sharpness", "noise", "entropy", "edge_density", APPEARANCE}
    assert all(
        "lower than in all of the reference" in unusual.sentence for unusual in judged if unusual.statistic in ("sharpness", "noise")
    )


def test_an_image_far_outside_reaches_the_smallest_p_value_there_is() -> None:
    """Ten scores have ten outermost images in the reference; one that is further out than all of them is not held back by that."""
    rng = np.random.default_rng(5)
    statistics, embedding = draw(200, rng)
    far = statistics[:1].copy()
    far[0, 2] = 1e6
    [unusual] = Familiarity([regime(statistics, embedding)]).judge(far, embedding[:1])
    assert unusual.p_value == pytest.approx(1 / 201)
    assert unusual.statistic == "sharpness"
    assert unusual.sentence == "sharpness 1e+06 is higher than in all of the reference"


def test_an_embedding_that_is_elsewhere_is_named_appearance() -> None:
    rng = np.random.default_rng(6)
    statistics, embedding = draw(200, rng)
    [unusual] = Familiarity([regime(statistics, embedding)]).judge(np.median(statistics, axis=0)[None], embedding[:1] + np.float16(50))
    assert (unusual.statistic, unusual.p_value) == (APPEARANCE, pytest.approx(1 / 201))
    assert unusual.sentence == "the image as a whole is further from the reference than all of the reference's own images"


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_overflowed_is_unusual_and_its_numbers_are_finite(broken: float) -> None:
    rng = np.random.default_rng(6)
    statistics, embedding = draw(50, rng)
    wrong = embedding[:1].copy()
    wrong[0, 1] = broken
    [unusual] = Familiarity([regime(statistics, embedding)]).judge(statistics[:1], wrong)
    assert (unusual.statistic, unusual.p_value) == (APPEARANCE, pytest.approx(1 / 51))
    assert all(np.isfinite(value) for value in dataclasses.astuple(unusual) if isinstance(value, float))


def test_usual_bounds_are_those_of_the_regime() -> None:
    rng = np.random.default_rng(8)
    statistics, embedding = draw(300, rng)
    far = np.median(statistics, axis=0)[None].copy()
    far[0, 0] = 500
    [unusual] = Familiarity([regime(statistics, embedding)]).judge(far, embedding[:1])
    assert (unusual.usual_low, unusual.usual_high) == pytest.approx(tuple(np.quantile(statistics[:, 0], [0.025, 0.975])), rel=1e-5)
    assert (unusual.value, unusual.share_within) == (500, 1)


def test_constant_statistics_say_nothing_until_they_change() -> None:
    rng = np.random.default_rng(9)
    statistics, embedding = draw(100, rng)
    statistics[:, 5] = 0
    familiarity = Familiarity([regime(statistics, embedding)])
    same, other = np.median(statistics, axis=0)[None], np.median(statistics, axis=0)[None].copy()
    other[0, 5] = 0.01
    judged = familiarity.judge(np.vstack([same, other]), np.median(embedding, axis=0)[None].repeat(2, axis=0))
    assert judged[0].p_value > 0.3
    assert (judged[1].p_value, judged[1].statistic) == (pytest.approx(1 / 101), "edge_density")


def test_a_reference_of_equal_images_calls_the_same_image_usual() -> None:
    statistics, embedding = np.ones((30, 6), np.float32), np.ones((30, 5), np.float16)
    familiarity = Familiarity([regime(statistics, embedding)])
    [same, other] = familiarity.judge(np.vstack([statistics[:1], statistics[:1] + 1]), embedding[:2])
    assert same.p_value == 1
    assert other.p_value == pytest.approx(1 / 31)
    assert same.sentence == "looks as usual: its distance to the reference, 0, is no larger than 0"


@pytest.mark.parametrize("count", [1, 4])
def test_a_tiny_reference_promises_no_more_than_it_can(count: int) -> None:
    rng = np.random.default_rng(10)
    statistics, embedding = draw(count, rng)
    [unusual] = Familiarity([regime(statistics, embedding)]).judge(statistics[:1] + 1000, embedding[:1])
    assert unusual.p_value == 1 / (count + 1)


def test_what_is_usual_in_one_regime_is_usual() -> None:
    rng = np.random.default_rng(11)
    clean, dark = draw_regime("reference", 200, rng), draw_regime("darker", 200, rng, "brightness:0.9")
    images = draw_images(60, rng, "brightness:0.9")[0]
    alone = [unusual.p_value for unusual in judge_images(Familiarity([clean]), images)]
    both = judge_images(Familiarity([clean, dark]), images)
    of_dark = judge_images(Familiarity([dark]), images)
    assert max(alone) < 0.05
    assert [unusual.p_value for unusual in both] == [max(pair) for pair in zip(alone, [u.p_value for u in of_dark], strict=True)]
    assert np.mean([unusual.p_value <= 0.1 for unusual in both]) < 0.25


def test_an_image_is_judged_alike_in_whatever_batch() -> None:
    rng = np.random.default_rng(12)
    familiarity = Familiarity([draw_regime("reference", 150, rng)])
    images = draw_images(17, rng)[0]
    together = judge_images(familiarity, images)
    alone = [judge_images(familiarity, images[number : number + 1])[0] for number in range(len(images))]
    for left, right in zip(together, alone, strict=True):
        assert left.p_value == right.p_value
        assert left.value == pytest.approx(right.value, rel=1e-4)
    assert familiarity.judge(np.empty((0, 6), np.float32), np.empty((0, 13), np.float16)) == []


def test_level_holds_for_a_new_group_where_the_reference_has_many_images_of_each() -> None:
    """Ten nearly equal images of each of 40 patients: a 41st patient's image has no near neighbour among them, theirs have nine."""
    rng = np.random.default_rng(13)
    p_values = []
    for _ in range(300):
        statistics, embedding = draw(41, rng)
        many = [np.repeat(rows, 10, axis=0) * (1 + 0.01 * rng.normal(size=(410, 1))) for rows in (statistics, embedding)]
        groups = [f"patient-{number // 10}" for number in range(400)]
        [unusual] = Familiarity([regime(many[0][:400], many[1][:400], groups)]).judge(
            many[0][400:401].astype(np.float32), many[1][400:401].astype(np.float16)
        )
        p_values.append(unusual.p_value)
    assert stats.binomtest(sum(p <= 0.1 for p in p_values), len(p_values), 0.1, alternative="greater").pvalue > 0.01


def test_a_large_reference_is_thinned_and_keeps_its_level() -> None:
    rng = np.random.default_rng(14)
    familiarity = Familiarity([regime(*draw(3 * MOST_IMAGES, rng))])
    p_values = [unusual.p_value for unusual in familiarity.judge(*draw(1000, rng))]
    assert min(p_values) >= 1 / (MOST_IMAGES + 1)
    assert stats.binomtest(sum(p <= 0.05 for p in p_values), len(p_values), 0.05).pvalue > 0.001


def test_sentences() -> None:
    low = Unusual(0.01, "sharpness", 12.0, 90.0, 400.0, 0.9996)
    high = Unusual(0.01, "sharpness", 812.4, 90.0, 400.0, 0.996)
    assert low.sentence == "sharpness 12 is lower than in 99.9 % of the reference"
    assert high.sentence == "sharpness 812 is higher than in 99.6 % of the reference"
    assert Unusual(0.4, "edge_density", 0.1, 0.05, 0.4, 0.6).sentence == "looks as usual: edge density 0.1 is within 0.05 to 0.4"
    few = Unusual(0.44, "contrast", 65.6, 45.4, 62.9, 1.0, compared=8)
    assert few.sentence == "contrast 65.6 is higher than in all of the reference, which is 8 images, one of each patient or lot"
    near = Unusual(0.4, APPEARANCE, 0.1, 0.5, 2.0, 0.0)
    assert near.sentence == "looks as usual: its distance to the reference, 0.1, is no larger than 2"


def test_refuses_references_without_images_and_other_columns() -> None:
    rng = np.random.default_rng(15)
    statistics, embedding = draw(10, rng)
    with pytest.raises(InputError, match="holds no images"):
        Familiarity([])
    with pytest.raises(InputError, match="holds no images"):
        Familiarity([regime(statistics[:0], embedding[:0])])
    with pytest.raises(ValueError, match="the reference has"):
        Familiarity([regime(statistics, embedding)]).judge(statistics[:, :5], embedding)
