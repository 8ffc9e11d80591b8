"""Whatever people have as images becomes the same square of bytes; what is no image says so."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftloop.contracts import IMAGE_FORMATS
from driftloop.dataset import UnreadableImage, decode_image, decoding


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gradient(width: int = 60, height: int = 40) -> np.ndarray:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def test_a_grey_image_stays_grey_and_keeps_its_size_on_record() -> None:
    decoded = decode_image(encoded(Image.fromarray(gradient())), 16)
    assert decoded.pixels.shape == (16, 16)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.width, decoded.height) == (60, 40)


def test_resizing_averages_instead_of_picking() -> None:
    checkerboard = ((np.indices((64, 64)).sum(0) % 2) * 255).astype(np.uint8)
    pixels = decode_image(encoded(Image.fromarray(checkerboard)), 16).pixels
    assert np.abs(pixels.astype(int) - 127).max() < 20


def test_a_grey_image_stored_in_colour_is_grey_also_as_jpeg() -> None:
    colour = Image.fromarray(np.repeat(gradient()[..., None], 3, axis=-1))
    assert decode_image(encoded(colour), 16).pixels.ndim == 2
    assert decode_image(encoded(colour, "JPEG"), 16).pixels.ndim == 2


def test_a_coloured_image_keeps_its_colours() -> None:
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 200
    assert decode_image(encoded(Image.fromarray(red)), 16).pixels[8, 8].tolist() == [200, 0, 0]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I"])
def test_every_mode_gives_the_same_picture(mode: str) -> None:
    grey = gradient()
    if mode in ("I;16", "I"):
        image = Image.fromarray(grey.astype(np.uint16) * 257)
        image = image if mode == "I;16" else image.convert("I")
    elif mode == "1":
        grey = (grey > 127).astype(np.uint8) * 255
        image = Image.fromarray(grey).convert("1")
    elif mode == "CMYK":
        image = Image.fromarray(np.repeat(grey[..., None], 3, axis=-1)).convert("CMYK")
    else:
        image = Image.fromarray(grey).convert(mode)
    data = encoded(image, "TIFF" if mode in ("CMYK", "I") else "PNG")
    expected = decode_image(encoded(Image.fromarray(grey)), 16).pixels.astype(int)
    assert np.abs(decode_image(data, 16).pixels.astype(int) - expected).max() <= 2


def test_twelve_bit_radiographs_in_sixteen_bit_files_are_not_black() -> None:
    deep = (gradient().astype(np.uint16) * 16).clip(0, 4095)
    pixels = decode_image(encoded(Image.fromarray(deep)), 16).pixels
    assert pixels.max() > 220


@pytest.mark.parametrize(
    ("highest", "full"), [(1, 1), (2, 255), (255, 255), (256, 4095), (4095, 4095), (4096, 65535), (65535, 65535), (70_000, 65535)]
)
def test_the_range_of_a_deep_image_is_that_of_its_highest_level(highest: int, full: int) -> None:
    """Also where only a hot pixel has it, for which there is no other sign than the audit's note."""
    levels = np.zeros((20, 20), np.int32)
    levels[3, 3] = highest
    decoded = decode_image(encoded(Image.fromarray(levels), "TIFF"), 20)
    assert (decoded.full, decoded.negative) == (full, False)
    assert decoded.pixels[3, 3] == min(255, round(highest * 255 / full))


def test_by_the_range_of_a_dataset_images_of_one_device_keep_how_bright_they_are_to_each_other_and_what_is_above_is_cut() -> None:
    dim, bright = np.full((20, 20), 3000, np.uint16), np.full((20, 20), 6000, np.uint16)
    assert [decode_image(encoded(Image.fromarray(levels)), 16).pixels.max() for levels in (dim, bright)] == [187, 23]
    read = [decode_image(encoded(Image.fromarray(levels)), 16, deep_range=65535) for levels in (dim, bright)]
    assert [(decoded.pixels.max(), decoded.full, decoded.scaled) for decoded in read] == [(12, 4095, 65535), (23, 65535, 65535)]
    cut = decode_image(encoded(Image.fromarray(bright)), 16, deep_range=4095)
    assert (cut.pixels.min(), cut.full, cut.scaled) == (255, 65535, 4095)
    eight_bits = encoded(Image.fromarray(gradient()))
    assert np.array_equal(decode_image(eight_bits, 20, deep_range=4095).pixels, decode_image(eight_bits, 20).pixels)
    assert decode_image(eight_bits, 20, deep_range=4095).scaled == 0


def test_an_image_without_any_number_needs_no_range() -> None:
    assert decode_image(encoded(Image.fromarray(np.full((20, 20), np.nan, np.float32)), "TIFF"), 16).full == 1


