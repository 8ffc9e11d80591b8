"""A training step's gradients as one CUDA graph.

A small network on small images is hundreds of kernels of a few microseconds: started one by one from Python, they leave a fast GPU idle
most of the time (measured in bench/README.md). Recorded once and replayed as a whole, they do not. Only the gradients are recorded: views
of the images, optimiser and schedule change from step to step and stay outside.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from driftloop.training.epoch import Batch, EpochResult, Loss, Tally

#: Steps that run as they are before one is recorded: the libraries choose their kernels and allocate in them.
WARM_UP_STEPS = 3


class GraphedGradients:
    """Forward, loss and backward of batches of one shape; recorded in the step after the first three, then replayed.

    A batch of another shape runs as it is. Random numbers (dropout) go on as they would without the graph.

    Args:
        model: on a GPU and in training mode whenever this is called; its weights must stay where they are in memory.
        loss: of logits (N, K) float32 and targets, a scalar.
        dtype: of autocast, or None for float32.
    """

    def __init__(self, model: nn.Module, loss: Loss, dtype: torch.dtype | None) -> None:
        self.model, self.loss, self.dtype = model, loss, dtype
        self.device = next(model.parameters()).device
        self.tally = Tally(self.device)
        self.steps = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.images: Tensor | None = None
        self.targets: Tensor | None = None

    def __call__(self, images: Tensor, targets: Tensor) -> None:
        """Leave the gradients of a batch in the parameters, and count its outcome in `tally`."""
        self.steps += 1
        if self.graph is None and self.steps > WARM_UP_STEPS:
            self._record(images, targets)
        if self.graph is None or self.images is None or self.targets is None or images.shape != self.images.shape:
            self._on_side_stream(images, targets)
            return
        self.images.copy_(images)
        self.targets.copy_(targets)
        self.graph.replay()
        self.tally.images += len(images)

    def _record(self, images: Tensor, targets: Tensor) -> None:
        self.images, self.targets = images.clone(), targets.clone()
        # Gradients that are absent while it is recorded get a place in the graph's memory, and are overwritten in each replay.
        self.model.zero_grad(set_to_none=True)
        graph, counted = torch.cuda.CUDAGraph(), self.tally.images
        # A thread that gathers the next batches may allocate meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._compute(self.images, self.targets)
        self.tally.images = counted  # nothing was computed yet
        self.graph = graph

    def _on_side_stream(self, images: Tensor, targets: Tensor) -> None:
        """Compute as it is, on another stream than the usual one, as recording wants it of the steps before."""
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            # Once a graph exists, its gradients are kept and filled.
            self.model.zero_grad(set_to_none=self.graph is None)
            self._compute(images, targets)
        torch.cuda.current_stream(self.device).wait_stream(side)
        for tensor in (images, targets):
            tensor.record_stream(side)

    def _compute(self, images: Tensor, targets: Tensor) -> None:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
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
    gradients.tally.reset()
    for images, targets in batches:
        gradients(images, targets)
        optimizer.step()
        if after_step:
            after_step()
    return gradients.tally.result()
