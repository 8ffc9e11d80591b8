"""A training with differential privacy, from its start to an ONNX graph, over a SIGKILL, and to the retraining after it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from opacus.accountants import RDPAccountant

from components.automated_retraining.fine_tuning import Mix, build_recipe, describe_training, with_privacy
from components.model_optimization.step import run
from driftloop import bundle
from driftloop.dataset import read_description
from driftloop.settings import RetrainSettings
from driftloop.step_facts import read_facts
from driftloop.store import Store, open_store
from driftloop.training.batches import Pixels
from driftloop.training.onnx_export import ServingGraph, check_parity, export_onnx
from driftloop.training.privacy import ORDERS
from driftloop.training.weights import load_model
from tests.factories.metrics import MetricsFile, RocFile
from tests.factories.squares_baseline import write_squares_and_baseline
from tests.killing import killed_before

SIZES = {"batch_size": 16, "private_batch_size": 16, "min_steps": 2}
CONFIG = SIZES | {"architecture": "residual", "baseline_share": 0.1, "epsilon": 4.0, "weight_average": 0.9}
EPOCHS, STEPS = 3, 4


def optimise(store: Store, root: Path, name: str) -> None:
    places = (str(root / part) for part in ("dataset", "baseline", f"{name}/model", f"{name}/report.html"))
    run(*places, epochs=EPOCHS, gpus="0", seed=3, config=CONFIG, metrics=MetricsFile(), roc=RocFile())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("private")
    write_squares_and_baseline(root, CONFIG)  # 64 training images: 4 steps an epoch
    optimise(open_store(read_description(root / "dataset").store), root, "whole")
    return root


def test_the_bundle_the_card_and_the_page_tell_what_an_accountant_of_its_own_says(root: Path) -> None:
    said = read_facts(root / "whole/model")["model_optimization"]["privacy"]
    description = bundle.read_model(root / "whole/model")
    assert said.items() >= description.training["privacy"].items()
    assert said["steps"] == EPOCHS * STEPS
    assert said["sample_rate"] == 16 / 64
    assert said["delta"] == 0.01
    accountant = RDPAccountant()
    for _ in range(EPOCHS * STEPS):
        accountant.step(noise_multiplier=said["noise_multiplier"], sample_rate=16 / 64)
    assert said["epsilon"] == pytest.approx(accountant.get_epsilon(0.01, alphas=list(ORDERS)))
    assert 3.9 < said["epsilon"] <= 4.0
    for place in ("whole/model/MODEL_CARD.md", "whole/report.html"):
        text = (root / place).read_text()
        assert f"epsilon {said['epsilon']:.2f} at delta 0.01" in text
        assert "not one patient" in text


def test_nothing_was_taken_from_all_images_without_noise(root: Path) -> None:
    facts, description = read_facts(root / "whole/model")["model_optimization"], bundle.read_model(root / "whole/model")
    assert description.architecture == "residual_groupnorm"
    assert (description.mean, description.std) == ([0.5], [0.25])
    assert description.training["class_weights"] == []
    assert description.training["precision"] == "float32"
    assert (facts["ablation"], facts["sweep"]) == ([], [])
    assert facts["epochs"] == EPOCHS


def test_it_becomes_an_onnx_graph(root: Path, tmp_path: Path) -> None:
    network, model = load_model(root / "whole/model"), bundle.read_model(root / "whole/model")
    graph = ServingGraph(network, mean=model.mean, std=model.std, temperature=1.0)
    export_onnx(graph, tmp_path / "model.onnx", image_size=model.image_size, channels=model.channels)
    images = np.random.default_rng(0).integers(0, 256, (5, model.image_size, model.image_size, model.channels), dtype=np.uint8)
    assert check_parity(graph, tmp_path / "model.onnx", images) < 1e-3


def test_a_killed_training_goes_on_and_takes_no_more_steps_than_it_says(root: Path, noises: list[float]) -> None:
    store = open_store(read_description(root / "dataset").store)
    assert killed_before(2, optimise, store.uri, root, "killed")  # just before the third epoch is kept, all steps of which were done
    optimise(store, root, "killed")
    said = read_facts(root / "killed/model")["model_optimization"]["privacy"]
    assert noises == [said["noise_multiplier"]] * STEPS, (
        "two epochs were kept; the third, of which nothing was left, is taken with new noise"
    )
    assert said["steps"] == 2 * STEPS + len(noises)


def test_a_retraining_spends_the_same_epsilon_again_and_the_sum_is_told(root: Path) -> None:
    champion = bundle.read_model(root / "whole/model")
    images, labels = np.zeros((60, 32, 32, 1), np.uint8), np.arange(60) % 2
    old = Pixels(images, labels, champion.mean, champion.std, torch.device("cpu"))
    drifted = Pixels(images[:12], labels[:12], champion.mean, champion.std, torch.device("cpu"))
    mix = Mix(old, drifted, batch_size=10, share=0.1, min_steps=1, private=True)
    settings = RetrainSettings(epochs=2)
    recipe = with_privacy(build_recipe(settings, champion, torch.device("cpu")), champion, mix)
    assert recipe.privacy
    assert recipe.privacy.sample_rate == max(9 / 60, 1 / 12)
    before = champion.training["privacy"]["epsilon"]
    assert recipe.privacy.total_epsilon == pytest.approx(before + recipe.privacy.epsilon)
    assert recipe.privacy.total_delta == pytest.approx(0.02)
    assert describe_training(settings, recipe, None, champion)["privacy"] == recipe.privacy.described()
    batches = list(mix.epoch(1))
    assert len(batches) == mix.steps
    drawn = [len(targets) for seed in range(60) for _, targets in mix.epoch(seed)]
    assert np.mean(drawn) == pytest.approx(10, abs=4 * math.sqrt(10 / len(drawn)))
    assert len(set(drawn)) > 1
