"""Networks of timm, most of them with weights from ImageNet, as classifiers of this library.

Their graphs take what every network here takes, images normalised by the dataset; grey is repeated to three channels and brought to
the levels that the backbone was trained with inside the network, so that whatever serves it needs to know nothing of that.
"""

import difflib
import functools
import importlib.util
import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from driftloop.contracts import TIMM
from driftloop.errors import InputError
from driftloop.training.classifier import Classifier


class Backbone(Classifier):
    """A network of timm up to its pooled features, and a linear head.

    Args:
        name: as timm knows it, such as tf_efficientnet_lite0.
        channels: 1 (grey) or 3 (colour).
        classes: K >= 2.
        dropout: before the head.
        image_size: side of its images in pixels, which some networks are built for; None for the side that its weights were learnt at.

    Raises:
        InputError: timm is not installed, has no such network, or none for images of this size.
    """

    def __init__(self, name: str, channels: int, classes: int, dropout: float = 0.2, image_size: int | None = None) -> None:
        super().__init__()
        check_backbone(name, image_size)
        import timm

        options = _options(name, image_size) if image_size else {}
        self.backbone = timm.create_model(name, pretrained=False, num_classes=0, **options)
        self.channels = channels
        self.embedding_size = int(self.backbone.head_hidden_size)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.embedding_size, classes))
        # With the weights, so that a bundle says how its network sees images.
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("shift", torch.zeros(3))

    def see_images_of(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take images that were normalised by `mean` and `std` (each channel's, on the scale 0-1) and show the backbone its own levels."""
        own = {name: torch.tensor(self.backbone.pretrained_cfg[name], dtype=torch.float32) for name in ("mean", "std")}
        given_mean, given_std = (torch.tensor(list(values), dtype=torch.float32).expand(3) for values in (mean, std))
        self.scale.copy_(given_std / own["std"])
        self.shift.copy_((given_mean - own["mean"]) / own["std"])

    def embed(self, x: Tensor) -> Tensor:
        coloured = x.expand(-1, 3, -1, -1) if self.channels == 1 else x
        return self.backbone(coloured * self.scale[:, None, None] + self.shift[:, None, None])

    def classify(self, embedding: Tensor) -> Tensor:
        return self.head(embedding)

    def rate_factors(self, layer_decay: float) -> dict[str, float]:
        from timm.models import group_parameters

        layer_of = group_parameters(self.backbone, self.backbone.group_matcher(coarse=False), reverse=True)
        highest = max(layer_of.values(), default=0)
        factors = {f"backbone.{name}": layer_decay ** (highest + 1 - layer) for name, layer in layer_of.items()}
        return super().rate_factors(layer_decay) | factors


def resampled(state: Mapping[str, Tensor], backbone: nn.Module) -> Mapping[str, Tensor]:
    """Weights that were learnt at another image size as timm brings them to that of `backbone`; as they are where it knows no way."""
    bring = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    try:
        state = bring(dict(state), backbone) if bring else state
        own = backbone.state_dict()
        return {name: _fitted(name, tensor, own[name].shape) if name in own else tensor for name, tensor in state.items()}
    except Exception:  # weights of another network, which is told by their names and shapes
        return state


def _fitted(name: str, given: Tensor, shape: torch.Size) -> Tensor:
    """What networks that timm does not bring to another size learnt of places, brought there by timm's own means for others."""
    from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table_levit

    if given.shape == shape:
        return given
    if name.endswith("attention_biases"):  # LeViT, EfficientFormerV2
        return resize_rel_pos_bias_table_levit(given.T, shape[::-1]).T
    if name == "pos_embed" and given.ndim == len(shape) == 3:  # CaiT, ConViT
        side = math.isqrt(shape[1])
        return resample_abs_pos_embed(given, new_size=[side, side], num_prefix_tokens=0)
    return given


def size_of(state: Mapping[str, Tensor], backbone: nn.Module) -> int:
    """The image size that timm's weights for this very network were learnt at; 0 where these are another's."""
    import timm

    config: Any = backbone.pretrained_cfg
    try:
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in timm.create_model(config["architecture"], num_classes=0).state_dict().items()}
    except Exception:  # a layer that asks for the values of its weights
        return 0
    return int(config["input_size"][-1]) if all(name in state and state[name].shape == shape for name, shape in shapes.items()) else 0


def check_backbone(name: str, image_size: int | None = None) -> None:
    """Say at once that there is no such network, or none for images of `image_size` pixels, where that is known.

    Raises:
        InputError: timm is not installed, has no such network, or none for such images.
    """
    if importlib.util.find_spec("timm") is None:
        raise InputError(
            f"{TIMM}{name}: the package timm is not installed; pip install 'driftloop[train]', or choose plain_cnn or residual"
        )
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()"
        raise InputError(f"{TIMM}{name}: timm has no such network ({hint})")
    if image_size:
        _options(name, image_size)


@functools.cache
def _options(name: str, image_size: int) -> dict[str, Any]:
    """What timm has to be told for a network that takes images of `image_size` pixels: nothing, or their size.

    Transformers with one place for each part of an image are built for one size. Which can be built for others is not listed anywhere, so
    one image is shown to the network: without memory for its weights, and with it where a layer asks for their values.

    Raises:
        InputError: there is no such network for such images.
    """
    import timm

    sized: list[dict[str, Any]] = [{}, {"img_size": image_size}]
    for device, options in itertools.product(("meta", "cpu"), sized):
        if _takes(name, image_size, options, device):
            return options
    own = timm.models.get_pretrained_cfg(name)
    made_for = f"it is made for {own.input_size[-1]} pixels" if own else "it is made for others"
    raise InputError(f"{TIMM}{name}: takes no images of {image_size} pixels ({made_for}); set data_image_size, or choose another network")


def _takes(name: str, image_size: int, options: dict[str, Any], device: str) -> bool:
    import timm

    try:
        with torch.device(device), torch.random.fork_rng(devices=[]), torch.inference_mode():
            timm.create_model(name, pretrained=False, num_classes=0, **options).eval()(torch.zeros(1, 3, image_size, image_size))
    except Exception:  # each network fails in its own way
        return False
    return True
