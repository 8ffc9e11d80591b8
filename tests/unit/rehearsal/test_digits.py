"""A real rehearsal on scanned digits: every step is the real one, and so is every figure."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.command import Command

#: The margin is wide because few test images cannot decide two points; the regime's share is, because what is accepted is four windows of
#: images or nothing, and most of these few are labelled.
SMALL = (
    *("--source", "digits", "--set", "data_image_size=32", "--set", "train_epochs=6", "--set", "gate_margin=0.1", "--gpus", "0"),
    *("--set", "data_config.train_share=0.4", "--set", "data_config.reference_share=0.2", "--set", "data_config.stream_share=0.6"),
    *("--set", "deploy_config.benchmark_seconds=0.2", "--set", "retrain_config.epochs=8", "--set", "retrain_config.regime_share=0.95"),
)
POLICY = ("--windows", "11", "--drift-at", "3", "--drift", "rotation:1.0", "--label-delay", "2", "--json")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(tmp_path_factory.mktemp("rehearsal"))


@pytest.fixture(scope="module")
def result(command: Command) -> dict[str, Any]:
    return json.loads(command("rehearse", *SMALL, *POLICY).stdout)


def test_the_drift_is_confirmed_learned_once_and_accepted(result: dict[str, Any]) -> None:
    assert result["first_drift"] == 3
    assert result["detection_delay"] in (2, 3)
    assert (result["retrainings"], result["promotions"], result["rollbacks"]) == (1, 1, 0)
    promoted = next(one["window"] for one in result["windows"] if one["promoted"])
    after = [one for one in result["windows"] if one["window"] > promoted]
    assert after
    assert {one["verdict"] for one in after} == {"stable"}
    assert {one["version"] for one in after} == {"2"}
    assert result["accuracy_in_drift"] < result["accuracy_before"]
    assert result["accuracy_after"] > result["accuracy_in_drift"]


def test_each_window_is_a_day_with_its_own_images_and_its_own_record(result: dict[str, Any], command: Command) -> None:
    windows = result["windows"]
    assert [one["window"] for one in windows] == list(range(1, 12))
    assert len({one["day"] for one in windows}) == 11
    folder = next(iter((command.folder / "runs").glob("*-rehearsal")))
    records = [json.loads(path.read_text()) for path in sorted((folder / "store" / "watch").glob("0*.json"))]
    assert [record["verdict"] for record in records] == [one["verdict"] for one in windows]
    assert [record["until"][:10] for record in records] == [one["day"] for one in windows]
    assert sum(record["rows"] for record in records) == sum(one["requests"] for one in windows)


def test_the_result_lies_in_the_runs_folder_beside_page_and_picture(result: dict[str, Any], command: Command) -> None:
    folder: Path = next(iter((command.folder / "runs").glob("*-rehearsal")))
    assert json.loads((folder / "rehearsal.json").read_text()) == result
    assert (folder / "rehearsal.png").read_bytes().startswith(b"\x89PNG")
    assert "rotation:1 sets in" in (folder / "rehearsal.html").read_text()
    assert not (command.folder / "runs" / "latest").exists(), "a simulation must not become the run that other commands work on"


def test_a_stream_that_ends_before_the_drift_is_refused_before_the_training(command: Command) -> None:
    done = command("rehearse", *SMALL, "--windows", "40", "--drift-at", "30", status=2)
    assert "raise data_config.stream_share" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--windows", "5", "--drift-at", "9"), "--drift-at 9"),
        (("--set", "drift_config.coldown_days=3"), "did you mean drift_config.cooldown_days"),
        (("--set", "store=elsewhere"), "store of its own"),
    ],
)
def test_a_bad_argument_is_one_line_and_leaves_nothing(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    elsewhere = Command(tmp_path)
    line = elsewhere("rehearse", *arguments, status=2).stderr.strip()
    assert line.startswith("driftloop: ")
    assert "\n" not in line
    assert message in line
    assert not (tmp_path / "runs").exists()
