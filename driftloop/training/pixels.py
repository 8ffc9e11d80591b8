"""From stored images to what a network takes, in one place: training, validation and export must agree."""

import numpy as np
import torch
from torch import Tensor


def to_tensor(images: np.ndarray) -> Tensor:
    """Stored images uint8 (N, H, W, C) -> the same bytes as a tensor (N, C, H, W), which is channels-last in memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Grey levels 0-255 (N, C, H, W) of any type -> float32 (x / 255 - mean) / std; mean and std are (C,), on the scale 0-1."""
    scale = 1.0 / (255.0 * std)
    shift = -mean / std
    return torch.addcmul(shift[:, None, None], images.float(), scale[:, None, None])
