"""The notebooks of the course run, first cell to last, one after the other, and are committed as their readers begin them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from components.synthesis_report.material import MAKING, RENEWING, WATCHING
from driftloop.backends.run_folder import CHAMPION_FILES, DELIVERABLES
from driftloop.coursework import THEMES, Course
from driftloop.errors import InputError, SettingError
from driftloop.reporting.chapter import read_chapters
from driftloop.reporting.translation import Translator
from tests.documentation.documented_commands import ROOT
from tests.documentation.notebooks import code_cells

NOTEBOOKS = sorted((ROOT / "docs" / "course").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs_and_with_its_imports_of_the_course(notebook: Path) -> None:
    content = json.loads(notebook.read_text())
    assert [cell for cell in content["cells"] if cell.get("outputs") or cell.get("execution_count")] == []
    assert "from driftloop.course import Course" in code_cells(notebook)[0]
    assert (content["nbformat"], content["metadata"]["kernelspec"]["name"]) == (4, "python3")


def test_the_notebooks_lead_through_every_theme(tmp_path: Path) -> None:
    """In one process, in a folder of its own: digits, a minute of processor time."""
    assert [int(path.name[0]) for path in NOTEBOOKS] == list(THEMES)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "tests.documentation.notebooks", *map(str, NOTEBOOKS)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    log = tmp_path / "driftloop-course" / "run.log"
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{log.read_text()[-3000:] if log.exists() else ''}"
    shown = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"theme"')]
    assert [theme["theme"] for theme in shown] == list(THEMES)
    assert all(theme["page"] > 10_000 for theme in shown), "every theme shows its page"
    assert all(theme["facts"] for theme in shown[:7])
    handed_in = {name for theme in shown for name in theme["files"]}
    assert handed_in == {*DELIVERABLES, *CHAMPION_FILES}, "each deliverable is some theme's"
    its_chapters_are_french(tmp_path / "driftloop-course" / "artifacts" / "watch")


def its_chapters_are_french(watch: Path) -> None:
    """Of the chapters of this run a few sentences may lack their French: those of branches that a run seldom takes."""
    evidence = watch / "validation-gate" / "evidence"
    chapters = read_chapters(watch / "drift-detection" / "evidence") | read_chapters(evidence)
    classes = frozenset(map(str, range(10)))
    assert {*MAKING, *WATCHING, *RENEWING} <= chapters.keys()
    for step, chapter in chapters.items():
        translator = Translator("fr", classes)
        translator.chapter(chapter)
        assert len(translator.missing) < 0.05 * translator.asked, f"{step}: {translator.missing}"


def test_the_page_of_the_course_names_what_each_theme_hands_in() -> None:
    page = (ROOT / "docs" / "course.md").read_text()
    for number, chapter in THEMES.items():
        section = re.search(rf"^## {number}\. {chapter.title}$(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
        assert section, f"a section {number}. {chapter.title}"
        assert f"`{chapter.page}`" in section[1]
        assert f"course/{number}-{chapter.title.lower()}.ipynb" in section[1]
    named = set(re.findall(r"`([\w.]+\.(?:html|pt|pth|md|png|csv|onnx|json|npz|pdf))`", page))
    assert {*DELIVERABLES, *CHAMPION_FILES} <= named


def test_a_course_goes_on_with_its_own_parameters_and_refuses_others(tmp_path: Path) -> None:
    begun = Course(tmp_path / "mine", seed=3)
    assert Course(tmp_path / "mine").parameters == begun.parameters
    with pytest.raises(InputError, match="begun with other parameters"):
        Course(tmp_path / "mine", seed=4)
    with pytest.raises(SettingError, match="did you mean seed"):
        Course(tmp_path / "other", sed=4)
    with pytest.raises(InputError, match="themes 1 to 8"):
        begun.theme(9)
