import pytest
import torch

from driftloop.training import architectures


@pytest.mark.parametrize("architecture", [architectures.PLAIN_CNN, architectures.RESIDUAL])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [32, 33, 64])
def test_every_network_takes_any_image_from_32_pixels_on(architecture: str, channels: int, side: int) -> None:
    model = architectures.build_network(architecture, channels=channels, classes=3).eval()
    images = torch.randn(2, channels, side, side)
    embedding = model.embed(images)
    assert embedding.shape == (2, model.embedding_size)
    assert model.classify(embedding).shape == (2, 3)
    torch.testing.assert_close(model(images), model.classify(embedding))


@pytest.mark.parametrize("architecture", [architectures.PLAIN_CNN, architectures.RESIDUAL])
def test_every_network_has_one_to_two_million_parameters(architecture: str) -> None:
    model = architectures.build_network(architecture, channels=1, classes=2)
    assert 1e6 <= architectures.count_parameters(model) <= 2e6


def test_residual_blocks_start_as_their_shortcut() -> None:
    block = architectures.ResidualBlock(8, 8).eval()
    images = torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(block(images), images)


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"transformer: no such architecture .*plain_cnn, residual, .*timm:<name>"):
        architectures.build_network("transformer", channels=1, classes=2)
