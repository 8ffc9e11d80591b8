"""A whole retraining on tiny data: what it writes, what it refuses, and what becomes of it when it is killed."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from components.automated_retraining.step import run
from driftloop import bundle
from driftloop.contracts import DRIFTED_GATE, DRIFTED_TRAIN, DRIFTED_VAL, RECENT_GATE
from driftloop.dataset import open_split, read_description
from driftloop.dataset.npy_files import MappedFiles
from driftloop.errors import InputError, SettingError
from driftloop.step_facts import read_facts, write_facts
from driftloop.store import open_store
from driftloop.training.weights import load_model
from tests.factories.metrics import MetricsFile
from tests.factories.retraining import (
    QUICK,
    RetrainingInputs,
    confirmed_windows,
    labelled_requests,
    write_retraining_inputs,
    write_traffic_and_evidence,
)
from tests.factories.version_links import register_and_link

ROOT = Path(__file__).parents[3]


def retrain(inputs: RetrainingInputs, out: Path, **config: Any) -> MetricsFile:
    metrics = MetricsFile()
    run(
        inputs.traffic,
        inputs.champion,
        inputs.drift,
        out / "dataset",
        out / "model",
        gpus="0",
        seed=5,
        store=inputs.store,
        config={**QUICK, **config},
        metrics=metrics,
    )
    return metrics


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_model(directory).state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def checkpoints(inputs: RetrainingInputs) -> list[str]:
    return [entry.key for entry in open_store(inputs.store).list("datasets/") if "/checkpoints/" in entry.key]


def test_it_leaves_a_grown_dataset_and_a_sealed_bundle_of_the_champions_child(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    link = register_and_link(open_store(inputs.store), Path(inputs.champion), tmp_path)
    metrics = retrain(replace(inputs, champion=link), tmp_path)
    dataset, model = read_description(tmp_path / "dataset"), bundle.read_model(tmp_path / "model")
    bundle.verify(tmp_path / "model")
    assert dataset.parent == inputs.parent.manifest_hash
    assert {DRIFTED_TRAIN, DRIFTED_VAL, DRIFTED_GATE, "regime-1"} <= dataset.counts.keys()
    assert model.parent == "1"
    assert model.dataset == dataset.manifest_hash
    assert (model.mean, model.std) == (inputs.parent.mean, inputs.parent.std)
    assert model.served == ""
    assert not same(weights(tmp_path / "model"), weights(inputs.champion))
    card = (tmp_path / "model" / bundle.CARD).read_text()
    assert card.startswith("# Retrained model\n")
    # The parent's own figures would be taken for this model's.
    assert "Optimised" not in card
    assert "On the test split" not in card
    assert metrics.values["images_drifted_train"] == dataset.counts[DRIFTED_TRAIN]
    assert checkpoints(inputs) == []


def test_a_second_retraining_goes_on_from_the_first_and_learns_from_the_images_of_both_drifts(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    retrain(inputs, tmp_path / "first")
    rows, images = labelled_requests(120, 80, seed=7, prefix="again-")
    traffic, evidence = write_traffic_and_evidence(tmp_path / "again", inputs.store, rows, images, confirmed_windows(rows, size=15))
    retrain(replace(inputs, traffic=traffic, drift=evidence, champion=str(tmp_path / "first" / "model")), tmp_path / "second")
    first, second = (read_description(tmp_path / name / "dataset") for name in ("first", "second"))
    assert second.parent == first.manifest_hash
    assert second.counts[DRIFTED_TRAIN] > first.counts[DRIFTED_TRAIN]
    assert isinstance(open_split(second, DRIFTED_TRAIN).images, MappedFiles)
    assert {"regime-1", "regime-2"} <= second.counts.keys()
    assert not same(weights(tmp_path / "second" / "model"), weights(tmp_path / "first" / "model"))


def test_its_facts_say_what_it_did_and_carry_the_champions(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    retrain(inputs, tmp_path)
    for directory in ("dataset", "model"):
        carried = read_facts(tmp_path / directory)
        assert carried["model_optimization"] == {"epochs": 3}
        said = carried["automated_retraining"]
        assert said["mix"]["drifted_share"] == 0.1
        assert said["added"]["regime-1"] == 71 + 53
        assert sum(said["added"][split] for split in (DRIFTED_TRAIN, DRIFTED_VAL, DRIFTED_GATE)) == 120
        assert said["origins"] == {"random": 120}
        assert said["resumed"] is False
        assert said["notes"] == []
        assert 0 <= said["val_before"]["clean"] <= 1
        assert 0 <= said["val_after"]["drifted"] <= 1


def test_tensorboard_has_the_curves_of_both_kinds_of_images(tmp_path: Path) -> None:
    retrain(write_retraining_inputs(tmp_path), tmp_path)
    history = read_facts(tmp_path / "model")["automated_retraining"]["history"]
    for folder, name, key in (("loss_drifted", "loss", "drifted_loss"), ("accuracy_clean", "accuracy", "clean_accuracy")):
        events = EventAccumulator(str(tmp_path / "model" / "events" / folder)).Reload()
        told = [(event.step, event.value) for event in events.Scalars(name)]
        assert told == [(epoch["epoch"], pytest.approx(epoch[key])) for epoch in history]


def test_provenance_lies_beside_the_dataset_in_the_store_too(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    retrain(inputs, tmp_path)
    key = f"datasets/{read_description(tmp_path / 'dataset').manifest_hash}/provenance.parquet"
    assert open_store(inputs.store).read(key) == (tmp_path / "dataset" / "provenance.parquet").read_bytes()
    assert len(pd.read_parquet(tmp_path / "dataset" / "provenance.parquet")) == 120 + 71 + 53


def test_it_writes_to_no_other_part_of_the_store_than_datasets(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    retrain(inputs, tmp_path)
    assert {entry.key.split("/")[0] for entry in open_store(inputs.store).list()} == {"datasets", "logs"}


def test_ranked_labels_train_only_so_that_they_alone_are_too_few(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path, origin="ranked")
    with pytest.raises(InputError, match=r"0 labelled drifted images for early stopping.*only uniformly random labels"):
        retrain(inputs, tmp_path, needed_labels=30)


def test_a_regime_of_less_than_four_windows_is_none_which_the_facts_say(tmp_path: Path) -> None:
    retrain(write_retraining_inputs(tmp_path, labelled=60, unlabelled=20), tmp_path)
    assert not any(split.startswith("regime") for split in read_description(tmp_path / "dataset").counts)
    (note,) = read_facts(tmp_path / "model")["automated_retraining"]["notes"]
    assert "groups of the confirmed windows could become a reference, 60 are the least (4 windows): there is none" in note


def test_a_retraining_of_the_calendar_begins_no_regime_and_keeps_its_hold_out_apart(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    write_facts(inputs.drift, "drift_detection", {"nothing_to_win": True, "confirmed": False})
    retrain(inputs, tmp_path)
    counts = read_description(tmp_path / "dataset").counts
    assert counts[RECENT_GATE] == 53
    assert DRIFTED_GATE not in counts
    assert not any(split.startswith("regime") for split in counts)
    assert counts[DRIFTED_TRAIN] + counts[DRIFTED_VAL] + counts[RECENT_GATE] == 120
    origins = pd.read_parquet(tmp_path / "dataset" / "provenance.parquet")
    assert set(origins["split"]) == {DRIFTED_TRAIN, DRIFTED_VAL, RECENT_GATE}
    assert any("no reference begins" in note for note in read_facts(tmp_path / "model")["automated_retraining"]["notes"])


def test_a_harmless_drift_that_the_calendar_learns_is_accepted_from_then_on(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    write_facts(inputs.drift, "drift_detection", {"nothing_to_win": True, "confirmed": True})
    retrain(inputs, tmp_path)
    counts = read_description(tmp_path / "dataset").counts
    assert {RECENT_GATE, "regime-1"} <= counts.keys()
    assert DRIFTED_GATE not in counts


def test_too_few_labels_say_how_many_are_missing_and_how_to_label(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path, labelled=40)
    with pytest.raises(InputError, match=r"40 labelled images .* 60 are needed: 20 more; label the images in label_requests\.csv .*import"):
        retrain(inputs, tmp_path)
    assert not (tmp_path / "model").exists()


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    with pytest.raises(SettingError, match=r"did you mean retrain_config\.learning_rate"):
        retrain(inputs, tmp_path, lerning_rate=0.1)


def test_a_store_without_the_champions_dataset_is_refused(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="retrain in the store it was trained in"):
        retrain(RetrainingInputs(str(tmp_path / "empty"), inputs.traffic, inputs.champion, inputs.drift, inputs.parent), tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from components.automated_retraining import step
from tests.factories.metrics import MetricsFile
from tests.factories.retraining import QUICK
line = step.epoch_line
def die(epoch):
    if epoch.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return line(epoch)
step.epoch_line = die
folder, store = Path(sys.argv[1]), sys.argv[2]
step.run(folder / "traffic", folder / "champion", folder / "drift", folder / "killed/dataset", folder / "killed/model",
         gpus="0", seed=5, store=store, config={**QUICK, "epochs": 3}, metrics=MetricsFile())
"""


def test_a_run_that_is_killed_goes_on_where_it_was_and_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other numbers of threads add up in another order
    inputs = write_retraining_inputs(tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), inputs.store], cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(checkpoints(inputs)) == 1
    assert [path.name for path in (tmp_path / "killed" / "model").iterdir()] == ["events"]

    retrain(inputs, tmp_path / "resumed", epochs=3)
    assert read_facts(tmp_path / "resumed" / "model")["automated_retraining"]["resumed_after_epoch"] == 2
    assert checkpoints(inputs) == []
    retrain(inputs, tmp_path / "whole", epochs=3)
    assert read_facts(tmp_path / "whole" / "model")["automated_retraining"]["resumed"] is False
    assert same(weights(tmp_path / "resumed" / "model"), weights(tmp_path / "whole" / "model"))


def test_another_configuration_does_not_resume_from_the_checkpoint(tmp_path: Path) -> None:
    inputs = write_retraining_inputs(tmp_path)
    retrain(inputs, tmp_path / "first")
    assert read_facts(tmp_path / "first" / "model")["automated_retraining"]["epochs"] == 2
    retrain(inputs, tmp_path / "second", epochs=1)
    assert read_facts(tmp_path / "second" / "model")["automated_retraining"]["epochs"] == 1