def test_levels_below_zero_become_zero_and_are_told() -> None:
    levels = np.linspace(-1000, 3000, 400).reshape(20, 20).astype(np.int32)
    decoded = decode_image(encoded(Image.fromarray(levels), "TIFF"), 20)
    assert decoded.negative
    assert ((decoded.pixels == 0) == (levels < 8)).all()
    eight_bits = decode_image(encoded(Image.fromarray(gradient())), 20)
    assert (eight_bits.full, eight_bits.negative) == (0, False)


def test_how_bright_a_sixteen_bit_image_is_survives() -> None:
    dim, bright = np.full((20, 20), 20_000, np.uint16), np.full((20, 20), 60_000, np.uint16)
    assert decode_image(encoded(Image.fromarray(dim)), 16).pixels.mean() == pytest.approx(20_000 / 257, abs=1)
    assert decode_image(encoded(Image.fromarray(bright)), 16).pixels.mean() == pytest.approx(60_000 / 257, abs=1)


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (61, 40), (50, 50)])
@pytest.mark.parametrize("colour", [False, True])
def test_what_is_no_square_is_pressed_cut_or_padded(width: int, height: int, colour: bool) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(100, 256, (9, 9, 3), np.uint8)).resize((width, height))
    picture = picture if colour else picture.convert("L")
    levels, data, short = np.asarray(picture), encoded(picture), min(width, height)
    whole = decode_image(data, 20).pixels
    top, left = (height - short) // 2, (width - short) // 2
    middle = Image.fromarray(levels[top : top + short, left : left + short]).resize((20, 20), Image.Resampling.BILINEAR)
    cut = decode_image(data, 20, "crop").pixels
    assert np.array_equal(cut, np.asarray(middle))
    padded = decode_image(data, 20, "pad").pixels
    shown = padded[~(padded.reshape(20, 20, -1) == 0).all((1, 2))][:, ~(padded.reshape(20, 20, -1) == 0).all((0, 2))]
    assert shown.shape[:2] == (round(20 * height / max(width, height)), round(20 * width / max(width, height)))
    expected = picture.resize(shown.shape[1::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(shown, np.asarray(expected))
    assert np.array_equal(cut, whole) == np.array_equal(padded, whole) == (width == height)
    with pytest.raises(ValueError, match=r"^resize mode 'fill'"):
        decode_image(encoded(Image.fromarray(gradient())), 20, "fill")


def test_transparency_lies_over_black() -> None:
    clear = np.full((20, 20, 4), 255, np.uint8)
    clear[:10, :, 3] = 0
    pixels = decode_image(encoded(Image.fromarray(clear)), 16).pixels
    assert pixels[0, 0] == 0
    assert pixels[-1, 0] == 255


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_image(encoded(Image.fromarray(gradient()), kind, exif=exif), 16)
    assert (turned.width, turned.height) == (40, 60)
    assert turned.pixels[0].std() < 10, "the gradient runs down now"
    assert turned.pixels[:, 0].std() > 50


def test_large_jpegs_are_read_at_a_smaller_scale_with_the_same_result() -> None:
    rng = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8)).resize((1200, 1200), Image.Resampling.BICUBIC))
    from_jpeg = decode_image(encoded(Image.fromarray(smooth), "JPEG", quality=95), 32).pixels.astype(int)
    from_png = decode_image(encoded(Image.fromarray(smooth)), 32).pixels.astype(int)
    assert np.abs(from_jpeg - from_png).max() <= 4


@pytest.mark.parametrize("kind", IMAGE_FORMATS)
def test_every_format_is_read(kind: str) -> None:
    assert decode_image(encoded(Image.fromarray(gradient()), kind), 16).pixels.std() > 50


def test_a_format_more_is_a_line_in_the_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMAGE_FORMATS, "GIF", (".gif",))
    assert decode_image(encoded(Image.fromarray(gradient()), "GIF"), 16).pixels.std() > 50


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image"),
        (b"this is text", "not an image"),
        (encoded(Image.fromarray(gradient()), "JPEG")[:400], "damaged"),
        (encoded(Image.fromarray(gradient()))[:-30], "damaged"),
        (encoded(Image.fromarray(gradient()), "GIF"), "not an image"),
        (encoded(Image.fromarray(gradient()), "EPS"), "not an image"),
    ],
    ids=["empty", "text", "cut JPEG", "cut PNG", "GIF", "PostScript"],
)
def test_what_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        decode_image(data, 16)


