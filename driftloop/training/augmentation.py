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
    and the rehearsal would look better than it is. RandAugment, which changes light and sharpness by much, is off unless it is asked for.
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
    crop: float = 0.0
    """Share of the image's area that is left out at most, what is left being enlarged; drawn evenly from 0, 0 for no crop."""
    randaugment: int = 0
    """Magnitude of RandAugment, to which each image is put before it is moved: 1 to 30, 0 for none."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Views of `images` (N, C, H, W), grey levels 0-255: same type, shape, range and device.

        Random numbers come from a CPU `generator`, so that one seed gives the same views on every device.
        """
        operated = self.operate(images, self.draw_operations(len(images), generator))
        return self.apply(operated, send(self.draw(len(images), generator), images.device))

    def draw_operations(self, n: int, generator: torch.Generator) -> Tensor:
        """Which of RandAugment's operations each of n images goes through, (rounds, N) on the CPU; no rounds without it."""
        if not self.randaugment:
            return torch.empty((0, n), dtype=torch.int64)
        from driftloop.training.randaugment import draw

        return draw(n, generator)

    def operate(self, images: Tensor, operations: Tensor) -> Tensor:
        """Images (N, C, H, W) after `operations` of `draw_operations`.

        Apart from `apply`: which images go together changes from batch to batch, so that no CUDA graph can hold it.
        """
        if not self.randaugment:
            return images
        from driftloop.training.randaugment import randaugment

        return randaugment(images.to(torch.uint8), operations, self.randaugment).to(images.dtype)

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
        offset = 255 * self.brightness * _uniform(n, generator)
        if self.crop:
            box = _box(1 - self.crop * torch.rand(n, generator=generator), generator)
            right, down = _inside(box, *right), _inside(box, *down)
        return torch.stack([*right, *down, gain, offset])


def _box(area: Tensor, generator: torch.Generator) -> Tensor:
    """Boxes of these shares of an image's area: their width, height and centre, (4, N), in sides of the image from -1 to 1.

    As v2.RandomResizedCrop draws them, which takes one box for a whole batch and resizes on its own; here each image has one, which its
    matrix takes in. Of its ratios between 3/4 and 4/3, evenly on a log scale, those with which the box fits, so that none is drawn again.
    """
    low, high = area.clamp_min(3 / 4), (1 / area).clamp_max(4 / 3)
    ratio = low * (high / low) ** torch.rand(len(area), generator=generator)
    wide, tall = (area * ratio).sqrt(), (area / ratio).sqrt()
    return torch.stack([wide, tall, (1 - wide) * _uniform(len(area), generator), (1 - tall) * _uniform(len(area), generator)])


def _inside(box: Tensor, x: Tensor, y: Tensor, shift: Tensor) -> list[Tensor]:
    """A row of matrices after which the view is the box of what it was."""
    wide, tall, centre_x, centre_y = box
    return [x * wide, y * tall, x * centre_x + y * centre_y + shift]


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
    weight = _beta(len(images), alpha, generator)
    weight = send(torch.maximum(weight, 1 - weight), images.device)
    partner = send(torch.randperm(len(images), generator=generator), images.device)
    w = weight[:, None, None, None]
    return images * w + images[partner] * (1 - w), targets * weight[:, None] + targets[partner] * (1 - weight[:, None])


def cutmix(images: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A box of each image taken from another of its batch, and that share of its target likewise (Yun et al. 2019).

    The boxes of v2.CutMix, which draws one for the whole batch and from the global generator; here each image has its own.

    Args:
        images: (N, C, H, W) float.
        targets: (N, K) class probabilities.
        alpha: of the Beta(alpha, alpha) that the shares come from; 1, all alike, is the paper's.
        generator: on the CPU.
    """
    n, _, height, width = images.shape
    side = (1 - _beta(n, alpha, generator)).sqrt()
    edges, area = [], torch.ones(n)
    for length in (height, width):
        middle, half = torch.randint(length, (n,), generator=generator), (side * length / 2).long()
        edges += [(middle - half).clamp_min(0), (middle + half).clamp_max(length)]
        area *= (edges[-1] - edges[-2]) / length
    top, bottom, left, right = send(torch.stack(edges), images.device)[:, :, None]
    partner, share = (send(drawn, images.device) for drawn in (torch.randperm(n, generator=generator), area[:, None]))
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    box = ((top <= y) & (y < bottom))[:, None, :, None] & ((left <= x) & (x < right))[:, None, None, :]
    return torch.where(box, images[partner], images), targets * (1 - share) + targets[partner] * share


def mix(images: Tensor, targets: Tensor, mixup_alpha: float, cutmix_alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """By `mixup` or `cutmix`, whichever has an alpha above 0; where both have, each image by one of them, with probability 1/2."""
    if not cutmix_alpha:
        return mixup(images, targets, mixup_alpha, generator)
    if not mixup_alpha:
        return cutmix(images, targets, cutmix_alpha, generator)
    blended, cut = mixup(images, targets, mixup_alpha, generator), cutmix(images, targets, cutmix_alpha, generator)
    chosen = send(torch.rand(len(images), generator=generator) < 0.5, images.device)
    return torch.where(chosen[:, None, None, None], blended[0], cut[0]), torch.where(chosen[:, None], blended[1], cut[1])


def _beta(n: int, alpha: float, generator: torch.Generator) -> Tensor:
    # A Beta variate from two Gamma variates; torch.distributions takes no generator.
    draws = torch._standard_gamma(torch.full((2, n), alpha), generator=generator)
    return (draws[0] / draws.sum(0).clamp_min(1e-8)).clamp(0, 1)


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) * 2 - 1


def _random_sign(n: int, generator: torch.Generator) -> Tensor:
    return torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
