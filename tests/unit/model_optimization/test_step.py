from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from components.automated_retraining.fine_tuning import build_recipe
from components.baseline_training.step import run as train_baseline
from components.model_optimization.step import run
from components.model_optimization.trial_records import GROUP
from driftloop import bundle
from driftloop.dataset import read_description
from driftloop.errors import InputError
from driftloop.settings import RetrainSettings
from driftloop.step_facts import read_facts
from driftloop.store import open_store
from driftloop.tracking import want_records
from driftloop.tracking.step_record import RECORDS, StepRecord
from driftloop.training.architectures import build_network
from driftloop.training.augmentation import Augmentation
from driftloop.training.weights import load_model
from tests.factories.datasets import write_squares_dataset
from tests.factories.metrics import MetricsFile, RocFile
from tests.factories.squares_baseline import write_squares_and_baseline

CONFIG = {"batch_size": 16, "min_steps": 4, "ablation_epochs": 1, "ablation_seconds": 100, "baseline_share": 1.0}


def optimise(root: Path, name: str, *, epochs: int = 2, **config: object) -> tuple[dict, MetricsFile, RocFile]:
    metrics, roc = MetricsFile(), RocFile()
    run(
        str(root / "dataset"),
        str(root / "baseline"),
        str(root / name / "model"),
        str(root / name / "report.html"),
        epochs=epochs,
        gpus="0",
        seed=3,
        config=CONFIG | config,
        metrics=metrics,
        roc=roc,
    )
    return read_facts(root / name / "model")["model_optimization"], metrics, roc


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("optimised")
    write_squares_and_baseline(root, CONFIG)
    return root


@pytest.fixture(scope="module")
def optimised(root: Path) -> tuple[dict, MetricsFile, RocFile]:
    return optimise(root, "first")


def test_the_bundle_is_sealed_and_keeps_the_facts_of_the_baseline(root: Path, optimised: tuple[dict, MetricsFile, RocFile]) -> None:
    bundle.verify(root / "first/model")
    description = bundle.read_model(root / "first/model")
    carried = read_facts(root / "first/model")
    assert description.architecture == "residual"
    assert carried["baseline_training"] == read_facts(root / "baseline")["baseline_training"]
    assert carried["data_analysis"] == {"source": "squares"}
    assert (root / "first/model" / bundle.CARD).exists()


def test_tensorboard_shows_views_and_hyperparameters(root: Path, optimised: tuple[dict, MetricsFile, RocFile]) -> None:
    events = EventAccumulator(str(root / "first/model/events"))
    events.Reload()
    plugin = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    values = plugin.session_start_info.hparams
    assert values["architecture"].string_value == "residual"
    assert values["augmentation.rotation"].number_value == Augmentation().rotation
    assert "images/as_trained" in events.Tags()["images"]
    assert any("Linear" in node.name for node in events.Graph().node)
    assert events.Scalars("final/test_accuracy")[0].value == pytest.approx(optimised[0]["accuracy"]["value"], abs=1e-4)


def test_the_comparison_is_on_the_same_test_images(root: Path, optimised: tuple[dict, MetricsFile, RocFile]) -> None:
    facts, metrics, _ = optimised
    baseline = read_facts(root / "baseline")["baseline_training"]["accuracy"]
    compared = facts["compared_with_baseline"]
    assert compared["baseline"] == baseline
    assert compared["n"] == facts["accuracy"]["n"] == 48
    assert compared["estimate"] == pytest.approx(facts["accuracy"]["value"] - baseline["value"])
    assert compared["low"] <= compared["estimate"] <= compared["high"]
    assert metrics.values["gain_over_baseline"] == pytest.approx(compared["estimate"], abs=1e-6)


def test_the_ablation_starts_with_all_ingredients_and_takes_one_away_at_a_time(optimised: tuple[dict, MetricsFile, RocFile]) -> None:
    rows = optimised[0]["ablation"]
    assert rows[0]["name"] == "all ingredients"
    assert rows[0]["change"] is None
    assert {"without augmentation", "without OneCycle", "without residual blocks", "without label smoothing"} < {
        row["name"] for row in rows
    }
    for row in rows[1:]:
        assert row["change"] == pytest.approx(row["val_accuracy"] - rows[0]["val_accuracy"])
        assert row["val_balanced"] == pytest.approx(row["val_accuracy"]), "these classes have as many images"
        assert row["low"] <= row["change"] <= row["high"]


