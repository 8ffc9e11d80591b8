"""The learning-rate range test: raise the rate step by step, watch the loss, stop when it explodes (Smith 2017)."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from driftloop.reporting import plot_style
from driftloop.training.batches import TrainingBatches
from driftloop.training.epoch import Batch
from driftloop.training.recipe import FACTOR, Recipe
from driftloop.training.recipes import FROM_SCRATCH, RecipeForm
from driftloop.training.seeding import derive

#: Of the loss: the share of the running mean that a step keeps.
SMOOTHING = 0.9
#: The test ends when the loss exceeds its lowest value by this factor.
EXPLODED = 3.0


@dataclass(frozen=True)
class RangeTest:
    """What a range test measured."""

    rates: list[float]
    """The learning rates that were tried, rising."""
    losses: list[float]
    """The smoothed training loss at each."""
    suggestion: float
    """The rate to train with."""


def find_learning_rate(
    model: nn.Module,
    train: TrainingBatches,
    recipe: Recipe,
    *,
    seed: int,
    form: RecipeForm = FROM_SCRATCH,
) -> RangeTest:
    """Try the rates of `form`, evenly on a logarithmic scale, one step each, on a copy of `model`.

    Args:
        model: fresh or trained; not changed.
        train: batches to learn from; epochs follow one another as needed. Without augmentation the slope shows best.
        recipe: optimiser and loss; its rate and schedule are not used, nor float16, which would need its loss scaled.
        seed: of batches and dropout.
        form: of the kind of network: which rates are tried, how many, and what may be suggested.
    """
    (low, high), steps = form.tried_rates, form.range_steps
    trial = copy.deepcopy(model)
    recipe.prepare(trial)
    trial.train()
    optimizer = recipe.optimizer(trial)
    loss = recipe.loss(next(trial.parameters()).device)
    torch.manual_seed(derive(seed, 0))
    rates: list[float] = []
    smoothed: list[float] = []
    running = 0.0
    for step, (images, targets) in enumerate(_stream(train, seed, steps)):
        rate = low * (high / low) ** (step / (steps - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate * group[FACTOR]
        with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = trial(images)
        value = loss(logits.float(), targets)
        running = SMOOTHING * running + (1 - SMOOTHING) * float(value.detach())
        current = running / (1 - SMOOTHING ** (step + 1))
        if not math.isfinite(current) or (smoothed and current > EXPLODED * min(smoothed)):
            break
        rates.append(rate)
        smoothed.append(current)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    return RangeTest(rates, smoothed, suggest(rates, smoothed, form.suggested_rates))


def suggest(rates: list[float], losses: list[float], bounds: tuple[float, float]) -> float:
    """The rate at which the smoothed loss has made two thirds of its fall.

    The lowest point and the steepest one vary a lot on a noisy curve; a point on the slope does not. The first tenth is left out: there
    the average has not settled. The answer stays within `bounds`; a curve without a fall gives the lower one.

    Raises:
        ValueError: fewer than two rates, or a different number of losses.
    """
    if len(rates) < 2 or len(rates) != len(losses):
        raise ValueError(f"suggest: needs two rates at least and as many losses, got {len(rates)} and {len(losses)}")
    first = len(rates) // 10
    bottom = first + int(np.argmin(losses[first:]))
    top = first + int(np.argmax(losses[first : bottom + 1]))
    target = losses[top] - 2 / 3 * (losses[top] - losses[bottom])
    reached = next(index for index in range(top, bottom + 1) if losses[index] <= target)
    return float(np.clip(rates[reached], *bounds)) if bottom > top else bounds[0]


def plot(test: RangeTest, chosen: float) -> Figure:
    """Loss over learning rate, with the rate that was used."""
    figure, (axis,) = plot_style.axes()
    axis.semilogx(test.rates, test.losses, color=plot_style.PALETTE[0])
    axis.axvline(chosen, color=plot_style.PALETTE[3], linestyle="--", label=f"used: {chosen:.1e}")
    axis.set(xlabel="learning rate", ylabel="smoothed training loss")
    axis.legend()
    return figure


def _stream(train: TrainingBatches, seed: int, steps: int) -> Iterator[Batch]:
    done, epoch = 0, 0
    while done < steps:
        for batch in train.epoch(derive(seed, epoch, 3)):
            yield batch
            done += 1
            if done == steps:
                return
        epoch += 1
