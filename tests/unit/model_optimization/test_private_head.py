"""The head of a pretrained network trained with differential privacy: what it learns, what it spends, what one image can do, and after."""

import contextlib
import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from opacus.accountants import RDPAccountant
from sklearn.linear_model import LogisticRegression
from torch import nn

from components.baseline_training.step import run as train_baseline
from components.data_analysis.step import run as analyse
from components.model_optimization.step import run
from driftloop import bundle
from driftloop.sources.resolving import resolve
from driftloop.step_facts import read_facts
from driftloop.training.architectures import build_network
from driftloop.training.loop import EpochRecord
from driftloop.training.pretrained import Pretrained, load_pretrained
from driftloop.training.privacy import HEAD_SENTENCE, ORDERS, PrivacyBudget, PrivateTraining, plan_privacy
from driftloop.training.private_head import Scale, train_head
from driftloop.training.recipe import Recipe
from driftloop.training.weights import load_model, save_weights
from tests.factories.datasets import write_squares_dataset
from tests.factories.metrics import MetricsFile, RocFile
from tests.factories.records import model_description
from tests.factories.retraining import write_retraining_inputs
from tests.unit.automated_retraining.test_step import retrain

CPU = torch.device("cpu")
SMALL = "timm:test_efficientnet"
NOISY = PrivacyBudget(1.0, 1e-3, 1.0, 1.5, 1.0, 0.2, 20, 20, 1.0, 1e-3, head_only=True)


def trained(root: Path, *, epochs: int, **config: object) -> dict:
    places = [str(root / part) for part in ("baseline", "card.md", "curves.html")]
    steps = {"gpus": "0", "seed": 3, "metrics": MetricsFile(), "roc": RocFile()}
    whole = {"baseline_share": 0.01, "epsilon": 8.0} | config
    train_baseline(str(root / "dataset"), *places, epochs=epochs, config=whole, **steps)
    outputs = (str(root / "model"), str(root / "report.html"))
    run(str(root / "dataset"), str(root / "baseline"), *outputs, epochs=epochs, config=whole, **steps)
    return read_facts(root / "model")["model_optimization"]


def test_some_hundred_x_rays_are_enough_for_a_private_head_that_auto_takes_and_pages_say_what_learnt(tmp_path: Path) -> None:
    source = "synthetic:xray?scale=0.3"
    places = [str(tmp_path / "dataset"), str(tmp_path / "analysis.html")]
    analyse(source, resolve(source), *places, image_size=64, seed=1, store=str(tmp_path / "store"), replayed=False)
    facts = trained(tmp_path, epochs=10, sweep_trials=0)
    assert facts["accuracy"]["low"] > 0.6
    assert facts["privacy"]["epsilon"] <= 8
    description = bundle.read_model(tmp_path / "model")
    assert description.architecture == "timm:tf_efficientnet_lite0"
    assert (description.mean, description.std) == ([0.5], [0.25])
    network, public = load_model(tmp_path / "model"), build_network(description.architecture, channels=1, classes=2)
    load_pretrained(public, Pretrained("package"))  # type: ignore[arg-type]
    own = network.backbone.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(tensor, own[name]) for name, tensor in public.backbone.state_dict().items())  # type: ignore[union-attr]
    for page in ("model/MODEL_CARD.md", "report.html"):
        assert HEAD_SENTENCE in (tmp_path / page).read_text()
    assert "Only the head learns, a linear layer" in (tmp_path / "report.html").read_text()


def test_it_spends_what_an_accountant_of_its_own_says_of_the_steps_that_were_taken(tmp_path: Path, noises: list[float]) -> None:
    write_squares_dataset(tmp_path)  # 64 training images
    torch.save(build_network(SMALL, channels=1, classes=2).backbone.state_dict(), tmp_path / "weights.pth")
    asked = {"architecture": SMALL, "weights": str(tmp_path / "weights.pth"), "private_batch_size": 16, "min_steps": 2}
    said = trained(tmp_path, epochs=3, epsilon=4.0, **asked)["privacy"]
    assert (len(noises), said["steps"], said["sample_rate"], said["delta"]) == (12, 12, 16 / 64, 0.01)
    accountant = RDPAccountant()
    for noise in noises:
        accountant.step(noise_multiplier=noise, sample_rate=16 / 64)
    assert said["epsilon"] == pytest.approx(accountant.get_epsilon(0.01, alphas=list(ORDERS)))
    assert said["epsilon"] <= 4
    assert said["head_only"]
    assert bundle.read_model(tmp_path / "model").training["layer_decay"] == 0


def two_clouds(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, 32) of two classes that overlap, far from 0 as those of a network are."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 2
    return 20 + 5 * (rng.normal(size=(count, 32)) + 0.4 * labels[:, None] * np.linspace(-1, 1, 32)), labels


def test_without_noise_the_head_is_that_of_a_logistic_regression() -> None:
    learnt, held_out = two_clouds(600, 1), two_clouds(400, 2)
    torch.manual_seed(0)
    network = build_network("residual", channels=1, classes=2)
    network.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(32, 2))
    nn.init.zeros_(network.head[-1].weight)
    # Every image in every step: nothing is left to chance.
    noiseless = PrivacyBudget(1e9, 1e-4, 1e9, 1e-9, 1e3, 1.0, 600, 400, 1e9, 1e-4, head_only=True)
    # The epoch is chosen by the images that it learns from, too: the regression stops for no others.
    train_head(network, learnt, learnt, Recipe(20, 0.1, one_cycle=True, privacy=noiseless), seed=1)
    with torch.inference_mode():
        private = network.eval().head(torch.tensor(held_out[0], dtype=torch.float32)).softmax(1).numpy()
    scale = Scale.of(learnt[0], CPU)
    exact = LogisticRegression(C=1e4, max_iter=5000).fit(scale.applied(learnt).vectors.numpy(), learnt[1])
    expected = exact.predict_proba(scale.applied(held_out).vectors.numpy())
    assert np.abs(private - expected).mean() < 0.005
    assert (private.argmax(1) == expected.argmax(1)).mean() > 0.99


