"""Windows of few, large groups: a group is tested by the mean of as many of its images as every other group gives.

One image a group, which is right for hundreds of patients, throws nearly everything away where a window has 18 lots of 60 photographs;
all 1,080 taken as independent alarm nearly always, since images of one lot resemble each other. Means of equally many images are
independent and of one distribution as long as nothing has drifted, so the detectors' permutations permute whole groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftloop.contracts import LEAST_GROUPS

#: Windows of fewer groups are tested by their means.
FEW_GROUPS = 50
#: The share of an image's variance that is its group's, for choosing how many images are averaged: a matter of power only.
ASSUMED_ICC = 0.2


@dataclass(frozen=True)
class Clusters:
    """Images by group."""

    order: np.ndarray
    """(N,) rows, those of a group together and in their order."""
    starts: np.ndarray
    """(G,) where each group begins there."""
    sizes: np.ndarray
    """(G,) images of each."""

    def of_at_least(self, images: int) -> np.ndarray:
        """Which groups have so many images, ascending."""
        return np.flatnonzero(self.sizes >= images)

    def rows(self, groups: np.ndarray, images: int) -> np.ndarray:
        """The first `images` rows of each of the groups, (groups, images)."""
        return self.order[self.starts[groups][:, None] + np.arange(images)]


def clusters_of(owners: np.ndarray, groups: int) -> Clusters:
    """The clusters of rows (N,) that belong to groups 0 to `groups` - 1, or to none (-1)."""
    rows = np.flatnonzero(owners >= 0)
    order = rows[np.argsort(owners[rows], kind="stable")]
    sizes = np.bincount(owners[rows], minlength=groups)
    return Clusters(order, np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)


def images_to_average(sides: Sequence[Clusters]) -> int:
    """How many images of each group to average, so that the difference of two means is the most precise.

    More images make a group's mean more precise, and leave fewer groups that have so many. 1 where there is nothing to gain, or too few
    groups would be left.
    """
    best, least = 1, np.inf
    for images in sorted({int(size) for side in sides for size in side.sizes if size > 0} | {1}):
        groups = [len(side.of_at_least(images)) for side in sides]
        if images > 1 and min(groups) < LEAST_GROUPS:
            break
        variance = (ASSUMED_ICC + (1 - ASSUMED_ICC) / images) * sum(1 / max(count, 1) for count in groups)
        if variance < least:
            best, least = images, variance
    return best
