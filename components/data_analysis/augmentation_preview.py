"""What augmentation makes of an image: the views that training will see."""

from collections.abc import Iterator

import numpy as np
import torch

from driftloop.dataset import Split
from driftloop.training.augmentation import Augmentation
from driftloop.training.pixels import to_tensor

VIEWS = 6
MOST_CLASSES = 4


def previews(train: Split, classes: list[str], *, seed: int) -> Iterator[tuple[list[np.ndarray], list[str]]]:
    """For each of the first classes a training image followed by `VIEWS` views of it, and their captions."""
    augmentation = Augmentation()
    generator = torch.Generator().manual_seed(seed)
    for label, name in list(enumerate(classes))[:MOST_CLASSES]:
        row = int(np.flatnonzero(train.labels == label)[0])
        original = train.images[row : row + 1]
        views = augmentation(to_tensor(np.repeat(original, VIEWS, axis=0)), generator).permute(0, 2, 3, 1).numpy()
        yield [original[0], *views], [name, *(f"view {number}" for number in range(1, VIEWS + 1))]
