"""From an image file to a square of bytes: the same for training, serving and labels that arrive later."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from driftloop.contracts import CROP, IMAGE_FORMATS, RESIZE_MODES, STRETCH

#: Images with more pixels than this are refused: a few kilobytes can unpack to gigabytes.
MOST_PIXELS = 80_000_000
#: Colour channels of a grey image stored as RGB may differ by this much, from JPEG's rounding.
GREY_TOLERANCE = 8
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


def decode_image(data: bytes, side: int, resize: str = STRETCH) -> Decoded:
    """Decode, turn upright, and resize to `side` x `side` with antialiasing, by one of `contracts.RESIZE_MODES`.

    Takes 16-bit, palette, CMYK and transparent images (over black), applies EXIF orientation, and reads large JPEGs at the scale
    they are needed. Of several frames the first counts.

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
            if width * height > MOST_PIXELS:
                raise UnreadableImage(f"too large: {width} x {height} pixels, at most {MOST_PIXELS:,} are read")
            image.draft(image.mode, (2 * side, 2 * side))
            upright = ImageOps.exif_transpose(image)
            if image.getexif().get(0x0112, 1) >= 5:
                width, height = height, width
            flat = _eight_bits(upright)
            small = _square(flat, side, resize)
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's readers raise whatever their format makes of damaged bytes; none may stop a run.
        raise UnreadableImage(_reason(error)) from None
    return Decoded(_without_needless_colour(np.asarray(small)), width, height)


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
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], channels, axis=-1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image as L or RGB."""
    if image.mode in _DEEP_MODES:
        return _from_deep(np.asarray(image, np.float64))
    if image.mode in ("1", "L"):
        return image.convert("L")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _from_deep(levels: np.ndarray) -> Image.Image:
    """More than 8 bits to 8: floats in [0, 1] as they are; integers by the range of 12 bits when they fit it (radiographs), else of 16.

    The range is the format's, not the image's own: how bright an image is must survive.
    """
    highest = float(np.nanmax(levels))
    full = 1.0 if highest <= 1.0 else 255.0 if highest <= 255.0 else 4095.0 if highest <= 4095.0 else 65535.0
    return Image.fromarray(np.clip(np.nan_to_num(levels) * (255.0 / full) + 0.5, 0, 255).astype(np.uint8))


def _without_needless_colour(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels
    levels = pixels.astype(np.int16)
    spread = np.maximum(np.abs(levels[..., 0] - levels[..., 1]), np.abs(levels[..., 1] - levels[..., 2]))
    return pixels if spread.max() > GREY_TOLERANCE else np.ascontiguousarray(pixels[..., 1])


def _reason(error: Exception) -> str:
    text = str(error).split("\n")[0]
    if "cannot identify" in text:
        return "not an image, or of a format that is not read"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: more than {MOST_PIXELS:,} pixels"
    return f"damaged: {text or type(error).__name__}"
