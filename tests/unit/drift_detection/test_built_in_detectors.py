"""The two detectors that come with it, and the map that the report draws of one."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from components.drift_detection import detectors
from components.drift_detection.detectors import DETECTORS, LEAST_FIRST_LOOK, level_of_each
from components.drift_detection.embedding_map import MOST_POINTS, embedding_map, principal_axes
from components.drift_detection.ks import ks_test
from components.drift_detection.mmd import mmd_test
from components.drift_detection.reference import Sample
from driftloop.reporting.plot_style import PALETTE

STATISTICS, EMBEDDING = DETECTORS


def drawn(count: int, seed: int, shift: float = 0.0) -> Sample:
    rng = np.random.default_rng(seed)
    vectors, numbers = rng.normal(shift, 1, (count, 5)), rng.normal(shift, 1, (count, 3))
    return Sample(vectors.astype(np.float32), numbers.astype(np.float32), np.full((count, 2), 0.5, np.float32))


def test_each_has_its_part_of_the_level() -> None:
    assert level_of_each(0.05) == 0.025


def test_image_statistics_are_compared_column_by_column() -> None:
    reference, window = drawn(60, 0), drawn(30, 1, 0.6)
    expected = ks_test(reference.statistics, window.statistics)
    found = STATISTICS.test(reference, window, 99, np.random.default_rng(0))
    assert (found.p_value, found.effect, set(found.by_statistic)) == (expected.p_value, None, {"statistics_p_values", "statistics_holm"})
    np.testing.assert_array_equal(found.by_statistic["statistics_p_values"], expected.p_values)
    np.testing.assert_array_equal(found.by_statistic["statistics_holm"], expected.adjusted)


@pytest.mark.parametrize(("permutations", "first"), [(999, LEAST_FIRST_LOOK), (15_999, 1999)])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_embeddings_are_compared_by_the_kernel_with_a_first_look_at_an_eighth(permutations: int, first: int, shift: float) -> None:
    reference, window = drawn(60, 0), drawn(30, 1, shift)
    found = EMBEDDING.test(reference, window, permutations, np.random.default_rng(2))
    expected = mmd_test(
        reference.embedding,
        window.embedding,
        permutations=permutations,
        rng=np.random.default_rng(2),
        first_look=first,
    )
    assert (found.p_value, found.effect, dict(found.by_statistic)) == (expected.p_value, expected.mmd2, {})


def test_beside_many_detectors_there_is_no_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, window = drawn(60, 0), drawn(30, 1)

    def p_value(first_look: int) -> float:
        rng = np.random.default_rng(2)
        return mmd_test(reference.embedding, window.embedding, permutations=1999, rng=rng, first_look=first_look).p_value

    assert p_value(LEAST_FIRST_LOOK) != p_value(0)
    for count, first in ((5, LEAST_FIRST_LOOK), (6, 0)):
        monkeypatch.setattr(detectors, "DETECTORS", (EMBEDDING,) * count)
        assert EMBEDDING.test(reference, window, 1999, np.random.default_rng(2)).p_value == p_value(first)


def test_the_map_shows_reference_and_window_and_of_each_no_more_than_can_be_told_apart() -> None:
    reference, window = drawn(MOST_POINTS + 1, 0), drawn(40, 1, 3.0)
    (plot,) = embedding_map(reference, window).axes
    before, now = plot.collections
    legend = plot.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [f"reference ({MOST_POINTS} shown)", "window (40 shown)"]
    shown = np.random.default_rng(0).choice(MOST_POINTS + 1, MOST_POINTS, replace=False)
    flat, share = principal_axes(np.concatenate([reference.embedding[shown], window.embedding]))
    np.testing.assert_allclose(np.asarray(before.get_offsets()), flat[:MOST_POINTS], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(now.get_offsets()), flat[MOST_POINTS:], rtol=1e-5)
    for points, colour in ((before, PALETTE[0]), (now, PALETTE[3])):
        np.testing.assert_allclose(np.asarray(points.get_facecolor())[0, :3], to_rgb(colour))
    assert (plot.get_xlabel(), plot.get_ylabel()) == (f"first axis ({share[0]:.0%} of the variance)", f"second axis ({share[1]:.0%})")
    (plot,) = embedding_map(drawn(MOST_POINTS, 0), window).axes
    assert np.asarray(plot.collections[0].get_offsets()).shape == (MOST_POINTS, 2)