class Kept:
    """A checkpoint in memory."""

    def __init__(self) -> None:
        self.state: dict | None = None

    def save(self, state: dict) -> None:
        self.state = copy.deepcopy(state)

    def load(self, _: torch.device) -> dict | None:
        return self.state


def test_a_head_whose_training_was_cut_off_goes_on_and_takes_no_step_twice(noises: list[float]) -> None:
    def cut_off(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise KeyboardInterrupt

    kept, whole, told = Kept(), Recipe(5, 0.1, one_cycle=True, average=0.9, privacy=NOISY), []
    for on_epoch in (cut_off, told.append):
        network = build_network("residual", channels=1, classes=2)
        network.head = nn.Sequential(nn.Linear(32, 2))
        with contextlib.suppress(KeyboardInterrupt):
            train_head(network, two_clouds(100, 1), two_clouds(60, 2), whole, seed=1, checkpoint=kept, on_epoch=on_epoch)
    assert [record.epoch for record in told] == [1, 2, 3, 4, 5]
    assert noises == [NOISY.noise_multiplier] * NOISY.steps


def test_the_head_that_is_served_says_of_embeddings_what_the_trained_layer_said_of_scaled_ones() -> None:
    embeddings, labels = two_clouds(50, 3)
    torch.manual_seed(0)
    network = build_network("residual", channels=1, classes=2).eval()
    network.head = nn.Sequential(nn.Linear(32, 2))
    scale = Scale.of(embeddings, CPU)
    whole, scaled = torch.tensor(embeddings, dtype=torch.float32), scale.applied((embeddings, labels)).vectors
    assert float(scaled.square().sum(1).mean()) == pytest.approx(1)
    layer = scale.scaled_head(network)
    torch.testing.assert_close(layer(scaled), network.head(whole), atol=1e-4, rtol=1e-4)
    nn.init.normal_(layer.weight)
    scale.fold(layer, network)
    torch.testing.assert_close(layer(scaled), network.head(whole), atol=1e-4, rtol=1e-4)


def test_one_image_more_moves_a_step_by_no_more_than_its_clipped_gradient_however_large_it_is() -> None:
    embeddings, labels = two_clouds(40, 4)
    embeddings[-1] *= 1e4
    vectors = Scale.of(two_clouds(40, 5)[0], CPU).applied((embeddings, labels))
    budget = PrivacyBudget(1.0, 1e-4, 1.0, 1e-9, 0.5, 1.0, 40, 1, 1.0, 1e-4)
    torch.manual_seed(0)
    with_it, without = (nn.Linear(32, 2) for _ in range(2))
    without.load_state_dict(copy.deepcopy(with_it.state_dict()))
    vectors.targets[-1] = 1 - with_it(vectors.vectors[-1]).argmax()  # on the wrong side, or its gradient would be 0
    for layer, count in ((with_it, 40), (without, 39)):
        private = PrivateTraining(layer, torch.optim.SGD(layer.parameters(), lr=1.0), budget)
        private.train_epoch([vectors.take(np.arange(count))], loss=F.cross_entropy, after_step=lambda: None)
        private.close()
    moved = torch.cat([(a - b).flatten() for a, b in zip(with_it.parameters(), without.parameters(), strict=True)]).detach().norm()
    assert 0.9 * budget.clip / 40 < float(moved) <= 1.0001 * budget.clip / 40


def test_a_retraining_trains_the_head_alone_with_noise_and_tells_the_sum(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    torch.manual_seed(0)
    folder = tmp_path / "private-head"
    folder.mkdir()
    save_weights(build_network(SMALL, channels=1, classes=2), folder)
    before = plan_privacy(8.0, images=60, sample_rate=0.5, batch_size=30, steps=20, clip=1.0, head_only=True)
    training = {"layer_decay": 0.0, "keep_statistics": True, "learning_rate": 0.1, "privacy": before.described()}
    bundle.write_model(
        folder,
        model_description(architecture=SMALL, mean=[0.5], std=[0.25], dataset=inputs.parent.manifest_hash, training=training),
    )
    bundle.seal(folder)
    retrain(replace(inputs, champion=folder), tmp_path / "out")
    facts, after = read_facts(tmp_path / "out/model")["automated_retraining"], bundle.read_model(tmp_path / "out/model")
    said = after.training["privacy"]
    assert said["total_epsilon"] == pytest.approx(before.epsilon + said["epsilon"])
    assert said["head_only"]
    assert facts["privacy"] == said
    assert (facts["head_only"], facts["epochs"], facts["batch_norm"]) == (True, 2, "running statistics stay")
    assert (after.training["layer_decay"], after.training["learning_rate"]) == (0.0, 0.05)
    old, new = (load_model(place).state_dict() for place in (folder, tmp_path / "out/model"))
    assert {name for name in old if not torch.equal(old[name], new[name])} == {"head.1.weight", "head.1.bias"}
    card = (tmp_path / "out/model" / bundle.CARD).read_text()
    assert HEAD_SENTENCE in card
    assert f"epsilon {said['total_epsilon']:.2f}" in card
    assert "logistic regression" not in (tmp_path / "out/model/chapters.json").read_text()
