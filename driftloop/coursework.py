"""The course's eight themes, run one by one on a small source: the pipelines' own steps up to a theme, and what they left to look at.

What a theme left stays in the course's folder, so that the notebooks of `docs/course/` go on where the one before ended.
"""

import html
import json
import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.traffic_replay import step as traffic_replay
from driftloop import registry
from driftloop.backends.delivered_models import deliver_models
from driftloop.backends.run_folder import CHAMPION_FILES, DELIVERABLES, RunFolder
from driftloop.contracts import (
    AUTOMATED_RETRAINING,
    BASELINE_TRAINING,
    DATA_ANALYSIS,
    DRIFT_DETECTION,
    MODEL_OPTIMIZATION,
    MODEL_PROMOTION,
    ONNX_DEPLOYMENT,
    PRODUCTION_MONITORING,
    SOURCE_RESOLUTION,
    SYNTHESIS_REPORT,
    TRAFFIC_REPLAY,
    VALIDATION_GATE,
)
from driftloop.errors import InputError
from driftloop.rehearsal.steps import FinishedStep, StepCaller, champion_stage, data_stage, watch_stage
from driftloop.settings import PARAMETERS, TrafficParameters, TrainingParameters, WatchParameters, check
from driftloop.step_facts import read_facts, write_json
from driftloop.store import open_store

#: Where the notebooks of the course keep what they made.
FOLDER = "driftloop-course"
#: The course's parameters for digits: a minute in all. The gate's margin is wide, because 270 test images cannot decide two points.
DIGITS: dict[str, Any] = {
    "data_source": "digits",
    "data_image_size": 32,
    "train_epochs": 6,
    "traffic_drift": "rotation:1.0",
    "gate_margin": 0.1,
    "gpus": "0",
    "data_config": {"stream_share": 0.5},
    "train_config": {"ablation_epochs": 1},
    "deploy_config": {"benchmark_seconds": 0.3},
    "traffic_config": {"clean_windows": 0, "drifted_windows": 2},
    "drift_config": {"gate_power": 0, "harm_labels": 50, "teaching": True},
    "retrain_config": {"epochs": 8},
}


@dataclass(frozen=True)
class Chapter:
    """A theme of the course."""

    title: str
    training: tuple[str, ...]
    """Its steps on the way to the first champion."""
    watch: tuple[str, ...]
    """Its steps in the watch."""
    page: str
    """The deliverable that shows what it found."""


THEMES: dict[int, Chapter] = {
    1: Chapter("Data", (SOURCE_RESOLUTION, DATA_ANALYSIS), (), "data_report.html"),
    2: Chapter("Baseline", (BASELINE_TRAINING,), (), "baseline_curves.html"),
    3: Chapter("Optimisation", (MODEL_OPTIMIZATION,), (), "optimization_report.html"),
    4: Chapter("Deployment", (ONNX_DEPLOYMENT, VALIDATION_GATE, MODEL_PROMOTION), (), "deployment_report.html"),
    5: Chapter("Monitoring", (), (TRAFFIC_REPLAY, PRODUCTION_MONITORING), "dashboard.html"),
    6: Chapter("Drift", (), (DRIFT_DETECTION,), "drift_report.html"),
    7: Chapter("Retraining", (), (AUTOMATED_RETRAINING, ONNX_DEPLOYMENT, VALIDATION_GATE, MODEL_PROMOTION), "gate.html"),
    8: Chapter("Synthesis", (), (SYNTHESIS_REPORT,), "report.html"),
}


@dataclass(frozen=True)
class Theme:
    """What a theme found; a notebook shows its page."""

    number: int
    title: str
    facts: dict[str, Any]
    """By step, as the report takes them."""
    files: dict[str, Path]
    """What is handed in, by the course's names."""
    page: Path | None
    """Its HTML page; None where the watch had no reason to run its steps."""

    def _repr_html_(self) -> str:
        if self.page is None:
            return f"<p>Theme {self.number}: nothing was run; the verdict of theme 6 says why.</p>"
        return f'<iframe srcdoc="{html.escape(self.page.read_text())}" width="100%" height="640"></iframe>'


class _LaterTheme(Exception):
    """A stage came to a step of a theme that was not asked for."""


@dataclass(frozen=True)
class _ResumingCaller(StepCaller):
    """Calls the steps of some themes, each once: what it returned and wrote is taken from its folder from then on."""

    wanted: Collection[str] = ()

    def __call__(self, component: str, /, **inputs: Any) -> FinishedStep:
        folder = self.folder(component)
        done = folder / "done.json"
        if done.exists():
            return FinishedStep(**json.loads(done.read_text()))
        if component not in self.wanted:
            raise _LaterTheme
        shutil.rmtree(folder, ignore_errors=True)  # of a step that was interrupted
        finished = super().__call__(component, **inputs)
        output = finished.output if isinstance(finished.output, str) else None
        write_json(done, {"output": output, "outputs": finished.outputs})
        return finished


