import io
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from components.baseline_training.step import run
from driftloop import bundle
from driftloop.dataset import read_description, write_description
from driftloop.dataset.description import manifest_hash
from driftloop.dataset.reading import read_samples
from driftloop.errors import InputError, SettingError
from driftloop.step_facts import read_facts
from driftloop.store import open_store
from driftloop.training.architectures import build_network
from driftloop.training.model_events import SHOWN
from driftloop.training.weights import load_model
from tests.factories.datasets import write_squares_dataset
from tests.factories.metrics import MetricsFile, RocFile

CONFIG = {"batch_size": 16, "baseline_share": 1.0}


def train(root: Path, name: str = "baseline", *, epochs: int = 2, **config: object) -> tuple[MetricsFile, RocFile]:
    metrics, roc = MetricsFile(), RocFile()
    folder = root / name
    run(
        str(root / "dataset"),
        str(folder / "model"),
        str(folder / "card.md"),
        str(folder / "curves.html"),
        epochs=epochs,
        gpus="0",
        seed=3,
        config=CONFIG | config,
        metrics=metrics,
        roc=roc,
    )
    return metrics, roc


def test_weights_that_the_next_step_could_not_use_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    write_squares_dataset(tmp_path)
    (tmp_path / "weights.pth").write_bytes(b"no tensors")
    asked = {"architecture": "timm:test_resnet", "weights": str(tmp_path / "weights.pth")}
    with pytest.raises(InputError, match=r"weights\.pth: not a file of tensors"):
        train(tmp_path, **asked)
    torch.save(build_network("timm:test_efficientnet", channels=1, classes=2).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"weights\.pth: weights of another network"):
        train(tmp_path, **asked)
    assert not (tmp_path / "baseline").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MetricsFile, RocFile]:
    root = tmp_path_factory.mktemp("baseline")
    write_squares_dataset(root, images_per_group=4)
    _as_of_twelve_bits(root / "dataset")
    return root, *train(root)


def _as_of_twelve_bits(directory: Path) -> None:
    """As if the dataset's images had been radiographs."""
    of = read_description(directory)
    name = manifest_hash(of.classes, of.image_size, of.channels, of.shards, read_samples(of), deep_range=4095)
    write_description(directory, of.model_copy(update={"manifest_hash": name, "deep_range": 4095}))


def test_the_bundle_is_sealed_and_carries_the_facts_so_far(trained: tuple[Path, MetricsFile, RocFile]) -> None:
    root = trained[0]
    bundle.verify(root / "baseline/model")
    description = bundle.read_model(root / "baseline/model")
    facts = read_facts(root / "baseline/model")
    assert (description.architecture, description.deep_range) == ("plain_cnn", 4095)
    assert description.metrics["test_accuracy"].n == 48
    assert description.metrics["val_accuracy"].n == 32
    assert facts["data_analysis"] == {"source": "squares"}
    assert facts["baseline_training"]["accuracy"] == description.metrics["test_accuracy"].model_dump()
    assert [score["recall"]["groups"] for score in facts["baseline_training"]["classes"]] == [12, 12]
    assert facts["baseline_training"]["epochs"] == 2
    assert facts["baseline_training"]["parameters"] > 1e6
    assert load_model(root / "baseline/model").training is False


def test_the_ui_gets_metrics_roc_and_confusion_matrix(trained: tuple[Path, MetricsFile, RocFile]) -> None:
    root, metrics, roc = trained
    facts = read_facts(root / "baseline/model")["baseline_training"]
    assert metrics.values["accuracy"] == pytest.approx(facts["accuracy"]["value"], abs=1e-6)
    assert metrics.values["accuracy_low"] <= metrics.values["accuracy"] <= metrics.values["accuracy_high"]
    assert roc.curve is not None
    assert roc.categories == ["class 0", "class 1"]
    assert sum(map(sum, roc.matrix)) == 48


