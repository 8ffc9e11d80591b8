"""The policy that docs/operations.md gives to a user who may prune is enough for a prune, and for nothing else."""

import json
import re
import secrets
import time
from datetime import timedelta
from pathlib import Path

import pytest
from minio import MinioAdmin
from minio.credentials import StaticProvider

from driftloop.cli.prune import Pruning
from driftloop.errors import StoreError
from driftloop.store import open_store
from tests.factories.store_history import StoreHistory
from tests.minio_server import MinioServer

GUIDE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
POLICY = json.loads(re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)[0])
RUN = "9ff6ac5a-9a85-49b5-b129-e0d72187ae3c"
WATCH = f"v2/artifacts/drift-watch/{RUN}/drift-detection/1/report"


@pytest.fixture
def user(minio_server: MinioServer) -> dict[str, str]:
    """The variables of a user with the guide's policy."""
    name, secret = f"pruner-{secrets.token_hex(4)}", secrets.token_hex(16)
    credentials = StaticProvider(minio_server.access_key, minio_server.secret_key)
    admin = MinioAdmin(endpoint=minio_server.endpoint.removeprefix("http://"), credentials=credentials, region="us-east-1", secure=False)
    admin.user_add(name, secret)
    admin.policy_add(name, policy=POLICY)
    admin.policy_set(name, user=name)
    return {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": secret}


def test_it_may_do_all_that_a_prune_does_and_nothing_else(
    s3_uri: str, user: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://driftloop/{secrets.token_hex(6)}"
    history = StoreHistory(open_store(uri), tmp_path)
    first, second = (history.register(history.dataset(10).manifest_hash) for _ in range(2))
    history.dataset(30)
    time.sleep(0.002)  # S3 tells times to the millisecond
    history.promote(first)
    history.watched(1, first, run_id=RUN)
    for key in ("doctor/0123", "watch/rows/00000001.parquet", "watch/labels/00000001.parquet", "watch/requests/000001.csv", "blocks/0123"):
        history.store.put(key, b"left")
    time.sleep(0.002)
    history.store.put("watch/labels/00000002.parquet", b"the newest table stays")
    curves = f"tensorboard/{RUN}/1-baseline/events.out.tfevents.1"
    open_store("s3://mlpipeline").put(WATCH, b"old")
    open_store("s3://driftloop").put(curves, b"old")
    for name, value in user.items():
        monkeypatch.setenv(name, value)

    pruning = Pruning(open_store(uri), timedelta(days=-91), timedelta(0), None, "s3://mlpipeline", tmp_path / "runs")
    kinds = ["version", "dataset", "probe", "rows", "labels", "requests", "blocks", "artifacts", "tensorboard"]
    assert [line.kind for line in pruning.carried_out() if line.goes_from is not None] == kinds
    assert [line.kind for line in pruning.carried_out() if line.goes_from is None] == kinds
    store, root = open_store(uri), open_store("s3://mlpipeline")
    assert not root.exists(WATCH)
    assert [info.key for info in store.list("watch/")] == ["watch/00000001.json", "watch/labels/00000002.parquet"]
    assert not open_store("s3://driftloop").exists(curves)
    assert not store.exists(f"versions/{second}/model.onnx")
    for forbidden in ("champion.json", "watch/00000001.json", "logs/a.parquet", "labels/a.parquet", "prune/marks.json"):
        with pytest.raises(StoreError, match="denies access"):
            store.delete(forbidden)
        with pytest.raises(StoreError, match="denies access"):
            store.delete_many([forbidden])
    for forbidden in ("champion.json", "versions/1/model.onnx", "versions/1/SHA256SUMS", "datasets/x/dataset.json"):
        with pytest.raises(StoreError, match="denies access"):
            store.put(forbidden, b"changed")
