"""`--on cluster`: check, upload, start and follow a run in Kubeflow Pipelines, and bring its reports back."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from rich.console import Console

from driftloop.backends.base import Failure, RunRequest
from driftloop.backends.cluster.artifacts import fetch_results, why_unreachable
from driftloop.backends.cluster.connection import API, TESTED, ClusterConnection, ClusterError
from driftloop.backends.cluster.live_table import LiveTable, StepProgress
from driftloop.backends.cluster.pod_logs import PodLogs, shortened
from driftloop.backends.cluster.pod_troubles import OUT_OF_MEMORY, HopelessWaits, cure_of_wait, in_the_clusters_words, twice
from driftloop.backends.cluster.preflight import PreflightFindings, inspect_cluster
from driftloop.backends.cluster.schedules import DEFAULT_EXPERIMENT, find_experiment, start_run
from driftloop.backends.cluster.uploads import PipelineVersion, check_pipeline_name, compile_upload, upload_version
from driftloop.backends.cluster.workflow import WorkflowNode, progress_of, read_workflow, waiting_for_pods
from driftloop.backends.compiled_pipeline import Step, default_arguments, steps_of
from driftloop.backends.run_folder import RunFolder
from driftloop.errors import InputError, NoChampion, StoreError
from driftloop.registry import current
from driftloop.scenarios import parse
from driftloop.sources.built_in import check_built_in, is_built_in
from driftloop.store import open_store
from driftloop.store.s3_credentials import names_credentials
from pipelines import PIPELINES
from pipelines.placement import at_most, needs_of

DEFAULT_STORE = "s3://driftloop/default"
POLL_S, LOOK_S = 2.0, 10.0
#: KFP may be out of reach for this long - it restarts, or a port-forward does - before the waiting for a run is given up.
PATIENCE_S = 300.0
LAST_LINES = 15
#: How this command calls the end of a run whose pod cannot start.
STUCK = "STUCK"
#: A run in one of these will not change any more.
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
Answer = TypeVar("Answer")


def cluster_arguments(defaults: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All of a run's parameters, after checking that the steps of a cluster can reach what they name.

    Args:
        defaults: of the pipeline; its store is replaced by DEFAULT_STORE.
        parameters: what this run sets itself.

    Raises:
        InputError: a source or a store on this machine, or one that does not exist.
    """
    arguments = dict(defaults) | {"store": DEFAULT_STORE} | dict(parameters)
    if not arguments["store"].startswith("s3://"):
        raise InputError(
            f"--store {arguments['store']}: on a cluster the store is in MinIO or S3; write s3://bucket/prefix, or leave it out"
        )
    if "traffic_drift" in arguments:
        parse(arguments["traffic_drift"])
    source = arguments.get("data_source", "s3://")
    if is_built_in(source):
        arguments["data_source"] = check_built_in(source)
    elif not source.startswith("s3://"):
        raise InputError(f"--source {source}: a cluster does not see this machine's files; copy them to s3://bucket/folder, or give digits")
    return arguments


