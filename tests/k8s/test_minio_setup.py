"""k8s/minio/setup.py against a real MinIO: what every user may, with its own keys, and what it may not."""

import io
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider
from minio.error import S3Error

from driftloop.alerts.alertmanager import Alertmanager
from driftloop.alerts.notifying import notify
from driftloop.alerts.rules import read_rules
from driftloop.errors import Conflict, StoreError
from driftloop.inference.log import read_images, read_log
from driftloop.inference.log_files import LOGS_PREFIX, log_files
from driftloop.inference.log_writer import InferenceLogger
from driftloop.store import open_store
from driftloop.store.s3_conditions import PROOF
from driftloop.watch_store import move_heartbeat, newest_record
from tests.factories.store_history import StoreHistory
from tests.k8s.rendering import ROOT
from tests.minio_server import MinioServer
from tests.mlflow_server import MlflowServer
from tests.unit.store.lossy_proxy import LossyProxy

FOLDER = ROOT / "k8s" / "minio"
USERS = [file.stem for file in sorted((FOLDER / "policies").glob("*.json"))]
#: One object of each kind, in a store that lies deeper than its bucket.
MODEL = "team/chest/versions/1/model.onnx"
CHAMPION = "team/chest/champion.json"
LOG = "team/chest/logs/dt=2026-11-21/hour=08/a.parquet"
LABEL = "team/chest/labels/a.json"
WATCH = "team/chest/watch/1.json"
REQUESTS = "team/chest/watch/requests/000001.csv"
GROUPS = "team/chest/keys/groups"
PIXELS = "team/chest/logs/dt=2026-11-21/hour=08/a.npy"
DATASET = "team/chest/datasets/ab/images-0.npy"
RECORD = "team/chest/watch/00000001.json"
HEARTBEAT = "team/chest/watch/heartbeat.json"
ALERTS = "team/chest/alerts/state.json"
TRACKED = "team/chest/tracking/records/run/step-ab/record.json"
EVENTS = "tensorboard/chest/events.out.tfevents.1"
ALL = {MODEL, CHAMPION, LOG, PIXELS, LABEL, WATCH, RECORD, HEARTBEAT, REQUESTS, ALERTS, GROUPS, DATASET, TRACKED, EVENTS}
#: What the service reads: nothing of its log.
SERVICE_READS = {MODEL, CHAMPION, RECORD, HEARTBEAT, REQUESTS, GROUPS}


class Installed:
    """A MinIO that setup.py has been run on, and the keys of its users."""

    def __init__(self, server: MinioServer, folder: Path) -> None:
        self.server = server
        self.users = folder / "users"
        self.users.mkdir()
        for user in USERS:
            (self.users / user).write_text(secrets.token_urlsafe(24))

    def run(self, **changed: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "MINIO_ENDPOINT": self.server.endpoint,
            "MINIO_ROOT_USER": self.server.access_key,
            "MINIO_ROOT_PASSWORD": self.server.secret_key,
            "POLICIES": str(FOLDER / "policies"),
            "USERS": str(self.users),
            "LOG_DAYS": "90",
            "OLD_VERSION_DAYS": "30",
        }
        command = [sys.executable, str(FOLDER / "setup.py")]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | environment | changed)

    def login(self, user: str) -> Minio:
        if user == "root":
            return self._client(self.server.access_key, self.server.secret_key)
        return self._client(user, (self.users / user).read_text())

    def _client(self, user: str, key: str) -> Minio:
        return Minio(self.server.endpoint.removeprefix("http://"), user, key, secure=False, region="us-east-1")

    def state(self) -> dict[str, object]:
        """What setup.py looks after, as the server tells it."""
        keys = StaticProvider(self.server.access_key, self.server.secret_key)
        admin = MinioAdmin(endpoint=self.server.endpoint.removeprefix("http://"), credentials=keys, secure=False, region="us-east-1")
        rules = self.login("root").get_bucket_lifecycle("driftloop").rules
        return {
            "users": json.loads(admin.user_list()),
            "policies": _ordered(json.loads(admin.policy_list())),
            "versioning": self.login("root").get_bucket_versioning("driftloop").status,
            "rules": {rule.rule_id: rule for rule in rules},
        }


