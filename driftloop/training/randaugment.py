"""RandAugment (Cubuk et al. 2020) on a batch of bytes, with torchvision's operations and their ranges.

`v2.RandAugment` draws once for whatever it is given, and from the global generator: in one call a whole batch would be sheared alike, and
called image by image it starts hundreds of tiny operations. Here each image draws its own, and those that drew the same go through it
together. Nothing else imports this file before RandAugment is asked for: torchvision takes as long to import as torch does.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from driftloop.training.device import send

#: Operations that an image goes through, one after the other, as in the paper's recipes and in torchvision.
ROUNDS = 2
#: The largest magnitude.
STRONGEST = 30


def draw(n: int, generator: torch.Generator) -> Tensor:
    """For n images, which operation each goes through in each round and to which side, (ROUNDS, N) int64 on the CPU."""
    return torch.randint(2 * len(OPERATIONS), (ROUNDS, n), generator=generator)


def randaugment(images: Tensor, drawn: Tensor, magnitude: int) -> Tensor:
    """Views of uint8 images (N, 1 or 3, H, W), by operations of `draw` and a magnitude up to `STRONGEST`."""
    views = images.clone()
    for choices in drawn:
        for choice in choices.unique().tolist():
            rows = send((choices == choice).nonzero().flatten(), images.device)
            level = magnitude / STRONGEST * (1 if choice % 2 else -1)
            views[rows] = list(OPERATIONS.values())[choice // 2](views[rows], level)
    return views


def _moved(
    images: Tensor, *, translate: Sequence[int] = (0, 0), shear: Sequence[float] = (0, 0), centre: Sequence[float] | None = None
) -> Tensor:
    # Bilinear, as in torchvision's own recipes: the nearest neighbour tears the strokes of images of 32 pixels.
    shears = [math.degrees(math.atan(share)) for share in shear]
    return F.affine(images, 0.0, list(translate), 1.0, shears, InterpolationMode.BILINEAR, center=centre)


#: What an image may go through, by torchvision's names, for a level between -1 and 1, whose sign says nothing where there is no opposite.
#: Colour leaves a grey image as it is.
OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Identity": lambda images, level: images,
    "ShearX": lambda images, level: _moved(images, shear=(0.3 * level, 0), centre=(0, 0)),
    "ShearY": lambda images, level: _moved(images, shear=(0, 0.3 * level), centre=(0, 0)),
    "TranslateX": lambda images, level: _moved(images, translate=(int(150 / 331 * images.shape[3] * level), 0)),
    "TranslateY": lambda images, level: _moved(images, translate=(0, int(150 / 331 * images.shape[2] * level))),
    "Rotate": lambda images, level: F.rotate(images, 30 * level, InterpolationMode.BILINEAR),
    "Brightness": lambda images, level: F.adjust_brightness(images, 1 + 0.9 * level),
    "Color": lambda images, level: F.adjust_saturation(images, 1 + 0.9 * level),
    "Contrast": lambda images, level: F.adjust_contrast(images, 1 + 0.9 * level),
    "Sharpness": lambda images, level: F.adjust_sharpness(images, 1 + 0.9 * level),
    "Posterize": lambda images, level: F.posterize(images, round(8 - 4 * abs(level))),
    "Solarize": lambda images, level: F.solarize(images, 255 * (1 - abs(level))),
    "AutoContrast": lambda images, level: F.autocontrast(images),
    "Equalize": lambda images, level: F.equalize(images),
}
