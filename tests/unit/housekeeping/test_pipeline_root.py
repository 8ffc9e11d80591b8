"""What is read of Kubeflow's pipeline root, and what of it may go."""

from datetime import UTC, datetime, timedelta

import pytest

from driftloop.errors import InputError
from driftloop.housekeeping.run_artifacts import read_pipeline_root, remove_watch_artifacts
from driftloop.store import Store

WATCH, OTHER = "9ff6ac5a-9a85-49b5-b129-e0d72187ae3c", "a6238246-7170-4076-9112-5051ae01f530"
IN_AN_HOUR, AN_HOUR_AGO = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, -1))


def fill(root: Store) -> None:
    root.put(f"v2/artifacts/training/{OTHER}/data-analysis/77/dataset/dataset.json", b'{"manifest_hash": "a", "classes": []}')
    root.put(f"v2/artifacts/training/{OTHER}/data-analysis/77/dataset/facts.json", b'{"manifest_hash": "b"}')
    root.put("v2/artifacts/others/dataset.json", b'["of somebody else"]')
    root.put(f"v2/artifacts/drift-watch/{WATCH}/production-monitoring/78/champion/model.onnx", b"x" * 1000)
    root.put(f"v2/artifacts/drift-watch/{WATCH}/automated-retraining/79/dataset/dataset.json", b'{"manifest_hash": "c"}')
    root.put("v2/artifacts/drift-watch/notes.txt", b"not of a run")


def test_the_datasets_that_artifacts_name_are_in_use(store: Store) -> None:
    fill(store)
    assert read_pipeline_root(store, AN_HOUR_AGO)[0] == {"a", "c"}


def test_only_the_artifacts_of_old_watches_go(store: Store) -> None:
    fill(store)
    assert read_pipeline_root(store, AN_HOUR_AGO)[1] == []
    [item] = read_pipeline_root(store, IN_AN_HOUR)[1]
    assert (item.kind, item.name, item.size) == ("artifacts", WATCH, 1000 + len('{"manifest_hash": "c"}'))
    remove_watch_artifacts(store, item)
    assert [entry.key.split("/")[2] for entry in store.list()] == ["drift-watch", "others", "training", "training"]
    assert read_pipeline_root(store, IN_AN_HOUR)[1] == []


def test_a_place_where_nothing_lies_is_not_taken_for_a_pipeline_root(store: Store) -> None:
    with pytest.raises(InputError, match="nothing lies there"):
        read_pipeline_root(store, IN_AN_HOUR)
