"""The vectors of references and windows, number by number, and what is read of a champion."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.clusters import Clusters
from components.drift_detection.mmd import median_gamma
from components.drift_detection.reference import (
    LEAST_LEARNED,
    KernelView,
    Regimes,
    Sample,
    answered_rows,
    averaged_regimes,
    draw_rows,
    drawn_sample,
    first_of_each,
    fit_weights,
    join_samples,
    prepare_regimes,
    read_champion,
    regime_sample,
    simplex_minimiser,
    whole_regime,
    window_sample,
)
from driftloop.bundle import read_model, write_model
from driftloop.errors import InputError
from driftloop.evaluation.intervals import wilson
from driftloop.inference.reference import Regime
from driftloop.inference.traffic import Traffic
from tests.factories.drift_traffic import draw_regime, write_champion_with_references
from tests.factories.records import traffic_info

PARTS = ("embedding", "statistics", "probabilities")


def drawn(count: int, seed: int, *, moved: float = 0.0) -> Sample:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(moved, 1, (count, 4)).astype(np.float32)
    numbers = (rng.normal(moved, 1, (count, 3)) * [1, 50, 0.1]).astype(np.float32)
    return Sample(vectors, numbers, rng.dirichlet([1, 1], count).astype(np.float32))


def same(first: Sample, second: Sample) -> None:
    for part in PARTS:
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part), err_msg=part)


def test_samples_are_taken_averaged_and_joined_part_by_part() -> None:
    one, two = drawn(6, 0), drawn(4, 1)
    rows = np.array([4, 0, 3])
    for part in PARTS:
        np.testing.assert_array_equal(getattr(one.take(rows), part), [getattr(one, part)[row] for row in rows])
        pairs = one.averaged(np.array([[0, 1], [5, 2]]))
        expected = [(getattr(one, part)[a] + getattr(one, part)[b]) / 2 for a, b in ((0, 1), (5, 2))]
        np.testing.assert_allclose(getattr(pairs, part), expected, rtol=1e-6)
        assert getattr(pairs, part).dtype == np.float32
        np.testing.assert_array_equal(getattr(join_samples([one, two]), part), [*getattr(one, part), *getattr(two, part)])
    assert len(join_samples([one, two])) == 10


def test_a_mean_of_large_numbers_loses_nothing_on_its_way() -> None:
    values = np.array([[16_777_216.0], [1.0], [1.0], [1.0]], np.float32)
    of_all = Sample(values, values, values).averaged(np.arange(4)[None])
    assert float(of_all.statistics[0, 0]) == np.float32((16_777_216 + 3) / 4)


def regime_of(groups: list[str], **changed: Any) -> Regime:
    rng = np.random.default_rng(5)
    return replace(draw_regime("site", len(groups), rng), groups=np.array(groups), **changed)


def test_the_first_row_of_a_group_stands_for_it_and_a_row_without_one_for_itself() -> None:
    groups = np.array(["b", "", "a", "b", "", "a", "c"])
    assert first_of_each(groups).tolist() == [0, 1, 2, 4, 6]
    regime = regime_of(list(groups))
    sample, rows = regime_sample(regime)
    assert rows.tolist() == [0, 1, 2, 4, 6]
    for part in PARTS:
        np.testing.assert_array_equal(getattr(sample, part), getattr(regime, part)[rows].astype(np.float32))
        assert getattr(sample, part).dtype == np.float32


def test_the_whole_regime_has_all_rows_by_the_groups_of_the_kept_ones() -> None:
    regime = regime_of(["b", "", "a", "b", "", "a", "c"])
    sample, clusters = whole_regime(regime, np.array([0, 1, 2, 4, 6]))
    assert clusters.sizes.tolist() == [2, 1, 2, 1, 1]
    assert [clusters.rows(np.array([group]), int(size))[0].tolist() for group, size in enumerate(clusters.sizes)] == [
        [0, 3],
        [1],
        [2, 5],
        [4],
        [6],
    ]
    for part in PARTS:
        np.testing.assert_array_equal(getattr(sample, part), getattr(regime, part).astype(np.float32))
        assert getattr(sample, part).dtype == np.float32
    # Groups of which no row is kept belong to none.
    assert whole_regime(regime, np.array([2, 6]))[1].sizes.tolist() == [2, 1]


@pytest.mark.parametrize("part", PARTS)
def test_a_reference_with_a_number_that_is_not_finite_is_refused_by_its_row(part: str) -> None:
    regime = regime_of(["a", "a", "b", "c"])
    broken = getattr(regime, part).copy()
    # The second row of its group is not looked at: it stands for nothing.
    broken[1] = np.nan
    regime_sample(replace(regime, **{part: broken}))
    broken[2, -1] = np.inf
    with pytest.raises(InputError, match=f"^reference site: row 2: {part} holds a number that is not finite; the model must be repaired$"):
        regime_sample(replace(regime, **{part: broken}))


def log_rows(count: int) -> pd.DataFrame:
    sample = drawn(count, 3)
    return pd.DataFrame(
        {
            "request_id": [f"r{index}" for index in range(count)],
            "embedding": [row.astype("<f2").tobytes() for row in sample.embedding],
            "statistics": list(sample.statistics),
            "probabilities": list(sample.probabilities.astype(np.float64)),
        }
    )


def test_a_window_has_the_vectors_of_its_rows() -> None:
    rows, expected = log_rows(5), drawn(5, 3)
    sample = window_sample(rows)
    np.testing.assert_array_equal(sample.embedding, expected.embedding.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(sample.statistics, expected.statistics)
    np.testing.assert_array_equal(sample.probabilities, expected.probabilities)
    assert {getattr(sample, part).dtype for part in PARTS} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("part", "others"), [("embedding", 4), ("statistics", 3), ("probabilities", 2)])
def test_a_row_with_vectors_of_another_length_is_refused_by_its_request(part: str, others: int) -> None:
    rows = log_rows(4)
    vectors = rows[part].tolist()
    vectors[2] = np.zeros(6, np.float16).tobytes() if part == "embedding" else np.zeros(6)
    rows[part] = vectors
    with pytest.raises(InputError, match=f"^inference log: request r2: {part} has 6 numbers where others of this version have {others}$"):
        window_sample(rows)


@pytest.mark.parametrize("part", PARTS)
def test_a_row_with_a_number_that_is_not_finite_is_refused_by_its_request(part: str) -> None:
    rows = log_rows(4)
    vectors = rows[part].tolist()
    for index in (1, 3):
        vector = getattr(drawn(4, 3), part)[index].copy()
        vector[0] = -np.inf
        vectors[index] = vector.astype("<f2").tobytes() if part == "embedding" else vector
    rows[part] = vectors
    with pytest.raises(InputError, match=f"^inference log: request r1: {part} holds a number"):
        window_sample(rows)


def test_kernels_between_regimes_are_those_of_loops() -> None:
    first, second, window = drawn(5, 0), drawn(7, 1, moved=2), drawn(4, 2)
    second.statistics[:, 2] = first.statistics[0, 2] = 0.25
    regimes = prepare_regimes(["a", "b"], [first, second], np.random.default_rng(0))
    assert regimes.names == ("a", "b")
    assert regimes.whole == ()
    same(regimes.samples[1], second)
    for what, view in (("embedding", regimes.embedding), ("statistics", regimes.statistics)):
        parts = [getattr(sample, what).astype(np.float64) for sample in (first, second)]
        pooled = np.concatenate(parts)
        spread = np.subtract(*np.percentile(pooled, [75, 25], axis=0)) if what == "statistics" else np.ones(pooled.shape[1])
        spread[spread == 0] = 1
        centre = np.median(pooled, axis=0)
        placed = [(part - centre) / spread for part in parts]
        np.testing.assert_allclose(view.scale, spread, rtol=1e-6)
        np.testing.assert_allclose(view.centre, centre, rtol=1e-6)
        gamma = median_gamma(np.concatenate(placed).astype(np.float32), np.random.default_rng(0))
        assert view.gamma == pytest.approx(gamma, rel=1e-4)

        def kernel(x: np.ndarray, y: np.ndarray, gamma: float = gamma) -> float:
            return float(np.exp(-gamma * np.sum((x - y) ** 2)))

        for (i, mine), (j, yours) in product(enumerate(placed), enumerate(placed)):
            pairs = [kernel(x, y) for a, x in enumerate(mine) for b, y in enumerate(yours) if i != j or a != b]
            assert view.inner[i, j] == pytest.approx(np.mean(pairs), rel=1e-4)
        arrived = (getattr(window, what) - centre) / spread
        towards = [np.mean([kernel(x, y) for x in arrived for y in rows]) for rows in placed]
        np.testing.assert_allclose(view.towards(getattr(window, what)), towards, rtol=1e-4)
    inner = regimes.embedding.inner + regimes.statistics.inner
    towards = regimes.embedding.towards(window.embedding) + regimes.statistics.towards(window.statistics)
    np.testing.assert_allclose(fit_weights(regimes, window), simplex_minimiser(inner, towards))


def test_a_regime_of_one_row_is_refused_and_one_of_two_is_not() -> None:
    rng = np.random.default_rng(0)
    prepare_regimes(["a", "b"], [drawn(2, 0), drawn(2, 1)], rng)
    with pytest.raises(ValueError, match=r"1 to 5 references of at least 2 rows, got \[3, 1\]"):
        prepare_regimes(["a", "b"], [drawn(3, 0), drawn(1, 1)], rng)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_the_simplex_minimiser_meets_the_conditions_of_a_minimum(count: int) -> None:
    """Karush-Kuhn-Tucker: one gradient for all shares above 0, and none smaller where a share is 0."""
    rng = np.random.default_rng(count)
    for _ in range(100):
        root = rng.normal(size=(count, count))
        inner, towards = root @ root.T + 0.05 * np.eye(count), rng.normal(size=count)
        weights = simplex_minimiser(inner, towards)
        gradient = inner @ weights - towards
        assert weights.sum() == pytest.approx(1)
        assert weights.min() >= 0
        assert gradient[weights > 0].max() - gradient.min() < 1e-9
    assert simplex_minimiser(np.eye(count), np.zeros(count)) == pytest.approx(np.full(count, 1 / count))


def test_equal_regimes_share_what_fits_both() -> None:
    assert simplex_minimiser(np.ones((2, 2)), np.ones(2)).sum() == pytest.approx(1)


def regimes_of(*sizes: int) -> Regimes:
    nothing = KernelView(np.zeros(1), np.ones(1), 1.0, [], np.eye(len(sizes)))
    return Regimes(tuple(map(str, range(len(sizes)))), tuple(drawn(size, size) for size in sizes), nothing, nothing)


@pytest.mark.parametrize(
    ("sizes", "weights", "counts"),
    [
        ((100, 40), (1.0, 0.0), (100, 0)),
        ((100, 40), (0.0, 1.0), (0, 40)),
        ((100, 40), (0.5, 0.5), (40, 40)),
        ((100, 40), (0.9, 0.1), (100, 11)),
        ((100, 40, 60), (0.2, 0.0, 0.8), (15, 0, 60)),
    ],
)
def test_as_many_rows_are_drawn_as_the_shares_let(sizes: tuple[int, ...], weights: tuple[float, ...], counts: tuple[int, ...]) -> None:
    regimes = regimes_of(*sizes)
    rows = draw_rows(regimes, np.array(weights), np.random.default_rng(1))
    assert tuple(map(len, rows)) == counts
    for size, of_one in zip(sizes, rows, strict=True):
        assert (np.diff(of_one) > 0).all()
        assert set(of_one) <= set(range(size))
    same(drawn_sample(regimes, rows), join_samples([sample.take(of_one) for sample, of_one in zip(regimes.samples, rows, strict=True)]))


def test_means_of_regimes_are_of_the_groups_that_have_so_many_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    groups = [f"g{index // 3}" for index in range(30)]
    clean = replace(draw_regime("reference", 31, rng), groups=np.array([*groups, "alone"]))
    learned = replace(
        draw_regime("regime-1", 2 * LEAST_LEARNED, rng), groups=np.array([f"p{index // 2}" for index in range(2 * LEAST_LEARNED)])
    )
    accepted = read_champion(write_champion_with_references(tmp_path, [clean, learned]), rng)
    averaged, members = averaged_regimes(accepted.regimes, 2, rng)
    assert [of_one.tolist() for of_one in members] == [list(range(10)), list(range(LEAST_LEARNED))]
    assert averaged.names == ("reference", "regime-1")
    for part in PARTS:
        whole = getattr(clean, part).astype(np.float64)
        expected = np.array([(whole[3 * group] + whole[3 * group + 1]) / 2 for group in range(10)])
        np.testing.assert_allclose(getattr(averaged.samples[0], part), expected, rtol=1e-5)
    assert len(averaged.samples[1]) == LEAST_LEARNED


def test_a_learned_regime_of_too_few_groups_is_left_out_and_the_others_keep_their_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kept = [draw_regime("reference", 40, rng), draw_regime("regime-1", LEAST_LEARNED - 1, rng), draw_regime("regime-2", LEAST_LEARNED, rng)]
    kept[2].groups[:] = [f"p{index}" for index in range(LEAST_LEARNED)]
    accepted = read_champion(write_champion_with_references(tmp_path, kept), rng)
    assert accepted.regimes.names == ("reference", "regime-2")
    assert [reference.name for reference in accepted.references] == ["reference", "regime-2"]
    assert [len(rows) for rows in accepted.kept] == [40, LEAST_LEARNED]
    assert [len(sample) for sample, _ in accepted.regimes.whole] == [40, LEAST_LEARNED]
    assert all(isinstance(clusters, Clusters) for _, clusters in accepted.regimes.whole)
    seen = accepted.thumbnails([np.array([3, 1]), np.array([7])])
    assert [name for name, _ in seen] == ["reference", "reference", "regime-2"]
    for (_, picture), (source, row) in zip(seen, [(0, 3), (0, 1), (2, 7)], strict=True):
        np.testing.assert_array_equal(picture, kept[source].thumbnails[row])


def test_thumbnails_are_of_the_rows_that_stand_for_their_groups(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clean = replace(draw_regime("reference", 40, rng), groups=np.array([f"g{index // 2}" for index in range(40)]))
    accepted = read_champion(write_champion_with_references(tmp_path, [clean]), rng)
    ((_, picture),) = accepted.thumbnails([np.array([5])])
    np.testing.assert_array_equal(picture, clean.thumbnails[10])


@pytest.mark.parametrize("count", [7, 8])
def test_a_reference_of_fewer_than_eight_groups_is_refused(count: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    groups = np.array([f"g{index % count}" for index in range(40)])
    bundle = write_champion_with_references(tmp_path, [replace(draw_regime("reference", 40, rng), groups=groups)])
    if count == 8:
        assert len(read_champion(bundle, rng).kept[0]) == 8
        return
    with pytest.raises(InputError, match="the drift reference holds 7 images of distinct groups, at least 8 are needed"):
        read_champion(bundle, rng)


def test_more_than_five_references_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ["reference", *(f"regime-{number}" for number in range(1, 6))]
    regimes = [draw_regime(name, LEAST_LEARNED, rng) for name in names]
    assert len(read_champion(write_champion_with_references(tmp_path / "five", regimes[:5]), rng).references) == 5
    with pytest.raises(InputError, match="6 references; a champion carries at most 5"):
        read_champion(write_champion_with_references(tmp_path / "six", regimes), rng)


def champion(folder: Path, metrics: dict[str, Any], gate: dict[str, Any] | None = None) -> Any:
    rng = np.random.default_rng(0)
    bundle = write_champion_with_references(folder, [draw_regime(name, 40, rng) for name in ("reference", "regime-1")])
    write_model(bundle, read_model(bundle).model_copy(update={"metrics": metrics}))
    if gate is not None:
        (bundle / "gate.json").write_text(json.dumps(gate))
    return read_champion(bundle, rng)


SERVED, TESTED = wilson(93, 100), wilson(91, 100)


def test_the_clean_accuracy_is_that_of_the_graph_that_is_served_or_else_of_the_test(tmp_path: Path) -> None:
    both = champion(tmp_path / "both", {"served_accuracy": SERVED, "test_accuracy": TESTED})
    assert both.model.metrics["test_accuracy"] == TESTED
    assert both.accuracies == {"reference": SERVED, "regime-1": SERVED}
    assert champion(tmp_path / "test", {"test_accuracy": TESTED}).accuracies == {"reference": TESTED, "regime-1": TESTED}
    unknown = champion(tmp_path / "none", {})
    assert (unknown.clean, unknown.accuracies, unknown.accuracies_of("site=B"), unknown.recalls) == (None, {}, {}, {})


def test_a_level_has_the_clean_accuracy_of_its_own_where_that_is_known(tmp_path: Path) -> None:
    own = wilson(40, 50)
    accepted = champion(tmp_path, {"served_accuracy": SERVED, "served_accuracy[site=B]": own})
    assert accepted.accuracies_of("site=B") == {"reference": own, "regime-1": SERVED}
    assert accepted.accuracies_of("site=C") == {"reference": SERVED, "regime-1": SERVED}


def test_the_drifted_hold_out_comes_before_the_recent_one(tmp_path: Path) -> None:
    drifted, recent, clean, class_drifted = wilson(80, 100), wilson(70, 100), wilson(45, 50), wilson(30, 50)
    gate = {
        "accuracy": {"candidate_drifted": drifted.model_dump(), "candidate_recent": recent.model_dump()},
        "recalls": {
            "clean": {"a": clean.model_dump(), "b": clean.model_dump()},
            "drifted": {"a": class_drifted.model_dump()},
            "recent": {"a": recent.model_dump(), "b": recent.model_dump()},
        },
    }
    accepted = champion(tmp_path, {"served_accuracy": SERVED}, gate)
    assert accepted.accuracies == {"reference": SERVED, "regime-1": drifted}
    # A class without an image among the drifted ones has its clean recall.
    assert accepted.recalls == {"a": {"reference": clean, "regime-1": class_drifted}, "b": {"reference": clean, "regime-1": clean}}


def test_the_answered_rows_are_the_champion_s_in_time_order() -> None:
    rows = pd.DataFrame(
        {
            "request_id": ["d", "b", "a", "c", "e", "f"],
            "time": pd.to_datetime(["2025-01-02", "2025-01-01", "2025-01-01", "2025-01-01", "2024-01-01", "2025-01-03"], utc=True),
            "model_version": ["2", "2", "2", "2", "1", "2"],
            "status": ["ok", "ok", "ok", "failed", "ok", "ok"],
        },
        index=[9, 9, 7, 5, 3, 1],
    )
    answered = answered_rows(Traffic(rows, traffic_info(champion_version="2")))
    assert answered["request_id"].tolist() == ["a", "b", "d", "f"]
    assert answered.index.tolist() == [0, 1, 2, 3]
