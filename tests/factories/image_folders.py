"""Small image folders for the tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(
    folder: Path, count: int, *, seed: int = 0, suffix: str = ".png", side: int = 24, name: str = "image", mode: str = "L"
) -> list[Path]:
    """`count` different images of smooth noise, of Pillow's `mode`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, *folder.name.encode()])
    paths = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6), np.uint8))
        path = folder / f"{name}{number:03d}{suffix}"
        coarse.resize((side, side), Image.Resampling.BICUBIC).convert(mode).save(path)
        paths.append(path)
    return paths


def write_classes(root: Path, count: int = 12, classes: tuple[str, ...] = ("cat", "dog"), **options: object) -> Path:
    """`root/<class>/*.png`."""
    for seed, label in enumerate(classes):
        write_images(root / label, count, seed=seed + 1, **options)  # type: ignore[arg-type]
    return root


def write_scans(folder: Path) -> Path:
    """80 radiographs of 12 bits."""
    for path in write_classes(folder, 40).rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 8).save(path)
    return folder
