"""The champion's balance between the classes, kept."""

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn

from components.automated_retraining.operating_point import keep_operating_point, mean_probabilities, offsets_for
from driftloop.training import architectures
from driftloop.training.batches import OrderedBatches


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_offsets_lead_to_the_wanted_shares(classes: int) -> None:
    rng = np.random.default_rng(classes)
    logits = torch.from_numpy(rng.normal(0, 3, (500, classes)))
    wanted = torch.from_numpy(rng.dirichlet(np.full(classes, 5.0)))
    offsets = offsets_for(logits.softmax(1), wanted)
    assert (logits + offsets).softmax(1).mean(0).numpy() == pytest.approx(wanted.numpy(), abs=1e-5)
    assert float(offsets.mean()) == pytest.approx(0, abs=1e-12)


def test_two_classes_agree_with_a_root_search() -> None:
    logits = np.random.default_rng(0).normal(0, 2, 400)
    root = optimize.brentq(lambda t: (1 / (1 + np.exp(-(logits + t)))).mean() - 0.7, -10, 10)
    both = torch.stack([torch.zeros(400, dtype=torch.float64), torch.from_numpy(logits)], 1)
    offsets = offsets_for(both.softmax(1), torch.tensor([0.3, 0.7], dtype=torch.float64))
    assert float(offsets[1] - offsets[0]) == pytest.approx(root, abs=1e-4)


def test_shares_that_are_right_already_stay() -> None:
    probabilities = torch.full((10, 4), 0.25, dtype=torch.float64)
    assert offsets_for(probabilities, probabilities.mean(0)).abs().max() == 0


def test_a_class_that_the_model_never_gives_stays_finite() -> None:
    probabilities = torch.tensor([[1.0, 0.0]] * 10)
    assert torch.isfinite(offsets_for(probabilities, torch.tensor([0.5, 0.5], dtype=torch.float64))).all()


def test_a_network_is_shifted_to_another_ones_balance_and_nothing_else_of_it_changes() -> None:
    torch.manual_seed(0)
    network, other = (architectures.build_network(architectures.RESIDUAL, channels=1, classes=3).eval() for _ in range(2))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 1), dtype=np.uint8)
    images = OrderedBatches(pixels, np.zeros(40, int), mean=[0.5], std=[0.2], device=torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wanted = mean_probabilities(other, images)
    keep_operating_point(network, wanted, images)
    assert mean_probabilities(network, images).numpy() == pytest.approx(wanted.numpy(), abs=1e-4)
    changed = [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["head.1.bias"]


def test_at_twenty_to_one_a_better_network_is_not_shifted_toward_the_rare_class() -> None:
    """Both are calibrated, and the candidate sees more: held against equally many images of each class it would give the rare one less."""
    rng = np.random.default_rng(0)
    labels = (np.arange(4200) % 21 == 0).astype(int)
    apart = np.array([1.0, 3.0])
    seen = rng.normal(size=(4200, 2)) + apart * labels[:, None]
    images = [(torch.tensor(seen, dtype=torch.float32), torch.from_numpy(labels))]

    def network(which: int) -> nn.Linear:
        """Of two normal distributions so far apart: log odds, among equally many images of each class."""
        layer, distance = nn.Linear(2, 2), float(apart[which])
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[1, which] = distance
            layer.bias.copy_(torch.tensor([0.0, -(distance**2) / 2]))
        return layer

    def named_rare(layer: nn.Module) -> float:
        return float((layer(images[0][0]).argmax(1) == 1).double().mean())

    usual, moved = named_rare(network(1)), []
    for shares in ((), (20 / 21, 1 / 21)):
        candidate, wanted = network(1), mean_probabilities(network(0), images, shares)
        keep_operating_point(candidate, wanted, images, shares)
        assert mean_probabilities(candidate, images, shares).numpy() == pytest.approx(wanted.numpy(), abs=1e-4)
        moved.append(named_rare(candidate) - usual)
    assert moved[0] > 0.15
    assert abs(moved[1]) < 0.02
