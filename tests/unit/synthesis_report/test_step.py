"""The report closes the record of its own watch, once."""

from pathlib import Path

import numpy as np
import pytest

from components.drift_detection.step import run as detect
from components.synthesis_report.step import run
from driftloop.dataset import read_description
from driftloop.errors import Conflict, InputError
from driftloop.store import open_store
from driftloop.summary import Summary
from driftloop.watch_store import read_records
from tests.factories.drift_traffic import GrowingLog, draw_regime, write_champion_with_references
from tests.factories.gate_store import CANDIDATE, CHAMPION, new_gate_store, pixel_graph, split_with_answers, write_pixel_bundle
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
        str(tmp_path / "sheet.html"),
        store=store,
        alpha=0.05,
        config={"window_size": 30, "minimum_window": 20},
        metrics=MetricsFile(),
    )
    return store


def report(folder: Path, store: str, outcome: str = "watched", lang: str = "en") -> Summary:
    return run(
        model=str(folder / "champion"),
        outcome=outcome,
        store=store,
        summary=str(folder / "summary.json"),
        html=str(folder / "report.html"),
        pdf=str(folder / "report.pdf"),
        traffic=str(folder / "traffic"),
        drift=str(folder / "evidence"),
        lang=lang,
    )


@pytest.mark.parametrize(("lang", "written", "said"), [("fr", "fr", ""), ("klingon", "en", "lang: 'klingon' is not one of en, fr")])
def test_it_is_written_in_the_language_asked_for_and_a_typing_error_costs_no_report(
    watched: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], lang: str, written: str, said: str
) -> None:
    report(tmp_path, watched, lang=lang)
    assert f'<html lang="{written}">' in (tmp_path / "report.html").read_text()
    assert said in capfd.readouterr().out


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


@pytest.mark.parametrize(("pixel", "decision", "version"), [(CANDIDATE, "promote", "1"), (CHAMPION, "inconclusive", "")])
def test_a_training_has_its_report_whatever_the_gate_says(
    pixel: int, decision: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLOOP_CACHE", str(tmp_path / "cache"))
    gate_store = new_gate_store(tmp_path)
    right = {CANDIDATE: np.arange(200) % 20 > 0, CHAMPION: np.arange(200) % 4 < 2}
    dataset = gate_store.dataset({"test": split_with_answers(200, right, "test")}, "dataset")
    candidate = write_pixel_bundle(tmp_path / "candidate", pixel_graph(pixel), read_description(dataset).manifest_hash)
    assert gate_store.judge(dataset, candidate) == decision
    outcome = "promoted" if version else "kept"
    paths = {name: str(tmp_path / name) for name in ("summary", "html", "pdf")}
    summary = run(
        model=str(candidate), outcome=outcome, store=gate_store.store.uri, gate=str(tmp_path / "evidence"), version=version, **paths
    )
    assert (summary.pipeline, summary.champion.before, summary.champion.after) == ("training", None, version or None)
    assert summary.gate is not None
    assert summary.gate.decision == decision
    html = (tmp_path / "html").read_text()
    assert "<h1>Training report</h1>" in html
    assert "The gate: first champion" in html
    assert (tmp_path / "pdf").read_bytes().startswith(b"%PDF")
    assert read_records(gate_store.store) == []
