"""The loss of a recipe, and its form for a GPU."""

import pytest
import torch
import torch.nn.functional as F

from driftloop.training.recipe import weighted_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.3])
def test_the_weighted_loss_is_pytorch_s(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(50, 4, generator=generator, requires_grad=True), torch.randint(0, 4, (50,), generator=generator)
    weights = torch.tensor([0.5, 2.0, 1.0, 0.25])
    ours = weighted_cross_entropy(logits, targets, weights, smoothing)
    theirs = F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits))
