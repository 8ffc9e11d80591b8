"""A bucket that keeps old versions: what is replaced or deleted is gone for driftloop, and stays in the bucket until a rule ends it."""

from pathlib import Path

import pytest
from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from driftloop import registry
from driftloop.errors import Conflict, NotFound
from driftloop.store import Store, open_store
from tests.factories.store_history import StoreHistory
from tests.minio_server import MinioServer
from tests.unit.housekeeping.killed import prune

BUCKET = "driftloop-old-versions"


@pytest.fixture
def client(minio_server: MinioServer) -> Minio:
    """Of the server, on which the bucket keeps old versions."""
    address, keys = minio_server.endpoint.removeprefix("http://"), (minio_server.access_key, minio_server.secret_key)
    client = Minio(address, *keys, secure=False, region="us-east-1")
    if not client.bucket_exists(BUCKET):
        client.make_bucket(BUCKET)
        client.set_bucket_versioning(BUCKET, VersioningConfig(ENABLED))
    return client


@pytest.fixture
def store(client: Minio, s3_uri: str) -> Store:
    """In that bucket, in place of the usual kinds."""
    return open_store(s3_uri.replace("driftloop-tests", BUCKET))


def sizes(client: Minio, store: Store, prefix: str) -> tuple[int, int]:
    """Bytes below `prefix`: of what is there, and of what something newer or a deletion hides."""
    folder = store.uri.removeprefix(f"s3://{BUCKET}/")
    entries = list(client.list_objects(BUCKET, f"{folder}/{prefix}", recursive=True, include_version=True))
    assert all(entry.version_id for entry in entries)
    shown = sum(entry.size or 0 for entry in entries if entry.is_latest == "true" and not entry.is_delete_marker)
    return shown, sum(entry.size or 0 for entry in entries) - shown


def test_conditions_go_by_what_is_there_and_not_by_what_was(store: Store) -> None:
    first = store.create("champion.json", b"one")
    second = store.replace("champion.json", b"two", first)
    with pytest.raises(Conflict, match="changed since it was read"):
        store.replace("champion.json", b"three", first)
    store.delete("champion.json")
    assert not store.exists("champion.json")
    assert list(store.list()) == []
    with pytest.raises(NotFound):
        store.read("champion.json")
    with pytest.raises(Conflict):
        store.replace("champion.json", b"three", second)
    again = store.create("champion.json", b"one")
    with pytest.raises(Conflict, match="exists already"):
        store.create("champion.json", b"one")
    assert store.read_tagged("champion.json") == (b"one", again)


def test_promotion_rollback_and_prune_are_as_in_any_bucket_and_only_a_rule_of_the_bucket_frees_the_room(
    client: Minio, history: StoreHistory, tmp_path: Path
) -> None:
    store = history.store
    assert registry.rollback(store, reason="bad").version == "1"
    registry.promote(store, "2", expected="1", reason="better", by_person=True)
    assert sizes(client, store, "versions/3/")[1] == 0
    whole = sizes(client, store, "versions/3/")[0]
    for days in (0, 2, 4, 6):
        prune(store, days=days)
    StoreHistory(store, tmp_path / "after").check()
    assert [info.version for info in registry.versions(store)] == ["1", "2"]
    kept, hidden = sizes(client, store, "versions/3/")
    assert kept + hidden == whole
    assert hidden > kept > 0, "what was deleted is still in the bucket"
    assert sizes(client, store, "champion.json")[1] > 0, "so is each earlier pointer"
