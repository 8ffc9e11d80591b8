"""Which artifacts of local runs and of Kubeflow's pipeline root may go, and which datasets they name."""

import json
import os
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftloop.backends.run_folder import RunFolder
from driftloop.errors import InputError, IntegrityError
from driftloop.housekeeping.pruning import delete_objects, place_of
from driftloop.housekeeping.run_artifacts import (
    datasets_named_by_runs,
    finished_run_artifacts,
    old_tensorboard_copies,
    own_runs,
    read_pipeline_root,
    remove_run_artifacts,
    tensorboard_root,
)
from driftloop.reporting.tensorboard import publish_events
from driftloop.store import ObjectInfo, Store, open_store
from tests.factories.store_history import StoreHistory

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=9)
CUTOFF = NOW - timedelta(days=7)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def run(runs: Path, dataset: str, *, ended: datetime | None) -> RunFolder:
    """A run whose artifacts name a dataset."""
    folder = RunFolder.create("training", runs)
    artifact = folder.artifacts / "training-0123" / "data-analysis" / "dataset" / "dataset.json"
    artifact.parent.mkdir(parents=True)
    artifact.write_text(json.dumps({"manifest_hash": dataset}))
    (folder.path / "report.html").write_text("the report")
    folder.store.mkdir()
    if ended is not None:
        folder.summary.write_text("{}")
        os.utime(folder.summary, (ended.timestamp(), ended.timestamp()))
    return folder


def test_artifacts_of_old_finished_runs_go_and_their_reports_and_stores_stay(runs: Path) -> None:
    old = run(runs, "a", ended=OLD)
    run(runs, "b", ended=NOW)
    run(runs, "c", ended=None)
    (runs / "0-before-all").mkdir()
    [artifacts] = finished_run_artifacts(runs, CUTOFF)
    assert (artifacts.run, artifacts.size) == (old.id, len('{"manifest_hash": "a"}'))
    assert abs(artifacts.finished - OLD) < timedelta(seconds=1)
    assert finished_run_artifacts(runs, artifacts.finished) == [], "what ended at the very moment stays"
    remove_run_artifacts(artifacts)
    assert not old.artifacts.exists()
    assert (old.path / "report.html").exists()
    assert old.store.is_dir()
    assert finished_run_artifacts(runs, CUTOFF) == []


def test_the_latest_run_keeps_its_artifacts_however_old_it_is(runs: Path) -> None:
    run(runs, "a", ended=OLD).point_latest()
    assert finished_run_artifacts(runs, CUTOFF) == []


def test_artifacts_behind_a_link_are_left_alone(runs: Path, tmp_path: Path) -> None:
    folder = run(runs, "a", ended=OLD)
    folder.artifacts.rename(tmp_path / "elsewhere")
    folder.artifacts.symlink_to(tmp_path / "elsewhere")
    assert finished_run_artifacts(runs, CUTOFF) == []


def test_datasets_are_named_by_the_runs_that_stay(runs: Path) -> None:
    run(runs, "a", ended=OLD)
    run(runs, "b", ended=NOW)
    run(runs, "c", ended=None)
    assert datasets_named_by_runs(runs, finished_run_artifacts(runs, CUTOFF)) == {"b", "c"}


def test_without_local_runs_nothing_is_named(runs: Path) -> None:
    assert finished_run_artifacts(runs, CUTOFF) == []
    assert datasets_named_by_runs(runs, []) == set()


NAMES_C = b'{"manifest_hash": "c"}'
THEIRS = "v2/artifacts/drift-watch/b7237357-8170-4076-9112-5051ae01f530/automated-retraining/1/dataset/dataset.json"
WATCH, OTHER = "9ff6ac5a-9a85-49b5-b129-e0d72187ae3c", "a6238246-7170-4076-9112-5051ae01f530"


#: Far enough from what the tests write: this file is read long before they run.
LATER, EARLIER = NOW + timedelta(days=1), NOW - timedelta(days=1)


def fill(root: Store) -> None:
    root.put(f"v2/artifacts/training/{OTHER}/data-analysis/77/dataset/dataset.json", b'{"manifest_hash": "a", "classes": []}')
    root.put(f"v2/artifacts/training/{OTHER}/data-analysis/77/dataset/facts.json", b'{"manifest_hash": "b"}')
    root.put("v2/artifacts/others/dataset.json", b'["of somebody else"]')
    root.put(f"v2/artifacts/drift-watch/{WATCH}/production-monitoring/78/champion/model.onnx", b"x" * 1000)
    root.put(f"v2/artifacts/drift-watch/{WATCH}/automated-retraining/79/dataset/dataset.json", NAMES_C)
    root.put("v2/artifacts/drift-watch/notes.txt", b"not of a run")
    root.put(THEIRS, b'{"manifest_hash": "e"}')


