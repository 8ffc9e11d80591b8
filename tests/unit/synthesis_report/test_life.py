"""A model's life, told from a real store, and bounded however long it was."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from components.synthesis_report.life import MOST_BINS, MOST_ROWS, build_life, drifts_of, given_words, newest_tallies, read_life
from driftloop import registry
from driftloop.cli.report import report
from driftloop.errors import InputError
from driftloop.inference.labels import write_labels
from driftloop.reporting.document import document_html
from driftloop.reporting.translation import translate
from driftloop.store import Store
from driftloop.watch_record import RecordedWindow, WatchRecord, WindowLabels
from driftloop.watch_store import roll_up
from tests.factories.records import watch_record
from tests.factories.store_history import StoreHistory

APP = typer.Typer()
APP.command()(report)
NOW = datetime.now(UTC)


def watch(sequence: int, **given: Any) -> WatchRecord:
    """A watch a day, up to today."""
    until = (NOW - timedelta(days=30 - sequence / 100)).isoformat()
    window = RecordedWindow(first=until, last=until, rows=200, drifted=bool(given.get("confirmed")))
    tally = WindowLabels(watch=sequence, window=0, drift=0, last=until, rows=200, labels=20, right=18)
    usual = {"rows": 200, "windows": [window], "labels_by_window": [tally]}
    return watch_record(sequence, until, **usual | given)


@pytest.fixture
def history(store: Store, tmp_path: Path) -> StoreHistory:
    """Version 1, a drift that was retrained for, version 2, and a rollback."""
    history = StoreHistory(store, tmp_path)
    dataset = history.dataset(10)
    history.promote(history.register(dataset.manifest_hash))
    drop = {"value": 0.12, "low": 0.05, "high": 0.2, "n": 120, "expected": 0.9}
    watches: list[dict[str, Any]] = [
        {},
        {"confirmed": True, "verdict": "needs_labels"},
        {"confirmed": True, "verdict": "retrain", "decision": "reject", "outcome": "kept", "drop": drop, "labels": 120},
        {"confirmed": True, "verdict": "retrain", "state": "failed", "failure": "out of memory", "drop": drop, "labels": 120},
        {},
    ]
    for sequence, given in enumerate(watches, start=1):
        record = watch(sequence, **given)
        store.create(f"watch/{sequence:08d}.json", record.model_dump_json().encode())
    roll_up(store)
    history.promote(history.register(dataset.manifest_hash, parent="1"))
    registry.rollback(store, reason="complaints from site B")
    write_labels(store, pd.DataFrame({"request_id": ["a", "b", "c"], "label": "NORMAL", "origin": ["random", "random", "ranked"]}))
    return history


def test_it_tells_who_served_when_and_why_and_what_was_found(history: StoreHistory) -> None:
    life = read_life(history.store)
    assert [(service.version, service.change.action) for service in life.services] == [
        ("1", "promotion"),
        ("2", "promotion"),
        ("1", "rollback"),
    ]
    ends = [service.ended for service in life.services]
    assert [service.began for service in life.services][1:] == ends[:-1]
    assert [[record.sequence for record in drift] for drift in drifts_of(life.records)] == [[2, 3, 4]]
    html = document_html(build_life(life))
    for said in (
        "2 versions served, with 1 rollback; version 1 serves now.",
        "5 watches looked at 1,000 requests and confirmed 1 drift; 2 retrainings began, 0 of them ended in a promotion.",
        "3 labels were given.",
        "The pointer was moved 3 times, 3 of these by a person; the gate refused 1 retrained candidate.",
        "complaints from site B",
        "watch 3: candidate refused (reject)",
        "watch 4 failed (retrain)",
        "out of memory",
        "Over all 100 random labels: 90.0 %.",
    ):
        assert said in html, said


def test_a_life_of_minutes_is_told_in_minutes(history: StoreHistory) -> None:
    life = read_life(history.store, NOW)
    began = [NOW - timedelta(minutes=minutes) for minutes in (200, 12, 5)]
    moves = [change.model_copy(update={"at": at.isoformat()}) for change, at in zip(life.champion.history, began, strict=True)]
    told = replace(life, champion=life.champion.model_copy(update={"history": moves}))
    assert f"version 1, 3 h 8 min from {began[0]:%Y-%m-%d}; the shortest lasted 5 min." in document_html(build_life(told))
    made, missing = translate(build_life(told), "fr", given_words(told))
    assert missing == []
    assert "3 h 8 min à partir du" in document_html(made)


def test_the_command_writes_both_forms_beside_each_other(history: StoreHistory, tmp_path: Path) -> None:
    done = CliRunner().invoke(APP, ["--store", history.store.uri, "--to", str(tmp_path / "out")], catch_exceptions=False)
    assert done.output.split() == [str(tmp_path / "out" / name) for name in ("model_life.html", "model_life.pdf")]
    assert (tmp_path / "out" / "model_life.pdf").read_bytes().startswith(b"%PDF")


def test_it_is_told_in_french_with_the_words_that_people_wrote(history: StoreHistory) -> None:
    life = read_life(history.store)
    for told in (life, replace(life, records=[], labels=life.labels.iloc[:0])):
        made, missing = translate(build_life(told), "fr", given_words(told))
        assert missing == []
        assert "complaints from site B" in document_html(made)
        assert made.provenance["en service"] == "version 1"
    done = CliRunner().invoke(APP, ["--store", history.store.uri, "--to", "unused", "--lang", "de"])
    assert isinstance(done.exception, InputError)
    assert "lang: 'de' is not one of en, fr" in str(done.exception)


def test_a_store_where_nothing_served_and_a_run_beside_it_are_one_line(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(InputError, match="no version has ever served"):
        CliRunner().invoke(APP, ["--store", store.uri, "--to", str(tmp_path / "out")], catch_exceptions=False)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="ask for one of the two"):
        CliRunner().invoke(APP, ["latest", "--store", store.uri], catch_exceptions=False)


def test_thousands_of_watches_are_told_in_as_few_rows_and_marks(history: StoreHistory) -> None:
    records = [
        watch(sequence, confirmed=sequence % 10 == 0, verdict="needs_labels" if sequence % 10 == 0 else "stable")
        for sequence in range(1, 3001)
    ]
    records[-1] = records[-1].model_copy(update={"labels_by_window": records[-1].labels_by_window * 2})
    life = read_life(history.store)
    longer = type(life)(**vars(life) | {"records": records})
    assert len(drifts_of(records)) == 300
    assert len(newest_tallies(records)) == 3000, "a window counts once, however often it is recorded"
    document = build_life(longer)
    tables = [block for part in document.parts for block in part.chapter.blocks if block.kind == "table"]
    assert max(len(table.rows) for table in tables) == MOST_ROWS
    assert "The last 60 of 300 confirmed drifts" in document_html(document)
    assert f"Verdicts over {MOST_BINS} equal spans" in document_html(document)
    assert len(document_html(document)) < 500_000