class ClusterBackend:
    """Kubeflow Pipelines, ready to run a pipeline; nothing is uploaded before every check has passed.

    Args:
        request: what is to be run; its experiment is made where it is not there.
        tell: takes a line about what was not found or not checked.

    Raises:
        InputError: KFP cannot be used as it is, or something is missing for this run; a line each, with its cure.
    """

    def __init__(self, request: RunRequest, tell: Callable[[str], None]) -> None:
        pipeline = PIPELINES[request.pipeline]
        self.arguments = cluster_arguments(default_arguments(pipeline), request.parameters)
        self.connection = ClusterConnection.from_environment()
        self.environment: Mapping[str, str] = os.environ
        self._tell = tell
        self._experiment = request.experiment or DEFAULT_EXPERIMENT
        self._run_id = ""
        self._ended = False
        self._last_lines: list[str] = []
        self.upload = compile_upload(pipeline, request.placement)
        self.steps = steps_of(self.upload.text)
        server = self.connection.server
        if not server.tested:
            what = f"is {server.version}" if server.version else "does not say its version"
            tell(f"Kubeflow Pipelines at {self.connection.endpoint} {what}; driftloop is tested with {TESTED}")
        check_pipeline_name(self.connection, self.upload, request.pipeline)
        self._inspect(needs_champion=request.needs_champion)

    def _inspect(self, *, needs_champion: bool) -> None:
        """Look for what this run needs in the cluster, and say what could not be looked at."""
        gpus, labels = int(self.arguments.get("gpus", "0")), self.arguments.get("train_nodes", {})
        findings = inspect_cluster(self.connection.namespace, self.upload.images, gpus, labels, self.arguments["store"])
        self._check_store_from_here(self.arguments["store"], needs_champion, findings)
        for line in findings.doubts:
            self._tell(f"probably wrong: {line}")
        for line in findings.not_checked:
            self._tell(f"not checked: {line}")
        if findings.failures:
            raise InputError("\ndriftloop: ".join(findings.failures))

    def _check_store_from_here(self, store: str, needs_champion: bool, findings: PreflightFindings) -> None:
        """The store may be out of reach from here, or AWS_* may be another store's: then nothing is known."""
        if not names_credentials(os.environ):
            return
        try:
            opened = open_store(store)
            opened.check()
            champion = current(opened)
        except (StoreError, NoChampion) as error:
            findings.not_checked.append(f"the store from here: {error}")
            return
        if needs_champion and champion is None:
            findings.failures.append(
                f"{store}: this store has no champion to watch; train one with `driftloop run training --on cluster --store {store}`"
            )

    def store_for(self, folder: RunFolder) -> str:
        """See `Backend.store_for`; where none is named, all of a cluster's runs share a store."""
        return self.arguments["store"]

    def publish(self) -> PipelineVersion:
        """The pipeline in KFP, uploaded if its content is new."""
        version = upload_version(self.connection, self.upload)
        self._tell(f"{self.upload.name} {version.name}{' uploaded' if version.fresh else ''}")
        return version

    def start(self, arguments: Mapping[str, Any]) -> str:
        """See `Backend.start`."""
        return self._start(f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{self.upload.name}", arguments)

    def _start(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Upload what is new and start a run of that name; its address."""
        version = self.publish()
        experiment_id = find_experiment(self.connection, self._experiment)
        self._run_id = start_run(self.connection, name, experiment_id, version.reference, arguments)
        return self.address

    @property
    def address(self) -> str:
        """The run's page in KFP's UI; "" before it has started."""
        return self.connection.address(f"runs/details/{self._run_id}") if self._run_id else ""

    def display(self, console: Console) -> LiveTable:
        """All steps from the start, each with how far it is."""
        return LiveTable(console, self.steps)

    def execute(
        self,
        arguments: Mapping[str, Any],
        folder: RunFolder,
        show: Callable[[Mapping[str, StepProgress]], None],
        echo: Callable[[str], None] | None,
    ) -> Failure | None:
        """See `Backend.execute`; an interrupt ends the waiting, not the run."""
        folder.parameters.write_text(json.dumps(arguments, indent=1))
        if reason := why_unreachable(self.connection):
            self._tell(f"reports will not be fetched: {reason}")
        try:
            self._start(folder.id, arguments)
            folder.path.joinpath("cluster_run.json").write_text(
                json.dumps({"run_id": self._run_id, "address": self.address}, indent=1) + "\n"
            )
            self._tell(self.address)
            with folder.log.open("w") as file:
                log = PodLogs(self.connection, self._run_id, file, echo)
                run, progress = self._follow(log, show)
            self._ended = True
            failure = self._failure(run, progress, log)
        except (KeyboardInterrupt, SystemExit):
            if self._run_id:
                # With a token there is no command to show: it would stand in the list of processes.
                command = f", or with: curl --request POST {self.connection.endpoint}{API}/runs/{self._run_id}:terminate"
                self._tell(f"the run goes on in the cluster; stop it on its page{'' if self.connection.token else command}")
            raise
        self._fetch(folder, log)
        return failure

    def ended_run(self, folder: RunFolder) -> str:
        """See `Backend.ended_run`: on a cluster steps know KFP's name of their run, and an interrupt ends the waiting alone."""
        return self._run_id if self._ended else ""

    def afterwards(self, console: Console, *, failed: bool) -> None:
        """The end of what is printed: where the run is in the UI, and the last lines of a step that failed."""
        for line in self._last_lines if failed else ():
            console.print(f"  {line}", style="dim", markup=False, soft_wrap=True)
        console.print(f"run        {self.address}", soft_wrap=True)

    def _follow(self, log: PodLogs, show: Callable[[Mapping[str, StepProgress]], None]) -> tuple[dict[str, Any], dict[str, StepProgress]]:
        """Show the run until it ends; its last state."""
        nodes: dict[str, WorkflowNode] = {}
        hopeless = HopelessWaits()
        seen, looked = None, 0.0
        while True:
            run = self._answer(lambda: self.connection.call("GET", f"{API}/runs/{self._run_id}"))
            state, tasks = run.get("state", ""), (run.get("run_details") or {}).get("task_details") or []
            # The workflow is large: it is looked at when a task has changed, or may say why none does. KFP does not always store the two
            # at once, and no tasks of a workflow that Argo has compressed: now and then it is looked at anyway.
            states = sorted((task.get("display_name", ""), task.get("state", "")) for task in tasks)
            due = time.monotonic() - looked > LOOK_S or state in ENDED
            if states != seen or due or waiting_for_pods(self.steps, nodes):
                nodes = self._answer(lambda: read_workflow(self.connection, self._run_id))
                seen, looked = states, time.monotonic()
            progress = self._progress(nodes, log, state)
            log.read(nodes, progress)
            progress = self._progress(nodes, log, state)
            if state not in ENDED and (stuck := hopeless.longest(progress, time.monotonic())):
                progress[stuck] = replace(progress[stuck], state="failed")
                self._end_run()
                show(progress)
                return {"state": STUCK}, progress
            show(progress)
            if state in ENDED:
                return run, progress
            time.sleep(POLL_S)

    def _end_run(self) -> None:
        """A run whose pod waits for ever would go on until its time limit, and keep a schedule's next run from starting."""
        try:
            self.connection.call("POST", f"{API}/runs/{self._run_id}:terminate")
        except ClusterError as error:
            self._tell(f"the run was not ended: {error}")

    def _progress(self, nodes: Mapping[str, WorkflowNode], log: PodLogs, state: str) -> dict[str, StepProgress]:
        return progress_of(self.steps, nodes, log.texts, datetime.now(UTC), ended=state in ENDED, succeeded=state == "SUCCEEDED")

    def _answer(self, ask: Callable[[], Answer]) -> Answer:
        """What KFP answers, however often it has to be asked: an API server or a port-forward may be out of reach for a while."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask()
            except ClusterError as error:
                if not error.passing or time.monotonic() > deadline:
                    raise ClusterError(f"{error}; the run may go on: {self.address}", error.status) from None
                time.sleep(POLL_S)

    def _failure(self, run: Mapping[str, Any], progress: Mapping[str, StepProgress], log: PodLogs) -> Failure | None:
        if run["state"] == "SUCCEEDED":
            return None
        if run["state"] == "CANCELED":
            return Failure("the run was terminated in the cluster", ours=False)
        failed = next((step for step in self.steps if progress.get(step.name, StepProgress()).state == "failed"), None)
        name = failed.name if failed else ""
        if run["state"] == STUCK:
            waits = progress[name].waits
            return Failure(f"its pod cannot start: {shortened(waits)}; {cure_of_wait(waits)}; the run was ended", ours=True)
        nodes = self._answer(lambda: read_workflow(self.connection, self._run_id))
        message = next((nodes[node].message for node in (name, f"{name}-driver") if node in nodes and nodes[node].message), "")
        if failed and (OUT_OF_MEMORY.search(message) or log.was_killed(name)):
            return Failure(self._out_of_memory(failed), ours=True)
        failure = log.failure(name)
        # A line of driftloop's own says it all; the traceback above it is for whoever opens the log.
        self._last_lines = [] if failure and failure.ours else log.last_lines(name, LAST_LINES)
        if failure:
            return Failure(in_the_clusters_words(failure.text, self.connection.namespace), failure.ours)
        return Failure(message or "it left neither a log nor a reason; see its page", ours=False)

    def _out_of_memory(self, step: Step) -> str:
        """What a step that was killed had, and how to give it more."""
        asked = self.upload.placement.get(step.component, {}).get("memory", needs_of(step.component).memory)
        more = twice(asked)
        return (
            f"it ran out of memory: it asks for {asked} and may take {at_most(asked)}; "
            f"give it more with --set placement.{step.component}.memory={more} (then it may take {at_most(more)})"
        )

    def _fetch(self, folder: RunFolder, log: PodLogs) -> None:
        try:
            missed = fetch_results(self.connection, self._run_id, folder)
        except ClusterError as error:
            missed = [str(error)]
        if missed:
            more = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
            self._tell(f"not fetched: {missed[0]}{more}; see {self.address}")
        if log.refused:
            self._tell(f"the steps' logs were not shown: {log.refused}")
