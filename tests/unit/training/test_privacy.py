"""Differential privacy: single gradients, noise, draws and the budget, against computations of their own."""

import copy
import importlib.util
import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from opacus.accountants import PRVAccountant
from scipy.integrate import quad
from torch import nn

from driftloop.errors import InputError
from driftloop.settings import TrainSettings
from driftloop.training.architectures import GROUP_NORM, build_network
from driftloop.training.choice import check_network
from driftloop.training.privacy import ORDERS, PrivacyBudget, PrivateTraining, delta_for, plan_privacy, poisson, privacy_sentences, spent

NOISELESS = PrivacyBudget(1.0, 1e-4, 1.0, 1e-9, 0.5, 0.1, 70, 1, 1.0, 1e-4)


def renyi_of_the_sampled_gaussian(order: float, noise: float, rate: float) -> float:
    """The Renyi divergence of a step (Mironov et al. 2019, section 3.3), by integration."""

    def integrand(z: float) -> float:
        ratio = np.logaddexp(math.log(1 - rate), math.log(rate) + (2 * z - 1) / (2 * noise**2))
        return math.exp(-(z**2) / (2 * noise**2) + order * ratio) / (noise * math.sqrt(2 * math.pi))

    return math.log(quad(integrand, -12 * noise, order + 12 * noise, points=[0, order], limit=500)[0]) / (order - 1)