OURS = {WATCH, "nightly"}


def test_the_datasets_that_artifacts_name_are_in_use(store: Store) -> None:
    fill(store)
    assert read_pipeline_root(store, EARLIER, OURS)[0] == {"a", "c", "e"}


def test_only_the_artifacts_of_our_own_old_watches_go(store: Store) -> None:
    fill(store)
    assert read_pipeline_root(store, EARLIER, OURS)[1] == []
    [item] = read_pipeline_root(store, LATER, OURS)[1]
    assert (item.kind, item.name, item.objects.size) == ("artifacts", f"v2/artifacts/drift-watch/{WATCH}", 1000 + len(NAMES_C))
    assert item.why == f"a watch of {item.objects.touched:%Y-%m-%d} in Kubeflow"
    assert read_pipeline_root(store, item.objects.touched, OURS)[1] == [], "what was written at the very moment stays"
    delete_objects(store, place_of(item.kind, item.name), item.objects.touched)
    assert [entry.key.split("/")[2] for entry in store.list()] == ["drift-watch", "drift-watch", "others", "training", "training"]
    assert read_pipeline_root(store, LATER, OURS)[1] == []
    # Another team's watch, by the same pipeline's name: no run of ours has that id.
    assert store.exists(THEIRS)


def test_a_place_where_nothing_lies_is_not_taken_for_a_pipeline_root(store: Store) -> None:
    with pytest.raises(InputError, match="nothing lies there"):
        read_pipeline_root(store, LATER, OURS)


def test_our_own_runs_are_those_that_registered_or_watched(store: Store, tmp_path: Path) -> None:
    history = StoreHistory(store, tmp_path)
    assert own_runs(store) == set()
    history.register("d" * 64)
    store.create("versions/2/registration.json", b'{"run": "died on the way"}')
    store.create("versions/3/registration.json", b"{}")
    history.watched(1, "1", run_id=WATCH)
    assert own_runs(store) == {"run-1", "died on the way", WATCH}
    store.create("versions/4/registration.json", b"{")
    with pytest.raises(IntegrityError, match=r"versions/4/registration\.json"):
        own_runs(store)


def test_a_folder_has_no_copies_for_tensorboard(tmp_path: Path) -> None:
    assert tensorboard_root(open_store(str(tmp_path / "store"))) is None


def test_old_copies_of_our_own_runs_for_tensorboard_go(s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = (f"{name}-{s3_uri.rpartition('/')[2]}" for name in ("mine", "theirs"))
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "events.out.tfevents.1").write_bytes(b"curve")
    for run in (mine, theirs):
        monkeypatch.setenv("DRIFTLOOP_RUN_ID", run)
        publish_events(tmp_path / "events", s3_uri, "2-baseline")
    root = tensorboard_root(open_store(s3_uri))
    assert root is not None
    assert old_tensorboard_copies(root, EARLIER, {mine}) == []
    [item] = old_tensorboard_copies(root, LATER, {mine, "another"})
    assert (item.kind, item.name, item.objects.size, item.objects.objects) == ("tensorboard", mine, 5, 1)
    delete_objects(root, place_of(item.kind, item.name), item.objects.touched)
    assert {entry.key.partition("/")[0] for entry in root.list()} & {mine, theirs} == {theirs}


class Endless:
    """A bucket's listing with very many objects of very many runs; a page at a time is all that ever exists."""

    uri = "s3://mlpipeline"

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        for number in range(60_000):
            run = f"{number // 10:08x}-0000-0000-0000-{0:012x}"
            yield ObjectInfo(f"v2/artifacts/drift-watch/{run}/step/{number}/rows.parquet", 1, OLD)


def test_a_listing_is_read_as_a_stream(tmp_path: Path) -> None:
    ours = f"{7:08x}-0000-0000-0000-{0:012x}"
    tracemalloc.start()
    try:
        [item] = read_pipeline_root(Endless(), CUTOFF, {ours})[1]  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert item.objects.objects == 10
    # A list of so many objects takes 20 MB.
    assert peak < 1 << 20
