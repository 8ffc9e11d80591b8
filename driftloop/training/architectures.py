"""The two networks of this library, the course's plain convolutions and a small residual net, and the way to those of timm.

Both are there with group norm, too, for training with differential privacy: batch norm lets one image change what another does.
All take normalised images (N, C, H, W) of any side >= 32 and split in two: `embed` gives the vectors that drift detection
watches, `classify` the logits. Pooling is a plain mean, which exports and quantises cleanly; adaptive pooling does not.
"""

import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from driftloop.contracts import TIMM
from driftloop.training.classifier import Classifier

PLAIN_CNN = "plain_cnn"
RESIDUAL = "residual"
#: Shares of their layers' channels that these two can be had with, the fastest first: `residual:0.5`.
SHARES_OF_WIDTH = (0.25, 0.5, 0.75, 1.0)
#: By the name of a network, that of the same with group norm.
GROUP_NORM = {PLAIN_CNN: f"{PLAIN_CNN}_groupnorm", RESIDUAL: f"{RESIDUAL}_groupnorm"}
#: Every width of these networks is a multiple.
GROUPS = 8
#: From a number of channels, what normalises them.
Norm = Callable[[int], nn.Module]


def group_norm(width: int) -> nn.Module:
    """Normalises each image by itself (Wu & He 2018)."""
    return nn.GroupNorm(GROUPS, width)


def of_width(architecture: str, share: float) -> str:
    """The name of a network with a share of its layers' channels; `architecture` is its name at any width."""
    whole = whole_width(architecture)
    return whole if share == 1 else f"{whole}:{share:g}"


def whole_width(architecture: str) -> str:
    """The name of a network with all of its channels; that of one which has but one width stays."""
    name = architecture.partition(":")[0]
    return name if has_widths(name) else architecture


def share_of_width(architecture: str) -> float:
    """Of its layers' channels, what a network has that can be had with fewer."""
    return float(architecture.partition(":")[2] or 1)


def has_widths(architecture: str) -> bool:
    """Whether a network can be had with fewer channels."""
    return architecture.partition(":")[0] in (PLAIN_CNN, RESIDUAL)


class PlainCNN(Classifier):
    """Convolution, batch norm, ReLU, max-pool, five times, and a two-layer head on the mean over positions; 1.2 M parameters."""

    WIDTHS = (16, 32, 96, 192, 512)

    def __init__(self, channels: int, classes: int, dropout: float = 0.3, norm: Norm = nn.BatchNorm2d, share_of_width: float = 1.0) -> None:
        super().__init__()
        relu = _relu(norm)
        layers: list[nn.Module] = []
        before = channels
        for width in _narrowed(self.WIDTHS, share_of_width):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), norm(width), relu(), nn.MaxPool2d(2)]
            before = width
        self.features = nn.Sequential(*layers)
        self.embedding_size = 256
        self.project = nn.Sequential(nn.Linear(before, self.embedding_size), relu())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.embedding_size, classes))

    def embed(self, x: Tensor) -> Tensor:
        return self.project(self.features(x).mean((2, 3)))

    def classify(self, embedding: Tensor) -> Tensor:
        return self.head(embedding)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, before: int, width: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, padding=1, bias=False)
        self.norm1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = norm(width)
        self.shortcut: nn.Module = nn.Identity()
        if before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, bias=False), norm(width))
        # The block starts as its shortcut, which lets large learning rates start safely (Goyal et al. 2017).
        nn.init.zeros_(self.norm2.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResidualNet(Classifier):
    """A narrow stem at full resolution and four residual blocks, each behind a max-pool; the embedding is the mean over positions.

    1.2 M parameters. Strides instead of pooling, as in the original, cost accuracy on small images: a finding of a few pixels falls
    between them.
    """

    STEM = 16
    WIDTHS = (16, 48, 128, 256)

    def __init__(self, channels: int, classes: int, dropout: float = 0.1, norm: Norm = nn.BatchNorm2d, share_of_width: float = 1.0) -> None:
        super().__init__()
        relu = _relu(norm)
        thin, *widths = _narrowed((self.STEM, *self.WIDTHS), share_of_width)
        stem: list[nn.Module] = []
        for before in (channels, thin):
            stem += [nn.Conv2d(before, thin, 3, padding=1, bias=False), norm(thin), relu()]
        self.stem = nn.Sequential(*stem)
        blocks: list[nn.Module] = []
        before = thin
        for width in widths:
            blocks += [nn.MaxPool2d(2), ResidualBlock(before, width, norm)]
            before = width
        self.blocks = nn.Sequential(*blocks)
        self.embedding_size = before
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(before, classes))

    def embed(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x)).mean((2, 3))

    def classify(self, embedding: Tensor) -> Tensor:
        return self.head(embedding)


def _narrowed(widths: Iterable[int], share: float) -> list[int]:
    return [round(width * share) for width in widths]


def _relu(norm: Norm) -> Callable[[], nn.Module]:
    """In place but for the gradients of single images, which are taken between two layers."""
    return functools.partial(nn.ReLU, inplace=norm is nn.BatchNorm2d)


ARCHITECTURES: dict[str, Callable[[int, int], Classifier]] = {
    PLAIN_CNN: PlainCNN,
    RESIDUAL: ResidualNet,
    GROUP_NORM[PLAIN_CNN]: functools.partial(PlainCNN, norm=group_norm),
    GROUP_NORM[RESIDUAL]: functools.partial(ResidualNet, norm=group_norm),
}
ARCHITECTURES |= {
    of_width(name, share): functools.partial(network, share_of_width=share)
    for name, network in ((PLAIN_CNN, PlainCNN), (RESIDUAL, ResidualNet))
    for share in SHARES_OF_WIDTH
    if share < 1
}


def build_network(architecture: str, *, channels: int, classes: int, image_size: int | None = None) -> Classifier:
    """A network with fresh weights, in channels-last memory format (the faster one for convolutions on CPU and tensor cores).

    Args:
        architecture: "plain_cnn" or "residual", either with "_groupnorm" or ":" and a share of its width behind it, or "timm:" and the
            name of one of timm's.
        channels: 1 (grey) or 3 (colour).
        classes: K >= 2.
        image_size: side of its images in pixels, for those of timm that are built for one size; None for their own.

    Raises:
        ValueError: no such architecture.
        InputError: timm is not installed, has no such network, or none for images of this size.
    """
    if architecture.startswith("timm:"):
        # Imported here: it builds on this module, and most trainings need none of it.
        from driftloop.training.backbones import Backbone

        network = Backbone(architecture.removeprefix(TIMM), channels, classes, image_size=image_size)
        return network.to(memory_format=torch.channels_last)
    if architecture not in ARCHITECTURES:
        raise ValueError(f"{architecture}: no such architecture (known: {', '.join(ARCHITECTURES)}, timm:<name>)")
    return ARCHITECTURES[architecture](channels, classes).to(memory_format=torch.channels_last)


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
