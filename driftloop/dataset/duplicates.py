"""Near-duplicates: the same picture saved again, scaled, or slightly brighter, must not sit on both sides of a split."""

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

#: Side of the thumbnails that images are compared by.
THUMBNAIL_SIDE = 16
#: Correlation of two thumbnails' deviations from the average image, from which on they count as the same picture.
SAME_PICTURE_CORRELATION = 0.985
#: Bands of the perceptual hash, and images compared at once.
_BANDS = 4
_BLOCK = 2048


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Grey uint8 (16, 16) of an image uint8 (H, W) or (H, W, 3)."""
    image = Image.fromarray(pixels)
    return np.asarray(image.convert("L").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))


def near_duplicate_clusters(thumbnails: np.ndarray) -> np.ndarray:
    """Cluster numbers (N,), equal for images that are (chains of) near-duplicates.

    Radiographs all look alike, so what is compared is how an image deviates from the average one, after its brightness and contrast
    are taken out. A perceptual hash (signs of 64 low cosine coefficients around their medians, after Zauner 2010) in four bands names
    the candidates; their correlation decides. Images without contrast match nothing.

    Args:
        thumbnails: uint8 (N, 16, 16).
    """
    count = len(thumbnails)
    flat = thumbnails.reshape(count, THUMBNAIL_SIDE * THUMBNAIL_SIDE).astype(np.float32)
    deviation = flat.std(1)
    alive = np.flatnonzero(deviation > 1)
    if len(alive) < 2:
        return np.arange(count)
    levelled = (flat[alive] - flat[alive].mean(1, keepdims=True)) / deviation[alive, None]
    unusual = levelled - levelled.mean(0) if len(alive) > 20 else levelled
    length = np.linalg.norm(unusual, axis=1, keepdims=True)
    directions = unusual / np.maximum(length, 1e-6)
    pairs = [_same_within(members, directions) for band in _bands(unusual) for members in _buckets(band)]
    links = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    graph = coo_matrix((np.ones(len(links)), (alive[links[:, 0]], alive[links[:, 1]])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _bands(unusual: np.ndarray) -> np.ndarray:
    """Four 16-bit numbers by image, (4, N): signs of the lowest 8 x 8 cosine coefficients around their medians."""
    coefficients = dctn(unusual.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE), axes=(1, 2))[:, :8, :8].reshape(len(unusual), 64)
    bits = coefficients > np.median(coefficients, axis=0)
    # Neighbouring frequencies go to different bands, so that no band holds only the fine ones.
    return np.stack([bits[:, band::_BANDS] @ (1 << np.arange(16)) for band in range(_BANDS)])


def _buckets(band: np.ndarray) -> list[np.ndarray]:
    """Numbers of the images that share a value, for each value that more than one has."""
    order = np.argsort(band, kind="stable")
    starts = np.flatnonzero(np.diff(band[order])) + 1
    return [members for members in np.split(order, starts) if len(members) > 1]


def _same_within(members: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Pairs (P, 2) among `members` that correlate; in blocks, so that memory stays bounded."""
    pairs = []
    for start in range(0, len(members), _BLOCK):
        block = members[start : start + _BLOCK]
        for other in range(start, len(members), _BLOCK):
            partners = members[other : other + _BLOCK]
            left, right = np.nonzero(directions[block] @ directions[partners].T > SAME_PICTURE_CORRELATION)
            keep = block[left] < partners[right] if other == start else slice(None)
            pairs.append(np.stack([block[left], partners[right]], axis=1)[keep])
    return np.concatenate(pairs)
