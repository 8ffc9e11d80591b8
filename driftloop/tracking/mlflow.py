"""MLflow: a run for each pipeline's run with one nested run a step, and the registry with the aliases `champion` and `previous`.

The trials of a search lie one level deeper, under a run of their own.

Only its client (`mlflow-skinny`) is needed. The address and the keys come from MLflow's own variables: MLFLOW_TRACKING_URI,
MLFLOW_TRACKING_USERNAME and _PASSWORD or _TOKEN; MLFLOW_EXPERIMENT_NAME (driftloop). DRIFTLOOP_MLFLOW_STAGES=1 moves the stages
Production and Archived, too, for those who still go by them.
"""

import hashlib
import os
import posixpath
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import mlflow
import numpy as np
from mlflow.entities import Metric, Param, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec

from driftloop.bundle import ModelDescription
from driftloop.errors import InputError
from driftloop.registry import Champion, VersionInfo
from driftloop.tracking.step_record import StepRecord
from driftloop.tracking.trackers import TrackerRefused, TrackerUnavailable

#: Tags by which what was made before is found again.
ID_TAG, VERSION_TAG, DIGEST_TAG = "driftloop.id", "driftloop.version", "driftloop.digest"
PARENT_TAG, FINISHED = "mlflow.parentRunId", "FINISHED"
CHAMPION_ALIAS, PREVIOUS_ALIAS = "champion", "previous"
#: Unless they are set: MLflow itself would wait for two minutes, seven times, and print addresses.
DEFAULTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
#: So many parameters and metrics a server takes in one request, and so long a parameter's value.
MOST_PARAMETERS, MOST_METRICS, LONGEST_VALUE = 100, 1000, 6000
LONGEST_KEY, KEY_DIGEST = 250, 8
#: How a server answers where it is the content that it does not take: it is wrong, too large, or not to be processed.
CONTENT_REFUSED = {400, 413, 422}

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _or_unavailable(method: "Callable[Concatenate[Tracker, _P], _R]") -> "Callable[Concatenate[Tracker, _P], _R]":
    def guarded(self: "Tracker", *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(self, *args, **kwargs)
        except (MlflowException, OSError) as error:
            said = re.sub(r"//[^/@\s]*@", "//", " ".join(str(error).split()))
            # Of "... (Caused by NewConnectionError("HTTPConnection(host=..., port=...): why"))" only what a reader needs.
            cause = re.findall(r"\"[^\"]*\"|'[^']*'", said.partition("(Caused by ")[2])
            said = re.sub(r"^\w+\([^)]*\): ", "", cause[-1][1:-1]) if cause else said
            if _status(error) in CONTENT_REFUSED:
                raise TrackerRefused(f"MLflow at {self.place} refuses it: {said[:300]}") from None
            raise TrackerUnavailable(f"MLflow at {self.place}: {said[:300]}") from None

    return guarded


def _status(error: MlflowException | OSError) -> int:
    """The HTTP status that it stands for; 0 where nobody answered."""
    if not isinstance(error, MlflowException):
        return getattr(getattr(error, "response", None), "status_code", 0)
    # A status that MLflow has no name for, such as a proxy's 413, is only in the text.
    unnamed = re.search(r" failed with error code (\d+) ", str(error))
    return int(unnamed[1]) if unnamed else error.get_http_status_code()


class Tracker:
    """An MLflow server."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        uri = environment.get("MLFLOW_TRACKING_URI", "")
        if not uri:
            raise InputError("mlflow: MLFLOW_TRACKING_URI is not set; give the server's address, such as http://127.0.0.1:5000")
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        self.place = re.sub("//[^/@]*@", "//", uri)
        self._client = MlflowClient(uri, registry_uri=environment.get("MLFLOW_REGISTRY_URI") or uri)
        self._experiment_name = environment.get("MLFLOW_EXPERIMENT_NAME") or "driftloop"
        self._stages = environment.get("DRIFTLOOP_MLFLOW_STAGES", "") not in {"", "0"}

    @_or_unavailable
    def show_step(self, record: StepRecord, files: Mapping[str, Path]) -> None:
        """As in the protocol."""
        at = _milliseconds(record.at)
        parent, under = self._run(record.run, record.run, at), record.run
        if record.group:
            under = f"{record.run}/{record.group}"
            parent = self._run(under, record.group, at, parent)
            if parent.info.status != FINISHED:
                self._complete(parent, under, at, record.run)
        run = self._run(record.name, record.step, at, parent)
        if run.info.status == FINISHED:
            return
        run_id = run.info.run_id
        for some in _portions(record.parameters.items(), MOST_PARAMETERS):
            self._client.log_batch(run_id, params=[Param(_key(name), value[:LONGEST_VALUE]) for name, value in some])
        metrics = [Metric(_key(name), value, at, 0) for name, value in record.metrics.items()]
        metrics += [Metric(_key(name), value, at, epoch) for name, curve in record.curves.items() for epoch, value in curve]
        for portion in _portions(metrics, MOST_METRICS):
            self._client.log_batch(run_id, metrics=portion)
        for path in files.values():
            self._client.log_artifact(run_id, str(path))
        self._complete(run, record.name, at, under)

    @_or_unavailable
    def register(self, model: str, info: VersionInfo, about: ModelDescription, folder: Path) -> None:
        """As in the protocol. The model loads by `mlflow.onnx.load_model("models:/<model>@champion")`."""
        if self._registered(model, DIGEST_TAG, info.digest) is not None:
            return
        at = _milliseconds(info.registered_at)
        parent = self._run(info.run, info.run, at) if info.run else None
        name = f"{model}/version-{info.version}-{info.digest[:12]}"
        run = self._run(name, f"version {info.version}", at, parent)
        write_mlmodel(folder, about, run.info.run_id)
        self._client.log_artifacts(run.info.run_id, str(folder), "model")
        if info.accuracy is not None:
            self._client.log_metric(run.info.run_id, "accuracy", info.accuracy.value, at)
        self._complete(run, name, at, info.run)
        try:
            self._client.create_registered_model(model)
        except MlflowException as there_already:
            if there_already.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if self._registered(model, DIGEST_TAG, info.digest) is None:
            made = self._client.create_model_version(
                model,
                f"{run.info.artifact_uri}/model",
                run.info.run_id,
                tags={
                    VERSION_TAG: info.version,
                    DIGEST_TAG: info.digest,
                    "driftloop.decision": info.decision or "",
                    "dataset": info.dataset,
                },
                description=f"driftloop version {info.version}, {info.architecture}, accuracy {info.accuracy}",
                await_creation_for=0,
            )
            first = self._registered(model, DIGEST_TAG, info.digest)
            if first is not None and first.version != made.version:  # another delivery was faster
                self._client.delete_model_version(model, made.version)

    @_or_unavailable
    def follow(self, model: str, champion: Champion) -> None:
        """As in the protocol."""
        aliases = {alias: str(version) for alias, version in self._client.get_registered_model(model).aliases.items()}
        for alias, version in ((CHAMPION_ALIAS, champion.version), (PREVIOUS_ALIAS, champion.previous)):
            registered = self._registered(model, VERSION_TAG, version) if version else None
            if registered is None:
                if alias in aliases:
                    self._client.delete_registered_model_alias(model, alias)
            elif aliases.get(alias) != str(registered.version):
                self._client.set_registered_model_alias(model, alias, registered.version)
            if self._stages and alias == CHAMPION_ALIAS and registered is not None and registered.current_stage != "Production":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # that stages are old is known
                    self._client.transition_model_version_stage(model, registered.version, "Production", archive_existing_versions=True)

    def _run(self, name: str, shown: str, at: int, parent: Run | None = None) -> Run:
        """The run that carries `name` as its id tag, made where there is none.

        A server makes a run for each delivery that asks, and says nothing of the order of two of them. So one is chosen that all see
        alike, and whoever sees the others deletes them: a delivery whose run is gone fails, and its record is shown again later.
        """
        experiment = self._experiment()
        found = self._found(experiment, name)
        if found:
            return found[0]
        tags = {ID_TAG: name} | ({PARENT_TAG: parent.info.run_id} if parent else {})
        made = self._client.create_run(experiment, start_time=at, tags=tags, run_name=shown)
        chosen, *others = self._found(experiment, name) or [made]
        for other in others:
            self._client.delete_run(other.info.run_id)
        if parent is None and chosen.info.status != FINISHED:
            self._finish(chosen, at)
        return chosen

    def _found(self, experiment: str, name: str) -> list[Run]:
        """Those with that id tag, the one that counts first: what is complete already, then by id."""
        runs = self._client.search_runs([experiment], f"tags.`{ID_TAG}` = '{name}'", max_results=50)
        return sorted(runs, key=lambda run: (run.info.status != FINISHED, run.info.run_id))

    def _complete(self, run: Run, name: str, at: int, under: str) -> None:
        """End the run `name`, which lies under that of `under`, unless another delivery has put others in their places meanwhile."""
        self._finish(run, at)
        experiment = self._experiment()
        if [found.info.run_id for found in self._found(experiment, name)[:1]] != [run.info.run_id]:
            raise TrackerUnavailable(f"MLflow at {self.place}: another delivery shows {name} at this moment")
        for parent in self._found(experiment, under)[:1] if under else []:
            if run.data.tags.get(PARENT_TAG) != parent.info.run_id:
                self._client.set_tag(run.info.run_id, PARENT_TAG, parent.info.run_id)

    def _finish(self, run: Run, at: int) -> None:
        self._client.set_terminated(run.info.run_id, FINISHED, at)

    def _experiment(self) -> str:
        there = self._client.get_experiment_by_name(self._experiment_name)
        if there is None:
            try:
                return str(self._client.create_experiment(self._experiment_name))
            except MlflowException:  # another delivery was faster, or there is none to be had
                there = self._client.get_experiment_by_name(self._experiment_name)
                if there is None:
                    raise
        return str(there.experiment_id)

    def _registered(self, model: str, tag: str, value: str) -> ModelVersion | None:
        """The oldest registered version with that tag."""
        found = self._client.search_model_versions(f"name = '{model}' and tags.`{tag}` = '{value}'")
        return min(found, key=lambda version: int(version.version), default=None)


def write_mlmodel(folder: Path, about: ModelDescription, run_id: str) -> None:
    """Write MLmodel beside the served graph: what MLflow loads it by, without the package onnx."""
    images = TensorSpec(np.dtype(np.uint8), (-1, about.image_size, about.image_size, about.channels), name="images")
    model = Model(artifact_path="model", run_id=run_id, signature=ModelSignature(inputs=Schema([images])))
    model.add_flavor("onnx", onnx_version=about.libraries.get("onnx", ""), data=about.served, providers=["CPUExecutionProvider"])
    model.add_flavor("python_function", loader_module="mlflow.onnx", data=about.served, python_version=about.libraries.get("python", ""))
    (folder / "requirements.txt").write_text(f"mlflow=={mlflow.__version__}\nonnx\nonnxruntime\n")
    model.save(str(folder / "MLmodel"))


def _key(name: str) -> str:
    """A name as MLflow takes it: letters of all scripts, nothing that is another name when read as a path; colons some servers take only.

    A name that had to be changed has its digest at the end, so that two classes never become one.
    """
    key = re.sub(r"[^\w\-. /]", "_", name)
    if posixpath.normpath(key) != key or key.startswith((".", "/")):
        key = re.sub(r"^\.+|/", "_", key)
    if key == name and 0 < len(key) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY - KEY_DIGEST - 1]}-{hashlib.sha256(name.encode()).hexdigest()[:KEY_DIGEST]}"


def _milliseconds(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)


_Item = TypeVar("_Item")


def _portions(items: Iterable[_Item], size: int) -> Iterable[list[_Item]]:
    everything = list(items)
    return (everything[first : first + size] for first in range(0, len(everything), size))
