import random

import numpy as np
import pytest
import torch

from driftloop.errors import InputError
from driftloop.training import device
from driftloop.training.device import mixed_precision, pick_device
from driftloop.training.seeding import derive, set_seed


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


def test_one_seed_seeds_every_generator() -> None:
    set_seed(7)
    first = draws()
    set_seed(7)
    assert draws() == first
    set_seed(8)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_derived_seeds_repeat_and_differ_by_path() -> None:
    seeds = [derive(seed, *path) for seed in (0, 1, 2) for path in ((), (1,), (2,), (1, 2), (2, 1))]
    assert len(set(seeds)) == len(seeds)
    assert derive(1, 2) == derive(1, 2)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_no_gpu_asked_for_is_the_cpu() -> None:
    assert pick_device("0") == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_asked_for_and_not_visible_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert pick_device("1") == torch.device("cpu")
    assert "gpus=1, but no GPU is visible" in capsys.readouterr().out


def test_a_number_of_gpus_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'many' is not a number of GPUs"):
        pick_device("many")


def test_mixed_precision_on_the_cpu_is_bfloat16_or_nothing() -> None:
    assert mixed_precision(torch.device("cpu"), "residual") in (None, torch.bfloat16)


def test_more_gpus_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="gpus=2: 1 to be seen here; ask for as many at most"):
        pick_device("2")


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch can use the GPU here")
def test_a_gpu_that_pytorch_cannot_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cuda_device_visible", lambda: True)
    with pytest.raises(InputError, match="there is an NVIDIA GPU here, but PyTorch"):
        pick_device("1")
    assert pick_device("0") == torch.device("cpu")
