"""The synthetic sources as files: JPEG in the layout of Kaggle's chest X-ray set, patients in the file names.

chest_xray/{train,val,test,reference,stream}/{NORMAL,PNEUMONIA}/*.jpeg

Most patients have one image, some of the training split two or three; no patient is in two splits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from driftloop.contracts import REFERENCE, STREAM, TEST, TRAIN, VAL
from driftloop.processes import spread
from driftloop.synthetic.drawing import SYNTHETIC_KINDS, draw
from driftloop.synthetic.site import HOME_SITE, SITES

#: Raised whenever the same arguments give other files: part of the sources' content hash.
GENERATOR_VERSION = 1
SPLIT_SIZES = {TRAIN: 1200, VAL: 300, TEST: 1500, REFERENCE: 800, STREAM: 2700}
#: Every split keeps at least so many images, however small the scale.
SMALLEST_SPLIT = 8
#: Share of wrong labels among the training images, as real training sets have them; the other splits are right.
WRONG_LABELS = 0.01
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Visit:
    """One image of a split."""

    patient: int
    """The patient's number, unique across splits."""
    image: int
    """The image's number for this patient."""
    label: int
    """0 or 1."""


@dataclass(frozen=True)
class ImageFile:
    """One file to write."""

    path: Path
    index: int
    """The image's number within the series."""
    subject: int
    """The patient's number."""
    label: int
    """The true class; the folder may name the wrong one."""


def write_kaggle_layout(
    kind: str,
    folder: Path,
    *,
    seed: int,
    scale: float = 1.0,
    site: str = HOME_SITE.name,
    workers: int = 1,
    sizes: dict[str, int] | None = None,
    stream: int | None = None,
) -> Path:
    """Write a whole synthetic source below `folder`; the source's root.

    Args:
        kind: xray or roof.
        folder: where the root (`chest_xray/` or `solar_roofs/`) is made.
        seed: of the series.
        scale: factor on the splits' sizes; every split keeps at least `SMALLEST_SPLIT` images.
        site: a name in `driftloop.synthetic.site.SITES`.
        workers: processes.
        sizes: images by split, instead of `SPLIT_SIZES`.
        stream: images of the stream split, whatever `scale` and `sizes` say. It is written last, so the other splits stay as they are.
    """
    root = folder / SYNTHETIC_KINDS[kind].folder
    counts = {split: max(SMALLEST_SPLIT, round(count * scale)) for split, count in (sizes or SPLIT_SIZES).items()}
    if stream is not None:
        counts[STREAM] = stream
    files = list(_image_files(kind, root, counts, seed))
    for parent in sorted({file.path.parent for file in files}):
        parent.mkdir(parents=True, exist_ok=True)
    for _ in spread(partial(_write, kind, seed, site), files, workers=workers, chunk=64):
        pass
    return root


def schedule(count: int, first_patient: int, *, seed: int, several: bool) -> list[Visit]:
    """`count` visits of patients numbered from `first_patient`, the classes taking turns by patient.

    Args:
        count: images.
        first_patient: number of the first patient.
        seed: of how many images each patient has.
        several: whether a tenth of the patients has two images and a twentieth three.
    """
    rng = np.random.default_rng([seed, first_patient])
    visits: list[Visit] = []
    patient = first_patient
    while len(visits) < count:
        images = int(rng.choice((1, 2, 3), p=(0.85, 0.10, 0.05))) if several else 1
        visits += [Visit(patient, image, patient % 2) for image in range(1, images + 1)]
        patient += 1
    return visits[:count]


def _image_files(kind: str, root: Path, counts: dict[str, int], seed: int) -> Iterator[ImageFile]:
    """Every file of every split, numbered through; no patient is in two splits."""
    patient, index = 1, 0
    for split, count in counts.items():
        wrong = np.random.default_rng([seed, index, 3])
        visits = schedule(count, patient, seed=seed, several=split == TRAIN)
        patient = visits[-1].patient + 1
        for visit in visits:
            filed = 1 - visit.label if split == TRAIN and wrong.random() < WRONG_LABELS else visit.label
            path = root / split / SYNTHETIC_KINDS[kind].classes[filed] / _file_name(kind, visit, index, filed)
            yield ImageFile(path, index, visit.patient, visit.label)
            index += 1


def _file_name(kind: str, visit: Visit, index: int, filed: int) -> str:
    """For X-rays as Kaggle's: IM-0115-0001.jpeg (normal) and person12_bacteria_47.jpeg."""
    if kind != "xray":
        return f"site{visit.patient}_{visit.image}.jpeg"
    if filed == 0:
        return f"IM-{visit.patient:04d}-{visit.image:04d}.jpeg"
    return f"person{visit.patient}_{'bacteria' if visit.patient % 3 else 'virus'}_{index + 1}.jpeg"


def _write(kind: str, seed: int, site: str, file: ImageFile) -> None:
    pixels = draw(kind, seed=seed, index=file.index, label=file.label, subject=file.subject, site=SITES[site])
    Image.fromarray(pixels).save(file.path, "JPEG", quality=JPEG_QUALITY)
