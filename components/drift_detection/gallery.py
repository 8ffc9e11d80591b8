"""The most shifted images of a window, each beside the reference image that the champion finds most alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.drift_detection.witness import nearest, shift_scores


@dataclass(frozen=True)
class ShiftedPair:
    """`image` and `thumbnail` are uint8 (h, w, C); `position` is the image's row in the window's sample, `score` its shift."""

    position: int
    score: float
    image: np.ndarray
    thumbnail: np.ndarray
    regime: str


def most_shifted(
    window: np.ndarray,
    image_index: np.ndarray,
    images: np.ndarray,
    reference: np.ndarray,
    thumbnails: Sequence[tuple[str, np.ndarray]],
    *,
    count: int,
    rng: np.random.Generator,
) -> list[ShiftedPair]:
    """The `count` most shifted images that were kept, the most shifted first.

    Args:
        window: embeddings (M, D) of the window's sample.
        image_index: (M,) row of `images`, -1 where the image was not kept.
        images: uint8 (n, H, W, C).
        reference: embeddings (N, D) that the window was compared with.
        thumbnails: regime and picture of each reference row.
    """
    scores = shift_scores(reference, window, rng)
    kept = np.flatnonzero(image_index >= 0)
    chosen = kept[np.argsort(-scores[kept], kind="stable")[:count]]
    if len(chosen) == 0:
        return []
    matches = nearest(reference, window[chosen])
    return [
        ShiftedPair(
            position=int(position),
            score=float(scores[position]),
            image=np.asarray(images[image_index[position]]),
            thumbnail=thumbnails[match][1],
            regime=thumbnails[match][0],
        )
        for position, match in zip(chosen, matches, strict=True)
    ]
