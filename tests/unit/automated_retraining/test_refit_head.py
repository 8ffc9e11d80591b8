"""The head of a pretrained network fitted again: what it wins on another kind of images, what it keeps, and that nothing else moves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from components.automated_retraining.fine_tuning import FineTuningData, FineTuningEpoch, refit_head
from driftloop import bundle
from driftloop.contracts import DRIFTED_TRAIN, DRIFTED_VAL, TRAIN, VAL
from driftloop.dataset import Description, write_dataset
from driftloop.settings import RetrainSettings
from driftloop.step_facts import read_facts
from driftloop.store import open_store
from driftloop.training.architectures import build_network
from driftloop.training.classifier import Classifier
from driftloop.training.pretrained import fit_head
from driftloop.training.weights import load_model, save_weights
from tests.factories.datasets import sample_table
from tests.factories.records import CLASSES, model_description
from tests.factories.retraining import bright_squares, write_retraining_inputs
from tests.unit.automated_retraining.test_step import retrain

CPU = torch.device("cpu")


def negative_squares(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another kind of images, in which what was bright is dark."""
    return 255 - bright_squares(labels, rng)


def two_kinds(folder: Path) -> Description:
    rng = np.random.default_rng(0)
    parts = {}
    for split, count, draw in (
        (TRAIN, 160, bright_squares),
        (VAL, 60, bright_squares),
        (DRIFTED_TRAIN, 60, negative_squares),
        (DRIFTED_VAL, 40, negative_squares),
    ):
        labels = np.arange(count) % 2
        parts[split] = (draw(labels, rng), labels, sample_table(split, count))
    return write_dataset(open_store(str(folder)), parts, classes=CLASSES, source="two kinds")


def champion(data: FineTuningData) -> Classifier:
    """A network with random layers, whose head knows the first kind."""
    torch.manual_seed(0)
    network = build_network("residual", channels=1, classes=2).eval()
    fit_head(network, data.ordered(TRAIN), data.ordered(VAL), balanced=True)
    return network


def test_a_head_learns_the_other_kind_forgets_nothing_and_moves_no_other_layer(tmp_path: Path) -> None:
    dataset = two_kinds(tmp_path)
    data = FineTuningData(dataset, dataset.mean, dataset.std, CPU)
    network = champion(data)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    told: list[FineTuningEpoch] = []
    result = refit_head(network, data, RetrainSettings(), on_epoch=told.append)
    assert result.before.clean_accuracy == 1 > 0.6 > result.before.drifted_accuracy
    assert result.after.clean_accuracy == result.after.drifted_accuracy == 1
    assert [epoch.epoch for epoch in told] == [result.best_epoch] == [1]
    after = network.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.1.weight", "head.1.bias"}


def test_the_champion_s_balance_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    dataset = two_kinds(tmp_path)
    data = FineTuningData(dataset, dataset.mean, dataset.std, CPU)
    assert len(refit_head(champion(data), data, RetrainSettings(), on_epoch=lambda _: None).offsets) == 2
    assert refit_head(champion(data), data, RetrainSettings(keep_balance=False), on_epoch=lambda _: None).offsets == []


def test_a_retraining_refits_where_only_the_head_was_trained_and_says_so(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    data = FineTuningData(inputs.parent, inputs.parent.mean, inputs.parent.std, CPU)
    folder = tmp_path / "head-only"
    folder.mkdir()
    save_weights(champion(data), folder)
    about = model_description(
        mean=inputs.parent.mean, std=inputs.parent.std, dataset=inputs.parent.manifest_hash, training={"layer_decay": 0.0}
    )
    bundle.write_model(folder, about)
    bundle.seal(folder)
    retrain(replace(inputs, champion=folder), tmp_path / "out")
    facts = read_facts(tmp_path / "out" / "model")["automated_retraining"]
    assert facts["head_only"]
    assert facts["epochs"] == 1
    assert not facts["stopped_early"]
    assert facts["val_after"]["drifted"] == 1
    old, new = (load_model(place).state_dict() for place in (folder, tmp_path / "out" / "model"))
    assert {name for name in old if not torch.equal(old[name], new[name])} == {"head.1.weight", "head.1.bias"}
    assert bundle.read_model(tmp_path / "out" / "model").training["layer_decay"] == 0
    page = (tmp_path / "out" / "model" / "chapters.json").read_text()
    assert "fitted the head alone" in page
