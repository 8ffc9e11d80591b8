"""From an image file to a square of bytes: the same for training, serving and labels that arrive later."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from driftloop.contracts import CROP, IMAGE_FORMATS, RESIZE_MODES, STRETCH

#: Images with more pixels than this are refused: a few kilobytes can unpack to gigabytes.
MOST_PIXELS = 80_000_000
#: Colour channels of a grey image stored as RGB may differ by this much, from JPEG's rounding.
GREY_TOLERANCE = 8
#: What takes several copies of an image, of up to 8 bytes a level, is done with so many pixels of it at once.
TILE_PIXELS = 1 << 18
#: By one of these the levels of an image of more than 8 bits become 0 to 255: floats in [0, 1], 8, 12 (radiographs) and 16 bits.
DEEP_RANGES = (1, 255, 4095, 65535)
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")


class UnreadableImage(ValueError):
    """A file that is not an image of a format we read; the message says why."""


@dataclass(frozen=True)
class Decoded:
    """A decoded image and the size of its file's picture."""

    pixels: np.ndarray
    """uint8 (side, side) where the image is grey, else (side, side, 3)."""
    width: int
    """Of the file's picture, turned upright, in pixels."""
    height: int
    """Likewise."""
    full: int = 0
    """Of an image of more than 8 bits: the smallest of `DEEP_RANGES` that holds its highest level; else 0."""
    negative: bool = False
    """Whether it has levels below 0, which became 0."""
    scaled: int = 0
    """Of an image of more than 8 bits: the level of its file that became 255, as all above it did; else 0."""


def decode_image(data: bytes, side: int, resize: str = STRETCH, deep_range: int = 0, *, most_pixels: int = MOST_PIXELS) -> Decoded:
    """Decode, turn upright, and resize to `side` x `side` with antialiasing, by one of `contracts.RESIZE_MODES`.

    Takes 16-bit, palette, CMYK and transparent images (over black), applies EXIF orientation, and reads large JPEGs at the scale
    they are needed. Of several frames the first counts.

    Args:
        deep_range: the level that becomes 255 in an image of more than 8 bits, as its dataset has it; 0: the image's own range.
        most_pixels: a picture of more is refused before it unpacks. While it is decoded it takes up to 8 bytes a pixel.

    Raises:
        UnreadableImage: damaged, too large, or not an image of a format we read.
        ValueError: no such mode.
    """
    if resize not in RESIZE_MODES:
        raise ValueError(f"resize mode {resize!r}; known: {', '.join(RESIZE_MODES)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Nothing else is opened: some of Pillow's other readers (PostScript's) start foreign programs or are rarely looked after.
            image = Image.open(io.BytesIO(data), formats=tuple(IMAGE_FORMATS))
            width, height = image.size
            if width * height > most_pixels:
                raise UnreadableImage(f"too large: {width} x {height} pixels, at most {most_pixels:,} are read")
            image.draft(image.mode, (2 * side, 2 * side))
            image.load()  # which turns a TIFF upright
            if image.getexif().get(0x0112, 1) >= 5:
                width, height = height, width
            ImageOps.exif_transpose(image, in_place=True)
            full, negative = _deep_range(image) if image.mode in _DEEP_MODES else (0, False)
            scaled = full and (deep_range or full)
            small = _square(_from_deep(image, scaled) if scaled else _eight_bits(image), side, resize)
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's readers raise whatever their format makes of damaged bytes; none may stop a run.
        raise UnreadableImage(_reason(error, most_pixels)) from None
    return Decoded(_without_needless_colour(np.asarray(small)), width, height, full, negative, scaled)


def _square(image: Image.Image, side: int, resize: str) -> Image.Image:
    """The image at `side` x `side` pixels; a square image is the same by every mode."""
    width, height = image.size
    if resize == STRETCH or width == height:
        return image.resize((side, side), Image.Resampling.BILINEAR)
    if resize == CROP:
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        return image.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.BILINEAR)
    return ImageOps.pad(image, (side, side), Image.Resampling.BILINEAR)


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Decoded pixels as a model of so many channels takes them, (side, side, channels): three equal ones of a grey image in colour.

    Raises:
        UnreadableImage: in colour, where the model takes grey images.
    """
    if pixels.ndim == 3 and channels == 1:
        raise UnreadableImage("in colour; this model was trained on grey images: convert it to grey first")
    return pixels if pixels.ndim == 3 else np.stack([pixels] * channels, axis=-1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """An image of 8 bits as L or RGB; itself where it is one already, as a copy would be of all its pixels."""
    if image.mode == "L":
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        return _over_black(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_black(image: Image.Image) -> Image.Image:
    """A transparent image as RGB."""
    flat = Image.new("RGB", image.size)
    for box, tile in _tiles(image):
        black = Image.new("RGBA", tile.size, (0, 0, 0, 255))
        flat.paste(Image.alpha_composite(black, tile.convert("RGBA")).convert("RGB"), box)
    return flat


def _deep_range(image: Image.Image) -> tuple[int, bool]:
    """The smallest of `DEEP_RANGES` that holds the image's highest level, and whether it has levels below 0.

    It is a format's range and not the image's own, as how bright an image is must survive. But files do not say theirs: the largest in a
    source is that of its dataset, and an audit names the images that need it, as one hot pixel above 4095 is enough. An image without
    any number is black by every range.
    """
    highest, negative = np.nan, False
    for _, tile in _tiles(image):
        levels = np.asarray(tile, np.float64)
        highest = float(np.fmax(highest, np.fmax.reduce(levels, axis=None)))
        negative = negative or bool((levels < 0).any())
    return next((full for full in DEEP_RANGES if not highest > full), DEEP_RANGES[-1]), negative


def _from_deep(image: Image.Image, full: int) -> Image.Image:
    """More than 8 bits to 8: `full` becomes 255, what is above it, too, and what is below 0 or no number becomes 0."""
    levels = np.empty((image.height, image.width), np.uint8)
    for (left, top, right, bottom), tile in _tiles(image):
        deep = np.nan_to_num(np.asarray(tile, np.float64))
        levels[top:bottom, left:right] = np.clip(deep * (255.0 / full) + 0.5, 0, 255)
    return Image.fromarray(levels)


def _tiles(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """The image in strips of rows, cut where one row alone has more than `TILE_PIXELS`, with their places (left, top, right, bottom)."""
    width = min(image.width, TILE_PIXELS)
    height = max(1, TILE_PIXELS // image.width)
    for top in range(0, image.height, height):
        for left in range(0, image.width, width):
            box = (left, top, min(left + width, image.width), min(top + height, image.height))
            yield box, image.crop(box)


def _without_needless_colour(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels
    levels = pixels.astype(np.int16)
    spread = np.maximum(np.abs(levels[..., 0] - levels[..., 1]), np.abs(levels[..., 1] - levels[..., 2]))
    return pixels if spread.max() > GREY_TOLERANCE else np.ascontiguousarray(pixels[..., 1])


def _reason(error: Exception, most_pixels: int) -> str:
    text = str(error).split("\n")[0]
    if "cannot identify" in text:
        return "not an image, or of a format that is not read"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: more than {most_pixels:,} pixels"
    return f"damaged: {text or type(error).__name__}"
