"""Starting runs in KFP, each in an experiment."""

from collections.abc import Mapping
from typing import Any

from driftloop.cli.cluster.connection import API, ClusterConnection
from driftloop.cli.cluster.uploads import equals
from driftloop.errors import InputError

DEFAULT_EXPERIMENT = "driftloop"


def start_run(
    connection: ClusterConnection, name: str, experiment_id: str, reference: dict[str, str], parameters: Mapping[str, Any]
) -> str:
    """Start a run of the pipeline version that `reference` names; the run's id."""
    body = {
        "display_name": name,
        "experiment_id": experiment_id,
        "pipeline_version_reference": reference,
        "runtime_config": {"parameters": dict(parameters)},
    }
    return connection.call("POST", f"{API}/runs", body=body)["run_id"]


def find_experiment(connection: ClusterConnection, name: str) -> str:
    """The id of the experiment of that name, which is made if it is not there."""
    query = {"filter": equals("display_name", name), "page_size": 10} | connection.scope
    found = connection.call("GET", f"{API}/experiments", query).get("experiments", [])
    usable = [one for one in found if one.get("storage_state") != "ARCHIVED"]
    if usable:
        return usable[0]["experiment_id"]
    if found:
        raise InputError(f"the experiment {name} is archived; restore it in the UI, or name another with --experiment")
    return connection.call("POST", f"{API}/experiments", body={"display_name": name} | connection.scope)["experiment_id"]
