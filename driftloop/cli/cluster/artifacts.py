"""A run's reports and results, brought from the cluster into its folder: laid out as a local run leaves them."""

from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from driftloop.cli.cluster.connection import SIGNED_OUT, ClusterConnection, ClusterError
from driftloop.cli.cluster.metadata import Execution, executions
from driftloop.cli.outcome import FACT_DIRECTORIES
from driftloop.cli.run_folder import DELIVERABLES, RunFolder
from driftloop.errors import NotFound, StoreError
from driftloop.facts import write_json
from driftloop.store import open_store

#: `<task>/<output>`, and a file in it where the output is a directory: what people look for, and what the summary is made of.
WANTED = (
    *DELIVERABLES.values(),
    "synthesis-report*/summary",
    *(f"{directory}/facts.json" for directory in (*FACT_DIRECTORIES, "validation-gate*/evidence")),
)


def fetch(connection: ClusterConnection, run_id: str, folder: RunFolder) -> list[str]:
    """Download what WANTED names of a run's artifacts to below `folder.artifacts`, and note each step's scalar outputs.

    Returns:
        What could not be had, a line for each.

    Raises:
        ClusterError: the metadata store, which knows where the artifacts are, does not answer.
    """
    missed = []
    for task in executions(connection, run_id).values():
        target = folder.artifacts / run_id / task.task
        if task.parameters:
            write_json(target / "executor_output.json", {"parameterValues": task.parameters})
        for uri, path in wanted(task, target):
            try:
                download(connection, uri, path)
            except (ClusterError, StoreError) as error:
                missed.append(f"{task.task}/{path.relative_to(target)}: {error}")
    return missed


def wanted(task: Execution, target: Path) -> list[tuple[str, Path]]:
    """The URIs of a task's files that are worth fetching, and the paths below `target` where they belong."""
    found: dict[Path, str] = {}
    for pattern in WANTED:
        task_pattern, output, *inside = pattern.split("/")
        uri = task.artifacts.get(output, "").partition("?")[0]
        if uri and task.state in ("complete", "cached") and fnmatchcase(task.task, task_pattern):
            found[target.joinpath(output, *inside)] = "/".join([uri.rstrip("/"), *inside])
    return [(uri, path) for path, uri in found.items()]


def download(connection: ClusterConnection, uri: str, path: Path) -> None:
    """Through KFP's UI, which has its own access to the bucket; where it is not at this address, from the bucket itself with AWS_*."""
    parts = urlsplit(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        content = connection.read(f"/artifacts/{parts.scheme}/{parts.netloc}{parts.path}", {"namespace": connection.namespace})
        path.write_bytes(content)
    except ClusterError as error:
        prefix, _, name = parts.path.strip("/").rpartition("/")
        try:
            open_store(f"s3://{parts.netloc}/{prefix}").download(name, path)
        except NotFound:
            raise ClusterError("it is not in the bucket", 404) from None
        except StoreError:
            if error.status in SIGNED_OUT:
                # With a token alone KFP's UI shows no artifact: it wants the name that Kubeflow's gateway puts beside it.
                cure = "let KFP_ENDPOINT name Kubeflow's gateway"
                raise ClusterError(
                    f"neither KFP's UI gives it to this token, nor bucket {parts.netloc} to AWS_*; {cure}", error.status
                ) from None
            raise error from None
