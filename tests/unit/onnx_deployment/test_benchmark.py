"""The benchmark: same work, equal turns, ratios of medians."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from components.onnx_deployment.benchmark import benchmark_model, benchmark_onnx, compare_latencies, milliseconds, speedups, torch_threads
from driftloop.inference.call_times import CallTimes, calmest, is_calm, summarise_latency, time_in_turns
from tests.factories.onnx_graphs import SIDE, save_brightness_graph

IMAGES = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 1), dtype=np.uint8)


class Mean(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((1, 2))


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    save_brightness_graph(tmp_path / "model.onnx", classes=2, channels=1)
    return tmp_path / "model.onnx"


def test_contenders_take_turns_in_equal_numbers() -> None:
    calls: list[str] = []
    taken = time_in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0.0)
    assert len(taken["a"].wall) == len(taken["b"].processor) >= 15
    assert calls.count("a") == calls.count("b")
    turns = "".join(calls[6:])
    assert "a" * 13 not in turns
    assert "b" * 13 not in turns


def test_percentiles_equal_numpy_s_in_milliseconds() -> None:
    seconds = np.random.default_rng(0).gamma(2, 0.001, 500)
    measured = summarise_latency(CallTimes(seconds, seconds / 2), batch=32, threads=1)
    assert measured.p50_ms == pytest.approx(np.median(seconds) * 1000)
    assert measured.p99_ms == pytest.approx(np.quantile(seconds, 0.99) * 1000)
    assert measured.images_per_second == pytest.approx(32 / np.median(seconds))
    assert measured.processor_ms == pytest.approx(measured.p50_ms / 2)
    assert measured.spread == pytest.approx(measured.p95_ms / measured.p50_ms)
    assert measured.runs == 500


def test_processor_time_leaves_out_what_others_take() -> None:
    times = time_in_turns({"sleep": lambda: time.sleep(0.01)}, seconds=0.0)["sleep"]
    assert np.median(times.wall) >= 0.01
    assert np.median(times.processor) < 0.005
    assert times.disagreement > 0.5
    assert not is_calm({"sleep": times}, on_processor=True)
    assert is_calm({"sleep": CallTimes(np.full(9, 0.01), np.full(9, 0.0))}, on_processor=False)


def test_a_call_that_sometimes_takes_four_times_as_long_is_not_calm() -> None:
    seconds = np.array([1.0] * 8 + [4.0] * 2)
    assert not is_calm({"a": CallTimes(seconds, seconds)}, on_processor=True)
    assert is_calm({"a": CallTimes(np.ones(10), np.full(10, 0.9))}, on_processor=True)


def test_what_is_not_calm_is_measured_three_times_and_said(graph: Path) -> None:
    calls: list[str] = []
    taken = calmest({"sleep": lambda: calls.append("") or time.sleep(0.001)}, seconds=0.0, on_processor=True)
    assert len(calls) == 3 * (3 + 3 * 6)
    assert not is_calm(taken, on_processor=True)


class Slept(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        time.sleep(0.005)
        return images.float().mean((1, 2))


def test_speed_ups_are_of_processor_time(graph: Path) -> None:
    rows = compare_latencies(Slept(), {"model.onnx": graph}, IMAGES, seconds=0.0)
    assert not rows[0]["calm"]
    assert rows[1]["speedup"] == pytest.approx(rows[0]["processor_ms"] / rows[1]["processor_ms"])
    assert rows[1]["speedup"] < rows[0]["p50_ms"] / rows[1]["p50_ms"]
    assert milliseconds(rows) == {row["variant"]: row["processor_ms"] for row in rows[:2]}


def test_a_model_and_a_graph_can_be_timed_alone(graph: Path) -> None:
    for measured in (benchmark_model(Mean(), IMAGES, seconds=0.0), benchmark_onnx(graph, IMAGES, seconds=0.0)):
        assert measured.batch == 5
        assert 0 < measured.p50_ms <= measured.p95_ms <= measured.p99_ms


def test_rows_compare_with_pytorch_at_both_batch_sizes(graph: Path) -> None:
    rows = compare_latencies(Mean(), {"model.onnx": graph}, IMAGES, seconds=0.0)
    assert [(row["variant"], row["batch"], row["threads"]) for row in rows] == [
        ("pytorch", 1, 1),
        ("model.onnx", 1, 1),
        ("pytorch", 32, 1),
        ("model.onnx", 32, 1),
    ]
    assert rows[0]["speedup"] == rows[2]["speedup"] == 1
    assert rows[1]["speedup"] == pytest.approx(rows[0]["processor_ms"] / rows[1]["processor_ms"])
    assert speedups(rows, {"model.onnx": "onnx_fp32"}) == {"onnx_fp32": rows[1]["speedup"]}


def test_pytorch_s_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="stop"), torch_threads(before + 1):
        raise RuntimeError("stop")
    assert torch.get_num_threads() == before
