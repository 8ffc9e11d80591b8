"""Drifts of what is asked about: prior shift and an unseen class.

In a prior shift the images of each class stay alike and the classes' shares change (a screening campaign, a flu season). With an unseen
class a share of the requests shows something that the model was never taught.
"""

import numpy as np

from driftloop.errors import InputError

#: Pieces per side of the jigsaw that stands for an unseen class.
JIGSAW_PIECES = 4


def shifted_shares(shares: np.ndarray, severity: float) -> np.ndarray:
    """Class shares at a total variation, sum|p - q| / 2, of exactly `severity` from `shares`.

    The mass goes to the rarest class, where there is most room, and comes from the others in proportion to what they have.

    Args:
        shares: (K,) class shares that sum to 1.
        severity: the total variation, in [0, 1].

    Raises:
        InputError: further than these shares can be moved, which is 1 - the rarest class's share.
    """
    rarest = int(np.argmin(shares))
    room = 1 - float(shares[rarest])
    if severity > room + 1e-12:
        most = np.floor(room * 100) / 100
        cure = f"choose a severity up to {most:.2f}"
        raise InputError(f"prior:{severity:g}: these classes' shares can move by at most {room:.3f}; {cure}")
    shifted = shares * (1 - severity / room)
    shifted[rarest] = shares[rarest] + severity
    return np.clip(shifted, 0, 1)


def draw_rows(labels: np.ndarray, n: int, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn without replacement so that the classes have the wanted shares.

    Where a class has too few rows for `n`, fewer rows are drawn, in the wanted shares still.

    Args:
        labels: (N,) class indices below K.
        n: wanted number of rows.
        shares: (K,) wanted class shares.
        rng: draws the rows and their order.

    Returns:
        Row indices, at most `n` of them, in random order.
    """
    by_class = [rng.permutation(np.flatnonzero(labels == label)) for label in range(len(shares))]
    possible = min((len(rows) / share for rows, share in zip(by_class, shares, strict=True) if share > 0), default=0.0)
    counts = apportion(min(n, int(possible + 1e-9)), shares)
    chosen = np.concatenate([rows[:count] for rows, count in zip(by_class, counts, strict=True)])
    return rng.permutation(chosen)


def apportion(n: int, shares: np.ndarray) -> np.ndarray:
    """`n` split by `shares` into whole numbers: largest remainders first (Hamilton's method)."""
    exact = n * shares
    counts = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: n - int(counts.sum())]] += 1
    return counts


def unseen_class(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turn each image, with the probability `severity`, into an object of no known class.

    Such an image is a 4 x 4 jigsaw of its own pieces, shuffled, and its negative: texture and detail like the others, a shape like
    none of them. Works on every source and needs no further data.

    Args:
        images: uint8 (N, H, W, C).
        severity: (N,) in [0, 1].
        rng: draws the images and the order of their pieces.

    Returns:
        The images, and (N,) bool: which of them now show the unseen class.
    """
    replaced = rng.random(len(severity)) < severity
    result = images.copy()
    for row in np.flatnonzero(replaced):
        result[row] = 255 - _jigsaw(images[row], rng.permutation(JIGSAW_PIECES * JIGSAW_PIECES))
    return result, replaced


def _jigsaw(image: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The pieces of one (H, W, C) image in another order; rows and columns that do not divide evenly stay where they are."""
    height, width = image.shape[0] // JIGSAW_PIECES, image.shape[1] // JIGSAW_PIECES
    result = image.copy()
    for place, piece in enumerate(order):
        to_y, to_x = divmod(place, JIGSAW_PIECES)
        from_y, from_x = divmod(int(piece), JIGSAW_PIECES)
        result[to_y * height : (to_y + 1) * height, to_x * width : (to_x + 1) * width] = image[
            from_y * height : (from_y + 1) * height, from_x * width : (from_x + 1) * width
        ]
    return result
