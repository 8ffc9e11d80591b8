"""Where a network looks: what becomes of its answer while a patch of the image is covered (Zeiler and Fergus, ECCV 2014).

No gradients and no layer of a certain kind are needed, so that it is the same for every network here, one whose last feature maps are
2 x 2 among them. A patch that is covered by the mean of the training images is itself something that the network never saw: it tells
what an answer rests on, not what would be right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from driftloop.training.batches import normalise, to_tensor
from driftloop.training.epoch import at_shares

#: Places of the patch along a side; its own side is as long as two of their distances, so neighbours overlap by half.
PLACES = 8
#: The share of the places at which the patch touches the edge of the image.
EDGE_SHARE = 1 - ((PLACES - 2) / PLACES) ** 2
#: Covered images that are predicted together.
BATCH = 64
#: Largest side of a picture with its overlay, pixels.
SHOWN_SIDE = 128
#: The overlay at its strongest.
RED, STRONGEST = np.array([213, 42, 42], np.float32), 0.65


@dataclass(frozen=True)
class Saliency:
    """What an answer rests on, for N images."""

    fall: np.ndarray
    """By how much the probability of the answer falls while the patch lies there, float32 (N, PLACES, PLACES), rows from the top."""
    confidence: np.ndarray
    """Of the answer, nothing being covered, float32 (N,)."""
    changed: np.ndarray
    """Whether another class is answered while the patch that matters most is covered, bool (N,)."""

    @property
    def at_the_edge(self) -> np.ndarray:
        """Whether the patch that matters most touches the edge of the image, bool (N,)."""
        row, column = np.divmod(self.fall.reshape(len(self.fall), -1).argmax(1), PLACES)
        return np.isin(row, (0, PLACES - 1)) | np.isin(column, (0, PLACES - 1))


@torch.inference_mode()
def saliency_of(
    network: nn.Module,
    images: np.ndarray,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    class_shares: Sequence[float] = (),
) -> Saliency:
    """Cover each place of each image in turn.

    Args:
        network: logits of normalised images; left in evaluation mode.
        images: uint8 (N, side, side, C).
        mean, std: by channel, of the training images, on the scale 0-1.
        device: where the network is.
        class_shares: as in `ModelDescription`.
    """
    network.eval()
    levels = torch.tensor(list(mean), device=device), torch.tensor(list(std), device=device)
    falls, confidences, changes = [], [], []
    for image in images:
        whole = normalise(to_tensor(image[None]).to(device), *levels)
        outputs = torch.cat([network(batch) for batch in (whole, *_covered(whole).split(BATCH))])
        named, probabilities = outputs.argmax(1), at_shares(outputs, class_shares).softmax(1)
        answer = int(named[0])
        fall = probabilities[0, answer] - probabilities[1:, answer]
        falls.append(fall.reshape(PLACES, PLACES).float().cpu().numpy())
        confidences.append(float(probabilities[0, answer]))
        changes.append(int(named[1 + fall.argmax()]) != answer)
    return Saliency(np.stack(falls), np.array(confidences, np.float32), np.array(changes, bool))


def _covered(image: Tensor) -> Tensor:
    """A normalised image (1, C, side, side) with the patch at each place: (PLACES^2, C, side, side). Zero is the mean."""
    side = image.shape[-1]
    copies = image.repeat(PLACES * PLACES, 1, 1, 1)
    step = side / PLACES
    for row in range(PLACES):
        for column in range(PLACES):
            spans = [(max(0, math.floor((at - 0.5) * step)), math.ceil((at + 1.5) * step)) for at in (row, column)]
            copies[row * PLACES + column, :, slice(*spans[0]), slice(*spans[1])] = 0.0
    return copies


def overlaid(image: np.ndarray, fall: np.ndarray) -> np.ndarray:
    """An image, uint8 (side, side, C), red where covering it lowers the confidence: uint8 (S, S, 3), S at most `SHOWN_SIDE`."""
    side = min(SHOWN_SIDE, len(image))
    coloured = np.broadcast_to(image, (*image.shape[:2], 3))
    small = np.asarray(Image.fromarray(np.ascontiguousarray(coloured)).resize((side, side), Image.Resampling.LANCZOS), np.float32)
    wide = F.interpolate(torch.from_numpy(fall)[None, None], size=(side, side), mode="bilinear", align_corners=False)[0, 0].numpy()
    strength = np.clip(wide, 0, None) / max(float(fall.max()), 1e-6) * STRONGEST
    return np.rint(small * (1 - strength[..., None]) + RED * strength[..., None]).astype(np.uint8)
