"""`driftloop schedule`: a recurring run that fires by itself, and its life until it is deleted."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import OnCluster, Run

FIRED_WITHIN_S = 1800
FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


def listed(cluster: OnCluster) -> list[dict[str, Any]]:
    return [one for one in json.loads(cluster("schedule", "list", "--json").stdout) if one["name"] == cluster.name]


@pytest.fixture
def watch(cluster: OnCluster, undrifted: Run) -> Iterator[str]:
    """A schedule on the store that the full loops have filled; it is deleted whatever happens."""
    cluster("schedule", "create", cluster.name, "--every", "1m", "--store", cluster.store, "--gpus", "0")
    yield cluster.name
    if listed(cluster):
        cluster("schedule", "delete", cluster.name)


def test_it_fires_and_its_life_goes_on_until_it_is_deleted(cluster: OnCluster, watch: str) -> None:
    (made,) = listed(cluster)
    assert (made["pipeline"], made["trigger"], made["state"]) == ("drift-watch", "every 1 min", "enabled")
    taken = cluster("schedule", "create", watch, "--every", "1m", "--store", cluster.store, "--gpus", "0", status=2)
    assert "there is a schedule of that name" in taken.stderr

    deadline = time.monotonic() + FIRED_WITHIN_S
    while not listed(cluster)[0]["last_run"]["run_id"]:
        assert time.monotonic() < deadline, "the schedule has not fired"
        time.sleep(5)
    cluster("schedule", "pause", watch)
    while (last := listed(cluster)[0]["last_run"])["state"] not in FINAL:
        assert time.monotonic() < deadline, last
        time.sleep(5)
    assert last["state"] == "SUCCEEDED"
    assert listed(cluster)[0]["state"] == "paused"

    cluster("schedule", "update", watch, "--cron", "0 0 */6 * * *", "--set", "drift_alpha=0.01")
    (updated,) = listed(cluster)
    assert (updated["trigger"], updated["state"]) == ("cron 0 0 */6 * * *", "paused")
    assert "#/runs/details/" in cluster("schedule", "run-now", watch).stdout
    cluster("schedule", "delete", watch)
    assert listed(cluster) == []
