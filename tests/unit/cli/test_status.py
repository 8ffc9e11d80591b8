"""`driftloop status`: who serves, and whether the watches still come."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from driftloop import registry
from driftloop.cli.main import app
from driftloop.cli.status import status
from driftloop.errors import InputError
from driftloop.inference.labels import write_labels
from driftloop.store import Store
from driftloop.watch_record import AskedLabels
from tests.factories.store_history import StoreHistory

APP = typer.Typer()
APP.command()(status)


@pytest.fixture
def history(store: Store, tmp_path: Path) -> StoreHistory:
    """A store with a champion and no watch."""
    history = StoreHistory(store, tmp_path)
    history.promote(history.register(history.dataset(10).manifest_hash))
    return history


def say(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(APP, arguments, env={"COLUMNS": "300"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def status_of(*arguments: str) -> tuple[int, Any]:
    code, text = say(*arguments, "--json")
    return code, json.loads(text)


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat()


def test_it_tells_the_champion_the_last_watch_and_its_age(history: StoreHistory) -> None:
    history.watched(1, "1", ago(hours=5), verdict="retrain", decision="reject")
    code, text = say("--store", history.store.uri, "--every", "6h")
    assert code == 0
    assert "version 1 since" in text
    assert "better" in text
    assert "1, covers up to 5 h ago" in text
    assert "retrain; reject" in text
    assert "on time" in text
    code, shown = status_of("--store", history.store.uri, "--every", "6h")
    assert (shown["champion"]["version"], shown["last_watch"]["sequence"], shown["late"]) == ("1", 1, False)
    assert shown["age_seconds"] == pytest.approx(5 * 3600, abs=60)


@pytest.mark.parametrize(("age", "late"), [(11.9, False), (12.1, True)])
def test_a_watch_older_than_twice_its_interval_is_late_and_the_exit_status_says_so(history: StoreHistory, age: float, late: bool) -> None:
    history.watched(1, "1", ago(hours=age))
    code, shown = status_of("--store", history.store.uri, "--every", "6h")
    assert (code, shown["late"]) == (int(late), late)


def test_the_interval_is_the_median_gap_of_the_last_watches(history: StoreHistory) -> None:
    for sequence, age in enumerate((40, 19, 13, 7, 1), start=1):
        history.watched(sequence, "1", ago(hours=age))
    code, shown = status_of("--store", history.store.uri)
    assert (code, shown["late"], shown["interval_from"]) == (0, False, "median of the last 5 watches")
    assert shown["interval_seconds"] == pytest.approx(6 * 3600, abs=60)


def test_with_one_watch_the_interval_is_unknown_and_it_says_so(history: StoreHistory) -> None:
    history.watched(1, "1", ago(days=30))
    code, text = say("--store", history.store.uri)
    assert code == 0
    assert "not known (fewer than two watches; say --every)" in text
    assert "not known whether late" in text


def test_watches_by_hand_right_after_each_other_are_no_schedule(history: StoreHistory) -> None:
    for sequence, age in enumerate((12, 11, 10), start=1):
        history.watched(sequence, "1", ago(minutes=age))
    assert status_of("--store", history.store.uri)[1]["late"] is None


def test_a_store_without_watches_says_so(history: StoreHistory) -> None:
    code, text = say("--store", history.store.uri)
    assert code == 0
    assert "never watched" in text
    assert status_of("--store", history.store.uri)[1]["last_watch"] is None


def test_a_champion_that_was_never_watched_is_late_too(history: StoreHistory) -> None:
    pointer = json.loads(history.store.read("champion.json"))
    history.store.put("champion.json", json.dumps(pointer | {"promoted_at": ago(days=2)}).encode())
    assert status_of("--store", history.store.uri, "--every", "1h")[0] == 1
    assert status_of("--store", history.store.uri, "--every", "2d")[0] == 0


def test_an_empty_store_has_neither(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    code, text = say("--store", store.uri, "--every", "1h")
    assert code == 0
    assert "none; train one" in text


def test_labels_that_a_watch_wants_are_told_with_what_came_since(history: StoreHistory, tmp_path: Path) -> None:
    write_labels(history.store, pd.DataFrame({"request_id": ["a"], "label": ["NORMAL"], "origin": ["random"]}))
    history.watched(1, "1", datetime.now(UTC).isoformat(), verdict="needs_labels")
    assert status_of("--store", history.store.uri)[1]["label_files_since"] == 0
    assert "none came since" in say("--store", history.store.uri)[1]
    answers = tmp_path / "labels.csv"
    answers.write_text("request_id,label,origin\nb,NORMAL,random\nc,?,ranked\n")
    done = CliRunner().invoke(app, ["labels", "import", str(answers), "--store", history.store.uri, "--json"], catch_exceptions=False)
    assert json.loads(done.stdout) == {"imported": {"random": 1}, "skipped": 1, "not_drawn": 0}
    shown = status_of("--store", history.store.uri)[1]
    assert (shown["labels_wanted"], shown["label_files_since"]) == (True, 1)
    assert shown["next"][0].startswith("A file of labels has come since: the next watch takes them")


def test_each_state_says_what_comes_next(history: StoreHistory) -> None:
    uri = history.store.uri
    assert status_of("--store", uri)[1]["next"][0] == f"Serve it: `driftloop serve --store {uri}`."
    asked = AskedLabels(images=70, listed=40, needed=100, obtainable=300)
    history.watched(1, "1", ago(hours=3), verdict="needs_labels", asked=asked)
    label, bring, reach, watch = status_of("--store", uri)[1]["next"]
    assert label.startswith("Label the 70 images on `labelling_sheet.html`")
    assert f"driftloop labels import labels.csv --store {uri}" in bring
    assert "about 100 random labels are needed to judge harm, 0 are there and the list brings 40" in reach
    assert f"driftloop run drift-watch --store {uri}" in watch
    text = say("--store", uri)[1]
    assert text.index("next  ") < text.index("Label the 70 images") < text.index("Start the next watch")
    states: list[tuple[dict[str, Any], str]] = [
        ({"verdict": "stable"}, "Nothing: the next watch"),
        ({"verdict": "alert", "harmless_drift": 1}, "driftloop drift accept --reason WHY"),
        ({"verdict": "retrain", "decision": "reject"}, "Read `gate.html`"),
        ({"verdict": "retrain", "decision": "promote", "promoted_version": "1"}, "version 1 serves now"),
        (
            {"verdict": "retrain", "decision": "promote", "promoted_version": "2"},
            "Version 2, which this watch promoted, serves no more",
        ),
        ({"verdict": "retrain", "state": "failed", "failure": "x"}, "See the log of the run"),
    ]
    for sequence, (fields, said) in enumerate(states, start=2):
        history.watched(sequence, "1", ago(hours=3), **fields)
        assert said in " ".join(status_of("--store", uri)[1]["next"])


@pytest.mark.parametrize("fields", [{"verdict": "needs_labels"}, {"verdict": "retrain", "decision": "inconclusive"}])
def test_what_a_watch_of_a_version_that_serves_no_more_asked_for_is_not_what_comes_next(
    history: StoreHistory, fields: dict[str, Any]
) -> None:
    """As after a rollback: the labels would be of the other version's windows, and the champion of that watch did not stay."""
    history.watched(1, "2", ago(hours=3), **fields)
    gone, watch = status_of("--store", history.store.uri)[1]["next"]
    assert gone == "Version 2, which the last watch watched, serves no more: version 1 does."
    assert watch.startswith("Watch what it answers")


