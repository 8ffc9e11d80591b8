"""Two processes that share a training: their life, and what happens when one of them is gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from driftloop.errors import InputError
from driftloop.training import architectures, followers
from driftloop.training.batches import MappedFile
from driftloop.training.checkpoint import FileCheckpoint
from driftloop.training.loop import EpochRecord, TrainingHistory, fit
from driftloop.training.privacy import PrivacyBudget
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed
from tests.factories.datasets import squares_on_noise
from tests.factories.training_batches import ordered_batches, training_batches
from tests.processes import runs

ROOT = Path(__file__).parents[3]
RECIPE = Recipe(2, 1e-3, class_weights=(0.7, 1.6))
#: In a process of its own: it tells its follower's process, is ready after its first epoch, and would go on for long.
LONG = """
from driftloop.training import followers
from tests.unit.training.test_followers import RECIPE, replace, train
followers.start(2, "cpu")
print(followers.started()._processes[0].pid, flush=True)
train(replace(RECIPE, epochs=100_000), on_epoch=lambda record: print("epoch", record.epoch, flush=True))
"""


@pytest.fixture(scope="module")
def two() -> Iterator[None]:
    """Two processes share every training of the tests that ask for it."""
    followers.start(2, "cpu")
    yield
    followers.stop()


def train(recipe: Recipe, **options: object) -> tuple[torch.nn.Module, TrainingHistory]:
    set_seed(1)
    model = architectures.build_network(architectures.RESIDUAL, channels=1, classes=2)
    return model, fit(
        model, training_batches(*squares_on_noise(96, seed=1)), ordered_batches(*squares_on_noise(70, seed=2)), recipe, seed=1, **options
    )


def test_the_losses_are_those_of_one_process(two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _, shared = train(RECIPE)
    monkeypatch.setattr(followers, "_followers", None)
    _, single = train(RECIPE)
    assert [record.loss for record in shared.epochs] == pytest.approx([record.loss for record in single.epochs], abs=1e-5)


def test_a_training_that_is_resumed_by_two_ends_as_one_that_was_not_stopped(two: None, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(record: EpochRecord) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train(RECIPE, checkpoint=FileCheckpoint(tmp_path, {}), on_epoch=stop)
    # The followers were left between two epochs, and take the next training.
    resumed, _ = train(RECIPE, checkpoint=FileCheckpoint(tmp_path, {}))
    whole, _ = train(RECIPE)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor)


def test_what_cannot_be_shared_evenly_is_refused(two: None) -> None:
    with pytest.raises(InputError, match=r"batch_size=15 cannot be shared by gpus=2: choose a multiple of 2"):
        fit(
            architectures.build_network(architectures.RESIDUAL, channels=1, classes=2),
            training_batches(*squares_on_noise(32, seed=1), batch_size=15),
            ordered_batches(*squares_on_noise(8, seed=2)),
            RECIPE,
            seed=1,
        )
    budget = PrivacyBudget(1.0, 1e-5, 1.0, 1.0, 1.0, 0.1, 16, 6, 1.0, 1e-5)
    with pytest.raises(InputError, match="epsilon does not go with gpus=2"):
        train(replace(RECIPE, privacy=budget))


def start_long() -> tuple["subprocess.Popen[str]", int]:
    """A shared training in its first epochs, and the process of its follower."""
    process = subprocess.Popen([sys.executable, "-c", LONG], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    follower = int(process.stdout.readline())
    assert process.stdout.readline() == "epoch 1\n"
    return process, follower


def test_a_step_whose_follower_was_killed_ends_and_says_so() -> None:
    process, follower = start_long()
    os.kill(follower, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the process of rank 1 was killed by signal 9, as when memory runs out" in errors


def test_a_follower_does_not_outlive_its_step() -> None:
    process, follower = start_long()
    process.kill()
    process.communicate(timeout=60)
    until = time.monotonic() + 60
    while runs(follower):
        assert time.monotonic() < until, "the follower still runs"
        time.sleep(0.05)


def test_a_part_of_a_mapped_file_is_mapped_again(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="c").view(np.ndarray)
    for part in (mapped, mapped[1:], mapped[1, 2:]):
        found = MappedFile.of(part)
        assert isinstance(found, MappedFile)
        np.testing.assert_array_equal(found.opened(), part)
    for other in (mapped[:, 1], np.zeros((2, 2), np.uint8)):
        assert MappedFile.of(other) is other
