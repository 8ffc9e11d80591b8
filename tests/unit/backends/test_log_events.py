"""The log lines that KFP and the steps write are understood as they stand."""

import pytest

from driftloop.backends.log_events import LogEvent, read_event
from driftloop.runtime import progress, report_metrics


def test_steps_start_and_end() -> None:
    assert read_event("01:02:03.456 - INFO - Executing task \x1b[96m'data-analysis'\x1b[0m\n") == LogEvent("started", step="data-analysis")
    ended = "01:02:03.456 - INFO - Task \x1b[96m'onnx-deployment-2'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m"
    assert read_event(ended) == LogEvent("succeeded", step="onnx-deployment-2")
    assert read_event(ended.replace("SUCCESS", "FAILURE")) == LogEvent("failed", step="onnx-deployment-2")


def test_what_steps_print_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    progress(0.25, "epoch 3/12")
    report_metrics("accuracy 0.91 (0.89-0.92)")
    lines = capsys.readouterr().out.splitlines()
    assert read_event(f"    {lines[0]}") == LogEvent("progress", fraction=0.25, text="epoch 3/12")
    assert read_event(lines[1]) == LogEvent("figures", text="accuracy 0.91 (0.89-0.92)")


def test_errors_are_told_apart() -> None:
    assert read_event("    driftloop.InputError: data/x: no class folders found") == LogEvent(
        "our_error", text="data/x: no class folders found"
    )
    assert read_event("torch.OutOfMemoryError: CUDA out of memory") == LogEvent("other_error", text="OutOfMemoryError: CUDA out of memory")
    assert read_event("ValueError: shapes (2,) and (3,)") == LogEvent("other_error", text="ValueError: shapes (2,) and (3,)")


@pytest.mark.parametrize("line", ["", "INFO something", "no error: here", "[driftloop other] x", "Task done"])
def test_other_lines_are_just_log(line: str) -> None:
    assert read_event(line) is None
