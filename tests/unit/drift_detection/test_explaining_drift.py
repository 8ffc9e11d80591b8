"""Which images moved, which are worth a label, and how it is said."""

import numpy as np

from components.drift_detection.embedding_map import principal_axes
from components.drift_detection.explain import explain, most_shifted
from components.drift_detection.mmd import nearest, shift_scores
from components.drift_detection.reference import Sample


def test_shift_scores_are_the_witness_function_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(9, 3)) + 1
    pooled = np.concatenate([x, y])
    pairs = [np.sum((a - b) ** 2) for index, a in enumerate(pooled) for b in pooled[index + 1 :]]
    gamma = 1 / np.median(pairs)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-gamma * np.sum((a - b) ** 2)))

    expected = [
        np.mean([kernel(row, other) for index, other in enumerate(y) if index != at]) - np.mean([kernel(row, other) for other in x])
        for at, row in enumerate(y)
    ]
    np.testing.assert_allclose(shift_scores(x, y, rng), expected, atol=1e-5)


def test_the_most_shifted_rows_of_a_half_shifted_window_are_the_shifted_ones() -> None:
    rng = np.random.default_rng(1)
    window = np.concatenate([rng.normal(size=(50, 4)), rng.normal(size=(50, 4)) + 4])
    scores = shift_scores(rng.normal(size=(300, 4)), window, rng)
    assert set(np.argsort(-scores)[:40]) <= set(range(50, 100))


def test_the_gallery_shows_kept_images_beside_their_nearest_reference() -> None:
    rng = np.random.default_rng(2)
    reference = rng.normal(size=(30, 4)).astype(np.float32)
    window = np.concatenate([rng.normal(size=(10, 4)), rng.normal(size=(10, 4)) + 5]).astype(np.float32)
    images = rng.integers(0, 256, (8, 6, 6, 1), dtype=np.uint8)
    kept = np.arange(20) >= 12

    def fetch(positions: np.ndarray) -> dict[int, np.ndarray]:
        return {int(position): images[position - 12] for position in positions}

    thumbnails = [("reference", np.full((6, 6, 1), row, np.uint8)) for row in range(30)]
    pairs = most_shifted(window, kept, fetch, reference, thumbnails, count=5, rng=rng)
    assert len(pairs) == 5
    assert [pair.score for pair in pairs] == sorted((pair.score for pair in pairs), reverse=True)
    for pair in pairs:
        np.testing.assert_array_equal(pair.image, images[pair.position - 12])
        closest = np.argmin(np.sum((reference - window[pair.position]) ** 2, axis=1))
        assert pair.thumbnail[0, 0, 0] == closest


def test_without_kept_images_the_gallery_is_empty() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(6, 2))
    nothing: dict[int, np.ndarray] = {}
    assert most_shifted(vectors, np.zeros(6, bool), lambda _: nothing, vectors, [], count=3, rng=rng) == []


def test_images_that_are_gone_from_the_store_are_not_shown() -> None:
    rng = np.random.default_rng(3)
    vectors, thumbnails = rng.normal(size=(6, 2)), [("reference", np.zeros((4, 4, 1), np.uint8))] * 6
    pairs = most_shifted(vectors, np.ones(6, bool), lambda at: {int(at[1]): np.ones((4, 4, 1))}, vectors, thumbnails, count=3, rng=rng)
    assert [pair.image.mean() for pair in pairs] == [1]


def test_nearest_is_the_smallest_distance() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(7, 3))
    assert nearest(x, y).tolist() == [int(np.argmin(np.sum((x - row) ** 2, axis=1))) for row in y]


def test_principal_axes_are_those_of_the_singular_value_decomposition() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 5)) * [5, 3, 1, 1, 1]
    flat, share = principal_axes(x)
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=0), values[:2])
    np.testing.assert_allclose(share, values[:2] ** 2 / np.sum(values**2))
    assert principal_axes(x[:, :1])[0].shape == (60, 2)


def test_the_classes_that_are_counted_are_those_that_are_named() -> None:
    rng = np.random.default_rng(6)
    own = rng.uniform(0.05, 0.45, 60).astype(np.float32)
    drawn = Sample(rng.normal(size=(60, 3)), rng.normal(size=(60, 2)), np.stack([1 - own, own], axis=1))
    shares = [
        explain(drawn, drawn, names=["a", "b"], alpha=0.05, teaching=False, shares=of).classes.window_shares.tolist()
        for of in ((), (0.8, 0.2))
    ]
    assert shares == [[1, 0], [np.mean(own <= 0.2), np.mean(own > 0.2)]]
