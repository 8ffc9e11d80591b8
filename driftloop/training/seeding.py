"""One seed for everything random."""

import os
import random

import numpy as np
import torch


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (CPU and GPU), and have cuDNN choose the same kernels every time.

    Two runs with one seed on one machine give the same weights, bit for bit. Another number of threads, another CPU or GPU, or
    another PyTorch adds up in another order: the weights then differ in the last digits, and the figures slightly.

    Args:
        seed: 0 <= seed < 2**32.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries that draw from the global generator are seeded too
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # cuBLAS reads this when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def derive(seed: int, *path: int) -> int:
    """A seed for one part of a run, e.g. epoch 3 of seed 7: `derive(7, 3)`; parts with different paths are independent."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1, np.uint32)[0])
