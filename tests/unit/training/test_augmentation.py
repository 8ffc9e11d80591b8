from dataclasses import replace

import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from driftloop.training.augmentation import Augmentation, cutmix, mix, mixup
from driftloop.training.batches import normalise, to_tensor
from driftloop.training.randaugment import OPERATIONS, draw, randaugment
from tests.factories.datasets import squares_on_noise

NOTHING = Augmentation(rotation=0, scale=0, shift=0, brightness=0, contrast=0, flip=False)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_views_keep_type_shape_and_range(channels: int, dtype: torch.dtype) -> None:
    images = to_tensor(squares_on_noise(12, seed=1, channels=channels)[0]).to(dtype)
    before = images.clone()
    strong = Augmentation(rotation=180, scale=0.5, shift=0.3, brightness=1.0, contrast=0.9, vertical_flip=True, crop=0.9, randaugment=30)
    views = strong(images, generator())
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


def test_a_crop_is_an_upright_box_of_the_image_of_the_shares_and_ratios_of_torchvisions() -> None:
    # Pixels that are their own places let the box be read off its view.
    place = torch.linspace(0, 255, 52)
    images = torch.stack([place.expand(52, 52), place[:, None].expand(52, 52)]).expand(400, -1, -1, -1)
    views = replace(NOTHING, crop=0.6)(images, generator())
    torch.testing.assert_close(views[:, 0], views[:, 0, :1].expand(-1, 52, -1), msg="upright")
    wide, tall = (views[:, 0, 0, 51] - views[:, 0, 0, 0]) / 255, (views[:, 1, 51, 0] - views[:, 1, 0, 0]) / 255
    area, ratio = wide * tall, wide / tall
    assert ((area > 0.4 - 1e-4) & (area < 1 + 1e-4)).all()
    assert ((ratio > 3 / 4 - 1e-4) & (ratio < 4 / 3 + 1e-4)).all()
    assert area.mean() == pytest.approx(0.7, abs=0.03)
    assert views.unique(dim=0).shape == views.shape, "each image has a box of its own"
    edges = views[:, 0, 0, [0, 51]]
    assert (edges[:, 0] < 20).any()
    assert (edges[:, 1] > 235).any()


def test_a_box_shows_what_torchvisions_resized_crop_shows() -> None:
    images = to_tensor(squares_on_noise(6, seed=1)[0]).float()
    side = images.shape[-1]
    top, left, tall, wide = side // 4, side // 8, side // 2, side // 2 + 4
    matrix = [wide / side, 0, (2 * left + wide) / side - 1, 0, tall / side, (2 * top + tall) / side - 1]
    ours = NOTHING.apply(images, torch.tensor([*matrix, 1.0, 0.0])[:, None].expand(-1, 6))
    theirs = v2.functional.resized_crop(images, top, left, tall, wide, [side, side], antialias=False)
    # At its edge theirs repeats the last pixels, ours looks at what lies beside the box.
    torch.testing.assert_close(ours[..., 2:-2, 2:-2], theirs[..., 2:-2, 2:-2], atol=1e-2, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_of_randaugment_is_torchvisions(name: str, channels: int) -> None:
    space = {name: v2.RandAugment._AUGMENTATION_SPACE[name]}
    theirs = type("Single", (v2.RandAugment,), {"_AUGMENTATION_SPACE": space})(1, 9, interpolation=InterpolationMode.BILINEAR)
    images = to_tensor(squares_on_noise(3, seed=1, channels=channels)[0])
    ours = [OPERATIONS[name](images, level).int() for level in (0.3, -0.3)]
    met = set()
    with torch.random.fork_rng():
        for seed in range(12):  # both signs
            torch.manual_seed(seed)
            drawn = theirs(images).int()
            # Their magnitudes are float32: a colour may be rounded the other way.
            same = {number for number, view in enumerate(ours) if (view - drawn).abs().max() <= 1}
            assert same
            met |= same
    assert met == {0, 1}


def test_randaugment_has_torchvisions_operations() -> None:
    assert list(OPERATIONS) == list(v2.RandAugment._AUGMENTATION_SPACE)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_share_an_operation_come_out_as_each_would_alone(channels: int) -> None:
    images, drawn = to_tensor(squares_on_noise(64, seed=1, channels=channels)[0]), draw(64, generator())
    together = randaugment(images, drawn, 20)
    alone = torch.cat([randaugment(images[[row]], drawn[:, [row]], 20) for row in range(64)])
    assert torch.equal(together, alone)
    same = randaugment(images[:1].expand(64, -1, -1, -1), drawn, 20)
    assert len({view.numpy().tobytes() for view in same}) > 30, "each image has its own operations"


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


def test_cutmix_puts_a_box_of_another_image_in_and_its_share_into_the_target() -> None:
    targets = torch.nn.functional.one_hot(torch.arange(40) % 2, 2).float()
    images = targets[:, 1].view(40, 1, 1, 1).expand(40, 3, 12, 20).contiguous()
    cut, shares = cutmix(images, targets, 1.0, generator())
    torch.testing.assert_close(shares.sum(1), torch.ones(40))
    torch.testing.assert_close(cut.mean((1, 2, 3)), shares[:, 1])
    boxes = set()
    for image, original in zip(cut[:, 0], images[:, 0], strict=True):
        rows, columns = (image != original).nonzero(as_tuple=True)
        if len(rows):
            box = slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)
            assert (image[box] != original[box]).all(), "a whole box"
            boxes.add(str(box))
    assert len(boxes) > 8, "each image has its own"


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_the_shares_of_cutmix_are_distributed_as_torchvisions(alpha: float) -> None:
    targets = torch.eye(2000)
    _, mixed = cutmix(torch.zeros(2000, 1, 24, 24), targets, alpha, generator())
    ours = mixed.diagonal()[mixed.diagonal() < 1]
    theirs = v2.CutMix(alpha=alpha, num_classes=2)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        shares = torch.tensor([theirs.make_params([torch.zeros(1, 1, 24, 24)])["lam_adjusted"] for _ in range(2000)])
    at = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    torch.testing.assert_close(ours.quantile(at), shares[shares < 1].quantile(at), atol=0.05, rtol=0)


def test_where_both_are_on_each_image_is_mixed_by_one_of_them() -> None:
    targets = torch.eye(100)
    images = torch.arange(100.0).view(100, 1, 1, 1).expand(100, 1, 16, 16)
    mixed, shares = mix(images, targets, 5.0, 1.0, generator())
    torch.testing.assert_close(mixed.mean((1, 2, 3)), shares @ torch.arange(100.0))
    values = [len(image.unique()) for image in mixed]
    assert 30 < sum(count == 2 for count in values) < 60, "two values: a box"
    only_cut = mix(images, targets, 0.0, 1.0, generator())
    assert all(torch.equal(got, expected) for got, expected in zip(only_cut, cutmix(images, targets, 1.0, generator()), strict=True))
