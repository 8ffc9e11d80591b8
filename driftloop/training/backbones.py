"""Networks of timm, most of them with weights from ImageNet, as classifiers of this library.

Their graphs take what every network here takes, images normalised by the dataset; grey is repeated to three channels and brought to
the levels that the backbone was trained with inside the network, so that whatever serves it needs to know nothing of that.
"""

import difflib
import importlib.util
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from driftloop.errors import InputError
from driftloop.training.classifier import Classifier

#: Before the name of a network of timm.
TIMM = "timm:"


class Backbone(Classifier):
    """A network of timm up to its pooled features, and a linear head.

    Args:
        name: as timm knows it, such as tf_efficientnet_lite0.
        channels: 1 (grey) or 3 (colour).
        classes: K >= 2.
        dropout: before the head.

    Raises:
        InputError: timm is not installed, or has no such network.
    """

    def __init__(self, name: str, channels: int, classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        check_backbone(name)
        import timm

        self.backbone = timm.create_model(name, pretrained=False, num_classes=0)
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


def check_backbone(name: str) -> None:
    """Say at once that there is no such network; builds nothing.

    Raises:
        InputError: timm is not installed, or has no such network.
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
