"""The optimised training on two machines: the step, a server that plays Kubernetes, two real processes of torchrun, a real S3 store."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.model_optimization.step import run
from driftloop import bundle
from driftloop.errors import RunFailed, SettingError
from driftloop.step_facts import read_facts
from driftloop.store import open_store
from driftloop.training import train_job
from tests.factories.metrics import MetricsFile, RocFile
from tests.factories.squares_baseline import write_squares_and_baseline
from tests.minio_server import MinioServer
from tests.trainer_api import TrainerApi

CONFIG = {"batch_size": 16, "min_steps": 4, "ablation_epochs": 0, "baseline_share": 0.1, "learning_rate": 1e-3, "precision": "float32"}
#: The step in a process of its own, which can be killed.
STEP = """
import sys
from pathlib import Path
from driftloop.training import train_job
from tests.unit.model_optimization.test_nodes import optimise
train_job.ACCOUNT = Path(sys.argv[2])
optimise(Path(sys.argv[1]), "killed", epochs=int(sys.argv[3]), nodes=2)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, minio_server: MinioServer) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("nodes")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in minio_server.environment.items():
            patch.setenv(name, value)
        patch.setenv("OMP_NUM_THREADS", "1")
        write_squares_and_baseline(root, CONFIG, store="s3://driftloop-tests/nodes")
        yield root


@pytest.fixture
def api(tmp_path: Path, minio_server: MinioServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainerApi]:
    api = TrainerApi(tmp_path / "cluster", minio_server.environment)
    api.play(monkeypatch, poll_s=1)
    yield api
    api.close()


def optimise(root: Path, name: str, *, epochs: int = 3, **config: object) -> dict:
    dataset, baseline, model, report = (str(root / part) for part in ("dataset", "baseline", f"{name}/model", f"{name}/report.html"))
    settings = CONFIG | config
    run(dataset, baseline, model, report, epochs=epochs, gpus="0", seed=3, config=settings, metrics=MetricsFile(), roc=RocFile())
    bundle.verify(model)
    return read_facts(model)["model_optimization"]


def leftovers() -> list[str]:
    return [info.key for info in open_store("s3://driftloop-tests/nodes").list("datasets/") if "/checkpoints/" in info.key]


def losses(facts: dict) -> list[float]:
    return [value for epoch in facts["history"] for value in (epoch["loss"], epoch["val_loss"])]


def test_two_machines_learn_what_one_does_where_the_first_try_failed(
    root: Path, api: TrainerApi, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, api.secrets = api.secrets, api.secrets | {"AWS_SECRET_ACCESS_KEY": "another"}
    with pytest.raises(RunFailed, match=r"TrainJob driftloop-\w{24} failed \(JobsDone.*kubectl --namespace team logs") as told:
        optimise(root, "two", nodes=2, queue="team-queue")
    assert "\n" not in str(told.value)
    assert "StoreError" in api.logs()
    api.secrets = keys
    shared = optimise(root, "two", nodes=2, queue="team-queue")
    assert "resumed after epoch 3 of 3" in capsys.readouterr().out
    assert "epoch 3: loss" in api.logs()
    single = optimise(root, "one")
    assert losses(shared) == pytest.approx(losses(single), abs=1e-5)
    assert [made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for made in api.made] == ["team-queue", "team-queue"]
    assert not api.jobs
    assert not leftovers()


def test_a_step_that_is_killed_finds_its_job_again(root: Path, api: TrainerApi, capsys: pytest.CaptureFixture[str]) -> None:
    step = subprocess.Popen(
        [sys.executable, "-c", STEP, str(root), str(api.account), "40"], stdout=subprocess.PIPE, text=True, env=os.environ | api.environment
    )
    assert step.stdout
    for line in step.stdout:
        if "made" in line and "TrainJob" in line:
            break
    step.send_signal(signal.SIGKILL)
    step.wait()
    step.stdout.close()
    assert len(api.jobs) == 1
    assert len(optimise(root, "killed", epochs=40, nodes=2)["history"]) <= 40
    assert "begun before" in capsys.readouterr().out
    assert len(api.made) == 1
    assert not api.jobs
    assert not leftovers()


def test_what_cannot_be_is_one_line(root: Path, tmp_path: Path, api: TrainerApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="batch_size=16 cannot be shared by 3 processes"):
        optimise(root, "no", nodes=3)
    with pytest.raises(SettingError, match="other machines do not see /somewhere"):
        optimise(root, "no", nodes=2, checkpoints="/somewhere")
    with pytest.raises(SettingError, match=r"epsilon does not go with train_config\.nodes=2"):
        optimise(root, "no", nodes=2, epsilon=8)
    api.allowed = False
    with pytest.raises(SettingError, match="kubectl apply -k k8s/nodes"):
        optimise(root, "no", nodes=2)
    api.installed, api.allowed = False, True
    with pytest.raises(SettingError, match=r"no TrainJob of trainer\.kubeflow\.org/v1alpha1; kubectl apply .* installs Kubeflow Trainer"):
        optimise(root, "no", nodes=2)
    monkeypatch.setattr(train_job, "ACCOUNT", tmp_path / "none")
    with pytest.raises(SettingError, match="no service account"):
        optimise(root, "no", nodes=2)
    assert not (root / "no").exists()
