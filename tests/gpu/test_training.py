"""Training on a GPU: the same as on the CPU within rounding, the same again for the same seed, and without waiting for the GPU."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from driftloop.errors import InputError
from driftloop.training import batches as training_batches
from driftloop.training import followers
from driftloop.training.architectures import PlainCNN, ResidualNet
from driftloop.training.augmentation import Augmentation
from driftloop.training.batches import OrderedBatches, TrainingBatches
from driftloop.training.checkpoint import FileCheckpoint
from driftloop.training.classifier import Classifier
from driftloop.training.cuda_graph import WARM_UP_CALLS, GraphedGradients, Replayed, train_epoch_graphed
from driftloop.training.device import mixed_precision, pick_device
from driftloop.training.epoch import train_epoch, train_epoch_amp
from driftloop.training.loop import EpochRecord, TrainingHistory, fit
from driftloop.training.recipe import Recipe
from driftloop.training.seeding import set_seed
from tests.factories.datasets import squares_on_noise

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
PLAIN = Recipe(3, 1e-3)
AMP = Recipe(3, 3e-3, weight_decay=0.05, one_cycle=True, precision="bfloat16", label_smoothing=0.05, class_weights=(1.0, 1.0))
RECIPES = {"plain": PLAIN, "bfloat16": AMP, "averaged": Recipe(3, 3e-3, weight_decay=0.05, one_cycle=True, average=0.8)}


def batches(device: torch.device, n: int = 160, **options: object) -> TrainingBatches:
    chosen = {"mean": [0.45], "std": [0.15], "device": device, "batch_size": 16, "augmentation": Augmentation()} | options
    return TrainingBatches(*squares_on_noise(n, seed=1), **chosen)  # type: ignore[arg-type]


def trained(recipe: Recipe, device: torch.device, seed: int = 1, **options: object) -> tuple[Classifier, TrainingHistory]:
    set_seed(seed)
    model = ResidualNet(1, 2).to(device, memory_format=torch.channels_last)
    val = OrderedBatches(*squares_on_noise(64, seed=2), mean=[0.45], std=[0.15], device=device)
    return model, fit(model, batches(device), val, recipe, seed=seed, **options)  # type: ignore[arg-type]


def same(model: Classifier, other: Classifier) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_views_are_those_of_the_cpu(gpu: torch.device) -> None:
    for (images, labels), (expected, right) in zip(batches(gpu).epoch(5), batches(CPU).epoch(5), strict=True):
        torch.testing.assert_close(images.cpu(), expected, atol=2e-3, rtol=1e-3)
        assert torch.equal(labels.cpu(), right)


def test_images_that_do_not_fit_give_the_same_batches(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = [images.clone() for images, _ in batches(gpu).epoch(5)]
    monkeypatch.setattr(training_batches, "RESIDENT_SHARE", 0.0)
    streamed = batches(gpu)
    assert streamed.pixels.resident is None
    assert all(torch.equal(images, expected) for (images, _), expected in zip(streamed.epoch(5), resident, strict=True))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs here")
def test_two_gpus_learn_what_one_does(gpu: torch.device) -> None:
    _, single = trained(PLAIN, gpu)
    followers.start(2, "cuda")
    try:
        _, shared = trained(PLAIN, gpu)
    finally:
        followers.stop()
    losses = [[record.loss for record in history.epochs] for history in (single, shared)]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_a_few_steps_lead_where_they_lead_on_the_cpu(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """SGD, which follows the gradients as they are: Adam's first steps turn rounding errors of tiny gradients into whole steps."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    ends = []
    for device in (gpu, CPU):
        set_seed(3)
        model = ResidualNet(1, 2, dropout=0.0).to(device)
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        if device == gpu:
            result = train_epoch_graphed(GraphedGradients(model, F.cross_entropy, None), batches(device).epoch(1), optimizer)
        else:
            result = train_epoch(model, batches(device).epoch(1), optimizer)
        ends.append((model.cpu().state_dict(), result))
    (on_gpu, result), (on_cpu, expected) = ends
    assert result.loss == pytest.approx(expected.loss, rel=1e-3)
    assert result.images == expected.images == 160
    for name, tensor in on_cpu.items():
        torch.testing.assert_close(on_gpu[name], tensor, atol=2e-3, rtol=2e-3, msg=name)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_recorded_step_is_the_step_itself(gpu: torch.device, dtype: torch.dtype | None) -> None:
    """Dropout included: the random numbers go on as they would."""
    ends = []
    for graphed in (True, False):
        set_seed(3)
        model = PlainCNN(1, 2).to(gpu, memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
        if graphed:
            gradients = GraphedGradients(model, F.cross_entropy, dtype)
            results = [train_epoch_graphed(gradients, batches(gpu).epoch(epoch), optimizer) for epoch in (1, 2)]
        elif dtype:
            results = [train_epoch_amp(model, batches(gpu).epoch(epoch), optimizer, dtype=dtype) for epoch in (1, 2)]
        else:
            results = [train_epoch(model, batches(gpu).epoch(epoch), optimizer) for epoch in (1, 2)]
        ends.append((model, results))
    (model, results), (expected, expected_results) = ends
    assert same(model, expected)
    assert results == expected_results


def test_a_recorded_function_takes_other_values_and_other_shapes(gpu: torch.device) -> None:
    squares = Replayed(lambda x, y: x * x + y)
    for size in (16,) * (WARM_UP_CALLS + 3) + (8,) * (WARM_UP_CALLS + 2) + (16,):
        x, y = torch.rand(size, device=gpu), torch.rand(size, device=gpu)
        answer = squares(x, y)
        assert answer is not None
        assert torch.equal(answer, x * x + y)


def test_answers_of_a_recorded_function_are_copies(gpu: torch.device) -> None:
    twice = Replayed(lambda x: 2 * x)
    answers = [twice(torch.full((4,), float(number), device=gpu)) for number in range(WARM_UP_CALLS + 3)]
    assert [int(answer[0]) for answer in answers if answer is not None] == [2 * number for number in range(WARM_UP_CALLS + 3)]


@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
def test_no_step_waits_for_the_gpu(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the images lie on the GPU nor where they come from memory."""
    for share in (0.25, 0.0):
        monkeypatch.setattr(training_batches, "RESIDENT_SHARE", share)
        model = ResidualNet(1, 2).to(gpu, memory_format=torch.channels_last).train()
        optimizer = AMP.optimizer(model)
        scheduler = AMP.scheduler(optimizer, 100)
        assert scheduler
        gradients, training = GraphedGradients(model, AMP.loss(gpu), torch.bfloat16), batches(gpu)
        for epoch in (1, 2):
            torch.cuda.set_sync_debug_mode("error" if epoch == 2 else "default")
            try:
                for images, targets in training.epoch(epoch):
                    gradients(images, targets)
                    optimizer.step()
                    scheduler.step()
            finally:
                torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", RECIPES)
def test_one_seed_gives_the_same_weights_bit_for_bit(gpu: torch.device, name: str) -> None:
    assert same(trained(RECIPES[name], gpu)[0], trained(RECIPES[name], gpu)[0])


class Killed(Exception):
    """Stands for the end of the process after an epoch."""


def stop_after_two(record: EpochRecord) -> None:
    if record.epoch == 2:
        raise Killed


@pytest.mark.parametrize("name", RECIPES)
def test_a_stopped_training_goes_on_to_the_same_weights(gpu: torch.device, tmp_path: Path, name: str) -> None:
    checkpoint = FileCheckpoint(tmp_path, {"job": name})
    with pytest.raises(Killed):
        trained(RECIPES[name], gpu, checkpoint=checkpoint, on_epoch=stop_after_two)
    resumed, history = trained(RECIPES[name], gpu, checkpoint=checkpoint)
    whole, expected = trained(RECIPES[name], gpu)
    assert same(resumed, whole)
    assert [record.loss for record in history.epochs] == [record.loss for record in expected.epochs]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("from_gpu", [True, False])
def test_a_training_goes_on_on_the_other_device(gpu: torch.device, tmp_path: Path, name: str, from_gpu: bool) -> None:
    first, second = (gpu, CPU) if from_gpu else (CPU, gpu)
    checkpoint = FileCheckpoint(tmp_path, {"job": name})
    with pytest.raises(Killed):
        trained(RECIPES[name], first, checkpoint=checkpoint, on_epoch=stop_after_two)
    model, history = trained(RECIPES[name], second, checkpoint=checkpoint)
    _, expected = trained(RECIPES[name], first)
    assert next(model.parameters()).device == second
    assert [record.loss for record in history.epochs[:2]] == [record.loss for record in expected.epochs[:2]]
    assert history.epochs[2].loss == pytest.approx(expected.epochs[2].loss, abs=0.1)


def test_float16_scales_its_loss_and_learns(gpu: torch.device) -> None:
    _, history = trained(Recipe(6, 3e-3, weight_decay=0.05, one_cycle=True, precision="float16"), gpu)
    assert np.isfinite([record.loss for record in history.epochs]).all()
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_the_gpu_is_taken_where_one_is_asked_for(gpu: torch.device, capsys: pytest.CaptureFixture[str]) -> None:
    assert pick_device("1") == gpu
    assert torch.cuda.get_device_name(gpu) in capsys.readouterr().out
    assert mixed_precision(gpu, "residual") in (torch.bfloat16, torch.float16)


def test_more_gpus_than_there_are_are_refused() -> None:
    seen = torch.cuda.device_count()
    with pytest.raises(InputError, match=f"gpus={seen + 1}: {seen} to be seen here; ask for as many at most"):
        pick_device(str(seen + 1))


def test_a_hidden_gpu_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    script = "from driftloop.training.device import pick_device; print(pick_device('1'))"
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["gpus=1, but no GPU is visible here: training on the CPU", "cpu"]
