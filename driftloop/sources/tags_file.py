"""`tags.csv` beside a source's images: which site, device, ... each of them comes from.

A line an image: `file` (its path below the folder of tags.csv), and a column for each tag, by its name. An image without a line, or an
empty cell, has no such tag.
"""

import csv
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from driftloop.errors import InputError
from driftloop.sources.folder import SourceFile
from driftloop.spelling import composed
from driftloop.tags import tag_problem, tags_problem, tags_text

TAGS_FILE, FILE_COLUMN = "tags.csv", "file"
#: More is no table of tags.
MOST_TAGS_BYTES = 512 << 20


def tags_path(names: Iterable[str], files: Sequence[SourceFile]) -> str:
    """Which of the relative paths `names` is the table of `files`; "" where none is."""
    there = set(names)
    return next((path for path in _places(files) if path in there), "")


def with_tags(root: Path, files: list[SourceFile]) -> list[SourceFile]:
    """The files with what tags.csv below `root` says of them; as they are where there is none.

    Raises:
        InputError: it cannot be read, names a file that is not there or one twice, or has too many or unusable tags.
    """
    place = next((place for place in _places(files) if (root / place).is_file()), "")
    if not place:
        return files
    tags, below = _read(root / place), place.removesuffix(TAGS_FILE)
    known = {composed(file.path.removeprefix(below)) for file in files}
    for name in tags:
        if name not in known:
            raise InputError(f"{root / place}: {name} is not one of the images beside it; give their paths below its folder, with slashes")
    return [replace(file, tags=tags.get(composed(file.path.removeprefix(below)), "")) for file in files]


def _places(files: Sequence[SourceFile]) -> list[str]:
    """Where the table may lie: in a folder that all of the files share, the outermost first."""
    shared = PurePosixPath(posixpath.commonpath([posixpath.dirname(file.path) for file in files]))
    return [(folder / TAGS_FILE).as_posix() for folder in reversed([shared, *shared.parents])]


def _read(path: Path) -> dict[str, str]:
    """The stored form of the tags by file."""
    if path.stat().st_size > MOST_TAGS_BYTES:
        raise InputError(f"{path}: larger than {MOST_TAGS_BYTES >> 20} MiB; give one line an image")
    tags: dict[str, dict[str, str]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream, strict=True)
            header = list(rows.fieldnames or [])
            if FILE_COLUMN not in header or len(header) < 2 or len(set(header)) < len(header):
                raise InputError(
                    f"{path}: the first line must name the columns: {FILE_COLUMN}, and one for each tag, as in file,site,device"
                )
            for row in rows:
                if None in row or None in row.values():
                    raise InputError(f"{path}: line {rows.line_num} has not the {len(header)} columns of the first line")
                name = composed(row.pop(FILE_COLUMN))
                if name in tags:
                    raise InputError(f"{path}: line {rows.line_num} names {name} a second time; leave one of them")
                tags[name] = {tag: composed(value.strip()) for tag, value in row.items() if value.strip()}
                problem = next(filter(None, (tag_problem(*tag) for tag in tags[name].items())), "")
                if problem:
                    raise InputError(f"{path}: line {rows.line_num}: {problem}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table in CSV and UTF-8 ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; make it readable or remove it") from None
    problem = tags_problem(tags.values())
    if problem:
        raise InputError(f"{path}: {problem}")
    return {name: tags_text(of_file) for name, of_file in tags.items()}
