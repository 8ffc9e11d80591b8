"""`driftloop schedule` against a server that answers in the shapes of KFP 2.17; that schedules fire is tested on a cluster."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from driftloop.backends.cluster.connection import API
from tests.pipelines.command import Command
from tests.unit.cli.answering import Answers, answering

OLD = "2031f6a6-96cb-45b4-95b8-50bf7871b0c4"
NIGHTLY: dict[str, Any] = {
    "recurring_run_id": OLD,
    "display_name": "nightly",
    "pipeline_version_reference": {"pipeline_id": "p1", "pipeline_version_id": "v1"},
    "runtime_config": {
        "parameters": {"drift_alpha": 0.01, "drift_config": {"window_size": 100}, "gpus": "0", "seed": 3, "store": "s3://driftloop/mine"}
    },
    "max_concurrency": "1",
    "trigger": {"cron_schedule": {"cron": "0 0 */6 * * *"}},
    "mode": "DISABLE",
    "created_at": "2026-11-21T08:52:09Z",
    "status": "DISABLED",
    "no_catchup": True,
    "namespace": "kubeflow",
    "experiment_id": "e1",
}
LAST = {"run_id": "r9", "recurring_run_id": OLD, "created_at": "2026-11-21T12:00:07Z", "state": "SUCCEEDED"}


@pytest.fixture
def kfp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    with answering() as answers:
        answers.add(f"{API}/healthz", {"tag_name": "2.17.0", "multi_user": False})
        answers.add(f"{API}/experiments", {"experiments": [{"experiment_id": "e1", "display_name": "driftloop"}]})
        answers.add(f"{API}/pipelines", {"pipelines": [{"pipeline_id": "p1", "display_name": "drift-watch"}]})
        answers.add(f"{API}/pipelines/p1", {"pipeline_id": "p1", "display_name": "drift-watch"})
        answers.add(f"{API}/pipelines/p1/versions", {})
        answers.add(f"{API}/pipelines/p1/versions/v1", {"display_name": "0.1.0-old"})
        answers.add(f"{API}/pipelines/upload_version", {"pipeline_version_id": "v2"})
        answers.add(f"{API}/recurringruns", {"recurringRuns": [NIGHTLY], "recurring_run_id": "made"})
        answers.add(f"{API}/recurringruns/{OLD}", {})
        answers.add(f"{API}/runs", {"runs": [LAST | {"run_id": "r8", "recurring_run_id": "another"}, LAST], "run_id": "r10"})
        monkeypatch.setenv("KFP_ENDPOINT", answers.url)
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("KUBECONFIG", "AWS_ACCESS_KEY_ID", "DRIFTLOOP_IMAGE_PREFIX", "KFP_NAMESPACE", "KFP_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield answers


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def changes(kfp: Answers) -> list[tuple[str, str]]:
    """What was asked for that changes schedules or runs, in its order."""
    requests = ((method, path.partition("?")[0].removeprefix(API)) for method, path, _, _ in kfp.asked)
    return [(method, path) for method, path in requests if method != "GET" and path.startswith(("/recurringruns", "/runs"))]


def sent(kfp: Answers, path: str) -> dict[str, Any]:
    return json.loads(next(body for method, url, body, _ in kfp.asked if method == "POST" and url == f"{API}/{path}"))


def test_the_list_tells_trigger_state_and_last_run(kfp: Answers, command: Command) -> None:
    (row,) = json.loads(command("schedule", "list", "--json").stdout)
    assert row == {
        "name": "nightly",
        "pipeline": "drift-watch",
        "version": "0.1.0-old",
        "trigger": "cron 0 0 */6 * * *",
        "state": "paused",
        "last_run": {"run_id": "r9", "started": "2026-11-21T12:00:07Z", "state": "SUCCEEDED"},
    }
    table = command("schedule", "list").stdout.splitlines()
    assert table[0].split() == ["name", "pipeline", "version", "trigger", "state", "last", "run", "its", "state"]
    assert table[1].rstrip().endswith("cron 0 0 */6 * * *  paused  2026-11-21 12:00  SUCCEEDED")


def test_a_new_one_is_pinned_never_two_at_a_time_and_makes_up_for_nothing(kfp: Answers, command: Command) -> None:
    options = ("--every", "6h", "--store", "s3://driftloop/mine", "--set", "drift_alpha=0.02")
    shown = json.loads(command("schedule", "create", "watch", *options, "--json").stdout)
    assert (shown["name"], shown["trigger"], shown["schedule_id"]) == ("watch", "every 6 h", "made")
    assert shown["page"] == f"{kfp.url}/#/recurringrun/details/made"
    made = sent(kfp, "recurringruns")
    assert made["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v2"}
    assert (made["max_concurrency"], made["no_catchup"], made["mode"]) == ("1", True, "ENABLE")
    assert made["trigger"] == {"periodic_schedule": {"interval_second": "21600"}}
    assert made["runtime_config"]["parameters"]["drift_alpha"] == 0.02


def test_a_name_that_is_taken_is_one_line(kfp: Answers, command: Command) -> None:
    refused = command("schedule", "create", "nightly", "--every", "6h", status=2)
    assert "nightly: there is a schedule of that name; change it with `driftloop schedule update nightly`" in refused.stderr
    assert changes(kfp) == []


def test_an_update_makes_the_new_one_before_it_deletes_the_old_and_keeps_what_is_not_given(kfp: Answers, command: Command) -> None:
    command("schedule", "update", "nightly", "--set", "drift_config.harm_half_life_days=3", "--every", "1h")
    assert changes(kfp) == [("POST", "/recurringruns"), ("DELETE", f"/recurringruns/{OLD}")]
    made = sent(kfp, "recurringruns")
    parameters = made["runtime_config"]["parameters"]
    assert parameters["drift_config"] == {"window_size": 100, "harm_half_life_days": 3}
    assert (parameters["seed"], parameters["store"], parameters["gate_margin"]) == (3, "s3://driftloop/mine", 0.02)
    assert (made["mode"], made["trigger"]) == ("DISABLE", {"periodic_schedule": {"interval_second": "3600"}})


def test_what_steps_ask_for_stays_over_an_update_unless_it_is_changed(kfp: Answers, command: Command) -> None:
    """KFP keeps a version's description, which was uploaded with it."""
    command("schedule", "create", "watch", "--every", "6h", "--set", "placement.automated_retraining.memory=4Gi")
    uploads = [(parse_qs(urlsplit(url).query), body.decode()) for _, url, body, _ in kfp.asked if "upload_version" in url]
    ((query, text),) = uploads
    assert "resourceMemoryRequest: 4Gi" in text
    assert "resourceMemoryLimit: 16Gi" in text
    kfp.add(f"{API}/pipelines/p1/versions/v1", {"display_name": "0.1.0-old", "description": query["description"][0]})
    command(
        "schedule", "update", "nightly", "--set", "placement.automated_retraining.cpu=2", "--set", "placement.onnx_deployment.memory=3Gi"
    )
    updated = parse_qs(urlsplit([url for _, url, _, _ in kfp.asked if "upload_version" in url][-1]).query)["description"][0]
    assert json.loads(updated.splitlines()[-1].removeprefix("placement: ")) == {
        "automated_retraining": {"memory": "4Gi", "cpu": "2"},
        "onnx_deployment": {"memory": "3Gi"},
    }


def test_a_run_now_is_what_the_schedule_would_start(kfp: Answers, command: Command) -> None:
    assert f"{kfp.url}/#/runs/details/r10" in command("schedule", "run-now", "nightly").stdout
    run = sent(kfp, "runs")
    assert run["pipeline_version_reference"] == NIGHTLY["pipeline_version_reference"]
    assert run["runtime_config"] == NIGHTLY["runtime_config"]


def test_a_name_that_is_not_there_comes_with_those_that_are(kfp: Answers, command: Command) -> None:
    for action in ("pause", "resume", "run-now", "delete", "update"):
        assert "hourly: no such schedule in namespace kubeflow (there: nightly)" in command("schedule", action, "hourly", status=2).stderr
    assert changes(kfp) == []
