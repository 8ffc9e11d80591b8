"""A trained network's logits over held-out images."""

import numpy as np
import torch
from torch import Tensor

from components.onnx_deployment.held_out import Cases
from driftloop.bundle import ModelDescription
from driftloop.training.architectures import Classifier
from driftloop.training.pixels import normalise, to_tensor

BATCH = 64


@torch.inference_mode()
def compute_logits(network: Classifier, model: ModelDescription, cases: list[Cases]) -> np.ndarray:
    """The logits of all cases in PyTorch, float32 (N, K)."""
    mean, std = torch.tensor(model.mean), torch.tensor(model.std)
    parts: list[Tensor] = []
    for part in cases:
        batches = (part.images[start : start + BATCH] for start in range(0, len(part), BATCH))
        parts += [network(normalise(to_tensor(batch), mean, std)) for batch in batches]
    return torch.cat(parts).numpy()
