"""`elpv`, `elpv:mono`, `elpv:poly`: photographs of solar cells, functional or defective, from an installed package (Deitsch et al. 2019).

The images are under CC-BY-NC-SA-4.0, so they come with no release and no image of driftloop: whoever uses them installs the package.
Their files lie in the order of the modules that the cells were cut from, and cells of one module resemble each other; the package does not
say where a module ends. A block of consecutive files of one type of cell is taken as a group.
"""

import csv
import hashlib
import importlib.util
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from driftloop.bundle import sha256_file
from driftloop.errors import InputError

ELPV = "elpv"
ELPV_NAMES = (ELPV, "elpv:mono", "elpv:poly")
LICENCE = "elpv-dataset by S. Deitsch et al., CC-BY-NC-SA-4.0: not for commercial use; what is made of the images is shared alike"
FUNCTIONAL, DEFECTIVE = "functional", "defective"
#: From this probability of a defect on, which experts gave, a cell counts as defective.
DEFECT = 0.5
#: Consecutive files of a group. Modules have about 60 cells: brightness and contrast jump at every 60th file of the first runs, and at no
#: other step. With 60, only 19 groups of mono would be left for five splits, with 20 it is 55, at the price that cells of one module may
#: come to lie in two splits; bench/README.md has both.
BLOCK = 20


@dataclass(frozen=True)
class Cell:
    """An image of the package."""

    path: Path
    kind: str
    """mono or poly."""
    label: str
    group: int
    """Number of its block, from 0 over both kinds."""


def is_elpv(source: str) -> bool:
    return source == ELPV or source.startswith(f"{ELPV}:")


def list_cells(source: str, block: int = BLOCK) -> list[Cell]:
    """The images of a source in the package's order.

    Raises:
        InputError: no such source, or the package is not installed.
    """
    if source not in ELPV_NAMES:
        raise InputError(f"{source}: no such source (known: {', '.join(ELPV_NAMES)})")
    data = _package(source) / "data"
    with open(data / "labels.csv", encoding="utf-8") as stream:
        rows = [row for row in csv.reader(stream, delimiter=" ", skipinitialspace=True) if row]
    cells, group = [], 0
    for kind, run in groupby(rows, key=lambda row: row[2]):
        for number, (name, probability, _) in enumerate(run):
            group += number > 0 and number % block == 0
            cells.append(Cell(data / name, kind, DEFECTIVE if float(probability) >= DEFECT else FUNCTIONAL, group))
        group += 1
    wanted = source.partition(":")[2]
    return [cell for cell in cells if wanted in ("", cell.kind)]


def hash_elpv(source: str) -> str:
    """Names the content: the source, the package's table, and how it is grouped."""
    content = f"{source} {sha256_file(_package(source) / 'data' / 'labels.csv')} {DEFECT} {BLOCK}"
    return hashlib.sha256(content.encode()).hexdigest()


def link_elpv(source: str, folder: Path) -> Path:
    """Links to the images by class below `folder`, the block in each name; the root to read them from. Says whose images they are."""
    print(f"{source}: {LICENCE}", flush=True)
    for cell in list_cells(source):
        target = folder / ELPV / cell.label / f"site-{cell.group:03d}_{cell.path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(cell.path)
    return folder / ELPV


def _package(source: str) -> Path:
    found = importlib.util.find_spec("elpv_dataset")
    if found is None or found.origin is None:
        raise InputError(
            f"{source}: the package elpv-dataset is not installed here; pip install 'driftloop[elpv]' (91 MB, CC-BY-NC-SA-4.0: not for "
            "commercial use)"
        )
    return Path(found.origin).parent