def test_the_report_shows_learning_rate_curves_ablation_and_comparison(root: Path, optimised: tuple[dict, MetricsFile, RocFile]) -> None:
    html = (root / "first/report.html").read_text()
    assert "<script" not in html
    assert html.count("<svg") == 5
    assert html.count(">view 6<") == 2, "an image of each class with six views of it"
    for text in (
        "as they suit natural images",
        "rotation 10",
        "no vertical flip",
        "Range test",
        "without augmentation",
        "baseline on the same 48 test images",
        "What helped",
    ):
        assert text in html


def test_crops_randaugment_and_mixed_images_are_shown_as_configured_and_kept_in_the_bundle(
    root: Path, optimised: tuple[dict, MetricsFile, RocFile]
) -> None:
    optimise(root, "mixed", epochs=1, learning_rate=0.002, ablation_epochs=0, cutmix=1.0, mixup=0.2, crop=0.3, randaugment=9)
    html, plain = ((root / name / "report.html").read_text() for name in ("mixed", "first"))
    for text in ("crop 0.3", "randaugment 9", "a training image and random views of it, mixed with views of the others."):
        assert text in html
    for text in ("no crop", "no randaugment", "not tried here (mixup, CutMix, RandAugment, random crops, pretrained weights"):
        assert text in plain
        assert text not in html
    assert "mixed with" not in plain
    training = bundle.read_model(root / "mixed/model").training
    assert (training["cutmix"], training["mixup"]) == (1.0, 0.2)
    assert Augmentation(**training["augmentation"]) == Augmentation(crop=0.3, randaugment=9)


def test_one_seed_gives_the_same_model_again_whatever_time_the_ablation_had(
    root: Path, optimised: tuple[dict, MetricsFile, RocFile]
) -> None:
    facts, _, _ = optimise(root, "again", ablation_seconds=0)
    first, second = (root / name / "model" / bundle.WEIGHTS for name in ("first", "again"))
    assert bundle.sha256_file(first) == bundle.sha256_file(second)
    assert len(facts["ablation"]) <= 1
    assert "without augmentation" in facts["ablation_left_out"]
    assert "No ablation was run" in (root / "again/report.html").read_text()


def test_a_given_learning_rate_is_used_and_the_suggestion_still_shown(root: Path) -> None:
    facts, _, _ = optimise(root, "given", epochs=1, learning_rate=0.002, ablation_epochs=0)
    assert facts["learning_rate"] == 0.002
    assert facts["ablation"] == []
    assert "the test alone suggests" in (root / "given/report.html").read_text()


