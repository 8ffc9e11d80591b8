"""A detector is a file and a line of registration: everything that shows or stores p-values then has it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.drift_detection import detectors
from components.drift_detection.detectors import Detector, DetectorResult
from components.drift_detection.reference import Sample
from components.drift_detection.step import run as detect
from components.synthesis_report.step import run as report
from driftloop.store import open_store
from driftloop.summary import Summary
from driftloop.watch_store import read_records
from tests.factories.drift_traffic import GrowingLog, draw_regime, write_champion_with_references
from tests.unit.drift_detection.toy_detector import DETECTOR


class Metrics(dict):
    """Collects what the step logs."""

    def log_metric(self, metric: str, value: float) -> None:
        self[metric] = value


def watch(directory: Path, production: GrowingLog) -> tuple[dict[str, Any], Metrics]:
    """The drift step on what production holds; drift_report.json and the metrics."""
    champion = write_champion_with_references(directory / "champion", [draw_regime("reference", 240, np.random.default_rng(1))])
    traffic, metrics = production.watch(directory / "traffic"), Metrics()
    config = {"window_size": 60, "minimum_window": 20}
    detect(
        str(traffic),
        str(champion),
        str(directory / "evidence"),
        str(directory / "drift.html"),
        str(directory / "sheet.html"),
        store=production.store,
        alpha=0.05,
        config=config,
        metrics=metrics,
    )
    return json.loads((directory / "evidence" / "drift_report.json").read_text()), metrics


def commit(directory: Path, production: GrowingLog) -> Summary:
    """The watch's report, which leaves its record in the store."""
    return report(
        model=str(directory / "champion"),
        outcome="watched",
        store=production.store,
        summary=str(directory / "summary.json"),
        html=str(directory / "synthesis.html"),
        pdf=str(directory / "synthesis.pdf"),
        traffic=str(directory / "traffic"),
        drift=str(directory / "evidence"),
    )


@pytest.fixture
def production(tmp_path: Path) -> GrowingLog:
    production = GrowingLog(np.random.default_rng(2), store=str(tmp_path / "store"))
    production.serve(180)
    return production


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "DETECTORS", (*detectors.DETECTORS, DETECTOR))


@pytest.mark.usefixtures("registered")
def test_a_registered_detector_stands_in_everything_that_a_watch_writes(production: GrowingLog, tmp_path: Path) -> None:
    drift, metrics = watch(tmp_path, production)
    p_value = drift["p_values"]["toy"]
    assert 0 < p_value <= 1
    assert (metrics["p_toy"], set(drift["p_values"])) == (p_value, {"statistics", "embedding", "toy"})
    window = drift["details"]["windows"][-1]
    assert window["mean_shift"] == metrics["mean_shift"]
    assert window["correction"].endswith("mean of a statistic (permutations): each at alpha / 3")

    page = (tmp_path / "drift.html").read_text()
    for text in ("p, mean of a statistic", "p toy", "shift of the mean", "Histogram of the toy detector", "each at alpha / 3"):
        assert text in page
    assert re.search(r"and by the mean of its first image statistic \([\d,]+ permutations\)", page)
    assert f"at most {drift['alpha'] / 3:.4g}" in page

    summary = commit(tmp_path, production)
    assert summary.drift is not None
    assert summary.drift.p_values["toy"] == p_value
    assert "p (mean of a statistic)" in (tmp_path / "synthesis.html").read_text()
    (record,) = read_records(open_store(production.store), 10)
    assert record.windows[-1].p_values["toy"] == p_value
    assert record.windows[-1].p_statistics == drift["p_values"]["statistics"]


@pytest.mark.usefixtures("registered")
def test_windows_of_watches_before_a_detector_came_are_shown_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    production = GrowingLog(np.random.default_rng(3), str(tmp_path / "store"))
    production.serve(120)
    with monkeypatch.context() as before:
        before.setattr(detectors, "DETECTORS", detectors.DETECTORS[:2])
        first, _ = watch(tmp_path / "first", production)
    production.commit(first)
    production.serve(120)
    second, _ = watch(tmp_path / "second", production)
    assert [set(window["p_values"]) for window in second["details"]["history"]] == [{"statistics", "embedding"}] * 2
    assert [set(window["p_values"]) for window in second["windows"]] == [{"statistics", "embedding", "toy"}] * 2


def test_the_verdict_takes_a_registered_detector_into_account(
    production: GrowingLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watch(tmp_path / "without", production)[0]["verdict"] == "stable"

    def alarm(reference: Sample, window: Sample, permutations: int, rng: np.random.Generator) -> DetectorResult:
        return DetectorResult(0.001)

    monkeypatch.setattr(detectors, "DETECTORS", (*detectors.DETECTORS, Detector("siren", "siren", "always", "a siren", alarm)))
    drift, metrics = watch(tmp_path / "with", production)
    assert (drift["verdict"], drift["confirmed"], metrics["windows_drifted"]) == ("needs_labels", True, 3)


@pytest.mark.usefixtures("registered")
def test_the_p_values_of_those_before_it_in_a_window_stay_what_they_are(
    production: GrowingLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_toy, _ = watch(tmp_path / "with", production)
    monkeypatch.setattr(detectors, "DETECTORS", detectors.DETECTORS[:2])
    without, _ = watch(tmp_path / "without", production)
    assert with_toy["windows"][0]["p_statistics"] == without["windows"][0]["p_statistics"]
    assert with_toy["windows"][0]["p_embedding"] == without["windows"][0]["p_embedding"]


def test_other_detectors_may_take_the_place_of_both(production: GrowingLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "DETECTORS", (DETECTOR,))
    drift, _ = watch(tmp_path, production)
    assert set(drift["p_values"]) == {"toy"}
    commit(tmp_path, production)
    (record,) = read_records(open_store(production.store), 10)
    assert (record.windows[0].p_statistics, set(record.windows[0].p_values)) == (None, {"toy"})
