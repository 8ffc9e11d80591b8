"""Weights & Biases: a run for each step, grouped by the pipeline's run; versions as artifacts of type `model`.

Every run is written to a folder first (WANDB_DIR, or `wandb/` here), without any connection. With WANDB_API_KEY, unless WANDB_MODE is
offline, `wandb sync` then uploads the folder, and is ended where it takes too long: its own client would wait for an outage to end.
Without a key the folders stay for a later `wandb sync`. WANDB_PROJECT (driftloop), WANDB_ENTITY and WANDB_BASE_URL are W&B's own.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import wandb

from driftloop.bundle import ModelDescription
from driftloop.errors import InputError
from driftloop.registry import Champion, VersionInfo
from driftloop.tracking.step_record import EPOCH, StepRecord
from driftloop.tracking.trackers import TrackerUnavailable

#: Seconds for uploading a run; DRIFTLOOP_WANDB_TIMEOUT for slow lines.
UPLOAD_S = 60.0


class Tracker:
    """A project of W&B, or the folder that is synchronised with it later."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._online = bool(environment.get("WANDB_API_KEY")) and environment.get("WANDB_MODE", "online") == "online"
        self._project = environment.get("WANDB_PROJECT") or "driftloop"
        self._entity = environment.get("WANDB_ENTITY") or None
        self._folder = Path(environment.get("WANDB_DIR") or ".").resolve()
        try:
            self._seconds = float(environment.get("DRIFTLOOP_WANDB_TIMEOUT") or UPLOAD_S)
        except ValueError:
            raise InputError(f"DRIFTLOOP_WANDB_TIMEOUT: {environment['DRIFTLOOP_WANDB_TIMEOUT']!r} is not a number of seconds") from None
        server = environment.get("WANDB_BASE_URL") or "W&B"
        self.place = f"{server}/{self._entity or ''}/{self._project}" if self._online else f"{self._folder}/wandb"

    def show_step(self, record: StepRecord, files: Mapping[str, Path]) -> None:
        """As in the protocol."""
        epochs: dict[int, dict[str, float]] = {}
        for name, curve in record.curves.items():
            for epoch, value in curve:
                epochs.setdefault(epoch, {EPOCH: epoch})[name] = value
        with self._or_unavailable():
            run = self._begin(record.name, record.run, record.step, record.parameters, kind=record.group)
            run.define_metric("*", step_metric=EPOCH)
            for _, row in sorted(epochs.items()):
                run.log(row)
            run.summary.update(record.metrics)
            if files:
                self._attach(run, f"{record.run}-{record.step}", "report", files.values())
            self._end(run)

    def register(self, model: str, info: VersionInfo, about: ModelDescription, folder: Path) -> None:
        """As in the protocol; the artifact has the alias `version-<n>`."""
        with self._or_unavailable():
            run = self._begin(f"{model}-{info.digest}", info.run or model, "version", {"version": info.version, "dataset": info.dataset})
            if info.accuracy is not None:
                run.summary["accuracy"] = info.accuracy.value
            self._attach(run, model, "model", sorted(folder.iterdir()), aliases=[f"version-{info.version}"])
            self._end(run)

    def follow(self, model: str, champion: Champion) -> None:
        """Nothing: an alias of W&B moves only by an upload of its own, and a promotion is shown as a step of its run."""

    @contextmanager
    def _or_unavailable(self) -> Iterator[None]:
        """A folder that cannot be written, or W&B's own program that does not start, holds the record back and is no failure of ours."""
        try:
            yield
        except (OSError, wandb.errors.Error) as error:
            raise TrackerUnavailable(f"W&B at {self.place}: {' '.join(str(error).split())[:300]}") from None

    def _begin(self, name: str, group: str, job: str, config: Mapping[str, str], kind: str = "") -> wandb.Run:
        """A new run in a folder. Its id is made of its name, so that a second upload replaces the first.

        Args:
            name: of the record, which no other has.
            group: the pipeline's run.
            job: what the run is called by, and its type where it is not one of a `kind`.
            config: its parameters.
            kind: what it is one of.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            mode="offline",
            dir=self._folder,
            project=self._project,
            entity=self._entity,
            id=hashlib.sha256(name.encode()).hexdigest()[:32],
            group=group,
            job_type=kind or job,
            name=f"{group} {job}",
            config=dict(config),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, disable_code=True, x_disable_stats=True),
        )

    @staticmethod
    def _attach(run: wandb.Run, name: str, kind: str, paths: Iterable[Path], aliases: list[str] | None = None) -> None:
        artifact = wandb.Artifact(re.sub("[^A-Za-z0-9._-]+", "-", name)[:128], type=kind)
        for path in paths:
            artifact.add_file(str(path))
        run.log_artifact(artifact, aliases=aliases)

    def _end(self, run: wandb.Run) -> None:
        folder = Path(run.dir).parent
        run.finish()
        if not self._online:
            return
        command = [sys.executable, "-m", "wandb", "sync", str(folder)]
        try:  # whatever comes of it, the folder is not needed: the record is in the store
            done = subprocess.run(
                command, env=os.environ | self._environment, capture_output=True, text=True, timeout=self._seconds, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise TrackerUnavailable(f"W&B at {self.place}: no answer within {self._seconds:g} s") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise TrackerUnavailable(f"W&B at {self.place}: {said[-1][:300] if said else 'the upload failed'}")
