import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.amp.grad_scaler import GradScaler

from driftloop.training import architectures
from driftloop.training.classifier import Classifier
from driftloop.training.epoch import predict, train_epoch, train_epoch_amp, validate
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed
from tests.factories.datasets import squares_on_noise
from tests.factories.training_batches import ordered_batches, training_batches


@pytest.fixture
def model() -> Classifier:
    set_seed(1)
    return architectures.build_network(architectures.RESIDUAL, channels=1, classes=2)


def test_validate_equals_a_plain_loop_over_single_images(model: Classifier) -> None:
    images, labels = squares_on_noise(30, seed=1)
    result = validate(model, ordered_batches(images, labels))
    losses, hits = [], 0
    model.eval()
    for image, label in zip(images, labels, strict=True):
        x = torch.from_numpy((image[..., 0] / 255 - 0.45) / 0.15).float()[None, None]
        with torch.no_grad():
            logits = model(x)[0]
        losses.append(-torch.log_softmax(logits, 0)[label].item())
        hits += int(logits.argmax() == label)
    assert result.loss == pytest.approx(sum(losses) / 30, rel=1e-4)
    assert result.accuracy == hits / 30
    assert result.images == 30


def test_validate_changes_nothing(model: Classifier) -> None:
    before = copy.deepcopy(model.state_dict())
    validate(model, ordered_batches(*squares_on_noise(30, seed=1)))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_train_epoch_equals_the_textbook_loop(model: Classifier) -> None:
    batches = list(training_batches(*squares_on_noise(48, seed=1)).epoch(1))
    twin = copy.deepcopy(model)
    torch.manual_seed(0)
    result = train_epoch(model, batches, torch.optim.SGD(model.parameters(), 0.01))
    torch.manual_seed(0)
    optimizer, losses = torch.optim.SGD(twin.parameters(), 0.01), []
    twin.train()
    for images, labels in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(twin(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert result.loss == pytest.approx(sum(losses) / 3, rel=1e-5)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, twin.state_dict()[name])


@pytest.mark.parametrize("amp", [False, True])
def test_both_loops_learn(model: Classifier, amp: bool) -> None:
    train = training_batches(*squares_on_noise(96, seed=1))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    loop = train_epoch_amp if amp else train_epoch
    losses = [loop(model, train.epoch(epoch), optimizer).loss for epoch in range(5)]
    assert losses[-1] < 0.5 * losses[0]
    assert validate(model, ordered_batches(*squares_on_noise(96, seed=1))).loss < losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_float16_with_a_scaler_skips_an_overflow_and_goes_on(model: Classifier) -> None:
    calls = []
    scaler = GradScaler("cpu", init_scale=2.0**40, growth_interval=1000)
    batches = list(training_batches(*squares_on_noise(48, seed=1)).epoch(1))
    before = copy.deepcopy(model.state_dict())
    train_epoch_amp(
        model,
        batches,
        torch.optim.SGD(model.parameters(), 0.01),
        dtype=torch.float16,
        scaler=scaler,
        after_step=lambda: calls.append(1),
    )
    assert len(calls) < len(batches), "a scale of 2^40 overflows float16, and such a step does not count"
    assert scaler.get_scale() < 2.0**40
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert before.keys() == model.state_dict().keys()


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("clip", [0.01, 1000.0])
def test_float16_s_gradients_are_clipped_by_their_own_norm_whatever_they_are_scaled_by(
    monkeypatch: pytest.MonkeyPatch, fused: bool, clip: float
) -> None:
    """On a GPU the recipe's optimiser is fused, and takes the scale off the gradients in its step."""
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda groups, **_: adam(groups, fused=fused))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    images, targets = torch.randn(16, 1, 8, 8), torch.arange(16) % 2
    gradients = torch.autograd.grad(F.cross_entropy(model(images), targets), list(model.parameters()))
    norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
    assert 0.01 < norm < 1000
    optimizer = Recipe(1, 1e-3, clip=clip).optimizer(model)
    train_epoch_amp(model, [(images, targets)], optimizer, dtype=torch.float16, scaler=GradScaler("cpu"))
    used = torch.cat([optimizer.state[parameter]["exp_avg"].flatten() for parameter in model.parameters()]).norm() / 0.1
    assert float(used) == pytest.approx(min(norm, clip), rel=0.01)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_a_clipped_step_whose_gradients_overflow_is_skipped(monkeypatch: pytest.MonkeyPatch, fused: bool) -> None:
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda groups, **_: adam(groups, fused=fused))
    model = torch.nn.Linear(4, 2)
    before = copy.deepcopy(model.state_dict())
    scaler = GradScaler("cpu", init_scale=2.0**40)
    batches = [(torch.randn(8, 4), torch.arange(8) % 2)]
    train_epoch_amp(model, batches, Recipe(1, 1e-3, clip=5.0).optimizer(model), dtype=torch.float16, scaler=scaler)
    assert scaler.get_scale() == 2.0**39
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_after_step_is_called_once_a_step(model: Classifier) -> None:
    calls: list[int] = []
    train = training_batches(*squares_on_noise(64, seed=1))
    train_epoch(model, train.epoch(1), torch.optim.SGD(model.parameters(), 0.01), after_step=lambda: calls.append(1))
    assert len(calls) == train.steps


def test_predictions_are_probabilities_in_order(model: Classifier) -> None:
    images, labels = squares_on_noise(30, seed=1)
    probabilities = predict(model, ordered_batches(images, labels))
    assert probabilities.shape == (30, 2)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(30))
    accuracy = (probabilities.argmax(1).numpy() == labels).mean()
    assert validate(model, ordered_batches(images, labels, batch_size=7)).accuracy == accuracy


def test_an_epoch_without_batches_is_refused(model: Classifier) -> None:
    with pytest.raises(ValueError, match="no images to learn from"):
        train_epoch(model, [], torch.optim.SGD(model.parameters(), 0.01))


@pytest.mark.parametrize("kept", [{0: 16, 1: 3}, {1: 9}])
def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_have_images(model: Classifier, kept: dict[int, int]) -> None:
    images, labels = squares_on_noise(40, seed=3)
    rows = np.concatenate([np.flatnonzero(labels == label)[:count] for label, count in kept.items()])
    batches = ordered_batches(images[rows], labels[rows])
    answered = predict(model, batches).argmax(1).numpy()
    recalls = [np.mean(answered[batches.labels == label] == label) for label in kept]
    assert validate(model, batches).balanced_accuracy == pytest.approx(np.mean(recalls))
