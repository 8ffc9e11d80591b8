"""MLflow, with a real server."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

mlflow = pytest.importorskip("mlflow")
from mlflow.entities import Metric, Param  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

from components.model_optimization.sweep import Trial  # noqa: E402
from components.model_optimization.trial_records import GROUP, leave_trial  # noqa: E402
from driftloop import registry  # noqa: E402
from driftloop.dataset import Description  # noqa: E402
from driftloop.store import Store  # noqa: E402
from driftloop.tracking import deliver, leave_record, want_records  # noqa: E402
from driftloop.tracking.delivery import model_name  # noqa: E402
from driftloop.tracking.mlflow import Tracker, _key  # noqa: E402
from tests.factories.serving_store import build_serving_store, register_and_promote  # noqa: E402
from tests.mlflow_server import MlflowServer  # noqa: E402
from tests.unit.cli.answering import answering  # noqa: E402


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow") / "server")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Description]:
    name = f"run-{secrets.token_hex(4)}"
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", name)
    (tmp_path / name).mkdir()
    store, description = build_serving_store(tmp_path / name, stream=8)
    want_records(store)
    return store, description


def tracker(uri: str, **more: str) -> Tracker:
    return Tracker({"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "tests"} | more)


def runs_of(client: MlflowClient, run: str) -> dict[str, mlflow.entities.Run]:
    experiment = client.get_experiment_by_name("tests").experiment_id
    found = client.search_runs([experiment], f"tags.`driftloop.id` LIKE '{run}%'")
    return {run.info.run_name: run for run in found}


def test_steps_are_nested_runs_with_parameters_metrics_curves_and_files(
    server: MlflowServer, home: tuple[Store, Description], tmp_path: Path
) -> None:
    store, _ = home
    (tmp_path / "card.md").write_text("# card")
    facts = {"device": "CPU", "accuracy": {"value": 0.9, "n": 10}, "history": [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]}
    leave_record(store, "baseline_training", facts, {"MODEL_CARD.md": tmp_path / "card.md"})
    first = deliver(store, "mlflow", tracker(server.uri))
    assert (first.steps, first.versions, first.problem) == (1, 1, "")

    client, run = MlflowClient(server.uri), os.environ["DRIFTLOOP_RUN_ID"]
    seen = runs_of(client, run)
    assert seen.keys() == {run, "baseline_training", "version 1"}
    step = seen["baseline_training"]
    assert step.data.tags["mlflow.parentRunId"] == seen[run].info.run_id
    assert (step.data.params, step.info.status) == ({"device": "CPU"}, "FINISHED")
    assert step.data.metrics == {"accuracy": 0.9, "accuracy.n": 10.0, "loss": 0.25}
    assert [(point.step, point.value) for point in client.get_metric_history(step.info.run_id, "loss")] == [(1, 0.5), (2, 0.25)]
    assert [entry.path for entry in client.list_artifacts(step.info.run_id)] == ["MODEL_CARD.md"]

    again = deliver(store, "mlflow", tracker(server.uri))
    assert (again.steps, again.versions, again.problem) == (0, 0, "")
    for entry in list(store.list("tracking/mlflow-")):
        store.delete(entry.key)
    forgotten = deliver(store, "mlflow", tracker(server.uri))
    assert (forgotten.steps, forgotten.versions) == (1, 1)
    assert runs_of(client, run).keys() == seen.keys()
    assert len(client.search_model_versions(f"name = '{model_name(store)}'")) == 1


def test_trials_of_a_search_are_nested_one_level_deeper(server: MlflowServer, home: tuple[Store, Description]) -> None:
    store, _ = home
    for number, rate in ((1, 0.001), (2, 0.01)):
        leave_trial(store.uri, Trial(number, {"learning_rate": rate}, [0.5, 0.75], 0.75, "complete", "val_balanced"))
        leave_trial(store.uri, Trial(number, {"learning_rate": rate}, [0.5, 0.75], 0.75, "complete", "val_balanced"))
    assert deliver(store, "mlflow", tracker(server.uri)).steps == 2
    client, run = MlflowClient(server.uri), os.environ["DRIFTLOOP_RUN_ID"]
    seen = runs_of(client, run)
    assert seen.keys() == {run, GROUP, "model_optimization_trial_1", "model_optimization_trial_2", "version 1"}
    assert seen[GROUP].data.tags["mlflow.parentRunId"] == seen[run].info.run_id
    assert {found.info.status for found in seen.values()} == {"FINISHED"}
    second = seen["model_optimization_trial_2"]
    assert second.data.tags["mlflow.parentRunId"] == seen[GROUP].info.run_id
    assert second.data.params == {"learning_rate": "0.01", "trial": "2", "ended": "complete"}
    assert second.data.metrics == {"best_val_balanced": 0.75, "val_balanced": 0.75}
    assert [point.value for point in client.get_metric_history(second.info.run_id, "val_balanced")] == [0.5, 0.75]
    for entry in list(store.list("tracking/mlflow-")):
        store.delete(entry.key)
    assert deliver(store, "mlflow", tracker(server.uri)).steps == 2
    assert runs_of(client, run).keys() == seen.keys()


# MLflow's own, when it loads a model.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_versions_are_registered_and_aliases_follow_promotions_and_rollbacks(
    server: MlflowServer, home: tuple[Store, Description], tmp_path: Path
) -> None:
    store, dataset = home
    client, model = MlflowClient(server.uri), model_name(store)

    def aliases(**more: str) -> dict[str, str]:
        assert deliver(store, "mlflow", tracker(server.uri, **more)).problem == ""
        registered = client.get_registered_model(model).aliases
        return {alias: client.get_model_version(model, version).tags["driftloop.version"] for alias, version in registered.items()}

    assert aliases() == {"champion": "1"}
    register_and_promote(store, tmp_path, dataset, expected="1", seed=1)
    assert aliases() == {"champion": "2", "previous": "1"}
    registry.rollback(store, reason="test")
    assert aliases(DRIFTLOOP_MLFLOW_STAGES="1") == {"champion": "1"}
    stages = {version.tags["driftloop.version"]: version.current_stage for version in client.search_model_versions(f"name = '{model}'")}
    assert stages == {"1": "Production", "2": "None"}

    mlflow.set_tracking_uri(server.uri)
    served = mlflow.pyfunc.load_model(f"models:/{model}@champion")
    images = np.stack([np.full((32, 32, 1), level, np.uint8) for level in (170, 80)])
    assert served.predict({"images": images})["probabilities"].argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("_", range(3))
def test_deliveries_at_once_make_one_of_each(_: int, server: MlflowServer, home: tuple[Store, Description]) -> None:
    store, _ = home
    for step in ("model_promotion", "drift_detection", "validation_gate"):
        leave_record(store, step, {"version": "1"}, {})
    threads = [Thread(target=deliver, args=(store, "mlflow", tracker(server.uri))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert deliver(store, "mlflow", tracker(server.uri)).waiting == 0
    client, run = MlflowClient(server.uri), os.environ["DRIFTLOOP_RUN_ID"]
    experiment = client.get_experiment_by_name("tests").experiment_id
    runs = client.search_runs([experiment], f"tags.`driftloop.id` LIKE '{run}%'")
    assert len({found.data.tags["driftloop.id"] for found in runs}) == len(runs) == 5
    assert {found.info.status for found in runs} == {"FINISHED"}
    [above] = [found.info.run_id for found in runs if found.data.tags["driftloop.id"] == run]
    parents = {found.data.tags["driftloop.id"]: found.data.tags.get("mlflow.parentRunId") for found in runs}
    assert {parent for name, parent in parents.items() if name.startswith(f"{run}/") and "/version-" not in name} == {above}
    assert len(client.search_model_versions(f"name = '{model_name(store)}'")) == 1


def test_an_outage_is_caught_up(server: MlflowServer, home: tuple[Store, Description]) -> None:
    store, _ = home
    leave_record(store, "model_promotion", {"version": "1"}, {})
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = deliver(store, "mlflow", tracker(f"http://user:secret@127.0.0.1:{nobody.getsockname()[1]}"))
    assert (away.steps, away.waiting) == (0, 2)
    assert away.problem.endswith("Connection refused")
    assert "secret" not in away.problem
    back = deliver(store, "mlflow", tracker(server.uri))
    assert (back.steps, back.versions, back.waiting) == (1, 1, 0)


def test_what_is_refused_for_its_content_keeps_nothing_back(server: MlflowServer, home: tuple[Store, Description]) -> None:
    store, _ = home
    for step in ("drift_detection", "model_promotion", "validation_gate"):
        leave_record(store, step, {"device": "CPU"}, {})
    client, run = MlflowClient(server.uri), os.environ["DRIFTLOOP_RUN_ID"]
    [first, *_] = sorted(entry.key for entry in store.list(f"tracking/records/{run}/"))
    experiment = (client.get_experiment_by_name("tests") or client.get_experiment(client.create_experiment("tests"))).experiment_id
    # Somebody else has written into the run: of a parameter that is there MLflow takes no other value.
    theirs = client.create_run(experiment, tags={"driftloop.id": first.removeprefix("tracking/records/").removesuffix("/record.json")})
    client.log_param(theirs.info.run_id, "device", "GPU")
    done = deliver(store, "mlflow", tracker(server.uri))
    assert (done.steps, done.versions, done.waiting, done.refused) == (2, 1, 1, 1)
    assert done.problem.startswith(f"records/{run}/drift_detection-")
    assert "refuses it: INVALID_PARAMETER_VALUE: Changing param values is not allowed" in done.problem
    assert client.get_registered_model(model_name(store)).aliases.keys() == {"champion"}
    client.delete_run(theirs.info.run_id)
    again = deliver(store, "mlflow", tracker(server.uri))
    assert (again.steps, again.waiting, again.refused, again.problem) == (1, 0, 0, "")


@pytest.mark.parametrize(("status", "refused"), [(400, 2), (413, 2), (422, 2), (401, 0), (404, 0), (429, 0), (503, 0)])
def test_only_an_answer_about_the_content_lets_a_delivery_go_on(
    status: int, refused: int, home: tuple[Store, Description], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store, _ = home
    for step in ("drift_detection", "model_promotion"):
        leave_record(store, step, {"version": "1"}, {})
    with answering() as proxy:
        proxy.add("/api/2.0/mlflow/experiments/get-by-name", b"no", status)
        done = deliver(store, "mlflow", tracker(proxy.url))
    # Of the version nobody says anything, which stops the first as well.
    assert (done.steps, done.versions, done.waiting, done.refused) == (0, 0, 3, refused)
    assert ("refuses it" in done.problem) == bool(refused)


@pytest.mark.parametrize(
    "names",
    [
        ["recall.\u6b63\u5e38", "recall.\u80ba\u708e"],
        ["a(b)", "a[b]", "a_b_", "a:b"],
        ["a/b", "a//b", "a/./b", "/a/b", "a/b/"],
        ["", ".", "..", "../a", ".a"],
        ["x" * 250, "x" * 251, "x" * 252],
        ["\u0938\u0939\u0940", "\u0938\u0939\u0942", "e\u0301", "e\u0300"],
    ],
)
def test_no_name_becomes_another(names: list[str], server: MlflowServer) -> None:
    client = MlflowClient(server.uri)
    run = client.create_run(client.get_experiment_by_name("Default").experiment_id).info.run_id
    for value, name in enumerate(names):
        client.log_batch(run, metrics=[Metric(_key(name), value, 0, 0)], params=[Param(_key(name), str(value))])
    data = client.get_run(run).data
    assert [data.metrics[_key(name)] for name in names] == list(range(len(names)))
    assert [data.params[_key(name)] for name in names] == [str(value) for value in range(len(names))]


def test_names_stay_as_they_are_where_mlflow_takes_them() -> None:
    for name in ("accuracy.n", "recall.\u6b63\u5e38", "recall.NORMAL", "recall.Lungenentz\u00fcndung", "site a/b-1"):
        assert _key(name) == name


def test_a_server_that_hangs_is_left_after_its_timeout(home: tuple[Store, Description], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        stuck = deliver(home[0], "mlflow", tracker(f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert stuck.waiting == 1
    assert "timed out" in stuck.problem.lower()
    assert time.monotonic() - began < 20


def test_nothing_of_it_is_imported_by_the_command_line() -> None:
    program = "import sys, driftloop.cli.main, driftloop.tracking; sys.exit(bool({'mlflow', 'wandb'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
