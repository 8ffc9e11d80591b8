"""What the training saw: images of each class, and random views of them as they were configured."""

from collections.abc import Iterator

import numpy as np
import torch

from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import to_tensor
from driftloop.training.task import Task

#: Classes that are shown, and views of an image of each.
CLASSES, VIEWS = 4, 6


def previews(task: Task, augmentation: Augmentation, *, seed: int) -> Iterator[tuple[list[np.ndarray], list[str]]]:
    """For each of the first classes a training image followed by `VIEWS` views of it, and their captions."""
    generator = torch.Generator().manual_seed(seed)
    for label, name in list(enumerate(task.description.classes))[:CLASSES]:
        row = int(np.flatnonzero(task.train.labels == label)[0])
        original = np.array(task.train.images[row : row + 1])
        views = augmentation(to_tensor(np.repeat(original, VIEWS, axis=0)), generator).permute(0, 2, 3, 1).numpy()
        yield [original[0], *views], [name, *(f"view {number}" for number in range(1, VIEWS + 1))]
