"""Random views of a whole batch at once: changes after which a radiograph or a roof still shows the same."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from driftloop.training.device import send


@dataclass(frozen=True)
class Augmentation:
    """How far a view may be from its image; each amount x is drawn evenly from -x to x.

    Blur and noise are left out on purpose: a model that was trained under them would be less harmed by the drifts that they stand for,
    and the rehearsal would look better than it is.
    """

    rotation: float = 10.0
    """Degrees."""
    scale: float = 0.12
    """Share of the image's size."""
    shift: float = 0.05
    """Share of the image's side."""
    brightness: float = 0.05
    """Share of the full range of grey levels."""
    contrast: float = 0.2
    """Share of the image's contrast."""
    flip: bool = True
    """Mirror left and right with probability 1/2."""
    vertical_flip: bool = False
    """Mirror top and bottom with probability 1/2, for views from above."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Views of `images` (N, C, H, W), grey levels 0-255: same type, shape, range and device.

        Random numbers come from a CPU `generator`, so that one seed gives the same views on every device.
        """
        return self.apply(images, send(self.draw(len(images), generator), images.device))

    def apply(self, images: Tensor, amounts: Tensor) -> Tensor:
        """The views that `amounts` of `draw`, on the images' device, make of them."""
        views = _change_light(_move(images.float(), amounts[:6]), amounts[6], amounts[7]).clamp_(0, 255)
        return views if images.is_floating_point() else views.round_().to(images.dtype)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """What happens to each of n images, (8, N) on the CPU: the two rows of its matrix, its gain and its offset."""
        angle = _uniform(n, generator) * math.radians(self.rotation)
        size = 1 + _uniform(n, generator) * self.scale
        mirror_x = _random_sign(n, generator) if self.flip else torch.ones(n)
        mirror_y = _random_sign(n, generator) if self.vertical_flip else torch.ones(n)
        cos, sin = angle.cos() * size, angle.sin() * size
        # affine_grid counts in half sides: -1 to 1 across the image.
        right = [cos * mirror_x, -sin * mirror_y, 2 * self.shift * _uniform(n, generator)]
        down = [sin * mirror_x, cos * mirror_y, 2 * self.shift * _uniform(n, generator)]
        gain = 1 + _uniform(n, generator) * self.contrast
        return torch.stack([*right, *down, gain, 255 * self.brightness * _uniform(n, generator)])


def _move(images: Tensor, matrices: Tensor) -> Tensor:
    grid = F.affine_grid(matrices.T.reshape(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _change_light(images: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    middle = images.mean((1, 2, 3), keepdim=True)
    return (images - middle) * gain[:, None, None, None] + middle + offset[:, None, None, None]


def mixup(images: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each image blended with another of its batch, and its target likewise (Zhang et al. 2018).

    Args:
        images: (N, C, H, W) float.
        targets: (N, K) class probabilities.
        alpha: of the Beta(alpha, alpha) that the weights come from; 0.2 is mild.
        generator: on the CPU.
    """
    # A Beta variate from two Gamma variates; torch.distributions takes no generator.
    draws = torch._standard_gamma(torch.full((2, len(images)), alpha), generator=generator)
    weight = (draws[0] / draws.sum(0).clamp_min(1e-8)).clamp(0, 1)
    weight = send(torch.maximum(weight, 1 - weight), images.device)
    partner = send(torch.randperm(len(images), generator=generator), images.device)
    w = weight[:, None, None, None]
    return images * w + images[partner] * (1 - w), targets * weight[:, None] + targets[partner] * (1 - weight[:, None])


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) * 2 - 1


def _random_sign(n: int, generator: torch.Generator) -> Tensor:
    return torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
