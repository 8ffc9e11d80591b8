"""The whole step on small real data: what the candidate holds, and what decided what is served."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import softmax

from components.onnx_deployment.held_out import TEST_SPLITS, Cases, case_groups, compute_logits, open_cases
from components.onnx_deployment.report import with_deployment
from components.onnx_deployment.step import outcome_line, run
from components.onnx_deployment.variant import accuracy_drop, run_graphs
from driftloop import bundle
from driftloop.dataset import open_split
from driftloop.errors import InputError, IntegrityError, SettingError
from driftloop.evaluation.intervals import Proportion
from driftloop.inference.image_statistics import image_statistics
from driftloop.inference.reference import read_reference
from driftloop.inference.served_model import ServedModel
from driftloop.step_facts import read_facts
from driftloop.training.weights import load_model
from tests.factories.metrics import MetricsFile
from tests.factories.trained_bundle import DeploymentInputs, write_deployment_inputs

QUICK = {"benchmark_seconds": 0.1, "calibration_images": 32.0}


class Deployed(NamedTuple):
    inputs: DeploymentInputs
    candidate: Path
    report: Path
    metrics: dict[str, float]

    @property
    def facts(self) -> dict:
        return read_facts(self.candidate)["onnx_deployment"]


def deploy(root: Path, inputs: DeploymentInputs, **config: object) -> Deployed:
    metrics = MetricsFile()
    run(inputs.dataset, inputs.model, root / "candidate", root / "report" / "index.html", config=QUICK | config, metrics=metrics)
    return Deployed(inputs, root / "candidate", root / "report" / "index.html", metrics.values)


@pytest.mark.parametrize(
    ("served", "said"),
    [("INT8", "accuracy 0.900 (-2.0 points)"), ("FP16", "accuracy 0.915 (-0.5 points)"), ("FP32", "accuracy 0.920 (INT8 -2.0 points)")],
)
def test_the_line_has_the_accuracy_of_what_is_served(served: str, said: str) -> None:
    accuracies = {f"accuracy_{name}": {"value": value} for name, value in {"int8": 0.9, "fp16": 0.915, "fp32": 0.92}.items()}
    facts = {"speedup": {"onnx_int8": 5.0, "onnx_fp32": 2.0}, "int8_drop": {"value": 0.02}, "fp16_drop": {"value": 0.005}} | accuracies
    assert outcome_line(facts, served).endswith(said)


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """A residual net retrained for a drift: drifted splits, and a second accepted regime."""
    root = tmp_path_factory.mktemp("grey")
    counts = {
        "train": 320,
        "drifted_train": 40,
        "val": 150,
        "drifted_val": 30,
        "test": 200,
        "reference": 400,
        "regime-1": 60,
        "regime-2": 50,
    }
    return deploy(root, write_deployment_inputs(root, counts, steps=40), int8_max_drop=0.05)


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """A plain net of three classes in colour, with too few held-out images to show anything about INT8."""
    root = tmp_path_factory.mktemp("colour")
    counts = {"train": 96, "val": 20, "test": 40, "reference": 30}
    return deploy(root, write_deployment_inputs(root, counts, architecture="plain_cnn", channels=3, classes=3, steps=10))


def test_the_candidate_is_a_sealed_bundle_that_serves(grey: Deployed) -> None:
    bundle.verify(grey.candidate)
    names = {path.name for path in grey.candidate.iterdir()}
    assert names == {
        *("model.json", "model.pth", "model.onnx", "model.int8.onnx", "reference.npz"),
        *("benchmark.json", "chapters.json", "facts.json", "used.json", "MODEL_CARD.md", "SHA256SUMS"),
    }
    model = ServedModel.open(grey.candidate)
    split = open_split(grey.inputs.description, "test")
    right = int((model.predict(split.images).labels == split.labels).sum())
    assert model.description.metrics["served_accuracy"].value == pytest.approx(right / len(split))
    assert right / len(split) > 0.7


def test_int8_is_served_where_enough_images_show_that_it_loses_little(grey: Deployed) -> None:
    assert grey.facts["served"] == bundle.ONNX_INT8
    assert "on 580 held-out images" in grey.facts["served_reason"]


def test_both_graphs_are_compared_with_the_groups_of_the_images(grey: Deployed) -> None:
    cases = open_cases(grey.inputs.description, TEST_SPLITS)
    outcomes = run_graphs(ServedModel.open(grey.candidate, variant=bundle.ONNX_FP32), ServedModel.open(grey.candidate), cases)
    assert list(outcomes.groups) == list(case_groups(cases))
    assert grey.facts["int8_drop"] == accuracy_drop(outcomes)


def test_a_model_for_gpus_gets_an_fp16_graph_and_says_where_its_speed_was_not_measured(
    grey: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    half = deploy(tmp_path, grey.inputs, int8_max_drop=0.05, serve_on="cuda")
    assert half.facts["served"] == bundle.ONNX_FP16
    assert "speed was not measured here" in half.facts["served_reason"]
    assert half.facts["benchmark_gpu"] == []
    assert half.facts["fp16_drop"]["value"] == pytest.approx(half.facts["accuracy_fp32"]["value"] - half.facts["accuracy_fp16"]["value"])
    assert "were not timed here" in half.report.read_text()
    images = open_split(grey.inputs.description, "test").images
    served, fp32 = ServedModel.open(half.candidate), ServedModel.open(half.candidate, variant=bundle.ONNX_FP32)
    np.testing.assert_allclose(served.predict(images).probabilities, fp32.predict(images).probabilities, atol=0.01)
    assert (half.candidate / bundle.ONNX_FP16).stat().st_size < 0.6 * (half.candidate / bundle.ONNX_FP32).stat().st_size


def test_fp32_is_served_where_too_few_images_can_show_it_and_the_run_says_so(colour: Deployed) -> None:
    assert colour.facts["served"] == bundle.ONNX_FP32
    assert colour.facts["served_reason"].startswith("FP32 is served; INT8:")
    assert ServedModel.open(colour.candidate).variant == bundle.ONNX_FP32
    assert ServedModel.open(colour.candidate, variant=bundle.ONNX_INT8).predict(np.zeros((1, 32, 32, 3), np.uint8)).probabilities.shape == (
        1,
        3,
    )
    assert "users get the FP32 graph" in colour.report.read_text()


def test_the_page_names_the_splits_that_there_are_and_no_other(grey: Deployed, colour: Deployed) -> None:
    assert "with ranges from train and drifted_train;" in grey.report.read_text()
    assert re.search(r"with ranges from train;.*It was fitted on 20 images of val[ .]", colour.report.read_text(), re.DOTALL)


def test_the_temperature_in_the_description_is_the_one_in_the_graph(grey: Deployed, colour: Deployed) -> None:
    assert bundle.read_model(grey.candidate).temperature == grey.facts["temperature"]
    assert colour.facts["temperature"] == 1.0
    assert "at least 30" in colour.facts["calibration"]["note"]


def test_where_classes_count_alike_probabilities_have_the_images_shares_and_names_are_the_network_s_own(
    grey: Deployed, tmp_path: Path
) -> None:
    counts = {"train": 96, "val": 60, "test": 120, "reference": 30}
    inputs = write_deployment_inputs(tmp_path, counts, architecture="plain_cnn", steps=25, first=0.8, class_weights=(0.6, 5.0))
    skewed = deploy(tmp_path, inputs)
    split, model = open_split(inputs.description, "test"), bundle.read_model(skewed.candidate)
    assert model.class_shares == pytest.approx(np.bincount(open_split(inputs.description, "train").labels) / 96)
    assert model.temperature != 1
    cases = [Cases("test", split.images, split.labels, *(np.full(120, "", np.str_),) * 2)]
    logits = compute_logits(load_model(inputs.model), model.model_copy(update={"class_shares": []}), cases)
    answers = ServedModel.open(skewed.candidate, variant=bundle.ONNX_FP32).predict(split.images)
    expected = softmax((logits + np.log(model.class_shares)) / model.temperature, axis=1)
    np.testing.assert_allclose(answers.probabilities, expected, atol=1e-4)
    assert answers.labels.tolist() == logits.argmax(1).tolist()
    assert (answers.labels != answers.probabilities.argmax(1)).sum() > 10  # else there is nothing to see here
    assert answers.confidences.tolist() == [row[label] for row, label in zip(answers.probabilities, answers.labels, strict=True)]
    assert skewed.facts["accuracy_fp32"]["value"] == pytest.approx((answers.labels == split.labels).mean())
    recalls = [(answers.labels == split.labels)[split.labels == label].mean() for label in (0, 1)]
    fp32 = deploy(tmp_path, inputs, int8_max_drop=1e-6)
    assert fp32.facts["served"] == bundle.ONNX_FP32
    assert fp32.facts["measures"]["overall"]["balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls))
    card = (skewed.candidate / bundle.CARD).read_text()
    told = re.search(r"`\(probabilities / \[([0-9., e-]+)\]\)\.argmax\(axis=-1\)`", card)
    assert told
    by_card = answers.probabilities / np.array([float(number) for number in told[1].split(",")])
    assert by_card.argmax(1).tolist() == answers.labels.tolist()
    assert "are called otherwise than" in skewed.report.read_text()
    for text in ((grey.candidate / bundle.CARD).read_text(), grey.report.read_text()):
        assert "counts alike" not in text


def test_facts_have_the_documented_keys_and_carry_those_of_the_steps_before(grey: Deployed) -> None:
    carried = read_facts(grey.candidate)
    assert {"data_analysis", "model_optimization", "onnx_deployment"} <= set(carried)
    facts = grey.facts
    for name in ("accuracy_fp32", "accuracy_int8"):
        assert Proportion(**facts[name]).n == 200
    assert set(facts["int8_drop"]) == {"value", "low", "high"}
    assert facts["int8_drop"]["low"] <= facts["int8_drop"]["value"] <= facts["int8_drop"]["high"]
    assert facts["int8_drop"]["value"] == pytest.approx(facts["accuracy_fp32"]["value"] - facts["accuracy_int8"]["value"])
    assert set(facts["speedup"]) == {"onnx_fp32", "onnx_int8"}
    assert set(facts["sizes_mb"]) == {"model.pth", "model.onnx", "model.int8.onnx"}
    assert facts["provider"] == "CPUExecutionProvider"
    assert facts["parity"] < 1e-3
    assert json.loads((grey.candidate / "benchmark.json").read_text())["rows"] == facts["benchmark"]


def test_every_accepted_regime_is_in_the_reference_in_the_log_s_types(grey: Deployed) -> None:
    regimes = read_reference(grey.candidate / bundle.REFERENCE)
    assert [(regime.name, len(regime)) for regime in regimes] == [("reference", 400), ("regime-1", 60), ("regime-2", 50)]
    split = open_split(grey.inputs.description, "regime-1")
    predictions = ServedModel.open(grey.candidate).predict(split.images)
    np.testing.assert_array_equal(regimes[1].embedding, predictions.embedding)
    np.testing.assert_array_equal(regimes[1].statistics, image_statistics(np.asarray(split.images)))
    assert list(regimes[1].groups) == list(split.samples["group"])
    assert list(regimes[1].tags) == list(split.samples["tags"])


def test_the_served_graph_s_accuracy_is_known_for_each_level_of_a_tag(grey: Deployed) -> None:
    metrics, tags = bundle.read_model(grey.candidate).metrics, open_split(grey.inputs.description, "test").samples["tags"] != ""
    split = open_split(grey.inputs.description, "test")
    right = ServedModel.open(grey.candidate).predict(split.images).probabilities.argmax(axis=1) == split.labels
    assert {name for name in metrics if name.startswith("served")} == {"served_accuracy", "served_accuracy[site=AB]"}
    assert (metrics["served_accuracy[site=AB]"].value, metrics["served_accuracy[site=AB]"].n) == (right[tags].mean(), 150)


def test_the_model_card_keeps_its_text_and_replaces_its_deployment_section(grey: Deployed) -> None:
    card = (grey.candidate / bundle.CARD).read_text()
    assert card.count("## Deployment") == 1
    assert "of the parent" not in card
    assert "Stripes." in card
    assert "## Limits" in card
    assert "Served: `model.int8.onnx`" in card
    # What users get comes first, once, below the title.
    accuracy = Proportion(**grey.facts["accuracy_int8"])
    assert card.splitlines()[2] == f"**As served** (`model.int8.onnx`): accuracy {accuracy} on the clean test split."
    again = with_deployment(grey.candidate / bundle.CARD, bundle.read_model(grey.candidate), grey.facts)
    assert again == card


def test_metrics_and_report_show_the_figures(grey: Deployed) -> None:
    assert grey.metrics["accuracy_int8"] == grey.facts["accuracy_int8"]["value"]
    assert grey.metrics["speedup_onnx_int8"] == grey.facts["speedup"]["onnx_int8"]
    page = grey.report.read_text()
    assert page.startswith("<!doctype html>")
    assert grey.facts["served_reason"] in page
    served = grey.facts["measures"]["overall"]["calibration_error_on_test"]["value"]
    assert grey.metrics["calibration_error_on_test"] == served
    assert "regime-2" in page


def test_the_weights_are_the_trained_ones(grey: Deployed) -> None:
    assert (grey.candidate / bundle.WEIGHTS).read_bytes() == (grey.inputs.model / bundle.WEIGHTS).read_bytes()


def test_a_dataset_without_a_reference_is_refused(tmp_path: Path) -> None:
    inputs = write_deployment_inputs(tmp_path, {"train": 32, "val": 40, "test": 20}, steps=1)
    with pytest.raises(InputError, match=r"no images in split 'reference'; set data_config\.reference_share"):
        deploy(tmp_path, inputs)


def test_a_damaged_bundle_and_a_wrong_setting_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    inputs = write_deployment_inputs(tmp_path, {"train": 32, "val": 40, "test": 20, "reference": 20}, steps=1)
    with pytest.raises(SettingError, match=r"deploy_config\.calibration"):
        deploy(tmp_path, inputs, calibration="guess")
    with open(inputs.model / bundle.WEIGHTS, "ab") as stream:
        stream.write(b"\0")
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        deploy(tmp_path, inputs)
    assert not (tmp_path / "candidate").exists()
