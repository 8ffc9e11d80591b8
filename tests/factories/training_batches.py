"""Batches of images on the CPU, as training and evaluation take them."""

import numpy as np
import torch

from driftloop.training.batches import OrderedBatches, TrainingBatches

CPU = torch.device("cpu")


def training_batches(images: np.ndarray, labels: np.ndarray, **options: object) -> TrainingBatches:
    return TrainingBatches(images, labels, **({"mean": [0.45], "std": [0.15], "device": CPU, "batch_size": 16} | options))


def ordered_batches(images: np.ndarray, labels: np.ndarray, batch_size: int = 24) -> OrderedBatches:
    return OrderedBatches(images, labels, mean=[0.45], std=[0.15], device=CPU, batch_size=batch_size)
