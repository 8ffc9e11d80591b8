"""`driftloop prune` as a person calls it."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from driftloop.cli.prune import prune
from driftloop.errors import InputError
from driftloop.store import open_store
from tests.factories.store_history import StoreHistory

APP = typer.Typer()
APP.command()(prune)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A local store, ten days old, with a version that was never promoted and a dataset that only it names."""
    monkeypatch.chdir(tmp_path)
    history = StoreHistory(open_store(str(tmp_path / "store")), tmp_path)
    history.promote(history.register(history.dataset(10).manifest_hash))
    history.register(history.dataset(30).manifest_hash, parent="1")
    ten_days_ago = (datetime.now(UTC) - timedelta(days=10)).timestamp()
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (ten_days_ago, ten_days_ago))
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
    assert "would go" in text
    assert "never promoted" in text
    assert "nothing was deleted, --apply does" in text
    assert pruned("--store", old)["items"] == pruned("--store", old)["items"] != []


def test_apply_deletes_what_was_shown(old: str) -> None:
    shown = pruned("--store", old)
    done = pruned("--store", old, "--apply")
    assert [item["name"] for item in done["items"]] == [item["name"] for item in shown["items"]]
    assert (shown["applied"], done["applied"]) == (False, True)
    assert done["bytes"] == shown["bytes"] > 20_000
    assert say("--store", old).strip() == "nothing to prune"


def test_younger_than_asked_stays(old: str) -> None:
    assert pruned("--store", old, "--older-than", "30d")["items"] == []


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
