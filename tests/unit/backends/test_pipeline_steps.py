"""The steps of the compiled pipelines, by the names that people see."""

from driftloop.backends.compiled_pipeline import branches_of, compile_to_yaml, steps_of
from pipelines import PIPELINES


def test_steps_come_in_the_order_in_which_they_run() -> None:
    titles = [step.title for step in steps_of(compile_to_yaml(PIPELINES["training"]))]
    assert titles == ["source", "1 data analysis", "2 baseline", "3 optimization", "4 ONNX", "first gate", "first champion"]


def test_a_step_knows_the_branches_that_lead_to_it() -> None:
    reports = [step for step in steps_of(compile_to_yaml(PIPELINES["drift-watch"])) if step.title == "8 report"]
    assert [[branch.title for branch in branches_of(step)] for step in reports] == [
        ["drifted: retrain", "better: promote"],
        ["drifted: retrain", "keep champion"],
        ["no retraining"],
    ]
    assert len({step.name for step in reports}) == 3
