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


@pytest.mark.parametrize("architecture", [architectures.PLAIN_CNN, architectures.RESIDUAL])
def test_every_width_takes_images_and_has_more_parameters_than_the_one_below(architecture: str) -> None:
    names = [architectures.of_width(architecture, share) for share in architectures.SHARES_OF_WIDTH]
    models = [architectures.build_network(name, channels=1, classes=3).eval() for name in names]
    sizes = [architectures.count_parameters(model) for model in models]
    assert sizes == sorted(set(sizes))
    assert {model(torch.zeros(1, 1, 33, 33)).shape for model in models} == {(1, 3)}
    assert [architectures.share_of_width(name) for name in names] == list(architectures.SHARES_OF_WIDTH)
    assert {architectures.whole_width(name) for name in names} == {architecture}


def test_networks_of_others_have_one_width() -> None:
    for name in ("timm:tf_efficientnet_lite0", *architectures.GROUP_NORM.values()):
        assert not architectures.has_widths(name)
        assert architectures.whole_width(name) == name


def test_residual_blocks_start_as_their_shortcut() -> None:
    block = architectures.ResidualBlock(8, 8).eval()
    images = torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(block(images), images)


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"transformer: no such architecture .*plain_cnn, residual, .*timm:<name>"):
        architectures.build_network("transformer", channels=1, classes=2)
