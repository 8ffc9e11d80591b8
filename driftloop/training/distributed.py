"""One training on several GPUs: each process takes a part of every batch, and their gradients are averaged.

What several processes learn is what one would have learnt from the whole batches: batch norm takes its statistics, and the loss its class
weights, over all parts, and dropout draws for the whole batch. The weights differ by rounding alone (tests/unit/training/test_distributed).

`driftloop.training.followers` starts the processes.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from driftloop.training.classifier import Loss

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Rank:
    """One of the processes that share a training."""

    number: int = 0
    """From 0, which is the step itself and alone writes anything."""
    size: int = 1
    """Processes in all."""

    @property
    def share(self) -> slice:
        """This process's part of a batch, or of a list of batches: every `size`-th."""
        return slice(self.number, None, self.size)

    def gathered(self, value: _Value) -> list[_Value]:
        """The value of every process, in their order: plain values and arrays."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def parallel(self, model: nn.Module) -> nn.Module:
        """The network with gradients that are averaged over the processes; its own parameters, the first process's to begin with."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model)

    def whole_batch_loss(self, loss: Loss, class_weights: tuple[float, ...]) -> Loss:
        """A loss of parts whose mean over the processes is `loss` of the whole batch, each part being as large."""
        if self.size == 1 or not class_weights:
            return loss

        def weighted(logits: Tensor, targets: Tensor) -> Tensor:
            if targets.ndim > 1:  # class probabilities (mixed images): PyTorch divides by the number of images
                return loss(logits, targets)
            own = torch.tensor(class_weights, device=logits.device)[targets].sum()
            total = own.clone()
            dist.all_reduce(total)
            return loss(logits, targets) * (own * self.size / total)

        return weighted

    def whole_batch_layers(self) -> AbstractContextManager[Any]:
        """A context in which batch norm and dropout see the whole batch through each process's part."""
        return _WholeBatchLayers(self) if self.size > 1 else nullcontext()


#: The rank of a process that shares nothing.
ALONE = Rank()
_current = ALONE


def current() -> Rank:
    """This process's rank in the training that is under way; `ALONE` outside of one."""
    return _current


@contextmanager
def taking_part(rank: Rank) -> Iterator[None]:
    """Share batches and sums with the other processes meanwhile."""
    global _current
    before, _current = _current, rank
    try:
        yield
    finally:
        _current = before


class _WholeBatchLayers(TorchFunctionMode):
    """Takes the place of two functions, whichever layer calls them: timm's batch norms are classes of their own."""

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self.rank = rank

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.batch_norm:
            return _batch_norm(self.rank, *args, **(kwargs or {}))
        if func is F.dropout:
            return _dropout(self.rank, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    rank: Rank,
    images: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm` over the images of all processes."""
    if not training:
        return F.batch_norm(images, running_mean, running_var, weight, bias, training, momentum, eps)
    if images.is_cuda:
        group = dist.group.WORLD
        return SyncBatchNorm.apply(images, weight, bias, running_mean, running_var, eps, momentum, group, rank.size)
    dims, shape = [0, *range(2, images.ndim)], (1, -1, *[1] * (images.ndim - 2))
    count = images.numel() // images.shape[1] * rank.size
    values = images.float() if images.dtype in (torch.bfloat16, torch.float16) else images
    mean = _Sum.apply(values.sum(dims)) / count
    centred = values - mean.view(shape)
    var = _Sum.apply((centred * centred).sum(dims)) / count
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * (count / max(1, count - 1)), momentum)
    normal = centred * (var + eps).rsqrt().view(shape)
    if weight is not None:
        normal = normal * weight.view(shape)
    if bias is not None:
        normal = normal + bias.view(shape)
    return normal.to(images.dtype)


def _dropout(rank: Rank, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`F.dropout` of this process's rows of the batch; all processes draw from the same seed."""
    if not training or p == 0:
        return values
    kept = F.dropout(values.new_ones((len(values) * rank.size, *values.shape[1:])), p)
    return values * kept[rank.share]


class _Sum(torch.autograd.Function):
    """The sum over all processes, of values and of their gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
