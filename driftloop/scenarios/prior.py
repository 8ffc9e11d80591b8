"""Prior shift: the images of each class stay alike, the classes' shares change (a screening campaign, a flu season)."""

import numpy as np

from driftloop.errors import InputError


def shifted_shares(shares: np.ndarray, total_variation: float) -> np.ndarray:
    """Class shares at exactly `total_variation` = sum|p - q| / 2 from `shares`.

    The mass goes to the rarest class, where there is most room, and comes from the others in proportion to what they have.

    Args:
        shares: (K,) class shares that sum to 1.
        total_variation: in [0, 1].

    Raises:
        InputError: further than these shares can be moved, which is 1 - the rarest class's share.
    """
    rarest = int(np.argmin(shares))
    room = 1 - float(shares[rarest])
    if total_variation > room + 1e-12:
        most = np.floor(room * 100) / 100
        cure = f"choose a severity up to {most:.2f}"
        raise InputError(f"prior:{total_variation:g}: these classes' shares can move by at most {room:.3f}; {cure}")
    shifted = shares * (1 - total_variation / room)
    shifted[rarest] = shares[rarest] + total_variation
    return np.clip(shifted, 0, 1)


def draw(labels: np.ndarray, n: int, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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
    rows = [rng.permutation(np.flatnonzero(labels == label)) for label in range(len(shares))]
    possible = min((len(own) / share for own, share in zip(rows, shares, strict=True) if share > 0), default=0.0)
    counts = apportion(min(n, int(possible + 1e-9)), shares)
    chosen = np.concatenate([own[:count] for own, count in zip(rows, counts, strict=True)])
    return rng.permutation(chosen)


def apportion(n: int, shares: np.ndarray) -> np.ndarray:
    """`n` split by `shares` into whole numbers: largest remainders first (Hamilton's method)."""
    exact = n * shares
    counts = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: n - int(counts.sum())]] += 1
    return counts
