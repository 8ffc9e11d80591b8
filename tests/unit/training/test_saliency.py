"""What an answer rests on is found where it is, and nowhere else."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from driftloop.training.report_sections import saliency_sentence
from driftloop.training.saliency import PLACES, Saliency, overlaid, saliency_of

SIDE = 64


class Spot(nn.Module):
    """Sure of the second class as far as a spot is bright, whatever the rest; unsure of itself while it is training."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.row, self.column, self.dropout = row, column, nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        bright = self.dropout(x[:, :, self.row : self.row + 4, self.column : self.column + 4]).mean((1, 2, 3))
        return torch.stack([torch.zeros_like(bright), 4 * bright - 2], dim=1)


def looked_at(network: nn.Module, images: np.ndarray) -> Saliency:
    channels = images.shape[-1]
    return saliency_of(network, images, mean=[0.5] * channels, std=[0.25] * channels, device=torch.device("cpu"))


def bright(row: int, column: int, channels: int = 1) -> np.ndarray:
    image = np.random.default_rng(0).integers(100, 156, (SIDE, SIDE, channels)).astype(np.uint8)
    image[row : row + 4, column : column + 4] = 255
    return image


@pytest.mark.parametrize(("row", "column", "channels", "edge"), [(30, 26, 1, False), (2, 40, 3, True), (58, 58, 1, True)])
def test_the_patch_that_matters_covers_what_the_network_looks_at(row: int, column: int, channels: int, edge: bool) -> None:
    looked = looked_at(Spot(row, column).train(), bright(row, column, channels)[None])
    assert looked.fall.shape == (1, PLACES, PLACES)
    assert looked.confidence[0] == pytest.approx(1 / (1 + np.exp(-6)), abs=1e-3)
    at = divmod(int(looked.fall[0].argmax()), PLACES)
    step = SIDE / PLACES
    for place, where in zip(at, (row, column), strict=True):
        assert (place - 0.5) * step <= where
        assert where + 4 <= (place + 1.5) * step
    # The patch is two places long: far from the spot it changes nothing.
    rows, columns = np.indices((PLACES, PLACES))
    far = np.maximum(abs(rows - at[0]), abs(columns - at[1])) > 2
    np.testing.assert_array_equal(looked.fall[0][far], 0)
    assert looked.changed.tolist() == [True], "without the spot it is the first class"
    assert looked.at_the_edge.tolist() == [edge]
    shown = overlaid(bright(row, column, channels), looked.fall[0]).astype(int)
    redness = shown[..., 0] - shown[..., 1]
    assert shown.shape == (SIDE, SIDE, 3)
    centre = np.array(at) * step + step / 2
    assert np.abs(np.array(np.unravel_index(redness.argmax(), redness.shape)) - centre).max() <= step


def test_a_large_picture_is_shown_small_and_one_that_nothing_matters_in_as_it_is() -> None:
    image = np.full((300, 300, 1), 90, np.uint8)
    assert overlaid(image, np.zeros((PLACES, PLACES), np.float32)).tolist() == np.full((128, 128, 3), 90).tolist()


def test_the_sentence_follows_the_numbers() -> None:
    fall = np.zeros((8, PLACES, PLACES), np.float32)
    fall[:, 0, 3] = 1
    sure, kept = np.full(8, 0.9, np.float32), np.zeros(8, bool)
    assert "For 8 of them it touches the edge" in saliency_sentence(Saliency(fall, sure, ~kept))
    inside = np.roll(fall, 3, axis=1)
    assert saliency_sentence(Saliency(inside, sure, ~kept)) == (
        "Covering the one patch that matters most changes the answer for 8 of these 8 images [[cite:zeiler2014]]. "
        "The cover has the mean colour of the training images, and may look like a finding itself."
    )
    mixed = np.concatenate([fall[:5], inside[:3]])
    said = saliency_sentence(Saliency(mixed, sure, kept))
    assert "changes the answer for 0 of these 8 images" in said
    assert "spread over the image" in said
    assert "edge" not in said, "5 of 8 is what chance does"
