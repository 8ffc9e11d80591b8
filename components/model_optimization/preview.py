"""What the training saw: images of each class, and random views of them as they were configured."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from components.model_optimization.training_plan import TrainingPlan
from driftloop.training.augmentation import mix
from driftloop.training.batches import to_tensor
from driftloop.training.task import Task

#: Classes that are shown, and views of an image of each.
CLASSES, VIEWS = 4, 6


def previews(task: Task, plan: TrainingPlan, *, seed: int) -> Iterator[tuple[list[np.ndarray], list[str]]]:
    """For each of the first classes a training image followed by `VIEWS` views of it, mixed with those of the others where the plan mixes,
    and their captions."""
    generator = torch.Generator().manual_seed(seed)
    names = task.description.classes[:CLASSES]
    rows = [int(np.flatnonzero(task.train.labels == label)[0]) for label in range(len(names))]
    originals = np.array(task.train.images[rows])
    views = to_tensor(np.repeat(originals, VIEWS, axis=0))
    if plan.augmentation:
        views = plan.augmentation(views, generator)
    if plan.mixes:
        targets = F.one_hot(torch.arange(len(names)).repeat_interleave(VIEWS), len(names)).float()
        views = mix(views.float(), targets, plan.mixup, plan.cutmix, generator)[0].round().to(torch.uint8)
    for number, shown in enumerate(views.permute(0, 2, 3, 1).numpy().reshape(len(names), VIEWS, *originals.shape[1:])):
        yield [originals[number], *shown], [names[number], *(f"view {view}" for view in range(1, VIEWS + 1))]
