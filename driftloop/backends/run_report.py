"""The report of a run's folder: bound again from what its steps left, whether the run came to its end or not."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.synthesis_report.document import write_report
from components.synthesis_report.material import DRIFT_WATCH, FULL_LOOP, MAKING, TRAINING, WATCHING, RunMaterial
from driftloop.backends.page_links import link_pages
from driftloop.backends.run_folder import MAKING_DIRECTORIES, REPORTS, WATCHING_DIRECTORIES, RunFolder
from driftloop.bundle import DESCRIPTION, read_model
from driftloop.contracts import ENGLISH
from driftloop.errors import InputError
from driftloop.reporting.chapter import Chapter, read_chapters
from driftloop.schema import parse_stored
from driftloop.step_facts import read_facts, read_used
from driftloop.summary import Summary

#: The directories that carry what a run knows of its champion and of its watch, the ones that say most last.
CHAMPION_DIRECTORIES = (*MAKING_DIRECTORIES, "production-monitoring/champion", *WATCHING_DIRECTORIES)
#: Those of the candidate that a watch made; a training's candidate is its first champion.
CANDIDATE_DIRECTORIES = ("automated-retraining/model", "onnx-deployment-2/candidate", "validation-gate-2/evidence")
#: In a drift-watch these are the first of their kind.
WATCH_CANDIDATE_DIRECTORIES = ("automated-retraining/model", "onnx-deployment/candidate", "validation-gate/evidence")


def rebuild_report(folder: RunFolder, lang: str = "") -> bool:
    """Write the report of a run that has ended again; False where no step has left anything to tell.

    Args:
        folder: of the run.
        lang: the report's language; empty: the run's own.

    Raises:
        InputError: the folder has no summary: it is not a run's, or the run goes on.
        IntegrityError: a step's chapters are damaged.
    """
    if not folder.summary.exists():
        raise InputError(f"{folder.path}: no {folder.summary.name}; not the folder of a run that has ended")
    return write_run_report(folder, parse_stored(Summary, folder.summary.read_bytes(), str(folder.summary)), lang)


def write_run_report(folder: RunFolder, summary: Summary, lang: str = "") -> bool:
    """Write report.html and report.pdf into the run's folder and its deliverables, in `lang` or else the run's own language; False where
    no step has left anything to tell.

    Raises:
        IntegrityError: a step's chapters are damaged.
    """
    material = read_material(folder, summary)
    if not material.facts:
        return False
    html, pdf = (folder.path / name for name in REPORTS)
    write_report(material, html, pdf, lang or str(material.parameters.get("lang", ENGLISH)))
    folder.deliverables.mkdir(exist_ok=True)
    for report in (html, pdf):
        shutil.copyfile(report, folder.deliverables / report.name)
    link_pages(folder.deliverables)
    return True


def read_material(folder: RunFolder, summary: Summary) -> RunMaterial:
    """What the directories of the run's artifacts carry."""
    champion = [path for name in CHAMPION_DIRECTORIES if (path := folder.find(name)) is not None]
    candidates = {TRAINING: ("validation-gate/evidence",), FULL_LOOP: CANDIDATE_DIRECTORIES}.get(
        summary.pipeline, WATCH_CANDIDATE_DIRECTORIES
    )
    candidate = [path for name in candidates if (path := folder.find(name)) is not None]
    if summary.pipeline == DRIFT_WATCH:
        champion = [path for path in champion if path.parent.name not in ("onnx-deployment", "data-analysis")]
    facts, chapters, used = _read(champion)
    candidate_facts, candidate_chapters, candidate_used = _read(candidate)
    own = {*MAKING, *WATCHING}
    described = next((path for path in reversed(champion) if (path / DESCRIPTION).exists()), None)
    return RunMaterial(
        pipeline=summary.pipeline,
        summary=summary,
        date=_ended(folder).isoformat(timespec="seconds"),
        facts={step: value for step, value in facts.items() if step in own or summary.pipeline == DRIFT_WATCH},
        chapters=chapters,
        used=used,
        candidate_facts=candidate_facts,
        candidate_used=candidate_used,
        candidate_chapters=candidate_chapters,
        libraries=read_model(described).libraries if described else {},
        parameters=json.loads(folder.parameters.read_text()) if folder.parameters.exists() else {},
    )


def _ended(folder: RunFolder) -> datetime:
    """When the run ended: when its summary was written, or now."""
    return datetime.fromtimestamp(folder.summary.stat().st_mtime, UTC) if folder.summary.exists() else datetime.now(UTC)


def _read(directories: list[Path]) -> tuple[dict[str, Any], dict[str, Chapter], dict[str, Any]]:
    facts: dict[str, Any] = {}
    chapters: dict[str, Chapter] = {}
    used: dict[str, Any] = {}
    for directory in directories:
        facts |= read_facts(directory)
        chapters |= read_chapters(directory)
        used |= read_used(directory)
    return facts, chapters, used
