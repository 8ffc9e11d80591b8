"""`driftloop prune` as a person calls it."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from driftloop.backends.run_folder import RunFolder
from driftloop.cli.prune import prune
from driftloop.errors import InputError
from driftloop.prune_marks import read_marks, write_marks
from driftloop.store import open_store
from tests.factories.store_history import StoreHistory

APP = typer.Typer()
APP.command()(prune)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A local store, ten days old, with a version that was never promoted and a dataset that nothing names."""
    monkeypatch.chdir(tmp_path)
    history = StoreHistory(open_store(str(tmp_path / "store")), tmp_path)
    history.promote(history.register(history.dataset(10).manifest_hash))
    history.register(history.dataset(10).manifest_hash, parent="1")
    history.dataset(30)
    ten_days_ago = (datetime.now(UTC) - timedelta(days=10)).timestamp()
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (ten_days_ago, ten_days_ago))
    # The pointer moved last: nothing is in promotion.
    os.utime(tmp_path / "store" / "champion.json", (ten_days_ago + 60, ten_days_ago + 60))
    return str(tmp_path / "store")


def say(*arguments: str) -> str:
    result = CliRunner().invoke(APP, arguments, env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def pruned(*arguments: str) -> Any:
    return json.loads(say(*arguments, "--json"))


def test_without_apply_it_only_shows(old: str) -> None:
    text = say("--store", old)
    assert "never promoted" in text
    assert "0.0 MB would go now, 0.0 MB later; nothing was marked or deleted, --apply does" in text
    assert [item["goes_from"] is None for item in pruned("--store", old)["items"]] == [False, False]
    assert not Path(old, "prune").exists()


def test_apply_marks_and_later_deletes_what_was_shown(old: str) -> None:
    shown = pruned("--store", old)
    marked = pruned("--store", old, "--apply")
    assert [item["name"] for item in marked["items"]] == [item["name"] for item in shown["items"]]
    assert (shown["applied"], marked["applied"], marked["bytes"]) == (False, True, 0)
    assert marked["bytes_later"] == shown["bytes_later"] > 20_000
    assert "a prune after these times deletes what is marked" in say("--store", old, "--apply")
    long_ago(old)
    assert "MB would go now, 0.0 MB later" in say("--store", old)
    done = pruned("--store", old, "--apply")
    assert (done["bytes"], done["bytes_later"]) == (shown["bytes_later"], 0)
    assert [item["goes_from"] for item in done["items"]] == [None, None]
    assert say("--store", old).strip() == "nothing to prune"


def long_ago(store: str) -> None:
    """Make the marks two days older."""
    home = open_store(store)
    marks, tag = read_marks(home)
    older = {key: mark.model_copy(update={"marked_at": mark.marked_at - timedelta(days=2)}) for key, mark in marks.items()}
    write_marks(home, older, tag)


def test_artifacts_of_a_finished_run_go_at_once(old: str) -> None:
    folder = RunFolder.create("training", Path("runs"))
    folder.artifacts.mkdir()
    folder.summary.write_text("{}")
    os.utime(folder.summary, (1_000_000_000, 1_000_000_000))
    assert ("run", folder.id, None) in [(item["kind"], item["name"], item["goes_from"]) for item in pruned("--store", old)["items"]]
    assert folder.artifacts.exists()
    pruned("--store", old, "--apply")
    assert not folder.artifacts.exists()


def test_younger_than_asked_stays(old: str) -> None:
    assert pruned("--store", old, "--older-than", "30d")["items"] == []


def test_a_wait_that_two_clocks_could_differ_by_is_refused(old: str) -> None:
    with pytest.raises(InputError, match="--wait"):
        say("--store", old, "--wait", "1h")


@pytest.mark.parametrize("age", ["12h", "0d", "a week", "7"])
def test_an_age_that_a_run_in_progress_could_have_is_refused(old: str, age: str) -> None:
    with pytest.raises(InputError, match="--older-than"):
        say("--store", old, "--older-than", age)


def test_datasets_on_s3_stay_until_somebody_says_what_kubeflow_names(s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_store(s3_uri).put("champion-is-missing", b"")
    assert "--pipeline-root" in pruned("--store", s3_uri)["note"]
    root = s3_uri.replace("driftloop-tests", "mlpipeline")
    open_store(root).put("a/dataset/dataset.json", b'{"manifest_hash": "a"}')
    for choice in (root, "none"):
        assert pruned("--store", s3_uri, "--pipeline-root", choice)["note"] is None


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store there"):
        say("--store", str(tmp_path / "nowhere"))
