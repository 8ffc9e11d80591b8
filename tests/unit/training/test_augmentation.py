import pytest
import torch

from driftloop.training.augmentation import Augmentation, mixup
from driftloop.training.batches import normalise, to_tensor
from tests.unit.training.tiny import squares_on_noise

NOTHING = Augmentation(rotation=0, scale=0, shift=0, brightness=0, contrast=0, flip=False)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_views_keep_type_shape_and_range(channels: int, dtype: torch.dtype) -> None:
    images = to_tensor(squares_on_noise(12, seed=1, channels=channels)[0]).to(dtype)
    before = images.clone()
    views = Augmentation(rotation=180, scale=0.5, shift=0.3, brightness=1.0, contrast=0.9, vertical_flip=True)(images, generator())
    assert views.dtype == dtype
    assert views.shape == images.shape
    assert views.min() >= 0
    assert views.max() <= 255
    assert not torch.equal(views, images)
    assert torch.equal(images, before), "the stored images must not change"


def test_the_same_generator_gives_the_same_views_and_another_gives_others() -> None:
    images = to_tensor(squares_on_noise(8, seed=1)[0])
    assert torch.equal(Augmentation()(images, generator(3)), Augmentation()(images, generator(3)))
    assert not torch.equal(Augmentation()(images, generator(3)), Augmentation()(images, generator(4)))


def test_each_image_of_a_batch_gets_its_own_view() -> None:
    image = to_tensor(squares_on_noise(1, seed=1)[0]).expand(6, -1, -1, -1)
    views = Augmentation()(image, generator())
    assert len({view.numpy().tobytes() for view in views}) == 6


def test_no_amounts_leave_the_images_as_they_are() -> None:
    images = to_tensor(squares_on_noise(8, seed=1)[0])
    assert torch.equal(NOTHING(images, generator()), images)


def test_a_flip_is_the_mirror_image() -> None:
    images = to_tensor(squares_on_noise(40, seed=1)[0])
    views = Augmentation(rotation=0, scale=0, shift=0, brightness=0, contrast=0, flip=True)(images, generator())
    same = torch.tensor([torch.equal(view, image) for view, image in zip(views, images, strict=True)])
    mirrored = torch.tensor([torch.equal(view, image.flip(-1)) for view, image in zip(views, images, strict=True)])
    assert (same | mirrored).all()
    assert same.any()
    assert mirrored.any()


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    images = to_tensor(squares_on_noise(30, seed=2)[0]).float()
    views = Augmentation(rotation=180, scale=0, shift=0, brightness=0, contrast=0, flip=False)(images, generator())
    # The mean over a centred disc does not change when an image turns about its centre.
    axis = torch.linspace(-1, 1, images.shape[-1])
    disc = axis[:, None] ** 2 + axis[None] ** 2 < 0.8
    torch.testing.assert_close(views[..., disc].mean(-1), images[..., disc].mean(-1), atol=1.5, rtol=0)


def test_normalised_pixels_are_the_textbook_formula() -> None:
    images = to_tensor(squares_on_noise(4, seed=1, channels=3)[0])
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.1, 0.2, 0.3])
    expected = (images.float() / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    torch.testing.assert_close(normalise(images, mean, std), expected, atol=1e-5, rtol=1e-5)


def test_mixup_blends_images_and_targets_alike() -> None:
    # Images that are their own class number let the blend be read off the pixels.
    targets = torch.nn.functional.one_hot(torch.arange(8) % 2, 2).float()
    images = targets[:, 1].view(8, 1, 1, 1).expand(8, 1, 4, 4).contiguous()
    mixed, blended = mixup(images, targets, 0.4, generator())
    torch.testing.assert_close(blended.sum(1), torch.ones(8))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), blended[:, 1])
    assert (blended[torch.arange(8), torch.arange(8) % 2] >= 0.5 - 1e-6).all(), "an image stays mostly itself"
    assert ((blended > 0.01) & (blended < 0.99)).any()
