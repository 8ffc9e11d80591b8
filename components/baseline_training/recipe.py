"""How the baseline is trained: as one would at first."""

from driftloop.settings import TrainSettings
from driftloop.training.recipe import Recipe
from driftloop.training.task import Task


def baseline_recipe(settings: TrainSettings, epochs: int, task: Task) -> Recipe:
    """Float32, Adam at a constant rate, no augmentation, no smoothing, for a share of the optimised training's `epochs`.

    Without augmentation a small training set is learnt by heart early, so more epochs would only cost time; the epoch is chosen on the
    validation split anyway.
    """
    return Recipe(
        epochs=max(1, round(epochs * settings.baseline_share)),
        learning_rate=settings.baseline_learning_rate,
        class_weights=task.weights(),
    )
