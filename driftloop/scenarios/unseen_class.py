"""An unseen class: a share of the requests shows something the model was never taught."""

import numpy as np

#: Pieces per side of the jigsaw.
PIECES = 4


def strangers(severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which images are replaced: (N,) bool, each with probability `severity`."""
    return rng.random(len(severity)) < severity


def unseen_class(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turn a share `severity` of the images into objects of no known class.

    Such an image is a 4 x 4 jigsaw of its own pieces, shuffled, and its negative: texture and detail like the others, a shape like
    none of them. Works on every source and needs no further data.

    Args:
        images: uint8 (N, H, W, C).
        severity: (N,) in [0, 1].
        rng: draws the images and the order of their pieces.

    Returns:
        The images, and (N,) bool: which of them now show the unseen class.
    """
    chosen = strangers(severity, rng)
    result = images.copy()
    for row in np.flatnonzero(chosen):
        result[row] = 255 - jigsaw(images[row], rng.permutation(PIECES * PIECES))
    return result, chosen


def jigsaw(image: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The pieces of one (H, W, C) image in another order; rows and columns that do not divide evenly stay where they are."""
    height, width = image.shape[0] // PIECES, image.shape[1] // PIECES
    result = image.copy()
    for place, piece in enumerate(order):
        to_y, to_x = divmod(place, PIECES)
        from_y, from_x = divmod(int(piece), PIECES)
        result[to_y * height : (to_y + 1) * height, to_x * width : (to_x + 1) * width] = image[
            from_y * height : (from_y + 1) * height, from_x * width : (from_x + 1) * width
        ]
    return result
