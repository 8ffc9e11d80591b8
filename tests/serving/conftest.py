"""A store with a champion, and images to ask it about."""

from pathlib import Path

import numpy as np
import pytest

from driftloop.dataset import Description
from driftloop.store import Store
from tests.factories.serving_store import build_serving_store, textured_squares


@pytest.fixture
def production(tmp_path: Path) -> tuple[Store, Description]:
    return build_serving_store(tmp_path / "model")


@pytest.fixture
def images() -> np.ndarray:
    return textured_squares(40, seed=9)[0]