def test_the_model_card_says_what_was_measured_on_what(trained: tuple[Path, MetricsFile, RocFile]) -> None:
    root = trained[0]
    card = (root / "baseline/card.md").read_text()
    assert card == (root / "baseline/model" / bundle.CARD).read_text()
    value = read_facts(root / "baseline/model")["baseline_training"]["accuracy"]["value"]
    assert f"| accuracy | {value:.3f} (95 % interval" in card
    assert "Wilson, widened since images come in groups) |" in card
    assert "| class 1 | 24 of 12 groups |" in card
    for part in ("# Baseline", "squares", "class 1", "## Limits", "no decision about a person", "48 images of 12 groups"):
        assert part in card
    assert "<" not in card.replace("&lt;", ""), "KFP's UI shows no raw HTML"


def test_the_report_is_one_page_without_scripts(trained: tuple[Path, MetricsFile, RocFile]) -> None:
    html = (trained[0] / "baseline/curves.html").read_text()
    assert "<script" not in html
    assert html.count("<svg") == 3
    value = read_facts(trained[0] / "baseline/model")["baseline_training"]["accuracy"]["value"]
    told = "There is no error to show." if value == 1 else "<figcaption><b>Figure 4.</b> Errors of which the model was surest"
    assert told in html


def test_tensorboard_finds_every_epoch(trained: tuple[Path, MetricsFile, RocFile]) -> None:
    events = EventAccumulator(str(trained[0] / "baseline/model/events"))
    events.Reload()
    assert [event.step for event in events.Scalars("learning_rate")] == [1, 2]


def test_tensorboard_shows_network_hyperparameters_images_and_errors(trained: tuple[Path, MetricsFile, RocFile]) -> None:
    root = trained[0]
    events = EventAccumulator(str(root / "baseline/model/events"))
    events.Reload()
    assert {"features", "head"} <= {part for node in events.Graph().node for part in re.findall(r"\[(\w+)\]", node.name)}
    hparams = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    values = hparams.session_start_info.hparams
    assert values["architecture"].string_value == "plain_cnn"
    assert values["epochs"].number_value == 2
    accuracy = read_facts(root / "baseline/model")["baseline_training"]["accuracy"]["value"]
    assert events.Scalars("final/test_accuracy")[0].value == pytest.approx(accuracy, abs=1e-4)
    description = read_description(root / "dataset")
    assert ("images/surest_errors" in events.Tags()["images"]) == (accuracy < 1)
    picture = Image.open(io.BytesIO(events.Images("images/as_trained")[0].encoded_image_string))
    assert picture.width * picture.height == SHOWN * description.image_size**2


def test_one_seed_gives_the_same_model_again(trained: tuple[Path, MetricsFile, RocFile]) -> None:
    root = trained[0]
    train(root, "again")
    first, second = (root / name / "model" / bundle.WEIGHTS for name in ("baseline", "again"))
    assert bundle.sha256_file(first) == bundle.sha256_file(second)


def test_the_baseline_takes_its_share_of_the_epochs(trained: tuple[Path, MetricsFile, RocFile]) -> None:
    root = trained[0]
    train(root, "share", epochs=3, baseline_share=0.34)
    assert read_facts(root / "share/model")["baseline_training"]["epochs"] == 1


def test_twelve_colour_classes_work_too(tmp_path: Path) -> None:
    write_squares_dataset(tmp_path, classes=12, channels=3, train=96)
    _, roc = train(tmp_path, epochs=1)
    assert len(roc.categories) == 12
    assert roc.curve is not None


def test_a_checkpoint_directory_and_the_store_are_left_clean(trained: tuple[Path, MetricsFile, RocFile], tmp_path: Path) -> None:
    store = open_store(read_description(trained[0] / "dataset").store)
    assert not [info.key for info in store.list("datasets/") if "/checkpoints/" in info.key]
    train(trained[0], "checkpointed", epochs=1, checkpoints=str(tmp_path / "checkpoints"))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_wrong_settings_and_inputs_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"did you mean train_config[.]batch_size"):
        train(tmp_path, batch_sise=3)
    with pytest.raises(InputError, match="not a dataset"):
        train(tmp_path)


def test_a_dataset_without_validation_images_says_which_setting_helps(tmp_path: Path) -> None:
    write_squares_dataset(tmp_path, val=0)
    with pytest.raises(InputError, match=r"no images in split 'val'; raise data_config[.]val_share"):
        train(tmp_path)
