"""The policy that docs/operations.md gives to a user who may prune is enough for a prune, and for nothing else."""

import json
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from minio import MinioAdmin
from minio.credentials import StaticProvider

from driftloop.errors import StoreError
from driftloop.housekeeping.pruning import PrunePolicy, carry_out_prune, plan_prune
from driftloop.housekeeping.run_artifacts import read_pipeline_root, remove_watch_artifacts
from driftloop.store import open_store
from tests.minio_server import MinioServer
from tests.unit.housekeeping.world import StoreHistory

GUIDE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
POLICY = json.loads(re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)[0])
WATCH = "v2/artifacts/drift-watch/9ff6ac5a-9a85-49b5-b129-e0d72187ae3c/drift-detection/1/report"


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
    world = StoreHistory(open_store(uri), tmp_path)
    world.promote(world.register(world.dataset(10).manifest_hash))
    world.register(world.dataset(30).manifest_hash, parent="1")
    world.store.put("doctor/0123", b"left")
    open_store("s3://mlpipeline").put(WATCH, b"old")
    for name, value in user.items():
        monkeypatch.setenv(name, value)

    store, root = open_store(uri), open_store("s3://mlpipeline")
    policy = PrunePolicy(datetime.now(UTC) + timedelta(hours=1), in_use=frozenset())
    assert [(item.kind, spared) for item, spared in carry_out_prune(store, plan_prune(store, policy), policy)] == [
        ("version", ""),
        ("dataset", ""),
        ("probe", ""),
    ]
    for item in read_pipeline_root(root, policy.cutoff)[1]:
        remove_watch_artifacts(root, item)
    assert not root.exists(WATCH)
    store.put("versions/2/SHA256SUMS", b"given back")
    for forbidden in ("champion.json", "watch/00000001.json", "logs/a.parquet", "labels/a.parquet"):
        with pytest.raises(StoreError, match="denies access"):
            store.delete(forbidden)
    for forbidden in ("champion.json", "versions/1/model.onnx", "datasets/x/dataset.json"):
        with pytest.raises(StoreError, match="denies access"):
            store.put(forbidden, b"changed")