@pytest.mark.parametrize(("noise", "rate", "steps", "delta"), [(1.1, 0.02, 1000, 1e-4), (2.5, 0.1, 300, 1e-3), (0.8, 0.01, 500, 1e-5)])
def test_the_budget_is_that_of_the_sampled_gaussian_integrated_and_above_that_of_another_accountant(
    noise: float, rate: float, steps: int, delta: float
) -> None:
    by_hand = min(
        steps * renyi_of_the_sampled_gaussian(order, noise, rate)
        + math.log1p(-1 / order)
        - (math.log(delta) + math.log(order)) / (order - 1)  # Balle et al. 2020, theorem 21
        for order in ORDERS
        if 1.5 < order <= 25
    )
    assert spent(noise, rate, steps, delta) == pytest.approx(by_hand, rel=1e-3)
    other = PRVAccountant()
    other.history = [(noise, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert 0.7 * by_hand < other.get_epsilon(delta) <= by_hand + 0.01


def test_a_plan_spends_what_it_says_and_nearly_what_was_asked_for() -> None:
    budget = plan_privacy(3.0, images=3900, sample_rate=64 / 3900, batch_size=64, steps=1800, clip=1.0)
    assert 2.9 < budget.epsilon <= 3.0
    assert budget.delta == 1e-4
    assert budget.epsilon == spent(budget.noise_multiplier, budget.sample_rate, budget.steps, budget.delta)
    again = plan_privacy(3.0, images=3900, sample_rate=64 / 3900, batch_size=64, steps=1800, clip=1.0, before=budget.described())
    assert again.total_epsilon == pytest.approx(2 * budget.epsilon)
    assert again.total_delta == pytest.approx(2e-4)
    assert f"epsilon {2 * budget.epsilon:.2f} at delta 0.0002, the sum" in privacy_sentences(again.described())[0]
    assert "at most 7 here" in privacy_sentences(budget.described(), largest_group=7)[1]


def test_delta_lies_below_one_over_the_images() -> None:
    assert [delta_for(images) for images in (9, 10, 999, 1000, 3900)] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-4]


@pytest.mark.parametrize("architecture", GROUP_NORM.values())
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_clipped_by_itself_and_an_empty_batch_moves_nothing(architecture: str, channels: int) -> None:
    torch.manual_seed(0)
    network = build_network(architecture, channels=channels, classes=2)
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    own = copy.deepcopy(network)
    images = torch.randn(70, channels, 32, 32).to(memory_format=torch.channels_last)  # more than are in memory together
    targets = torch.arange(70) % 2
    private = PrivateTraining(network, torch.optim.SGD(network.parameters(), lr=1.0), NOISELESS)
    result = private.train_epoch([(images, targets), (images[:0], targets[:0])], loss=F.cross_entropy, after_step=lambda: None)
    private.close()
    assert result.images == 70

    total = [torch.zeros_like(parameter) for parameter in own.parameters()]
    for row in range(70):
        gradients = torch.autograd.grad(F.cross_entropy(own.train()(images[row : row + 1]), targets[row : row + 1]), list(own.parameters()))
        norm = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
        for sum_, gradient in zip(total, gradients, strict=True):
            sum_ += gradient * min(1.0, NOISELESS.clip / norm)
    for before, sum_, after in zip(own.parameters(), total, network.parameters(), strict=True):
        torch.testing.assert_close(after.detach(), (before - sum_ / 70).detach(), atol=2e-6, rtol=1e-4)
        assert vars(after) == {}, "nothing is left of the single gradients"


def test_noise_has_the_planned_strength_and_no_seed_repeats_it() -> None:
    def weights_after_noise_alone() -> np.ndarray:
        torch.manual_seed(0)
        layer = nn.Linear(200, 100)
        before = layer.weight.detach().clone()
        budget = PrivacyBudget(1.0, 1e-4, 1.0, 2.0, 0.5, 0.1, 10, 1, 1.0, 1e-4)
        private = PrivateTraining(layer, torch.optim.SGD(layer.parameters(), lr=1.0), budget)
        images, targets = torch.zeros(1, 200), torch.zeros(1, dtype=torch.int64)
        private.train_epoch(
            [(images, targets), (images[:0], targets[:0])], loss=lambda logits, _: 0 * logits.sum(), after_step=lambda: None
        )
        return (layer.weight.detach() - before).numpy()

    first, second = weights_after_noise_alone(), weights_after_noise_alone()
    # Two steps of noise of 2.0 x 0.5 / 10 each; 20,000 values: 3 % is six standard errors.
    assert first.std() == pytest.approx(0.1 * math.sqrt(2), rel=0.03)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_every_image_is_drawn_by_a_coin_of_its_own() -> None:
    drawn = [poisson(500, 0.1) for _ in range(400)]
    sizes = np.array([len(rows) for rows in drawn])
    assert sizes.mean() == pytest.approx(50, abs=2)
    assert sizes.var() == pytest.approx(45, rel=0.5)
    assert all(len(np.unique(rows)) == len(rows) for rows in drawn)
    assert len(np.unique(np.concatenate(drawn))) == 500


@pytest.mark.parametrize(
    ("also", "named"),
    [
        ({"mixup": 0.2}, "mixup"),
        ({"cutmix": 1.0}, "cutmix"),
        ({"sweep_trials": 3}, "sweep_trials"),
        ({"architecture": "timm:resnet18", "weights": "none"}, "batch norm"),
        ({"trained_layers": "all"}, "trained_layers=all"),
        ({"architecture": "timm:tf_efficientnet_lite0", "trained_layers": "all"}, "trained_layers=all"),
        ({"precision": "bfloat16"}, "precision"),
    ],
)
def test_what_would_break_the_promise_is_refused_in_a_line(also: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=f"train_config.epsilon=3 .*{named}") as refused:
        check_network(TrainSettings.complete({"epsilon": 3.0} | also))
    assert "\n" not in str(refused.value)


def test_the_missing_package_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "opacus" else found(name, *rest))
    with pytest.raises(InputError, match=r"pip install 'driftloop\[privacy\]'"):
        check_network(TrainSettings.complete({"epsilon": 3.0}))


def test_a_budget_that_no_noise_keeps_is_refused() -> None:
    with pytest.raises(InputError, match="no noise is enough"):
        plan_privacy(1e-9, images=100, sample_rate=1.0, batch_size=100, steps=10_000_000, clip=1.0)
