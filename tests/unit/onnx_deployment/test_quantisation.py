"""How images reach the calibration: all that a network computes of a batch is kept, so batches are small where images are large."""

import numpy as np
import pytest

from components.onnx_deployment.quantisation import CALIBRATION_BATCH, CALIBRATION_PIXELS, ImageReader
from driftloop.inference.served_model import INPUT


@pytest.mark.parametrize(("side", "size"), [(8, CALIBRATION_BATCH), (224, CALIBRATION_PIXELS // 224**2), (1024, 1)])
def test_ranges_of_batches_hold_every_image_once_and_never_too_many_pixels(side: int, size: int) -> None:
    count = 2 * size + 1
    images = np.zeros((count, side, side, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    reader, seen = ImageReader(images), []
    assert reader.get_next() is None, "nothing is handed out before a range is asked for"
    for start in range(len(reader)):
        reader.set_range(start, start + 1)
        batch = reader.get_next()
        assert batch is not None
        assert reader.get_next() is None, "one batch at a time"
        assert len(batch[INPUT]) <= size
        seen += batch[INPUT][:, 0, 0, 0].tolist()
    assert seen == list(range(count))
