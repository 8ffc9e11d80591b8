"""Small datasets for the tests."""

import hashlib

import numpy as np
import pandas as pd

from driftloop.dataset.writing import Part


def random_split(count: int, *, seed: int, side: int = 8, channels: int = 1, classes: int = 2, name: str = "") -> Part:
    """Random images with labels and samples."""
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)
    samples = pd.DataFrame(
        {
            "path": [f"{name or seed}/{number}.png" for number in range(count)],
            "group": [f"patient{seed}-{number}" for number in range(count)],
            "sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in images],
            "width": 30,
            "height": 20,
        }
    )
    return images, np.arange(count) % classes, samples