def test_a_sweep_is_reported_trial_by_trial(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOOP_RUN_ID", "swept")
    store = open_store(read_description(root / "dataset").store)
    want_records(store)
    facts, _, _ = optimise(root, "swept", epochs=1, sweep_trials=2, sweep_epochs=1, ablation_epochs=0)
    assert [row["trial"] for row in facts["sweep"]] == [1, 2]
    best = max(facts["sweep"], key=lambda row: row["val_balanced"])
    assert facts["learning_rate"] == best["learning_rate"]
    assert facts["sweep_importance"] == {}
    html = (root / "swept/report.html").read_text()
    assert "2 of 2 trials went through all of their epochs" in html
    assert "Which of the values mattered cannot be said" in html

    records = [StepRecord.model_validate_json(store.read(info.key)) for info in store.list(RECORDS) if info.key.endswith("record.json")]
    assert sorted(record.metrics["best_val_balanced"] for record in records if record.group == GROUP) == pytest.approx(
        sorted(row["val_balanced"] for row in facts["sweep"])
    )
    tracked = sorted(record.step for record in records if record.group == GROUP)
    assert tracked == ["model_optimization_trial_1", "model_optimization_trial_2"]
    for row in facts["sweep"]:
        events = EventAccumulator(str(root / f"swept/model/events/trials/{row['trial']:04d}"))
        events.Reload()
        plugin = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
        assert plugin.session_start_info.hparams["learning_rate"].number_value == row["learning_rate"]
        assert [point.value for point in events.Scalars("trial/val_balanced")] == [pytest.approx(row["val_balanced"])]
    bundle.verify(root / "swept/model")


def test_a_baseline_of_another_dataset_is_refused_before_any_training(root: Path, tmp_path: Path) -> None:
    write_squares_dataset(tmp_path, seed=5)
    (tmp_path / "baseline").symlink_to(root / "baseline")
    with pytest.raises(InputError, match=r"was trained on dataset .* cannot be compared"):
        optimise(tmp_path, "refused")
    assert not (tmp_path / "refused").exists()


def test_a_network_that_takes_no_images_of_this_size_is_refused_before_the_baseline_is_trained(root: Path, tmp_path: Path) -> None:
    places = [str(root / "dataset"), *(str(tmp_path / name) for name in ("baseline", "card.md", "curves.html"))]
    config = CONFIG | {"architecture": "timm:efficientformer_l1"}
    with pytest.raises(InputError, match="takes no images of 32 pixels"):
        train_baseline(*places, epochs=1, gpus="0", seed=3, config=config, metrics=MetricsFile(), roc=RocFile())
    assert not (tmp_path / "baseline").exists()


def test_a_backbone_is_trained_on_from_its_weights_and_comes_back_from_the_bundle(root: Path, tmp_path: Path) -> None:
    network = build_network("timm:test_efficientnet", channels=1, classes=2)
    torch.save(network.backbone.state_dict(), tmp_path / "weights.pth")
    asked = {"architecture": "timm:test_efficientnet", "weights": str(tmp_path / "weights.pth")}
    facts, _, _ = optimise(root, "backbone", epochs=2, ablation_epochs=1, ablation_seconds=0.001, **asked)
    description = bundle.read_model(root / "backbone/model")
    assert description.architecture == "timm:test_efficientnet"
    assert description.training["weights"] == str(tmp_path / "weights.pth")
    assert description.training["layer_decay"] == 0.9
    assert facts["network"] in (root / "backbone/report.html").read_text()
    assert 3e-4 <= facts["learning_rate"] <= 1e-3
    # A run as long as the training's own epochs does not fit: none is begun, and all are named.
    assert facts["ablation"] == []
    assert {"without pretrained weights", "without layer-wise rates"} <= set(facts["ablation_left_out"])
    again = load_model(root / "backbone/model")
    assert type(again) is type(network)
    assert not torch.equal(again.scale, network.scale)  # it sees the squares' levels, not those of a fresh network
    assert build_recipe(RetrainSettings(), description, torch.device("cpu")).layer_decay == 0.9


def test_a_head_alone_is_fitted_to_weights_that_stay_as_they_are_in_a_retraining_too(root: Path, tmp_path: Path) -> None:
    network = build_network("timm:test_efficientnet", channels=1, classes=2)
    torch.save(network.backbone.state_dict(), tmp_path / "weights.pth")
    asked = {"architecture": "timm:test_efficientnet", "weights": str(tmp_path / "weights.pth"), "trained_layers": "head"}
    facts, _, _ = optimise(root, "head", epochs=30, sweep_trials=3, **asked)
    assert facts["epochs"] == 1
    assert facts["network"].endswith("as asked for; only its head learns")
    assert (facts["ablation"], facts["sweep"], facts["ablation_left_out"]) == ([], [], [])
    again, given = load_model(root / "head/model").backbone.state_dict(), network.backbone.state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in again.items())
    html = (root / "head/report.html").read_text()
    assert "logistic regression on what the network sees in the" in html
    assert "Range test" not in html
    retraining = build_recipe(RetrainSettings(), bundle.read_model(root / "head/model"), torch.device("cpu"))
    assert (retraining.layer_decay, retraining.learning_rate) == (0.0, 0.002)
