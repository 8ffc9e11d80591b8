"""Work of a training step on a GPU, recorded once and replayed as a whole: a CUDA graph.

A small network on small images is hundreds of kernels of a few microseconds: started one by one from Python, they leave a fast GPU idle
most of the time (measured in bench/README.md). The views of the images and the gradients are recorded; optimiser and schedule, which
change from step to step, stay outside.
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from driftloop.training.classifier import Loss
from driftloop.training.epoch import Batch, EpochResult, Tally

#: Calls that run as they are before one is recorded: the libraries choose their kernels and allocate in them.
WARM_UP_CALLS = 3
#: What a function returns.
_Answer = TypeVar("_Answer", Tensor, None)


class Replayed(Generic[_Answer]):
    """A function of tensors on one GPU: recorded in the call after the first three, then replayed with the inputs copied in.

    Inputs of other shapes start anew. The function must not wait for the GPU, nor depend on anything but its inputs and on memory that
    stays where it is; random numbers (dropout) go on as they would. What it returns, a tensor or None, is a copy.
    """

    def __init__(self, function: Callable[..., _Answer]) -> None:
        self.function: Callable[..., _Answer] = function
        self.calls = 0
        self.shapes: list[torch.Size] = []
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.answer: _Answer

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, which records its own."""
        return Replayed, (self.function,)

    def __call__(self, *inputs: Tensor) -> _Answer:
        shapes = [tensor.shape for tensor in inputs]
        if shapes != self.shapes:
            self.shapes, self.calls, self.graph = shapes, 0, None
        self.calls += 1
        if self.calls <= WARM_UP_CALLS:
            return self._on_side_stream(inputs)
        if self.graph is None:
            self._record(inputs)
        assert self.graph is not None
        for place, tensor in zip(self.inputs, inputs, strict=True):
            place.copy_(tensor)
        self.graph.replay()
        return None if self.answer is None else self.answer.clone()

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = [tensor.clone() for tensor in inputs]
        self.graph = torch.cuda.CUDAGraph()
        # A thread that gathers the next batches may allocate meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.answer = self.function(*self.inputs)

    def _on_side_stream(self, inputs: tuple[Tensor, ...]) -> _Answer:
        """Compute on another stream than the usual one, as recording wants it of the calls before."""
        usual, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(usual)
        with torch.cuda.stream(side):
            answer = self.function(*inputs)
        usual.wait_stream(side)
        for tensor in inputs:
            tensor.record_stream(side)
        if answer is not None:
            answer.record_stream(usual)
        return answer


class GraphedGradients:
    """Forward, loss and backward of a batch, replayed.

    Args:
        model: on a GPU and in training mode whenever this is called; its weights must stay where they are in memory.
        loss: of logits (N, K) float32 and targets, a scalar; it must not wait for the GPU.
        dtype: of autocast, or None for float32.
    """

    def __init__(self, model: nn.Module, loss: Loss, dtype: torch.dtype | None) -> None:
        self.model, self.loss, self.dtype = model, loss, dtype
        self.tally = Tally(next(model.parameters()).device)
        self.images = 0
        self._replayed = Replayed(self._compute)

    def __call__(self, images: Tensor, targets: Tensor) -> None:
        """Leave the gradients of a batch in the parameters, and count its outcome."""
        self._replayed(images, targets)
        self.images += len(images)

    def start(self) -> None:
        """Nothing is counted yet."""
        self.tally.reset()
        self.images = 0

    def result(self) -> EpochResult:
        """What was counted since the start."""
        self.tally.images = self.images
        return self.tally.result()

    def _compute(self, images: Tensor, targets: Tensor) -> None:
        # Absent while a graph is recorded, they get a place in its memory and are overwritten in each replay.
        self.model.zero_grad(set_to_none=True)
        with torch.autocast("cuda", self.dtype, enabled=self.dtype is not None):
            logits = self.model(images)
        logits = logits.float()
        value = self.loss(logits, targets)
        value.backward()
        self.tally.add(value, logits, targets)


def train_epoch_graphed(
    gradients: GraphedGradients,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    *,
    after_step: Callable[[], None] | None = None,
) -> EpochResult:
    """One pass like those of `driftloop.training.epoch`, with the same `gradients` in every epoch.

    Args:
        gradients: of the model that is trained.
        batches: each is used for one step.
        optimizer: over the model's parameters; it must not take their gradients away.
        after_step: called after each step (learning-rate schedule, moving average).
    """
    gradients.model.train()
    gradients.start()
    for images, targets in batches:
        gradients(images, targets)
        optimizer.step()
        if after_step:
            after_step()
    return gradients.result()
