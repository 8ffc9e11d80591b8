"""Where the loss lets every class count alike, probabilities are brought back to the classes' shares, and what is named is not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn

from driftloop.contracts import VAL
from driftloop.dataset import write_dataset, write_description
from driftloop.settings import TrainSettings
from driftloop.store import open_store
from driftloop.training.outcome import score_final
from driftloop.training.pretrained import logistic_head
from driftloop.training.saliency import saliency_of
from driftloop.training.task import Task
from tests.factories.datasets import sample_table, squares_on_noise

CPU = torch.device("cpu")


class Unsure(nn.Module):
    """Outputs by the image's brightness, which grow slowly from the first class to the second."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        brightness = images.mean((1, 2, 3)) * self.weight
        return torch.stack([-brightness, brightness], dim=1)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Of 60 training images 54 are of the first class."""
    return opened(tmp_path)


def opened(root: Path, **settings: object) -> Task:
    parts = {}
    for number, split in enumerate(("train", "val", "test")):
        images, labels = squares_on_noise(108, seed=number)
        rows = np.flatnonzero((labels == 0) | (np.arange(108) < 12))
        parts[split] = (images[rows], labels[rows], sample_table(split, len(rows)))
    write_description(root / "dataset", write_dataset(open_store(str(root / "store")), parts, classes=["dim", "bright"], source="squares"))
    return Task.open(root / "dataset", CPU, TrainSettings.complete(settings))


def test_predictions_have_the_training_images_shares_and_name_what_the_network_does(task: Task) -> None:
    assert task.class_shares == pytest.approx((0.9, 0.1))
    network = Unsure()
    outputs = torch.cat([network(images) for images, _ in task.validation_batches()]).detach().double().numpy()
    odds = np.exp(outputs[:, 1] - outputs[:, 0]) * 0.1 / 0.9
    found = task.predict(network, VAL)
    np.testing.assert_allclose(found.probabilities[:, 1], odds / (1 + odds), rtol=1e-4)
    assert found.named.tolist() == outputs.argmax(1).tolist()
    assert found.named.tolist() != found.probabilities.argmax(1).tolist()
    assert found.right.tolist() == (found.named == found.labels).tolist()
    assert found.confidences.tolist() == found.probabilities[range(len(found.labels)), found.named].tolist()
    scores = score_final(network, task)
    predictions = scores.test_predictions
    assert scores.val.accuracy.value == pytest.approx(found.right.mean())
    balanced = balanced_accuracy_score(predictions.labels, predictions.named)
    assert scores.measures.overall["balanced_accuracy"].value == pytest.approx(balanced)
    worst = predictions.surest_errors(1)[0]
    named = task.description.classes[predictions.named[worst]]
    assert predictions.described_error(worst, task.description.classes).endswith(f"taken for {named}, {predictions.confidences[worst]:.2f}")


@pytest.mark.parametrize("settings", [{"class_weights": False}, {"epsilon": 8.0}])
def test_there_are_none_where_images_count_alike_or_must_not_be_told_of(tmp_path: Path, settings: dict[str, object]) -> None:
    assert opened(tmp_path, **settings).class_shares == ()


def test_what_an_answer_rests_on_is_looked_for_in_the_class_that_is_named() -> None:
    images = np.full((1, 32, 32, 1), 140, np.uint8)
    told = {"mean": [0.5], "std": [0.25], "device": CPU}
    plain, shared = (saliency_of(Unsure(), images, **told, class_shares=shares) for shares in ((), (0.9, 0.1)))  # type: ignore[arg-type]
    level = float((140 / 255 - 0.5) / 0.25)
    odds = np.exp(2 * level)
    assert plain.confidence[0] == pytest.approx(odds / (1 + odds), abs=1e-4)
    assert shared.confidence[0] == pytest.approx(odds / 9 / (1 + odds / 9), abs=1e-4)
    assert (plain.changed.tolist(), shared.changed.tolist()) == ([False], [False])


def test_a_head_learns_at_the_images_shares_which_are_then_taken_out_of_its_bias() -> None:
    """Beside scikit-learn's own, and better than one that weighs the few up: of sixty draws in no fewer than forty."""
    wins = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = (np.arange(420) % 21 == 0).astype(int)
        x = rng.normal(size=(420, 40)) + labels[:, None] * 0.35
        held, held_labels = rng.normal(size=(420, 40)) + labels[:, None] * 0.35, labels
        weight, bias = logistic_head([(x, labels)], [(held, held_labels)], balanced=True)
        if not seed:
            plain_weight, plain_bias = logistic_head([(x, labels)], [(held, held_labels)], balanced=False)
            np.testing.assert_allclose(weight, plain_weight, atol=1e-6)
            np.testing.assert_allclose(bias, plain_bias - np.log(np.bincount(labels) / 420), atol=1e-6)
        test_labels = np.arange(2000) % 2
        test = rng.normal(size=(2000, 40)) + test_labels[:, None] * 0.35
        weighted = [LogisticRegression(C=c, max_iter=1000, class_weight="balanced").fit(x, labels) for c in (1e-3, 1e-2, 1e-1)]
        best = min(weighted, key=lambda fitted: -float(np.log(fitted.predict_proba(held)[range(420), held_labels]).mean()))
        ours, theirs = (test @ weight.T + bias).argmax(1), best.predict(test)
        wins += int(balanced_accuracy_score(test_labels, ours) >= balanced_accuracy_score(test_labels, theirs))
    assert wins >= 40


def test_kinds_of_images_with_other_shares_are_weighed_to_those_of_the_first() -> None:
    """A second kind that is mostly of the other class must not teach that its style is that class."""
    rng = np.random.default_rng(1)
    old_labels, new_labels = np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [10, 90])

    def kind(labels: np.ndarray, style: float) -> np.ndarray:
        x = rng.normal(size=(len(labels), 3))
        return x + np.stack([2.0 * labels, np.full(len(labels), style), np.zeros(len(labels))], axis=1)

    parts = [(kind(old_labels, 0.0), old_labels), (kind(new_labels, 3.0), new_labels)]
    by_style = []
    for balanced in (True, False):
        weight, _ = logistic_head(parts, parts, balanced=balanced, shares=(0.5, 0.5))
        toward = weight[1] - weight[0]
        by_style.append(abs(toward[1]) / toward[0])
    assert by_style[0] < 0.3 * by_style[1]