def _ordered(value: object) -> object:
    """Policies without the order of their lists, which the server draws anew for every answer."""
    if isinstance(value, dict):
        return {key: _ordered(item) for key, item in value.items()}
    return sorted((_ordered(item) for item in value), key=str) if isinstance(value, list) else value


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A server with one object of each kind, put there by its root."""
    folder = tmp_path_factory.mktemp("setup")
    server = MinioServer(folder / "data")
    server.start()
    installed = Installed(server, folder)
    done = installed.run()
    assert done.returncode == 0, done.stderr
    for key in ALL:
        put(installed.login("root"), "driftloop", key)
    put(installed.login("root"), "mlpipeline", "v2/artifacts/run/model")
    yield installed
    server.kill()


def put(client: Minio, bucket: str, key: str) -> None:
    client.put_object(bucket, key, io.BytesIO(b"x"), 1)


def allowed(action: object, *arguments: object) -> bool:
    """Whether the server does what it is asked; any other fault than a refusal fails the test."""
    try:
        action(*arguments)
    except S3Error as error:
        if error.code != "AccessDenied":
            raise
        return False
    return True


def readable(client: Minio) -> set[str]:
    return {key for key in ALL if allowed(lambda key=key: client.get_object("driftloop", key).read())}


def writable(client: Minio) -> set[str]:
    return {key for key in ALL if allowed(put, client, "driftloop", key)}


def removable(client: Minio) -> set[str]:
    """Removed and, by the root, put back."""
    return {key for key in ALL if allowed(client.remove_object, "driftloop", key)}


def test_pipelines_do_everything_with_objects_of_their_bucket(minio: Installed) -> None:
    client = minio.login("driftloop-pipelines")
    assert readable(client) == writable(client) == ALL
    assert len(list(client.list_objects("driftloop", recursive=True))) == len(ALL)
    assert allowed(client.remove_object, "driftloop", "team/chest/labels/gone.json")


def test_what_pipelines_remove_can_be_brought_back(minio: Installed) -> None:
    """MinIO takes the right to delete for the right to delete old versions, too, unless that is denied."""
    client, root = minio.login("driftloop-pipelines"), minio.login("root")
    put(client, "driftloop", "team/other/champion.json")
    client.remove_object("driftloop", "team/other/champion.json")
    (version,) = [
        entry
        for entry in root.list_objects("driftloop", prefix="team/other/champion.json", include_version=True)
        if not entry.is_delete_marker
    ]
    assert not allowed(client.remove_object, "driftloop", version.object_name, version.version_id)
    assert root.get_object("driftloop", version.object_name, version_id=version.version_id).read() == b"x"


def test_the_service_reads_models_and_their_champion(minio: Installed) -> None:
    client = minio.login("driftloop-service")
    assert readable(client) == SERVICE_READS
    assert [entry.object_name for entry in client.list_objects("driftloop", prefix="team/chest/versions/")] == ["team/chest/versions/1/"]
    assert [entry.object_name for entry in client.list_objects("driftloop", prefix="team/chest/watch/requests/")] == [REQUESTS]
    for prefix in (
        "",
        "team/chest/logs/",
        "team/chest/logs/dt=2026-11-21/hour=08/",
        "team/chest/labels/",
        "team/chest/watch/",
        "team/chest/datasets/",
        "team/chest/keys/",
    ):
        assert not allowed(list, client.list_objects("driftloop", prefix=prefix)), prefix


def test_the_service_finds_the_newest_watch_by_names_alone(minio: Installed, tmp_path: Path) -> None:
    uri = "s3://driftloop/team/watched"
    history = StoreHistory(open_store(uri, minio.server.environment), tmp_path)
    keys = {"AWS_ACCESS_KEY_ID": "driftloop-service", "AWS_SECRET_ACCESS_KEY": (minio.users / "driftloop-service").read_text()}
    theirs = open_store(uri, minio.server.environment | keys)
    assert newest_record(theirs) is None
    history.watched(1, "1")
    move_heartbeat(history.store, history.watched(2, "1"))
    started = history.watched(3, "1", state="started")
    assert newest_record(theirs) == newest_record(theirs, 3) == started


def test_the_service_writes_logs_and_labels(minio: Installed) -> None:
    client = minio.login("driftloop-service")
    assert writable(client) == {LOG, PIXELS, LABEL, GROUPS}
    assert not allowed(put, client, "driftloop", "team/chest/versions/1/logs/model.onnx")
    assert removable(client) == set()


def test_the_service_learns_that_there_is_no_champion(minio: Installed) -> None:
    client = minio.login("driftloop-service")
    with pytest.raises(S3Error) as missing:
        client.get_object("driftloop", "team/none/champion.json")
    assert missing.value.code == "NoSuchKey"


def test_the_service_cannot_promote_or_take_back_its_model(minio: Installed) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "driftloop-service", "AWS_SECRET_ACCESS_KEY": (minio.users / "driftloop-service").read_text()}
    store = open_store("s3://driftloop/team/chest", minio.server.environment | keys)
    content, tag = store.read_tagged("champion.json")
    for refused in (
        lambda: store.replace("champion.json", b"mine", tag),
        lambda: store.create("versions/9/SHA256SUMS", b"mine"),
        lambda: store.delete("champion.json"),
        lambda: store.read("datasets/ab/images-0.npy"),
    ):
        with pytest.raises(StoreError, match="denies access"):
            refused()
    assert store.read("champion.json") == content


def test_the_service_learns_whether_a_log_was_written(minio: Installed) -> None:
    """Where the answer to a write was lost, it has to look before it writes again: it may ask for a file whose name it knows."""
    keys = {"AWS_ACCESS_KEY_ID": "driftloop-service", "AWS_SECRET_ACCESS_KEY": (minio.users / "driftloop-service").read_text()}
    store = open_store("s3://driftloop/team/chest", minio.server.environment | keys)
    log = LOG.removeprefix("team/chest/")
    assert [entry.key for entry in store.list(log)] == [log]
    assert list(store.list("logs/dt=2026-11-21/hour=08/never.parquet")) == []


@pytest.mark.parametrize("lost", [1, 2])
def test_a_log_of_the_service_whose_answers_were_lost_is_written_once(minio: Installed, lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the images (1), or of the rows too (2). The store cannot read back what it wrote; the log settles that in its next try."""
    keys = {"AWS_ACCESS_KEY_ID": "driftloop-service", "AWS_SECRET_ACCESS_KEY": (minio.users / "driftloop-service").read_text()}
    proxy = LossyProxy(minio.server.port)
    uri = f"s3://driftloop/team/lossy-{lost}"
    try:
        store = open_store(uri, minio.server.environment | keys | {"AWS_ENDPOINT_URL": proxy.endpoint})
        store.create("logs/proof", b"x")
        # The log's own thread tries again within a second, and would at times be the one whose answer is lost.
        monkeypatch.setattr(InferenceLogger, "_work", lambda _: None)
        log = InferenceLogger(store)
        (name,) = log.log(np.zeros((1, 8, 8, 1), np.uint8), None, 1.0, version="1", classes=["a", "b"], status="failed")
        for _ in range(lost):
            proxy.swallow(1)
            with pytest.raises(StoreError, match="denies access"):
                log.flush()
        log.close()
    finally:
        proxy.close()
    root = open_store(uri, minio.server.environment)
    assert [file.number for file in log_files(root)] == [1]
    rows = read_log(root, after=None, until=datetime.now(UTC))
    assert list(rows["request_id"]) == [name]
    assert len(read_images(root, rows)) == 1


