"""Progress of a step whose parts take very different times: their shares are reckoned from the optimiser steps they take."""

from components.model_optimization.ablation import variants
from components.model_optimization.plan import Plan
from driftloop import progress
from driftloop.settings import TrainSettings
from driftloop.training.lr_finder import STEPS


class Stages:
    """The parts in their order, and how far the step is."""

    def __init__(self, plan: Plan, settings: TrainSettings, images: int) -> None:
        steps = max(settings.min_steps, images // settings.batch_size, 1)
        self.sizes = {
            "range test": STEPS,
            "sweep": settings.sweep_trials * settings.sweep_epochs * steps,
            "training": plan.recipe.epochs * steps,
            "ablation": len(variants(plan)) * settings.ablation_epochs * steps,
        }

    def within(self, stage: str, share: float, text: str) -> None:
        """Say that `share` of `stage` is done."""
        names = list(self.sizes)
        before = sum(self.sizes[name] for name in names[: names.index(stage)])
        progress.progress((before + share * self.sizes[stage]) / sum(self.sizes.values()), text)

    def done(self, stage: str, text: str) -> None:
        """Say that `stage` is done."""
        self.within(stage, 1.0, text)