def _unannounced(step: str) -> AbstractContextManager[None]:
    """Shows nothing where a step begins: what it says is in run.log."""
    return nullcontext()


class Course:
    """The course in a folder of its own: `Course().theme(3)` runs what is missing up to theme 3 and returns what theme 3 found."""

    def __init__(self, folder: str | Path = FOLDER, **parameters: Any) -> None:
        """Begin the course, or go on with it.

        Args:
            folder: made where it is missing.
            parameters: any of the full loop's, such as `data_source="my-images"`, on top of those for digits; a course that has begun
                keeps its own.

        Raises:
            InputError: the folder's course was begun with other parameters.
            SettingError: an unknown parameter, or one out of range.
        """
        self.folder = RunFolder(Path(folder).resolve())
        begun = json.loads(self.folder.parameters.read_text()) if self.folder.parameters.exists() else None
        defaults = {name: parameter.default for name, parameter in PARAMETERS.items()} | DIGITS | {"store": str(self.folder.store)}
        given = {name: check(name, value, PARAMETERS) for name, value in parameters.items()}
        self.parameters: Mapping[str, Any] = begun if begun and not given else defaults | given
        if begun and begun != self.parameters:
            raise InputError(f"{folder}: this course was begun with other parameters; leave them out to go on, or name another folder")
        write_json(self.folder.parameters, self.parameters)

    def theme(self, number: int) -> Theme:
        """Run the course up to a theme, as far as that was not done; what the theme found.

        Raises:
            InputError: no such theme.
            DriftloopError: as the steps.
        """
        if number not in THEMES:
            raise InputError(f"theme {number}: the course has themes 1 to {len(THEMES)}")
        os.environ["DRIFTLOOP_RUN_ID"] = self.folder.id
        with self.folder.log.open("a") as log, redirect_stdout(log):
            self._run(number)
        shutil.rmtree(self.folder.deliverables, ignore_errors=True)
        self.folder.collect_deliverables()
        if registry.current(open_store(self.parameters["store"])):
            deliver_models(self.folder, lambda: open_store(self.parameters["store"]), None)
        return self._found(number)

    def _run(self, number: int) -> None:
        chapters = [chapter for known, chapter in THEMES.items() if known <= number]
        training = TrainingParameters.of(self.parameters)
        call = _ResumingCaller(self.folder.artifacts / "training", [step for chapter in chapters for step in chapter.training])
        dataset = data_stage(call, training, _unannounced)
        try:
            version = champion_stage(call, training, dataset, _unannounced)
        except _LaterTheme:
            return
        watching = [step for chapter in chapters for step in chapter.watch]
        if not watching:
            return
        watch = _ResumingCaller(self.folder.artifacts / "watch", watching)
        try:
            outcome = watch_stage(watch, WatchParameters.of(self.parameters), self._traffic(dataset, version))
        except _LaterTheme:
            return
        if outcome.failure:
            raise InputError(outcome.failure)

    def _traffic(self, dataset: str, version: str) -> str:
        """Replay production once; up to when."""
        done = self.folder.artifacts / "watch" / "traffic.json"
        if not done.exists():
            traffic = TrafficParameters.of(self.parameters)
            until = traffic_replay.run(
                dataset,
                champion_version=version,
                drift=traffic.traffic_drift,
                seed=traffic.seed,
                store=traffic.store,
                config=traffic.traffic_config,
            )
            write_json(done, {"until": until})
        return json.loads(done.read_text())["until"]

    def _found(self, number: int) -> Theme:
        chapter = THEMES[number]
        steps = chapter.training or chapter.watch
        part = self.folder.artifacts / ("training" if chapter.training else "watch")
        folders = [part / step.replace("_", "-") for step in steps]
        facts: dict[str, Any] = {}
        for directory in (path for folder in folders if folder.exists() for path in sorted(folder.iterdir()) if path.is_dir()):
            facts |= {step: found for step, found in read_facts(directory).items() if step in steps}
        names = [name for name, pattern in DELIVERABLES.items() if pattern.split("/")[0].rstrip("*").replace("-", "_") in steps]
        names += CHAMPION_FILES if ONNX_DEPLOYMENT in steps else ()
        files = {name: path for name in names if (path := self.folder.deliverables / name).exists()}
        ran = any(folder.exists() for folder in folders)
        return Theme(number, chapter.title, facts, files, self.folder.deliverables / chapter.page if ran else None)
