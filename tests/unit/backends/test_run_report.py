"""A run's report is bound from its folder, whatever the run came to."""

from pathlib import Path

import pytest

from driftloop.backends.run_folder import RunFolder
from driftloop.backends.run_report import rebuild_report
from driftloop.contracts import DATA_ANALYSIS
from driftloop.errors import InputError
from driftloop.reporting.chapter import Chapter, Text, write_chapter
from driftloop.step_facts import write_facts, write_json
from driftloop.summary import Summary
from tests.factories.pdf import pages_of


@pytest.fixture
def failed(tmp_path: Path) -> RunFolder:
    """A training that ended after its first step."""
    folder = RunFolder(tmp_path / "r1")
    dataset = folder.artifacts / "training-1" / "data-analysis" / "dataset"
    write_facts(dataset, DATA_ANALYSIS, {"source": "digits", "classes": ["0", "1"], "counts": {"train": 10}, "image_size": 32})
    write_chapter(dataset, DATA_ANALYSIS, Chapter(title="Data analysis", blocks=[Text(text="Ten images.")]))
    write_json(folder.summary, Summary(pipeline="training", run_id="r1", seed=1, error="the disk is full").model_dump())
    return folder


def test_a_failed_run_is_told_as_far_as_it_came(failed: RunFolder) -> None:
    assert rebuild_report(failed)
    html = (failed.path / "report.html").read_text()
    assert "Ten images." in html
    assert "the disk is full" in html
    assert (failed.deliverables / "report.html").read_text() == html
    assert pages_of(failed.path / "report.pdf") > 20


def test_it_is_the_same_when_it_is_bound_again(failed: RunFolder) -> None:
    rebuild_report(failed)
    first = [(failed.path / name).read_bytes() for name in ("report.html", "report.pdf")]
    rebuild_report(failed)
    assert [(failed.path / name).read_bytes() for name in ("report.html", "report.pdf")] == first


def test_it_can_be_told_in_french_and_again_in_english(failed: RunFolder) -> None:
    rebuild_report(failed)
    english = (failed.path / "report.html").read_text()
    rebuild_report(failed, "fr")
    french = (failed.path / "report.html").read_text()
    assert '<html lang="fr">' in french
    assert "the disk is full" in french, "what a step said stays as it was said"
    assert "Limites" in french
    assert "Limits" not in french
    assert (failed.deliverables / "report.html").read_text() == french
    rebuild_report(failed)
    assert (failed.path / "report.html").read_text() == english
    with pytest.raises(InputError, match="de"):
        rebuild_report(failed, "de")
    assert (failed.path / "report.html").read_text() == english
    write_json(failed.parameters, {"lang": "fr"})
    rebuild_report(failed)
    assert '<html lang="fr">' in (failed.path / "report.html").read_text(), "the run's own language"


def test_a_run_that_left_nothing_gets_no_report(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_json(folder.summary, Summary(pipeline="training", error="no such source").model_dump())
    assert not rebuild_report(folder)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_a_summary_is_no_run_that_has_ended(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no summary\.json"):
        rebuild_report(RunFolder(tmp_path))
