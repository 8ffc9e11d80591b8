"""One pass over the data: train in float32, train in mixed precision, or validate.

A batch is a pair: images (N, C, H, W) float32, normalised, on the model's device, and targets, int64 (N,) class numbers or float32
(N, K) class probabilities (mixup, CutMix).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from driftloop.training.classifier import Loss
from driftloop.training.distributed import current

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class EpochResult:
    """What a pass measured."""

    loss: float
    """Mean per image."""
    accuracy: float
    """Share of the images classified as their target says."""
    images: int
    """How many were seen."""
    balanced_accuracy: float = 0.0
    """Mean over the classes of the share classified right; of a validation only."""


class Tally:
    """Sums kept on the device: asking a GPU for a number after every batch would make it wait."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.images = 0

    def reset(self) -> None:
        """Back to nothing seen, in the same memory."""
        self.loss.zero_()
        self.correct.zero_()
        self.images = 0

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        truth = targets if targets.ndim == 1 else targets.argmax(1)
        self.loss += loss.detach().double() * len(logits)
        self.correct += (logits.detach().argmax(1) == truth).sum()
        self.images += len(logits)

    def result(self) -> EpochResult:
        """Over all processes of a training that is shared."""
        parts = current().gathered((float(self.loss), int(self.correct), self.images))
        loss, correct, images = (sum(part) for part in zip(*parts, strict=True))
        if images == 0:
            raise ValueError("an epoch without a batch: there are no images to learn from")
        return EpochResult(loss / images, correct / images, int(images))


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    *,
    loss: Loss = F.cross_entropy,
    after_step: Callable[[], None] | None = None,
) -> EpochResult:
    """One pass in float32: forward, loss, backward, step.

    Args:
        model: on the device of the batches; left in training mode.
        batches: each is used for one step.
        optimizer: over the model's parameters.
        loss: of logits (N, K) and targets, a scalar: the mean over the batch.
        after_step: called after each step (learning-rate schedule, moving average).
    """
    model.train()
    tally = Tally(next(model.parameters()).device)
    for images, targets in batches:
        logits = model(images)
        value = loss(logits, targets)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        if after_step:
            after_step()
        tally.add(value, logits, targets)
    return tally.result()


def train_epoch_amp(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    *,
    loss: Loss = F.cross_entropy,
    after_step: Callable[[], None] | None = None,
    dtype: torch.dtype = torch.bfloat16,
    scaler: GradScaler | None = None,
) -> EpochResult:
    """One pass in mixed precision: convolutions and products in `dtype`, weights, batch norm and loss in float32.

    bfloat16 has the exponent of float32 and needs no scaling. float16 loses small gradients: hand over a `scaler`, the same one
    every epoch, which multiplies the loss and skips a step that overflowed (`after_step` is then skipped too).

    Arguments are those of `train_epoch`.
    """
    model.train()
    device = next(model.parameters()).device
    tally = Tally(device)
    for images, targets in batches:
        with torch.autocast(device.type, dtype):
            logits = model(images)
        logits = logits.float()
        value = loss(logits, targets)
        optimizer.zero_grad(set_to_none=True)
        stepped = True
        if scaler is None:
            value.backward()
            optimizer.step()
        else:
            before = scaler.get_scale()
            scaler.scale(value).backward()
            # Before the step, whose hooks shorten gradients: a fused optimiser unscales its own only behind them.
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            stepped = scaler.get_scale() >= before
        if after_step and stepped:
            after_step()
        tally.add(value, logits, targets)
    return tally.result()


@torch.inference_mode()
def validate(model: nn.Module, batches: Iterable[Batch], *, loss: Loss = F.cross_entropy) -> EpochResult:
    """Loss and both accuracies in float32, in evaluation mode (in which the model is left); nothing is changed.

    Targets are class numbers; classes without images do not count.
    """
    model.eval()
    tally = Tally(next(model.parameters()).device)
    answered_right = []
    for images, targets in batches:
        logits = model(images)
        tally.add(loss(logits, targets), logits, targets)
        answered_right.append(torch.stack([logits.argmax(1), targets]))
    result = tally.result()
    own = torch.cat(answered_right, 1).cpu() if answered_right else torch.empty((2, 0), dtype=torch.int64)
    answered, right = torch.cat(current().gathered(own), 1)
    images_of, right_of = torch.bincount(right), torch.bincount(right[answered == right], minlength=int(right.max()) + 1)
    recalls = right_of[images_of > 0] / images_of[images_of > 0]
    return replace(result, balanced_accuracy=float(recalls.double().mean()))


def at_shares(logits: Tensor, class_shares: Sequence[float]) -> Tensor:
    """Logits (N, K) of a network whose loss let every class count alike, for images that come in these shares; as they are without any.

    Such a network speaks of equally many images of each class, and what it names is the largest of its own logits.
    """
    return logits + torch.tensor(class_shares, device=logits.device).log() if class_shares else logits


@torch.inference_mode()
def predict(model: nn.Module, batches: Iterable[Batch], class_shares: Sequence[float] = ()) -> Tensor:
    """Class probabilities (N, K) float32 on the CPU, in the order of the batches, `at_shares`; the model is left in evaluation mode."""
    model.eval()
    return torch.cat([at_shares(model(images), class_shares).softmax(1) for images, _ in batches]).cpu()
