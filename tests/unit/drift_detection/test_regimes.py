"""Mixtures of accepted regimes, the combined test of a window, and what a champion was accepted for in each."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from components.drift_detection.harm import CONCEPT_ALPHA, drop_of
from components.drift_detection.policy import shows_harm
from components.drift_detection.reference import (
    AcceptedTraffic,
    Regimes,
    Sample,
    draw_rows,
    drawn_sample,
    fit_weights,
    join_samples,
    prepare_regimes,
    read_champion,
    simplex_minimiser,
)
from components.drift_detection.window_test import window_test
from driftloop.evaluation.intervals import wilson
from driftloop.settings import DriftSettings
from driftloop.watch_record import WindowLabels
from tests.factories.drift_traffic import draw_regime, write_champion_with_references


def sample(count: int, rng: np.random.Generator, *, embedding: float = 0.0, statistics: float = 0.0) -> Sample:
    """Images whose embedding or statistics are moved by some standard deviations along one axis."""
    vectors = rng.normal(size=(count, 8)).astype(np.float32)
    vectors[:, 0] += embedding
    numbers = (rng.normal(size=(count, 6)) * [1, 10, 100, 1, 0.1, 5]).astype(np.float32)
    numbers[:, 1] += 10 * statistics
    return Sample(vectors, numbers, np.full((count, 2), 0.5, np.float32))


def two_regimes(rng: np.random.Generator, *, embedding: float = 3.0, statistics: float = 3.0) -> Regimes:
    second = sample(400, rng, embedding=embedding, statistics=statistics)
    return prepare_regimes(["reference", "regime-1"], [sample(400, rng), second], rng)


def mixture(first: int, second: int, rng: np.random.Generator, *, embedding: float = 3.0, statistics: float = 3.0) -> Sample:
    return join_samples([sample(first, rng), sample(second, rng, embedding=embedding, statistics=statistics)])


def test_the_simplex_minimiser_is_that_of_a_fine_grid() -> None:
    rng = np.random.default_rng(0)
    steps = np.linspace(0, 1, 101)
    grid = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-9])
    for _ in range(50):
        root = rng.normal(size=(3, 3))
        inner, towards = root @ root.T + 0.05 * np.eye(3), rng.normal(size=3)
        weights = simplex_minimiser(inner, towards)
        values = np.einsum("ij,jk,ik->i", grid, inner, grid) - 2 * grid @ towards
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1)
        assert weights @ inner @ weights - 2 * weights @ towards <= values.min() + 1e-9


def test_for_two_regimes_it_is_the_clipped_closed_form() -> None:
    inner = np.array([[0.6, 0.2], [0.2, 0.5]])
    for towards in ([0.4, 0.35], [0.9, 0.1], [0.1, 0.9]):
        k = np.array(towards)
        weight = ((k[1] - k[0]) + inner[0, 0] - inner[0, 1]) / (inner[0, 0] + inner[1, 1] - 2 * inner[0, 1])
        expected = np.clip(weight, 0, 1)
        np.testing.assert_allclose(simplex_minimiser(inner, k), [1 - expected, expected], atol=1e-12)


@pytest.mark.parametrize(("embedding", "statistics"), [(3.0, 3.0), (0.0, 3.0), (3.0, 0.0)])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_weights_estimate_the_share_even_where_only_one_view_sees_the_difference(embedding: float, statistics: float, share: float) -> None:
    rng = np.random.default_rng(1)
    regimes = two_regimes(rng, embedding=embedding, statistics=statistics)
    second = int(200 * share)
    window = mixture(200 - second, second, rng, embedding=embedding, statistics=statistics)
    assert fit_weights(regimes, window)[1] == pytest.approx(share, abs=0.08)


def test_three_regimes_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    kinds = [(0.0, 0.0), (4.0, 0.0), (0.0, 4.0)]
    regimes = prepare_regimes("abc", [sample(300, rng, embedding=e, statistics=s) for e, s in kinds], rng)
    window = join_samples([sample(n, rng, embedding=e, statistics=s) for n, (e, s) in zip((100, 60, 40), kinds, strict=True)])
    np.testing.assert_allclose(fit_weights(regimes, window), [0.5, 0.3, 0.2], atol=0.08)


def test_four_seasons_stay_accepted_and_a_fifth_drift_is_found_beside_them() -> None:
    rng = np.random.default_rng(12)
    seasons = [(0.0, 0.0), (3.0, 0.0), (-3.0, 0.0), (0.0, 3.0), (0.0, -3.0)]
    regimes = prepare_regimes("abcde", [sample(200, rng, embedding=e, statistics=s) for e, s in seasons], rng)

    def drifted(window: Sample) -> bool:
        return window_test(window, regimes, alpha=0.05, permutations=199, rng=rng).drifted

    alarms = sum(drifted(sample(100, rng, embedding=e, statistics=s)) for e, s in seasons for _ in range(6))
    assert alarms <= stats.binom.ppf(0.999, 30, 0.05)
    assert all(drifted(sample(100, rng, embedding=6.0)) for _ in range(5))


def test_a_draw_has_the_proportions_and_no_row_twice() -> None:
    rng = np.random.default_rng(3)
    regimes = two_regimes(rng)
    for weights in ([1.0, 0.0], [0.5, 0.5], [0.75, 0.25], [0.1, 0.9]):
        drawn = draw_rows(regimes, np.array(weights), rng)
        counts = np.array([len(rows) for rows in drawn])
        assert all(len(np.unique(rows)) == len(rows) for rows in drawn)
        np.testing.assert_allclose(counts / counts.sum(), weights, atol=0.005)
        assert counts.max() == 400
        assert len(drawn_sample(regimes, drawn)) == counts.sum()


def test_more_than_five_regimes_or_none_are_refused() -> None:
    rng = np.random.default_rng(4)
    for count in (0, 6):
        with pytest.raises(ValueError, match="1 to 5 references"):
            prepare_regimes(["x"] * count, [sample(10, rng)] * count, rng)


def test_one_regime_is_one_test_at_its_level() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        regimes = prepare_regimes(["reference"], [sample(160, rng)], rng)
        alarms += window_test(sample(40, rng), regimes, alpha=0.05, permutations=199, rng=rng).drifted
    assert alarms <= stats.binom.ppf(0.999, 200, 0.05)


def test_a_drifted_window_says_against_what_it_was_tested() -> None:
    rng = np.random.default_rng(6)
    regimes = prepare_regimes(["reference"], [sample(400, rng)], rng)
    test = window_test(sample(100, rng, embedding=2), regimes, alpha=0.05, permutations=199, rng=rng)
    assert test.drifted
    assert test.results["embedding"].p_value == 0.005
    assert test.share == pytest.approx(0.2)


def test_mixtures_of_accepted_regimes_are_stable_at_about_the_level() -> None:
    rng = np.random.default_rng(7)
    alarms, trials = 0, 60
    for _ in range(trials):
        second = int(rng.integers(0, 101))
        window = mixture(100 - second, second, rng)
        alarms += window_test(window, two_regimes(rng), alpha=0.05, permutations=199, rng=rng).drifted
    assert alarms <= stats.binom.ppf(0.999, trials, 0.05)


@pytest.mark.parametrize("kind", ["new shift", "half contaminated"])
def test_what_is_neither_regime_nor_mixture_is_found(kind: str) -> None:
    rng = np.random.default_rng(8)
    regimes = two_regimes(rng)
    strange = {"embedding": -2.0, "statistics": -2.0}
    for _ in range(10):
        window = sample(200, rng, **strange) if kind == "new shift" else join_samples([mixture(50, 50, rng), sample(100, rng, **strange)])
        assert window_test(window, regimes, alpha=0.05, permutations=199, rng=rng).drifted


def champion_of_two_drifts(folder: Path, gate: dict[str, Any]) -> AcceptedTraffic:
    """A champion, .93 clean, that learned two drifts, and what its gate.json says."""
    rng = np.random.default_rng(3)
    regimes = [draw_regime(name, 100, rng) for name in ("reference", "regime-1", "regime-2")]
    bundle = write_champion_with_references(folder / "champion", regimes)
    (bundle / "gate.json").write_text(json.dumps(gate))
    return read_champion(bundle, rng)


def measured(right: int, n: int = 200) -> dict[str, Any]:
    return wilson(right, n).model_dump()


OLD_GATE: dict[str, Any] = {
    "accuracy": {"candidate_drifted": measured(190)},
    "recalls": {"clean": {"a": measured(90, 100)}, "drifted": {"a": measured(95, 100)}},
}


def test_each_learned_regime_is_held_against_its_own_accuracy(tmp_path: Path) -> None:
    own = {"regime-1": {"accuracy": measured(150), "recalls": {"a": measured(60, 100)}}, "regime-2": {"accuracy": measured(190)}}
    accepted = champion_of_two_drifts(tmp_path, OLD_GATE | {"regimes": own})
    assert {name: share.value for name, share in accepted.accuracies.items()} == {"reference": 0.93, "regime-1": 0.75, "regime-2": 0.95}
    assert {name: share.value for name, share in accepted.recalls["a"].items()} == {"reference": 0.9, "regime-1": 0.6, "regime-2": 0.95}

    # Its unchanged traffic is no concept drift: against the newest hold-out it was one in nearly every history.
    rng, day = np.random.default_rng(0), datetime(2025, 1, 10, tzinfo=UTC)
    harmful = 0
    for _ in range(100):
        windows = [
            WindowLabels(
                watch=number,
                window=0,
                drift=0,
                mixture={"regime-1": 1.0},
                last=(day + timedelta(days=number)).isoformat(),
                rows=200,
                labels=11,
                right=int(rng.binomial(11, 0.75)),
            )
            for number in range(20)
        ]
        drop = drop_of(windows, accepted.accuracies, half_life_days=7, alpha=CONCEPT_ALPHA)
        harmful += shows_harm(drop, DriftSettings())
    assert harmful <= 1


def test_without_regimes_of_their_own_a_gate_s_hold_out_speaks_for_all_learned_ones(tmp_path: Path) -> None:
    accepted = champion_of_two_drifts(tmp_path, OLD_GATE)
    assert {name: share.value for name, share in accepted.accuracies.items()} == {"reference": 0.93, "regime-1": 0.95, "regime-2": 0.95}
    assert {name: share.value for name, share in accepted.recalls["a"].items()} == {"reference": 0.9, "regime-1": 0.95, "regime-2": 0.95}


def test_recent_images_speak_for_a_learned_regime_where_there_are_no_others(tmp_path: Path) -> None:
    gate = {
        "accuracy": {"candidate_recent": measured(170)},
        "recalls": {"clean": {"a": measured(90, 100)}, "recent": {"a": measured(80, 100)}},
    }
    accepted = champion_of_two_drifts(tmp_path, gate)
    assert accepted.accuracies["regime-1"].value == 0.85
    assert accepted.recalls["a"]["regime-1"].value == 0.8
