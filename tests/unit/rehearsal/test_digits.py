"""A real rehearsal on scanned digits: every step is the real one, and so is every figure."""

import json
from pathlib import Path
from typing import Any

import pytest

from driftloop.inference.labels import read_labels
from driftloop.store import open_store
from tests.pipelines.command import Command

POLICIES = Path(__file__).parents[3] / "configs" / "policies"
#: The margin is wide because few test images cannot decide two points; the regime's share is, because what is accepted is four windows of
#: images or nothing, and most of these few are labelled.
SMALL = (
    *("--source", "digits", "--set", "data_image_size=32", "--set", "train_epochs=6", "--set", "gate_margin=0.1", "--gpus", "0"),
    *("--set", "data_config.train_share=0.4", "--set", "data_config.reference_share=0.2", "--set", "data_config.stream_share=0.6"),
    *("--set", "deploy_config.benchmark_seconds=0.2", "--set", "retrain_config.epochs=8", "--set", "retrain_config.regime_share=0.95"),
)
#: Three windows a day, and labels that take most of one: two windows.
WORLD = (
    *("--windows", "10", "--windows-per-day", "3", "--labels-after", "0.66", "--ranked-labels"),
    *("--drift-at", "3", "--drift", "rotation:1.0"),
    *("--policy", str(POLICIES / "driftloop.yaml"), "--policy", str(POLICIES / "calendar.yaml"), "--json"),
)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(tmp_path_factory.mktemp("rehearsal"))


@pytest.fixture(scope="module")
def compared(command: Command) -> dict[str, Any]:
    return json.loads(command("rehearse", *SMALL, *WORLD).stdout)


@pytest.fixture(scope="module")
def result(compared: dict[str, Any]) -> dict[str, Any]:
    return compared["policies"][0]["rehearsal"]


@pytest.fixture(scope="module")
def folder(command: Command, compared: dict[str, Any]) -> Path:
    return next(iter((command.folder / "runs").glob("*-rehearsal")))


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


def test_three_windows_a_day_have_their_own_images_and_their_own_record(result: dict[str, Any], folder: Path) -> None:
    windows = result["windows"]
    assert [one["window"] for one in windows] == list(range(1, 11))
    assert [one["until"][11:13] for one in windows] == (["04", "12", "20"] * 4)[:10]
    assert len({one["day"] for one in windows}) == 4
    store = folder / "policies" / "driftloop" / "store"
    records = [json.loads(path.read_text()) for path in sorted((store / "watch").glob("0*.json"))]
    assert [record["verdict"] for record in records] == [one["verdict"] for one in windows]
    assert [record["until"] for record in records] == [one["until"] for one in windows]
    assert sum(record["rows"] for record in records) == sum(one["requests"] for one in windows)


def test_the_result_lies_in_the_runs_folder_beside_page_and_picture(compared: dict[str, Any], folder: Path, command: Command) -> None:
    assert json.loads((folder / "rehearsal.json").read_text()) == compared
    assert (folder / "rehearsal.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "rehearsal.html").read_text()
    assert "rotation:1 sets in" in page
    assert "uniformly random and the most shifted ones, and hand it in after 0.66 days" in page
    assert "driftloop: what happened" in page
    assert "drift_config.retrain_every_days = 30, drift_config.suggest_only = True" in page
    assert not (command.folder / "runs" / "latest").exists(), "a simulation must not become the run that other commands work on"


def test_both_policies_see_the_same_traffic_and_only_one_retrains(compared: dict[str, Any], folder: Path) -> None:
    ours, calendar = (policy["rehearsal"] for policy in compared["policies"])
    assert [policy["name"] for policy in compared["policies"]] == ["driftloop", "calendar"]
    assert compared["policies"][1]["changes"] == {"drift_config": {"retrain_every_days": 30, "suggest_only": True}}
    assert (calendar["retrainings"], calendar["promotions"]) == (0, 0)
    before = next(one["window"] for one in ours["windows"] if one["promoted"])
    for one, other in zip(ours["windows"], calendar["windows"], strict=True):
        assert (one["drift"], one["until"]) == (other["drift"], other["until"])
        if one["window"] <= before:
            assert one["correct"] == other["correct"], "the same images, and the same champion until one is replaced"
    assert ours["accuracy_since_drift"] > calendar["accuracy_since_drift"]
    played = [
        set(read_labels(open_store(str(folder / "policies" / name / "store")))[0]["request_id"]) for name in ("driftloop", "calendar")
    ]
    assert played[0] & played[1], "the same requests were asked for"
    assert not (folder / "store" / "watch").exists(), "what all begin from stays as it was"


def test_labels_come_two_windows_after_their_list_and_each_counts_once(result: dict[str, Any], folder: Path) -> None:
    windows = result["windows"]
    first = next(one["window"] for one in windows if one["verdict"] == "needs_labels")
    assert next(one["window"] for one in windows if one["labels"]) == first + 2
    labels = read_labels(open_store(str(folder / "policies" / "driftloop" / "store")))[0]
    assert len(labels) == result["labels"] == sum(one["labels"] for one in windows)


def test_a_stream_that_ends_before_the_drift_is_refused_before_the_training(command: Command) -> None:
    done = command("rehearse", *SMALL, "--windows", "40", "--drift-at", "30", status=2)
    assert "raise data_config.stream_share" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--windows", "5", "--drift-at", "9"), "--drift-at 9"),
        (("--windows-per-day", "0"), "--windows-per-day 0: must lie between 1 and 1000"),
        (("--policy", "nowhere.yaml", "--policy", "b.yaml"), "--policy nowhere.yaml: no such file"),
        (("--policy", str(POLICIES / "calendar.yaml")), "give two or more to compare"),
        (("--policy", str(POLICIES / "calendar.yaml"), "--policy", str(POLICIES.parent / "roof.yaml")), "data_source is the same for all"),
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
