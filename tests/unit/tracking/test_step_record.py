from pathlib import Path

import pytest

from driftloop.step_facts import write_facts
from driftloop.store import Store, open_store
from driftloop.tracking import leave_record, want_records
from driftloop.tracking.step_record import RECORDS, StepRecord, as_record

FACTS = {
    "accuracy": {"value": 0.9, "low": 0.85, "high": 0.95, "n": 100},
    "device": "CPU",
    "decided": True,
    "nothing": None,
    "unknown": float("nan"),
    "confusion": [[1, 2], [3, 4]],
    "history": [{"epoch": 1, "loss": 0.5, "note": "x"}, {"epoch": 2, "loss": 0.25, "note": "y"}],
}


@pytest.fixture(autouse=True)
def _in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "run-1")


def records(store: Store) -> list[StepRecord]:
    return [StepRecord.model_validate_json(store.read(entry.key)) for entry in store.list(RECORDS) if entry.key.endswith("record.json")]


def test_numbers_are_metrics_texts_parameters_and_epochs_curves() -> None:
    record = as_record("run-1", "baseline_training", FACTS, {"epochs": 3, "augmentation": {"flip": False}}, [])
    assert record.metrics == {"accuracy": 0.9, "accuracy.low": 0.85, "accuracy.high": 0.95, "accuracy.n": 100.0}
    assert record.parameters == {
        "device": "CPU",
        "decided": "True",
        "unknown": "nan",
        "training.epochs": "3",
        "training.augmentation.flip": "False",
    }
    assert record.curves == {"loss": [(1, 0.5), (2, 0.25)]}


def test_a_step_leaves_what_it_found_and_its_files(store: Store, tmp_path: Path) -> None:
    write_facts(tmp_path / "bundle", "baseline_training", FACTS | {"unknown": 1.0})
    card = tmp_path / "card.md"
    card.write_text("# card")
    leave_record(store, "baseline_training", tmp_path / "bundle", {})
    assert records(store) == []  # nobody has asked for records in this store
    want_records(store)
    leave_record(store, "baseline_training", tmp_path / "bundle", {"MODEL_CARD.md": card, "missing.html": tmp_path / "missing"})
    [record] = records(store)
    assert (record.run, record.step, record.files) == ("run-1", "baseline_training", ["MODEL_CARD.md"])
    assert store.read(f"{RECORDS}{record.name}/MODEL_CARD.md") == b"# card"


def test_a_step_that_is_repeated_leaves_one_record(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    want_records(store)
    for _ in range(2):
        leave_record(store, "model_promotion", {"version": "2"}, {})
    leave_record(store, "model_promotion", {"version": "3"}, {})
    assert sorted(record.parameters["version"] for record in records(store)) == ["2", "3"]


def test_a_step_of_no_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIFTLOOP_RUN_ID")
    leave_record(str(tmp_path / "store"), "model_promotion", {"version": "2"}, {})
    assert not (tmp_path / "store").exists()


def test_a_store_that_is_away_stops_no_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    leave_record(str(tmp_path / "file"), "model_promotion", {"version": "2"}, {})
