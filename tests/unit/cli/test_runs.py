"""`driftloop runs`: the runs of a folder and of a cluster."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftloop.backends.run_folder import RunFolder
from driftloop.backends.run_summary import unmet_goals
from driftloop.cli.runs import runs
from driftloop.errors import InputError
from driftloop.evaluation.intervals import wilson
from driftloop.summary import AccuracySummary, ChampionSummary, DriftSummary, GateSummary, ReportPaths, Summary, TargetSummary
from tests.unit.cli.answering import answering


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a training that failed, a full loop, and a run without a summary, in this order."""
    monkeypatch.chdir(tmp_path)
    made = []
    for name in ("20260101-000000-training", "20260102-000000-full-loop", "20260103-000000-drift-watch"):
        folder = RunFolder(tmp_path / "runs" / name)
        folder.path.mkdir(parents=True)
        made.append(folder)
    failed, loop, unfinished = made
    failed.summary.write_text(Summary(pipeline="training", run_id=failed.id, seed=1, error="no [such] images").model_dump_json())
    failed.parameters.write_text(json.dumps({"seed": 1, "train_config": {}, "data_image_size": 64}))
    loop.summary.write_text(
        Summary(
            pipeline="full-loop",
            run_id=loop.id,
            seed=2,
            seconds=181.4,
            accuracy=AccuracySummary(optimized=wilson(90, 100)),
            drift=DriftSummary(verdict="retrain", p_values={}, reason="it drifted"),
            gate=GateSummary(decision="inconclusive", reasons=["too few"], evidence=[]),
            champion=ChampionSummary(before=None, after="1"),
            targets={"optimized": TargetSummary(goal="> 0.85", measured=0.84, met=False)},
            report=ReportPaths(html="report.html"),
        ).model_dump_json()
    )
    loop.parameters.write_text(json.dumps({"seed": 2, "train_config": {"mixup": 0.2}, "data_image_size": 64}))
    (loop.path / "report.html").write_text("<p>report")
    unfinished.point_latest()
    return tmp_path


def _say(*arguments: str) -> str:
    result = CliRunner().invoke(runs, arguments, env={"COLUMNS": "80"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def _json(*arguments: str) -> Any:
    return json.loads(_say(*arguments, "--json"))


def test_list_tells_how_each_run_ended_the_newest_first(here: Path) -> None:
    lines = _json("list")
    assert [(line["pipeline"], line["state"]) for line in lines] == [
        ("drift-watch", "unfinished"),
        ("full-loop", "succeeded"),
        ("training", "failed"),
    ]
    assert (lines[1]["verdict"], lines[1]["decision"], lines[1]["champion"], lines[1]["seconds"]) == ("retrain", "inconclusive", "1", 181.4)
    text = _say("list")
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) == 4, "a run is one line"


def test_list_without_a_run_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _json("list") == []


def test_show_repeats_what_the_run_ended_with(here: Path) -> None:
    text = _say("show", "20260102-000000-full-loop")
    assert "inconclusive" in text
    assert "0 of 1 met" in text
    assert "no [such] images" in _say("show", str(here / "runs" / "20260101-000000-training"))


def test_compare_shows_what_differs_and_nothing_else(here: Path) -> None:
    changed = _json("compare", "20260101-000000-training", "20260102-000000-full-loop")["differences"]
    assert changed["seed"] == [1, 2]
    assert changed["train_config.mixup"] == [None, 0.2]
    assert changed["verdict"] == [None, "retrain"]
    assert changed["error"] == ["no [such] images", None]
    assert "data_image_size" not in changed
    assert "accuracy, baseline" not in changed


def test_open_names_the_report_or_says_that_there_is_none(here: Path) -> None:
    assert _say("open", "20260102-000000-full-loop", "--print").strip() == str(here / "runs" / "20260102-000000-full-loop" / "report.html")
    with pytest.raises(InputError, match=r"the run left no report.*run\.log"):
        _say("open", "20260101-000000-training", "--print")


def test_what_is_not_there_is_one_clear_line(here: Path) -> None:
    with pytest.raises(InputError, match=r"never: no run of that name.*runs list"):
        _say("show", "never")
    with pytest.raises(InputError, match="goes on still, or was killed"):
        _say("show")
    (here / "runs" / "20260103-000000-drift-watch" / "summary.json").write_text('{"pipeline": 1')
    with pytest.raises(InputError, match="not a summary that this release can read"):
        _say("show")


def test_runs_of_a_cluster_come_from_its_api(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering() as answers:
        answers.add("/apis/v2beta1/healthz", {"multi_user": False, "tag_name": "2.17.0"})
        answers.add("/apis/v2beta1/experiments", {})
        run = {"run_id": "abc", "display_name": "watch 7", "state": "SUCCEEDED"}
        timed = {"created_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:03:01Z"}
        answers.add("/apis/v2beta1/runs", {"runs": [run | timed]})
        monkeypatch.setenv("KFP_ENDPOINT", answers.url)
        (line,) = _json("list", "--cluster")
    assert (line["run"], line["state"], line["seconds"], line["page"]) == (
        "watch 7",
        "succeeded",
        181.0,
        f"{answers.url}/#/runs/details/abc",
    )


def test_strict_names_the_missed_targets_and_the_gate(here: Path) -> None:
    summary = Summary.model_validate_json((here / "runs" / "20260102-000000-full-loop" / "summary.json").read_bytes())
    assert unmet_goals(summary) == ["target missed: optimized (> 0.85; measured 0.840)", "the gate decided inconclusive"]
    assert unmet_goals(Summary()) == []