def test_size_says_what_a_watch_adds(history: StoreHistory) -> None:
    history.watched(1, "1", ago(hours=2))
    history.store.put("logs/dt=2026-01-01/hour=00/a.parquet", b"x" * 1000)
    history.watched(2, "1", ago(hours=1))
    history.store.put("logs/dt=2026-01-01/hour=00/b.parquet", b"x" * 50_000)
    shown = status_of("--store", history.store.uri, "--size")[1]["usage"]
    record = len(history.store.read("watch/00000002.json"))
    assert shown["growth"] == {"logs": 1000, "watch": record}
    assert shown["total"] == sum(entry.size for entry in history.store.list()) == sum(shown["areas"].values())
    assert "between the last two watches" in say("--store", history.store.uri, "--size")[1]


@pytest.mark.parametrize("every", ["6", "h", "-1h", "0m", "6 weeks", "1.5h"])
def test_an_interval_that_is_none_is_one_line(history: StoreHistory, every: str) -> None:
    with pytest.raises(InputError, match=f"--every: .*{every.split()[0]}"):
        say("--store", history.store.uri, "--every", every)


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store there; name one with --store"):
        say("--store", str(tmp_path / "nowhere"))


def test_a_hold_on_promotions_is_shown(history: StoreHistory) -> None:
    history.promote(history.register(history.dataset(10).manifest_hash))
    assert "models release" not in say("--store", history.store.uri)[1]
    registry.rollback(history.store, reason="[site] B", hold=True)
    assert "on hold since" in (text := say("--store", history.store.uri)[1])
    assert "[site] B; `driftloop models release` ends it" in text
    assert status_of("--store", history.store.uri)[1]["champion"]["hold"]["reason"] == "[site] B"


