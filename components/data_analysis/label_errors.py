"""Training images that look like another class than the one that they have: wrong labels among them, which nobody finds by opening folders.

Confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068): every image is seen by a model that was fitted to the other groups'
images only. Training images alone are looked at: whoever corrected those of the test split where a model disagrees would flatter models.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from driftloop.contracts import TIMM
from driftloop.dataset import Description, Split
from driftloop.settings import TrainSettings
from driftloop.training.backbones import Backbone
from driftloop.training.batches import OrderedBatches, ordered_batch_size, to_tensor
from driftloop.training.choice import against_pretrained
from driftloop.training.device import pick_device
from driftloop.training.epoch import Batch
from driftloop.training.pretrained import PACKAGE, PACKAGE_ARCHITECTURE, Pretrained, embed_all, load_pretrained

FOLDS = 5
#: Images of each class that are drawn before any others, where there is room: the draw of a large dataset might have none of a rare class.
LEAST_DRAWN = 10
#: Of the logistic regression: inverse strength of its regularisation.
STRENGTH = 1e-3
#: Cohen's kappa of model and labels from which on their disagreements are told: "moderate" (Landis and Koch 1977). A model that hardly
#: knows the classes disagrees with right labels as readily as with wrong ones.
AGREEMENT = 0.4
#: Side of the thumbnails that are looked at where there is no pretrained network.
_THUMBNAIL = 16
#: Images that become thumbnails together, as floats.
_SHRUNK_TOGETHER = 64


@dataclass(frozen=True)
class LabelCheck:
    """What models that never saw them say of some training images."""

    images: int
    """How many were looked at."""
    seen_by: str
    """What looked at them, in words."""
    agreement: float
    """Cohen's kappa of what the models say and the labels."""
    rows: np.ndarray
    """(M,) of the training split: those that look like another class, the most suspected first; empty where the agreement is too low."""
    looks_like: np.ndarray
    """(M,) index of that class."""


def check_labels(train: Split, description: Description, *, most: int, seed: int) -> LabelCheck | None:
    """Ask models about the labels of training images that they never saw.

    Args:
        train: the packed split.
        description: of its dataset.
        most: images that are looked at, drawn at random where there are more, `LEAST_DRAWN` of each class first.
        seed: of the draw and the folds.

    Returns:
        None where a class has fewer than `FOLDS` groups, or nothing is to be looked at.
    """
    rows = _draw(train.labels, len(description.classes), most, seed)
    labels, groups = train.labels[rows], train.samples["group"].to_numpy()[rows]
    if any(len(np.unique(groups[labels == label])) < FOLDS for label in range(len(description.classes))):
        return None
    seen, seen_by = _seen(train, rows, description)
    probabilities = out_of_fold(seen, labels, groups, seed=seed)
    agreement = float(cohen_kappa_score(labels, probabilities.argmax(1)))
    suspected, looks_like = suspect(probabilities, labels)
    told = len(suspected) if agreement >= AGREEMENT else 0
    return LabelCheck(len(rows), seen_by, agreement, rows[suspected[:told]], looks_like[:told])


def _draw(labels: np.ndarray, classes: int, most: int, seed: int) -> np.ndarray:
    order = np.random.default_rng(seed).permutation(len(labels))
    seen = pd.Series(labels[order])
    first = (seen.groupby(seen).cumcount() < min(LEAST_DRAWN, most // classes)).to_numpy()
    return np.sort(np.concatenate([order[first], order[~first]])[:most])


def out_of_fold(seen: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int) -> np.ndarray:
    """Probabilities (N, K) of each image by a logistic regression on the images of other groups.

    Args:
        seen: (N, D) numbers by image; labels: (N,) in 0 .. K-1; groups: (N,), at least `FOLDS` in each class.
        seed: of the folds.
    """
    scaled = StandardScaler().fit_transform(seen)
    probabilities = np.zeros((len(labels), int(labels.max()) + 1))
    for fitted, judged in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(scaled, labels, groups):
        model = LogisticRegression(C=STRENGTH, max_iter=1000).fit(scaled[fitted], labels[fitted])
        probabilities[np.ix_(judged, model.classes_)] = model.predict_proba(scaled[judged])
    return probabilities


def suspect(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images (M,) that look like another class than their label, the most suspected first, and that class of each.

    An image counts as one of the class that is likelier than usual for images of that label: a class that the model is never sure of
    needs less. These counts say how many of each label are of another class; so many are suspected, those for which that class is the
    likeliest of all and exceeds the label most (the paper's pruning by noise rate).

    Args:
        probabilities: (N, K), of models that did not see the image; labels: (N,), each class at least once.
    """
    classes = np.arange(probabilities.shape[1])
    usual = np.array([probabilities[labels == label, label].mean() for label in classes])
    confident = np.where(probabilities >= usual, probabilities, -1.0)
    counted = confident.max(1) >= 0
    margins = probabilities - probabilities[np.arange(len(labels)), labels][:, None]
    candidates = probabilities.argmax(1)
    found = []
    for label in classes:
        rows = np.flatnonzero(labels == label)
        taken_for = np.bincount(confident[rows[counted[rows]]].argmax(1), minlength=len(classes))
        for other in classes[classes != label]:
            expected = round(len(rows) * taken_for[other] / max(1, taken_for.sum()))
            like = rows[candidates[rows] == other]
            found.append(like[np.argsort(-margins[like, other], kind="stable")][:expected])
    suspected = np.concatenate(found)
    suspected = suspected[np.argsort(-margins[suspected].max(1), kind="stable")]
    return suspected, candidates[suspected]


def _seen(train: Split, rows: np.ndarray, description: Description) -> tuple[np.ndarray, str]:
    """What is known of each image of `rows`, (N, D), and who saw it: the pretrained network of `auto` where it would be taken.

    Else thumbnails. Both read a batch of the split at a time, as all the images together may be more than there is memory.
    """
    if against_pretrained(TrainSettings(), description):
        return thumbnails(train.images, rows), f"thumbnails of {_THUMBNAIL} pixels"
    network = Backbone(PACKAGE_ARCHITECTURE.removeprefix(TIMM), description.channels, len(description.classes))
    network.see_images_of(description.mean, description.std)
    load_pretrained(network, Pretrained(PACKAGE))
    device = pick_device("0")

    def batches() -> Iterator[Batch]:
        for some in _batches(rows, ordered_batch_size(train.images.shape)):
            yield from OrderedBatches(train.images[some], train.labels[some], mean=description.mean, std=description.std, device=device)

    return embed_all(network.to(device), batches()), f"{PACKAGE_ARCHITECTURE.removeprefix(TIMM)}, as pretrained"


def thumbnails(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(N, 16 * 16 * C) mean grey levels, of the N `rows` of images (M, H, W, C); smaller ones as they are."""
    side = min(_THUMBNAIL, images.shape[1])
    floats = (to_tensor(images[some]).float() for some in _batches(rows, _SHRUNK_TOGETHER))
    return torch.cat([F.adaptive_avg_pool2d(pixels, side).flatten(1) for pixels in floats]).numpy()


def _batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return np.split(rows, range(size, len(rows), size))