def test_the_service_may_prove_that_conditional_writes_are_honoured(minio: Installed) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "driftloop-service", "AWS_SECRET_ACCESS_KEY": (minio.users / "driftloop-service").read_text()}
    store = open_store("s3://driftloop/team/chest", minio.server.environment | keys)
    log = "logs/dt=2026-11-21/hour=09/a.parquet"
    store.create(log, b"x")
    with pytest.raises(Conflict):
        store.create(log, b"y")
    for key in (PROOF, log):
        minio.login("root").stat_object("driftloop", f"team/chest/{key}")
        minio.login("root").remove_object("driftloop", f"team/chest/{key}")


def test_who_alerts_reads_pointer_and_watches_and_writes_its_state(minio: Installed) -> None:
    client = minio.login("driftloop-alerts")
    assert readable(client) == {CHAMPION, WATCH, RECORD, HEARTBEAT, REQUESTS, ALERTS}
    assert writable(client) == {ALERTS}
    assert removable(client) == set()
    assert not allowed(list, client.list_objects("driftloop", prefix="team/chest/logs/"))


def test_what_is_told_needs_no_more_than_these_rights(minio: Installed, tmp_path: Path) -> None:
    uri = "s3://driftloop/team/late"
    history = StoreHistory(open_store(uri, minio.server.environment), tmp_path)
    keys = {"AWS_ACCESS_KEY_ID": "driftloop-alerts", "AWS_SECRET_ACCESS_KEY": (minio.users / "driftloop-alerts").read_text()}
    theirs = open_store(uri, minio.server.environment | keys)
    away = [Alertmanager("http://127.0.0.1:1", "")]
    assert notify(theirs, read_rules(), away, datetime.now(UTC), every=None).state.alerts == []
    history.promote(history.register(history.dataset(10).manifest_hash))
    history.watched(1, "1")
    told = notify(theirs, read_rules(), away, datetime.now(UTC), every=timedelta(hours=1))
    assert [entry.alert.rule for entry in told.state.outbox] == ["late"]
    command = [sys.executable, "-m", "driftloop.cli.main", "status", "--notify", "--store", uri, "--every", "1h", "--json"]
    environment = os.environ | minio.server.environment | keys | {"DRIFTLOOP_ALERTMANAGER_URL": "http://127.0.0.1:1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout or "{}").get("delivered")) == (1, 0), done.stderr


def test_who_tracks_reads_models_and_what_steps_left_for_it(minio: Installed) -> None:
    client = minio.login("driftloop-tracking")
    assert readable(client) == {MODEL, CHAMPION, TRACKED}
    assert writable(client) == {TRACKED}
    assert removable(client) == set()
    assert not allowed(list, client.list_objects("driftloop", prefix="team/chest/logs/"))


def test_tracking_needs_no_more_than_these_rights(minio: Installed, tmp_path: Path) -> None:
    mlflow = MlflowServer(tmp_path / "mlflow")
    uri = "s3://driftloop/team/tracked"
    history = StoreHistory(open_store(uri, minio.server.environment), tmp_path)
    history.promote(history.register(history.dataset(10).manifest_hash))
    keys = {"AWS_ACCESS_KEY_ID": "driftloop-tracking", "AWS_SECRET_ACCESS_KEY": (minio.users / "driftloop-tracking").read_text()}
    command = [sys.executable, "-m", "driftloop.cli.main", "track", "--to", "mlflow", "--store", uri, "--json"]
    environment = os.environ | minio.server.environment | keys | {"MLFLOW_TRACKING_URI": mlflow.uri}
    mlflow.start()
    try:
        for delivered in (1, 0):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            (said,) = json.loads(done.stdout)
            assert (said["versions"], said["waiting"]) == (delivered, 0)
    finally:
        mlflow.kill()


def test_tensorboard_reads_its_events_and_nothing_else(minio: Installed) -> None:
    client = minio.login("driftloop-tensorboard")
    assert readable(client) == {EVENTS}
    assert writable(client) == removable(client) == set()
    assert allowed(list, client.list_objects("driftloop", prefix="tensorboard/", recursive=True))
    assert not allowed(list, client.list_objects("driftloop"))


def test_kubeflow_has_its_own_bucket_and_no_part_in_the_stores(minio: Installed) -> None:
    client = minio.login("driftloop-kfp")
    assert readable(client) == writable(client) == removable(client) == set()
    assert allowed(put, client, "mlpipeline", "v2/artifacts/x")
    assert allowed(list, client.list_objects("mlpipeline", recursive=True))
    assert allowed(client.remove_object, "mlpipeline", "v2/artifacts/x")


@pytest.mark.parametrize("user", sorted(set(USERS) - {"driftloop-kfp"}))
def test_nobody_but_kubeflow_sees_its_artifacts(minio: Installed, user: str) -> None:
    client = minio.login(user)
    assert not allowed(client.get_object, "mlpipeline", "v2/artifacts/run/model")
    assert not allowed(put, client, "mlpipeline", "v2/artifacts/run/model")
    assert not allowed(list, client.list_objects("mlpipeline"))


@pytest.mark.parametrize("user", USERS)
def test_no_user_rules_over_buckets_or_users(minio: Installed, user: str) -> None:
    client = minio.login(user)
    assert not allowed(client.make_bucket, "mine")
    assert not allowed(client.delete_bucket_lifecycle, "driftloop")
    assert not allowed(client.set_bucket_policy, "driftloop", "{}")
    key = (minio.users / user).read_text()
    admin = MinioAdmin(
        endpoint=minio.server.endpoint.removeprefix("http://"), credentials=StaticProvider(user, key), secure=False, region="us-east-1"
    )
    with pytest.raises(Exception, match="AccessDenied"):
        admin.user_add("mallory", "mallory-mallory")


def test_logs_and_old_versions_expire_and_the_pipeline_root_never(minio: Installed) -> None:
    minio.run()
    state = minio.state()
    assert state["versioning"] == "Enabled"
    assert state["rules"].keys() == {"old-versions", "expire-logs", "expire-tensorboard"}
    logs, rest = state["rules"]["expire-logs"], state["rules"]["old-versions"]
    assert (logs.expiration.days, logs.noncurrent_version_expiration) == (90, None)
    assert (rest.expiration, rest.noncurrent_version_expiration.noncurrent_days) == (None, 30)
    assert minio.login("root").get_bucket_lifecycle("mlpipeline") is None
    assert minio.login("root").get_bucket_versioning("mlpipeline").status is None


@pytest.mark.parametrize("user", ["driftloop-pipelines", "driftloop-service"])
def test_the_logs_of_every_store_expire_by_one_rule_and_nothing_else_does(minio: Installed, user: str) -> None:
    minio.run()
    keys = {"AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": (minio.users / user).read_text()}
    root = minio.login("root")
    for home in (f"{user}-1", f"deep/in/{user}-2"):
        store = open_store(f"s3://driftloop/{home}", minio.server.environment | keys)
        store.create(f"{LOGS_PREFIX}dt=2026-11-21/hour=08/a.parquet", b"x")
        store.create("labels/a.parquet", b"x")
        log = root.stat_object("driftloop", f"{home}/{LOGS_PREFIX}dt=2026-11-21/hour=08/a.parquet")
        assert 'rule-id="expire-logs"' in log.metadata["x-amz-expiration"]
        assert "x-amz-expiration" not in root.stat_object("driftloop", f"{home}/labels/a.parquet").metadata
    assert 'rule-id="expire-tensorboard"' in root.stat_object("driftloop", EVENTS).metadata["x-amz-expiration"]
    assert len(root.get_bucket_lifecycle("driftloop").rules) == 3


def test_a_second_run_changes_nothing(minio: Installed) -> None:
    minio.run()
    before = minio.state()
    done = minio.run()
    assert done.stdout == "MinIO is as it should be\n"
    after = minio.state()
    assert after.pop("rules").keys() == before.pop("rules").keys()
    assert after == before


def test_a_run_mends_what_was_changed_by_hand(minio: Installed) -> None:
    root = minio.login("root")
    root.set_bucket_lifecycle("mlpipeline", root.get_bucket_lifecycle("driftloop"))
    root.delete_bucket_lifecycle("driftloop")
    (minio.users / "driftloop-service").write_text(secrets.token_urlsafe(24))
    done = minio.run()
    assert "user driftloop-service: set\n" in done.stdout
    assert "lifecycle" in done.stdout
    assert root.get_bucket_lifecycle("mlpipeline") is None
    assert readable(minio.login("driftloop-service")) == SERVICE_READS


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"MINIO_ROOT_PASSWORD": "not-the-password"}, "AccessDenied"),
        ({"MINIO_ENDPOINT": "http://127.0.0.1:1"}, "Connection refused"),
    ],
)
def test_a_fault_is_one_line_without_a_secret(minio: Installed, changed: dict[str, str], said: str) -> None:
    done = minio.run(**changed)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("minio setup: http://127.0.0.1:")
    assert said in line
    assert not [secret for secret in (minio.server.secret_key, "not-the-password") if secret in line]
