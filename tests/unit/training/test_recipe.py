"""The loss of a recipe, and its form for a GPU."""

import pytest
import torch
import torch.nn.functional as F

from driftloop.training.recipe import Recipe, weighted_cross_entropy
from tests.factories.training_batches import CPU


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.3])
def test_the_weighted_loss_is_pytorch_s(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(50, 4, generator=generator, requires_grad=True), torch.randint(0, 4, (50,), generator=generator)
    weights = torch.tensor([0.5, 2.0, 1.0, 0.25])
    ours = weighted_cross_entropy(logits, targets, weights, smoothing)
    theirs = F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits))


@pytest.mark.parametrize("weights", [(), (0.5, 2.0, 1.0, 0.25)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_a_mixed_target_is_that_of_its_classes_by_their_shares(smoothing: float, weights: tuple[float, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, shares = torch.randn(6, 4, generator=generator), torch.rand(6, generator=generator)
    own, other = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([3, 1, 0, 2, 1, 2])
    targets = F.one_hot(own, 4) * shares[:, None] + F.one_hot(other, 4) * (1 - shares[:, None])
    by_class = []
    for classes in (own, other):
        terms = torch.zeros(6)
        for row, right in enumerate(classes.tolist()):
            for name in range(4):
                wanted = (1 - smoothing) * (name == right) + smoothing / 4
                terms[row] -= wanted * (weights[name] if weights else 1.0) * logits[row].log_softmax(0)[name]
        by_class.append(terms)
    # Over the number of images, whatever their weights: those of `class_weights` are 1 on average.
    expected = (shares * by_class[0] + (1 - shares) * by_class[1]).mean()
    loss = Recipe(1, 1e-3, label_smoothing=smoothing, class_weights=weights).loss(CPU)
    torch.testing.assert_close(loss(logits, targets), expected)
