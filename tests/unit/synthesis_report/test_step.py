"""The report closes the record of its own watch, once."""

from pathlib import Path

import numpy as np
import pytest

from components.drift_detection.step import run as detect
from components.synthesis_report.step import run
from driftloop.errors import Conflict, InputError
from driftloop.store import open_store
from driftloop.summary import Summary
from driftloop.watch_store import read_records
from tests.factories.drift_traffic import GrowingLog, draw_regime, write_champion_with_references
from tests.factories.metrics import MetricsFile


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A watch of run-a that has its verdict; the store."""
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "run-a")
    store = str(tmp_path / "store")
    champion = write_champion_with_references(tmp_path / "champion", [draw_regime("reference", 120, np.random.default_rng(1))])
    production = GrowingLog(np.random.default_rng(2), store)
    production.serve(60)
    detect(
        str(production.watch(tmp_path / "traffic")),
        str(champion),
        str(tmp_path / "evidence"),
        str(tmp_path / "drift.html"),
        store=store,
        alpha=0.05,
        config={"window_size": 30, "minimum_window": 20},
        metrics=MetricsFile(),
    )
    return store


def report(folder: Path, store: str, outcome: str = "watched") -> Summary:
    return run(
        model=str(folder / "champion"),
        outcome=outcome,
        store=store,
        summary=str(folder / "summary.json"),
        html=str(folder / "report.html"),
        pdf=str(folder / "report.pdf"),
        traffic=str(folder / "traffic"),
        drift=str(folder / "evidence"),
    )


def test_the_record_that_the_verdict_started_is_closed(watched: str, tmp_path: Path) -> None:
    (opened,) = read_records(open_store(watched))
    assert (opened.state, opened.run_id, opened.verdict, opened.rows, len(opened.windows)) == ("started", "run-a", "stable", 60, 2)
    report(tmp_path, watched)
    (closed,) = read_records(open_store(watched))
    assert (closed.state, closed.outcome, closed.decision, closed.windows) == ("closed", "watched", None, opened.windows)


def test_a_report_that_is_repeated_changes_nothing(watched: str, tmp_path: Path) -> None:
    report(tmp_path, watched)
    before = read_records(open_store(watched))
    report(tmp_path, watched)
    assert read_records(open_store(watched)) == before


def test_another_run_cannot_close_it(watched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "run-b")
    with pytest.raises(Conflict, match="belongs to run run-a"):
        report(tmp_path, watched)
    assert read_records(open_store(watched))[0].state == "started"


def test_an_unknown_outcome_is_refused_before_anything_is_written(watched: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outcome: 'won' is not one of"):
        report(tmp_path, watched, outcome="won")
    assert not (tmp_path / "summary.json").exists()
