"""These tests run where PyTorch sees a GPU, and are skipped elsewhere."""

import pytest
import torch


@pytest.fixture(autouse=True)
def gpu() -> torch.device:
    """The GPU, without which the test is skipped."""
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU here")
    return torch.device("cuda", torch.cuda.current_device())
