"""Sources that need no files: scikit-learn's digits and the synthetic images, written like any user's folder."""

import difflib
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
from PIL import Image

from driftloop.errors import InputError
from driftloop.synthetic import GENERATOR_VERSION, HOME_SITE, SYNTHETIC_KINDS, write_kaggle_layout
from driftloop.synthetic.site import SITES

DIGITS = "digits"
SYNTHETIC = "synthetic:"
BUILT_IN_NAMES = (DIGITS, *(f"{SYNTHETIC}{kind}" for kind in SYNTHETIC_KINDS))
#: Part of the hash, as `GENERATOR_VERSION` is of the synthetic sources'.
_DIGITS_VERSION = 1
SYNTHETIC_OPTIONS = ("scale", "seed", "site", "stream")
#: Stream images that a synthetic source may be asked for: each takes a few milliseconds and a few kilobytes.
MOST_STREAM = 1_000_000


@dataclass(frozen=True)
class Synthetic:
    """`synthetic:<kind>?scale=0.05&seed=3&site=other&stream=8000`, read. Its representation is hashed, so the fields keep their names."""

    kind: str
    """A name in `SYNTHETIC_KINDS`."""
    scale: float = 1.0
    """Factor on the splits' sizes."""
    seed: int | None = None
    """Of the series; None takes the run's."""
    site: str = HOME_SITE.name
    """A name in `SITES`."""
    # Not in the representation: sources that do not name it keep the hash they always had.
    stream: int | None = field(default=None, repr=False)
    """Images of the stream split; None takes the usual number."""


def is_built_in(source: str) -> bool:
    return source == DIGITS or source.startswith(SYNTHETIC)


def parse_synthetic(source: str) -> Synthetic:
    """Read a synthetic source's name and options.

    Raises:
        InputError: an unknown name, option or value, with the nearest known one.
    """
    name, _, query = source.partition("?")
    kind = name.removeprefix(SYNTHETIC)
    if kind not in SYNTHETIC_KINDS:
        raise InputError(f"{source}: no such synthetic source ({_hint(name, BUILT_IN_NAMES)})")
    options = dict(parse_qsl(query, keep_blank_values=True))
    for option in options:
        if option not in SYNTHETIC_OPTIONS:
            raise InputError(f"{source}: no option '{option}' ({_hint(option, SYNTHETIC_OPTIONS)})")
    site = options.get("site", HOME_SITE.name)
    if site not in SITES:
        raise InputError(f"{source}: no site '{site}' ({_hint(site, tuple(SITES))})")
    seed = int(_number(source, options["seed"], "seed", 0, 2**31)) if "seed" in options else None
    stream = int(_number(source, options["stream"], "stream", 8, MOST_STREAM)) if "stream" in options else None
    return Synthetic(kind, _number(source, options.get("scale", "1"), "scale", 0.001, 100), seed, site, stream)


def with_stream(source: str, images: int) -> str:
    """The same source with a stream split of `images` where it is synthetic and names no number itself; any other source as it is.

    The other splits keep their images: the stream is written last.
    """
    if not source.startswith(SYNTHETIC) or parse_synthetic(source).stream is not None:
        return source
    return f"{source}{'&' if '?' in source else '?'}stream={images}"


def check_built_in(source: str) -> str:
    """The source as it is, once its name and options are known to be right.

    Raises:
        InputError: see `parse_synthetic`.
    """
    if source != DIGITS:
        parse_synthetic(source)
    return source


def hash_built_in(source: str) -> str:
    """Names what is written: the source's name and options and its generator's version. The run's seed is a cache key of its own."""
    if source == DIGITS:
        content = f"{source} {_DIGITS_VERSION}"
    else:
        synthetic = parse_synthetic(source)
        content = f"{synthetic} {GENERATOR_VERSION}" + (f" stream={synthetic.stream}" if synthetic.stream is not None else "")
    return hashlib.sha256(content.encode()).hexdigest()


def write_built_in(source: str, folder: Path, seed: int, workers: int = 0) -> Path:
    """Write a built-in source's images below `folder`; the root to read them from."""
    if source == DIGITS:
        return _write_digits(folder / DIGITS)
    synthetic = parse_synthetic(source)
    series = seed if synthetic.seed is None else synthetic.seed
    return write_kaggle_layout(
        synthetic.kind, folder, seed=series, scale=synthetic.scale, site=synthetic.site, workers=workers, stream=synthetic.stream
    )


def write_source(source: str, folder: str | Path, seed: int = 1) -> str:
    """Write the images of a built-in source for people to look at or change; one line that says what is where.

    Args:
        source: digits, synthetic:xray or synthetic:roof, the latter two with options as in `synthetic:xray?scale=0.1&site=other`.
        folder: new or empty.
        seed: of synthetic images.

    Raises:
        InputError: no built-in source, or a folder with something in it.
    """
    folder = Path(folder)
    if not is_built_in(source):
        raise InputError(f"{source}: not a built-in source ({_hint(source, BUILT_IN_NAMES)})")
    check_built_in(source)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: not an empty folder; choose a new one, so that nothing of yours is mixed up")
    root = write_built_in(source, folder, seed)
    count = sum(1 for path in root.rglob("*") if path.is_file())
    return f"{count:,} images in {root}; use them with --source {root}"


def _write_digits(root: Path) -> Path:
    """scikit-learn's 1,797 scanned digits (Alpaydin and Kaynak 1998), 8 x 8 pixels, as PNG files by class."""
    # Imported here: the slim image that resolves sources has no scikit-learn.
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.clip(digits.images * (255 / 16) + 0.5, 0, 255).astype(np.uint8)
    for number in range(10):
        (root / str(number)).mkdir(parents=True, exist_ok=True)
    for index, (image, number) in enumerate(zip(images, digits.target, strict=True)):
        Image.fromarray(image).save(root / str(number) / f"digit_{index:04d}.png")
    return root


def _number(source: str, text: str, option: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    whole = option in ("seed", "stream")
    if not low <= value <= high or (whole and value != int(value)):
        kind = "an integer" if whole else "a number"
        raise InputError(f"{source}: {option}={text} must be {kind} from {low:g} to {high:g}")
    return value


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