def test_a_decompression_bomb_is_refused_before_it_unpacks_by_the_limit_in_force() -> None:
    data = encoded(Image.fromarray(gradient()))
    assert decode_image(data, 16, most_pixels=2400).width == 60
    with pytest.raises(UnreadableImage, match="too large: 60 x 40 pixels, at most 2,399 are read"):
        decode_image(data, 16, most_pixels=2399)
    with pytest.raises(UnreadableImage, match="too large: 10000 x 9000 pixels, at most 80,000,000 are read"):
        decode_image(encoded(Image.new("1", (10_000, 9_000))), 16)
    bomb = encoded(Image.new("1", (30_000, 30_000)))  # which Pillow refuses first
    with pytest.raises(UnreadableImage, match="too large: more than 5,000 pixels"):
        decode_image(bomb, 16, most_pixels=5000)


_RNG = np.random.default_rng(0)
_COLOURS = _RNG.integers(0, 256, (43, 61, 4), np.uint8)
_BROKEN_FLOATS = _RNG.normal(0, 1, (43, 61)).astype(np.float32)
_BROKEN_FLOATS[[0, 1, 2], 0] = np.nan, np.inf, -np.inf


@pytest.mark.parametrize(
    "levels",
    [
        _RNG.integers(0, 4096, (43, 61), np.uint16),
        _RNG.integers(0, 65536, (43, 61), np.uint16),
        _RNG.integers(-5000, 70000, (43, 61), np.int32),
        _BROKEN_FLOATS,
        np.full((43, 61), np.nan, np.float32),
        np.where(_RNG.random((1, 2000)) < 0.001, 4096, 4000).astype(np.uint16),
    ],
    ids=["12 bits", "16 bits", "32 bits", "floats", "nothing", "one row"],
)
@pytest.mark.parametrize("tile", [7, 100, 1 << 18])
def test_a_deep_image_read_in_strips_is_the_one_read_as_a_whole(levels: np.ndarray, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    highest = max([0, *levels[~np.isnan(levels)]])
    full = 1 if highest <= 1 else 4095 if highest <= 4095 else 65535
    with np.errstate(over="ignore"):
        whole = np.clip(np.nan_to_num(levels.astype(np.float64)) * (255.0 / full) + 0.5, 0, 255).astype(np.uint8)
    expected = decode_image(encoded(Image.fromarray(whole)), 16)
    monkeypatch.setattr(decoding, "TILE_PIXELS", tile)
    decoded = decode_image(encoded(Image.fromarray(levels), "TIFF"), 16)
    assert np.array_equal(decoded.pixels, expected.pixels)


@pytest.mark.parametrize(
    "image",
    [Image.fromarray(part) for part in (_COLOURS, _COLOURS[..., :2], _COLOURS[:1], _COLOURS[:, :1])],
    ids=["RGBA", "LA", "one row", "one column"],
)
@pytest.mark.parametrize("tile", [7, 100, 1 << 18])
def test_a_transparent_image_read_in_strips_is_the_one_read_as_a_whole(
    image: Image.Image, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    expected = decode_image(encoded(Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")), 16)
    monkeypatch.setattr(decoding, "TILE_PIXELS", tile)
    assert np.array_equal(decode_image(encoded(image), 16).pixels, expected.pixels)


@pytest.mark.parametrize(("mode", "most"), [("I;16", 100), ("F", 100), ("RGBA", 100), ("P", 100), ("RGB", 60)])
def test_decoding_takes_little_more_memory_than_the_image(mode: str, most: int, tmp_path: Path) -> None:
    """MB of 8 million pixels. As a whole they took 214 (16 bits), 283 (floats), 152 (transparent) and 91 (colour)."""
    script = """
import sys
from pathlib import Path
from driftloop.dataset import decode_image
from driftloop.step_facts import resources_used

small, large = (Path(path).read_bytes() for path in sys.argv[1:])
decode_image(small, 64)
before = resources_used()["peak_mb"]
decode_image(large, 64)
print(resources_used()["peak_mb"] - before)
"""
    paths = []
    for size in ((40, 20), (4000, 2000)):
        image = Image.new("RGBA" if mode == "P" else mode, size).convert(mode)
        paths.append(tmp_path / f"{size[0]}.img")
        transparency = {"transparency": 0} if mode == "P" else {}
        paths[-1].write_bytes(encoded(image, "TIFF" if mode == "F" else "PNG", **transparency))
    done = subprocess.run([sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < most


def test_random_damage_never_raises_anything_else() -> None:
    rng = np.random.default_rng(0)
    for kind in IMAGE_FORMATS:
        data = encoded(Image.fromarray(gradient()), kind)
        for _ in range(40):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 8):
                damaged[place] = rng.integers(256)
            with contextlib.suppress(UnreadableImage):
                decode_image(bytes(damaged), 16)
