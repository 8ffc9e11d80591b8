import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from driftloop.training import architectures
from driftloop.training.augmentation import Augmentation
from driftloop.training.checkpoint import FileCheckpoint
from driftloop.training.classifier import Classifier
from driftloop.training.epoch import validate
from driftloop.training.loop import EpochRecord, TrainingHistory, fit, is_finished
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed
from tests.factories.datasets import squares_on_noise
from tests.factories.training_batches import CPU, ordered_batches, training_batches

ROOT = Path(__file__).parents[3]
ONE_CYCLE = Recipe(3, 3e-3, weight_decay=0.05, one_cycle=True, precision="bfloat16", label_smoothing=0.05, class_weights=(1.0, 1.0))
PLAIN = Recipe(3, 1e-3)
AVERAGED = Recipe(3, 3e-3, weight_decay=0.05, one_cycle=True, average=0.8)
RECIPES = {"plain": PLAIN, "one cycle": ONE_CYCLE, "averaged": AVERAGED}


def train(recipe: Recipe, seed: int = 1, **options: object) -> tuple[Classifier, TrainingHistory]:
    set_seed(seed)
    model = architectures.build_network(architectures.RESIDUAL, channels=1, classes=2)
    batches = training_batches(*squares_on_noise(64, seed=1), augmentation=Augmentation())
    return model, fit(model, batches, ordered_batches(*squares_on_noise(32, seed=2)), recipe, seed=seed, **options)


def same(model: Classifier, other: Classifier) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", RECIPES)
def test_one_seed_gives_the_same_weights_bit_for_bit(name: str) -> None:
    first, again = train(RECIPES[name])[0], train(RECIPES[name])[0]
    assert same(first, again)


def test_another_seed_gives_other_weights() -> None:
    assert not same(train(PLAIN, 1)[0], train(PLAIN, 2)[0])


def test_the_kept_weights_are_those_of_the_best_epoch_on_the_validation_split() -> None:
    model, history = train(Recipe(5, 3e-3))
    assert [record.epoch for record in history.epochs] == [1, 2, 3, 4, 5]
    assert history.best.val_accuracy == max(record.val_accuracy for record in history.epochs)
    again = validate(model, ordered_batches(*squares_on_noise(32, seed=2)))
    assert again.accuracy == history.best.val_accuracy
    assert again.loss == pytest.approx(history.best.val_loss)


def test_one_cycle_rises_and_falls() -> None:
    _, history = train(Recipe(6, 3e-3, one_cycle=True))
    rates = [record.learning_rate for record in history.epochs]
    top = rates.index(max(rates))
    assert 0 < top < 4
    assert rates[-1] < rates[0] * 2
    assert max(rates) <= 3e-3


def test_every_epoch_is_reported_once() -> None:
    seen: list[EpochRecord] = []
    _, history = train(PLAIN, on_epoch=seen.append)
    assert seen == history.epochs


class Killed(Exception):
    """Stands for the end of the process after an epoch."""


def stop_after(epoch: int):  # type: ignore[no-untyped-def]
    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise Killed

    return on_epoch


@pytest.mark.parametrize("name", RECIPES)
def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path, name: str) -> None:
    recipe = RECIPES[name]
    checkpoint = FileCheckpoint(tmp_path, {"recipe": recipe.described()})
    with pytest.raises(Killed):
        train(recipe, checkpoint=checkpoint, on_epoch=stop_after(2))
    seen: list[EpochRecord] = []
    resumed, history = train(recipe, checkpoint=checkpoint, on_epoch=seen.append)
    whole, reference = train(recipe)
    assert same(resumed, whole)
    assert [record.epoch for record in seen] == [1, 2, 3]
    assert history.best_epoch == reference.best_epoch
    assert [record.loss for record in history.epochs] == [record.loss for record in reference.epochs]


def test_a_killed_process_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    script = f"""
import os, signal, torch
torch.set_num_threads({torch.get_num_threads()})
from pathlib import Path
from driftloop.training.checkpoint import FileCheckpoint
from tests.unit.training.test_fit import PLAIN, train
def on_epoch(record):
    if record.epoch == 2: os.kill(os.getpid(), signal.SIGKILL)
train(PLAIN, checkpoint=FileCheckpoint({str(tmp_path)!r}, {{"job": 1}}), on_epoch=on_epoch)
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    resumed, history = train(PLAIN, checkpoint=FileCheckpoint(tmp_path, {"job": 1}))
    assert len(history.epochs) == 3
    assert same(resumed, train(PLAIN)[0])


def test_another_recipe_does_not_take_up_the_checkpoint(tmp_path: Path) -> None:
    train(PLAIN, checkpoint=FileCheckpoint(tmp_path, {"job": 1}))
    assert FileCheckpoint(tmp_path, {"job": 2}).load(CPU) is None
    assert FileCheckpoint(tmp_path, {"job": 1}).load(CPU) is not None


def test_a_broken_checkpoint_is_said_and_started_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = FileCheckpoint(tmp_path, {"job": 1})
    checkpoint.path.write_bytes(b"half a file")
    assert checkpoint.load(CPU) is None
    assert "training starts from the beginning" in capsys.readouterr().out
    checkpoint.clear()
    assert not any(tmp_path.iterdir())


def test_balance_decides_where_the_classes_are_weighted_and_plain_accuracy_else() -> None:
    images, labels = squares_on_noise(64, seed=1)
    rare = ordered_batches(*(part[np.r_[np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:3]]] for part in (images, labels)))
    for weights, name in (((1.0, 5.0), "val_balanced"), ((), "val_accuracy")):
        set_seed(1)
        model = architectures.build_network(architectures.RESIDUAL, channels=1, classes=2)
        recipe = Recipe(6, 3e-3, class_weights=weights)
        history = fit(model, training_batches(*squares_on_noise(64, seed=2)), rare, recipe, seed=1)
        assert getattr(history.best, name) == max(getattr(record, name) for record in history.epochs)


def test_a_training_that_has_nothing_left_to_learn_ends_and_a_cycle_is_otherwise_gone_through() -> None:
    def history(accuracies: list[float], *, one_cycle: bool) -> int:
        """Epochs of a training whose validation went like that."""
        recipe = Recipe(len(accuracies), 1e-3, one_cycle=one_cycle)
        records = [EpochRecord(n, 0, 0, 0, value, value, 0, 0, 0) for n, value in enumerate(accuracies, 1)]
        return next((n for n in range(len(records)) if is_finished(records[:n], recipe, patience=3)), len(records))

    assert history([0.9, 1, 1, 1, 1, 1], one_cycle=True) == 4
    assert history([0.9, 0.8, 0.8, 0.8, 0.8, 0.95], one_cycle=True) == 6
    assert history([0.9, 0.8, 0.8, 0.8, 0.8, 0.95], one_cycle=False) == 4
    assert history([1, 0.9, 1, 1, 0.9, 1], one_cycle=True) == 6


def test_long_gradients_are_shortened_before_each_step() -> None:
    set_seed(1)
    model = architectures.build_network(architectures.RESIDUAL, channels=1, classes=2)
    optimizer = Recipe(1, 1e-3, clip=0.5).optimizer(model)
    sum(parameter.sum() for parameter in model.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    norms = torch.stack([parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None])
    assert float(norms.norm()) == pytest.approx(0.5, rel=1e-3)
