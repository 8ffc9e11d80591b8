"""Which slices are looked at, and when one vetoes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from components.validation_gate.answers import Answers
from components.validation_gate.slices import brightness, compare_slices, find_slices, tag_slices, thirds
from driftloop.tags import tags_text


def samples(n: int, groups: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"group": [groups[index % len(groups)] for index in range(n)], "width": 100 + np.arange(n), "height": 100})


def test_groups_make_no_slices_however_few_they_are() -> None:
    images = np.full((90, 4, 4, 1), 100, np.uint8)
    assert set(find_slices(samples(90, ["north", "south"]), images, minimum=20)) == {"small images", "medium-sized images", "large images"}


def tagged(n: int, sites: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"tags": [tags_text({"site": sites[index % len(sites)]} if sites[index % len(sites)] else {}) for index in range(n)]}
    )


def test_levels_of_a_tag_make_slices_as_far_as_there_are_images() -> None:
    images = np.full((90, 4, 4, 1), 100, np.uint8)
    slices = find_slices(tagged(90, ["A", "A", "B", ""]), images, minimum=20)
    assert {name: int(rows.sum()) for name, rows in slices.items()} == {"site=A": 46, "site=B": 22}
    assert set(tag_slices(tagged(90, ["A", "A", "B", ""]), minimum=23)) == {"site=A"}
    assert tag_slices(tagged(90, ["A"]), minimum=20) == {}, "all of them are the split itself"
    assert tag_slices(pd.DataFrame(index=range(90)), minimum=20) == {}


def test_of_many_levels_the_ten_largest_are_looked_at() -> None:
    sites = [f"s{number:02d}" for number in range(14)]
    largest = {f"site={name}" for name in ["s13", *sites[:9]]}
    assert set(tag_slices(tagged(600, [*sites, "s13"]), minimum=20)) == largest


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_level_of_a_tag_that_is_shown_worse_vetoes(elsewhere: bool) -> None:
    n = 400
    labels, site = np.arange(n) % 2, np.arange(n) < 80
    right = np.ones(n, bool)
    lost = right & ~(np.arange(n) < 20)
    other, equal = (Answers(labels, np.eye(2)[np.where(mine, labels, 1 - labels)], np.eye(2)[labels]) for mine in (lost, right))
    judged = replace(other, slices={"site=B": site})
    clean, further = (equal, {"drifted hold-out": judged}) if elsewhere else (judged, {})
    (result,) = compare_slices(clean, {}, {}, margin=0.02, class_margin=0.05, alpha=0.05, minimum=20, elsewhere=further)
    assert result.name == ("site=B (drifted hold-out)" if elsewhere else "site=B")
    assert result.vetoes
    assert result.difference == -0.25


def test_thirds_by_size_and_brightness_share_the_images_out() -> None:
    images = (np.arange(90)[:, None, None, None] * np.ones((1, 4, 4, 3))).astype(np.uint8)
    slices = find_slices(samples(90, ["a"]), images, minimum=20)
    assert set(slices) == {f"{name} images" for name in ("small", "medium-sized", "large", "dark", "medium-bright", "bright")}
    assert [int(slices[f"{name} images"].sum()) for name in ("dark", "medium-bright", "bright")] == [30, 30, 30]
    assert slices["dark images"][:30].all()


def test_what_does_not_vary_makes_no_slices() -> None:
    assert thirds(np.full(30, 5.0), ("a", "b", "c")) == {}
    assert thirds(np.zeros(0), ("a", "b", "c")) == {}


def test_slices_below_the_minimum_are_left_out() -> None:
    images = (np.arange(30)[:, None, None, None] * np.ones((1, 4, 4, 1))).astype(np.uint8)
    assert find_slices(samples(30, ["a"]), images, minimum=20) == {}

    assert len(find_slices(samples(90, ["a"]), np.full((90, 4, 4, 1), 100, np.uint8), minimum=30)) == 3


def test_images_are_large_by_their_area_whatever_their_shape() -> None:
    sizes = pd.DataFrame({"width": [900, 100, 40] * 10, "height": [1, 100, 50] * 10})
    slices = find_slices(sizes, np.full((30, 4, 4, 1), 100, np.uint8), minimum=10)
    assert {name: int(np.flatnonzero(rows)[0]) for name, rows in slices.items()} == {
        "small images": 0,
        "medium-sized images": 2,
        "large images": 1,
    }


@pytest.mark.parametrize("unknown", ["width", "height"])
def test_sizes_that_are_not_all_known_make_no_slices(unknown: str) -> None:
    sizes = samples(90, ["a"]).astype({unknown: object})
    sizes.loc[3, unknown] = None
    assert find_slices(sizes, np.full((90, 4, 4, 1), 100, np.uint8), minimum=20) == {}


def test_a_slice_of_all_images_says_nothing_of_its_own() -> None:
    images = np.full((90, 4, 4, 1), 100, np.uint8)
    images[:5] = 10
    assert find_slices(pd.DataFrame(index=range(90)), images, minimum=20) == {}


def test_an_image_at_a_cut_belongs_to_the_lower_third_alone() -> None:
    masks = thirds(np.array([4.0, 1.0, 2.0, 3.0]), ("low", "middle", "high"))
    assert {name: rows.tolist() for name, rows in masks.items()} == {
        "low images": [False, True, True, False],
        "middle images": [False, False, False, True],
        "high images": [True, False, False, False],
    }


def test_no_images_have_no_brightness() -> None:
    assert brightness(np.zeros((0, 4, 4, 1), np.uint8)).shape == (0,)


def probabilities(right: np.ndarray) -> np.ndarray:
    return np.column_stack([np.where(right, 0.9, 0.1), np.where(right, 0.1, 0.9)])


def test_the_family_vetoes_by_chance_at_most_one_time_in_twenty() -> None:
    rng = np.random.default_rng(1)
    masks = {f"part {index}": np.arange(400) % 4 == index for index in range(4)} | {"all": np.ones(400, bool)}
    alarms = []
    for _ in range(800):
        candidate, champion = rng.random(400) < 0.9, rng.random(400) < 0.9
        clean = Answers(np.zeros(400, int), probabilities(candidate), probabilities(champion), slices=masks)
        results = compare_slices(clean, {}, {}, margin=0.0, class_margin=0.05, alpha=0.05, minimum=20)
        alarms.append(any(result.vetoes for result in results))
    assert np.mean(alarms) <= 0.05


def test_a_slice_that_lost_a_fifth_is_found() -> None:
    champion = np.ones(300, bool)
    candidate = np.arange(300) >= 12
    clean = Answers(np.zeros(300, int), probabilities(candidate), probabilities(champion), slices={"dark images": np.arange(300) < 60})
    (result,) = compare_slices(clean, {}, {}, margin=0.02, class_margin=0.05, alpha=0.05, minimum=20)
    assert result.vetoes
    assert result.difference == pytest.approx(-0.2)
    assert result.p == pytest.approx(0.5**12)


@pytest.mark.parametrize("icc", [0.2, 0.5])
def test_patients_with_many_images_veto_by_chance_at_most_one_time_in_twenty(icc: float) -> None:
    """Six slices of 50 patients with ten images each: counting images would veto an equal candidate in 31 and 60 of 100."""
    rng = np.random.default_rng(2)
    patient = np.repeat(np.arange(300), 10)
    masks = {f"part {index}": patient % 6 == index for index in range(6)}
    vetoes = []
    for _ in range(200):
        own, whole = (rng.choice([1, -1, 0], size, p=[0.05, 0.05, 0.9]) for size in (3000, 300))
        differences = np.where(rng.random(3000) < np.sqrt(icc), whole[patient], own)
        answers = probabilities(differences >= 0), probabilities(differences <= 0)
        clean = Answers(np.zeros(3000, int), *answers, groups=patient, slices=masks)
        results = compare_slices(clean, {}, {}, margin=0.02, class_margin=0.05, alpha=0.05, minimum=20)
        vetoes.append(any(result.vetoes for result in results))
    assert np.mean(vetoes) <= 0.05


def test_ten_patients_that_lose_throughout_are_found() -> None:
    patient = np.repeat(np.arange(30), 10)
    candidate = patient >= 10
    clean = Answers(np.zeros(300, int), probabilities(candidate), probabilities(np.ones(300, bool)), groups=patient)
    clean.slices["dark images"] = patient < 20
    (result,) = compare_slices(clean, {}, {}, margin=0.02, class_margin=0.05, alpha=0.05, minimum=20)
    assert result.vetoes
    assert (result.n, result.groups, result.p) == (200, 20, pytest.approx(0.5**10))
    assert result.low < result.difference == -0.5 < result.high


@pytest.mark.parametrize(("lost", "vetoes"), [(15, False), (18, True)])
def test_a_class_vetoes_where_it_lost_more_than_classes_may(lost: int, vetoes: bool) -> None:
    """Held to five points where it has images enough, a class with fewer must not stop a candidate for three of them."""
    candidate = np.ones(600, bool)
    candidate[:lost] = False
    clean = Answers(np.zeros(600, int), probabilities(candidate), probabilities(np.ones(600, bool)))
    judged = {"margin": 0.02, "alpha": 0.05, "minimum": 20}
    (result,) = compare_slices(clean, {}, {"PNEUMONIA": np.arange(600) < 300}, class_margin=0.05, **judged)
    assert result.p_holm < 0.001
    assert result.vetoes is vetoes


def test_a_slice_vetoes_where_it_lost_more_than_the_margin_though_classes_may_lose_more() -> None:
    candidate = np.ones(600, bool)
    candidate[:12] = False
    clean = Answers(
        np.zeros(600, int), probabilities(candidate), probabilities(np.ones(600, bool)), slices={"dark images": np.arange(600) < 300}
    )
    (result,) = compare_slices(clean, {}, {}, margin=0.02, class_margin=0.05, alpha=0.05, minimum=20)
    assert result.difference == pytest.approx(-0.04)
    assert result.vetoes


def test_a_p_value_that_reaches_alpha_is_not_below_it_and_a_class_of_the_fewest_images_is_tested() -> None:
    candidate = np.arange(100) >= 5
    clean = Answers(np.zeros(100, int), probabilities(candidate), probabilities(np.ones(100, bool)))
    judged = {"margin": 0.02, "class_margin": 0.05, "minimum": 20}
    rows = {"PNEUMONIA": np.arange(100) < 20, "NORMAL": np.arange(100) < 19}
    (result,) = compare_slices(clean, {}, rows, alpha=0.05, **judged)
    assert (result.name, result.n, result.vetoes) == ("class PNEUMONIA", 20, True)
    assert result.p_holm == pytest.approx(0.5**5)
    assert not compare_slices(clean, {}, rows, alpha=result.p_holm, **judged)[0].vetoes


def test_images_of_another_kind_veto_as_a_whole_and_belong_to_the_family() -> None:
    """Of 40 images of the accepted drift ten are lost: p = 1 / 1,024, which two parts share."""
    equal, lost = np.ones(300, bool), np.arange(40) >= 10
    clean = Answers(np.zeros(300, int), probabilities(equal), probabilities(equal), slices={"dark images": np.arange(300) < 100})
    accepted = Answers(np.zeros(40, int), probabilities(lost), probabilities(np.ones(40, bool)))
    none = Answers(np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2)))
    judged = {"margin": 0.02, "class_margin": 0.05, "alpha": 0.05, "minimum": 20}
    dark, drifted = compare_slices(clean, {"accepted drift": accepted, "none": none}, {}, **judged)
    assert (dark.name, dark.n, dark.vetoes, dark.difference) == ("dark images", 100, False, 0.0)
    assert (drifted.name, drifted.n, drifted.vetoes) == ("accepted drift", 40, True)
    assert (drifted.candidate, drifted.champion, drifted.difference) == (0.75, 1.0, -0.25)
    assert (drifted.p, drifted.p_holm) == (pytest.approx(0.5**10), pytest.approx(2 * 0.5**10))