def test_lateness_goes_by_what_was_covered_not_by_when_somebody_looked(history: StoreHistory) -> None:
    history.watched(1, "1", ago(minutes=1), until=ago(hours=20))
    code, shown = status_of("--store", history.store.uri, "--every", "6h")
    assert (code, shown["late"]) == (1, True)


def test_a_failed_an_unfinished_and_a_sampling_watch_say_so(history: StoreHistory) -> None:
    history.watched(1, "1", ago(hours=1), state="failed", failure="out of memory [x]", verdict="retrain")
    assert "failed: out of memory [x]" in say("--store", history.store.uri)[1]
    history.watched(2, "1", "", until=ago(hours=1), started=ago(hours=1), state="started", sampled=0.25)
    text = say("--store", history.store.uri)[1]
    assert "not finished yet, or its run was killed" in text
    assert "looked at 25.0% of the requests" in text


def test_it_tells_of_which_classes_nothing_is_known(history: StoreHistory) -> None:
    rare = {
        "name": "rare",
        "critical": True,
        "low": 0.0,
        "high": 0.7,
        "accepted": 0.9,
        "bounded": False,
        "fallen": False,
        "labels_to_tell": 3100,
    }
    kept = rare | {"name": "common", "critical": False, "low": 0.85, "high": 0.93, "bounded": True}
    history.watched(1, "1", ago(hours=5), verdict="needs_labels", recalls=[rare, kept])
    text = " ".join(say("--store", history.store.uri)[1].split())
    assert "critical: recall of rare is between 0.00 and 0.70 (accepted: 0.90); about 3,100 random labels in all would tell" in text
    assert "common" not in text


def test_it_tells_what_the_labels_say(history: StoreHistory) -> None:
    drop = {"value": 0.081, "low": 0.032, "high": 0.124, "n": 1230}
    history.watched(1, "1", ago(hours=5), verdict="retrain", drop=drop)
    assert "8.1 points below what was accepted (3.2 to 12.4), on 1,230 random labels" in say("--store", history.store.uri)[1]
    shown = status_of("--store", history.store.uri)[1]
    assert shown["last_watch"]["drop"] == drop
    assert not {"windows", "tag_windows", "labels_by_window"} & shown["last_watch"].keys()
    history.watched(2, "1", ago(hours=1), verdict="needs_labels", drop=drop, tag="site=B [new]")
    text = say("--store", history.store.uri)[1]
    assert "needs_labels (requests with site=B [new])" in text
    assert "8.1 points below what was accepted for site=B [new] (3.2 to 12.4)" in text


def test_what_was_found_of_a_version_that_serves_no_more_is_not_said_of_the_one_that_does(history: StoreHistory) -> None:
    lost = {"name": "coat", "critical": False, "low": 0.3, "high": 0.6, "accepted": 0.75, "bounded": False, "fallen": True}
    drop = {"value": 0.243, "low": 0.162, "high": 0.319, "n": 845}
    history.watched(1, "0", ago(hours=1), verdict="retrain", decision="promote", promoted_version="1", drop=drop, recalls=[lost])
    text = " ".join(say("--store", history.store.uri)[1].split())
    assert "of version 0: 24.3 points below what was accepted" in text
    assert "of version 0: recall of coat is between 0.30 and 0.60" in text
