"""A folder of images: which of its files are images of which class and split.

That is read from the names alone, so that a zip need not be unpacked, nor an S3 folder fetched, to know it.
"""

import errno
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from driftloop.bundle import sha256_file
from driftloop.contracts import IMAGE_FORMATS, IMAGE_SUFFIXES, SPLITS, TEST, TRAIN, UNREAD_SUFFIXES, VAL
from driftloop.errors import InputError
from driftloop.plurals import counted
from driftloop.sources.class_names import Tells, class_words, leading_words
from driftloop.spelling import composed

#: Five splits are cut, and each needs two images of every class.
MIN_CLASS_IMAGES = 2 * len(SPLITS)
#: What is fetched or unpacked before it is read: more is a mistake, or an attack.
MOST_SOURCE_FILES = 2_000_000
MOST_SOURCE_BYTES = 200 << 30
#: What is listed, to be read by parts.
MOST_LISTED_FILES = 200_000_000
#: Folders that hold a split, by the names that people give them.
_SPLIT_FOLDERS = {"training": TRAIN, "valid": VAL, "validation": VAL, "testing": TEST} | {split: split for split in SPLITS}
#: The layout is looked for in so many levels of folders.
_WRAPPING_LEVELS = 4


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An image file."""

    path: str
    """Below the source's root."""
    label: str
    """Its class's name, in one spelling (`spelling.composed`) whichever its folder's is."""
    split: str
    """The split that the source puts it in, "" for none."""
    tags: str = ""
    """What tags.csv says of it, as `driftloop.tags` stores it."""


@dataclass(frozen=True)
class Listing:
    """What a source has, by the names of its files."""

    files: list[SourceFile]
    """Its images, by path."""
    unread: dict[str, int]
    """Files of images that are not read, by their ending."""


def list_names(paths: Iterable[str], source: str, classes: str = "") -> Listing:
    """What files of these names are to a source; see `arrange` for the arguments and for what is refused."""
    names = list(paths)
    unread = Counter(PurePosixPath(name).suffix.lower() for name in names if _is_unread(name))
    try:
        return Listing(arrange(names, source, classes), dict(unread.most_common()))
    except InputError as error:
        raise InputError("; ".join([str(error), *unread_note(unread)]).removesuffix(".")) from None


def unread_note(unread: Mapping[str, int]) -> list[str]:
    """A sentence on files of images that are not read, by their ending; none where there are none."""
    count = sum(unread.values())
    if not count:
        return []
    files = counted(count, "image file was", "image files were")
    endings = ", ".join(f"{suffix} {of_suffix:,}" for suffix, of_suffix in unread.items())
    return [f"{files} passed over ({endings}): only {', '.join(IMAGE_FORMATS)} are read; convert those that should count."]


def arrange(paths: Iterable[str], source: str, classes: str = "") -> list[SourceFile]:
    """The images among `paths`, by path.

    Taken are `<split>/<class>/...` (`contracts.SPLITS`; also valid, validation, training, testing, in any case) and
    `<class>/...`, also inside wrapping folders such as a zip's. Hidden files, `__MACOSX` and folders beside the splits are passed over.

    Args:
        paths: relative, with slashes.
        source: for messages.
        classes: those that file names tell, as `DataSettings.classes`; a name without one counts by its folder, and images that have
            no class folder are taken too.

    Raises:
        InputError: no class folders, one class only, no training images, a class that training lacks, or one with too few images; a
            folder that holds sources; the line names the folder to give where one of them looks like it. With `classes`, a file whose
            name tells two of them, or none while its folder is none either.
    """
    images = [PurePosixPath(path) for path in paths if is_image(path)]
    tells = class_words(classes, {part for path in images for part in path.parts[:-1]}) if classes else None
    files = sorted(_unwrap(images, source, tells), key=lambda file: file.path)
    if tells:
        files = [replace(file, label=_told(file, tells, source, classes)) for file in files]
    try:
        check_files(files, source)
    except InputError as error:
        raise InputError(f"{error}{folder_to_give(files, source)}") from None
    return files


def folder_to_give(files: Iterable[SourceFile], source: str) -> str:
    """A clause that names a folder taken for a class that may be the source itself, as it holds several folders of images; "" for none."""
    inner: dict[str, Counter[str]] = {}
    for file in files:
        *folders, _ = file.path.split("/")
        at = next((place for place, name in enumerate(folders[:-1]) if composed(name) == file.label), None)
        if not file.split and at is not None:
            inner.setdefault("/".join(folders[: at + 1]), Counter())[folders[at + 1]] += 1
    for folder, counts in sorted(inner.items()):
        classes = sorted(name for name, count in counts.items() if count >= MIN_CLASS_IMAGES)
        if len(classes) > 1:
            more = ", ..." if len(classes) > 5 else ""
            return f"; if {', '.join(classes[:5])}{more} in {folder} are the classes, give {source}/{folder}"
    return ""


def is_image(path: str) -> bool:
    """Whether a file of that relative path is taken for an image."""
    return path.lower().endswith(IMAGE_SUFFIXES) and not _is_litter(path)


def _is_unread(path: str) -> bool:
    return path.lower().endswith(UNREAD_SUFFIXES) and not path.lower().endswith(IMAGE_SUFFIXES) and not _is_litter(path)


def _is_litter(path: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


def _told(file: SourceFile, tells: Tells, source: str, classes: str) -> str:
    """The class that a file's name tells, else its folder's."""
    found = tells(PurePosixPath(file.path).name) or tells(file.label)
    if len(found) != 1:
        says = f"names {' and '.join(sorted(found))}" if found else "names none of them, nor does its folder"
        raise InputError(f"{source}: data_config.classes={classes}: {file.path} {says}; rename it, or list the classes that names tell")
    return found.pop()


def _unwrap(images: list[PurePosixPath], source: str, tells: Tells | None) -> list[SourceFile]:
    """Read the layout at the first level that has one; images without a class folder count where file names tell the classes."""
    for depth in range(_WRAPPING_LEVELS):
        in_splits = [path for path in images if len(path.parts) > depth + 1 and path.parts[depth].lower() in _SPLIT_FOLDERS]
        split = _below(in_splits, depth + 1, tells)
        if split:
            return [SourceFile(str(path), composed(_folder(path, depth + 1)), _SPLIT_FOLDERS[path.parts[depth].lower()]) for path in split]
        labelled = _below(images, depth, tells)
        folders = {_folder(path, depth) for path in labelled}
        wrapped = len(folders) == 1 and all(len(path.parts) >= depth + 3 for path in labelled)
        if folders and not wrapped:
            if len(folders) > 1 and all(folder.lower() in _SPLIT_FOLDERS for folder in folders):
                raise InputError(
                    f"{source}: {', '.join(sorted(folders))} are splits, not classes: no class folders found in them "
                    f"(expected <split>/<class>/*.jpeg or <class>/*.jpeg){_names_to_list(labelled)}"
                )
            _refuse_sources(labelled, depth, source)
            return [SourceFile(str(path), composed(_folder(path, depth)), "") for path in labelled]
    raise InputError(f"{source}: no class folders found (expected <split>/<class>/*.jpeg or <class>/*.jpeg){_names_to_list(images)}")


def _below(images: list[PurePosixPath], depth: int, tells: Tells | None) -> list[PurePosixPath]:
    """The images in class folders at that level, and those that lie there without one if some of their names tell a class."""
    taken = depth + 1 if tells and any(len(path.parts) == depth + 1 and tells(path.name) for path in images) else depth + 2
    return [path for path in images if len(path.parts) >= taken]


def _folder(path: PurePosixPath, depth: int) -> str:
    """The folder at that level; "" for a file at it."""
    return path.parts[depth] if len(path.parts) > depth + 1 else ""


def _names_to_list(images: list[PurePosixPath]) -> str:
    """A clause on the classes that file names seem to tell; "" where they tell none."""
    words = leading_words([path.name for path in images])
    return f"; if file names tell the classes, list them: data_config.classes={','.join(words)}" if words else ""


def _refuse_sources(images: list[PurePosixPath], depth: int, source: str) -> None:
    """Folders with splits of their own are no classes, but sources."""
    own = sorted({path.parts[depth] for path in images if len(path.parts) >= depth + 4 and path.parts[depth + 1].lower() in _SPLIT_FOLDERS})
    if own:
        folder = PurePosixPath(*images[0].parts[:depth], own[0])
        raise InputError(f"{source}: {folder} has splits of its own, so it is no class but a source; give {source}/{folder}")


def check_files(files: list[SourceFile], source: str) -> None:
    """Refuse files that no classifier can be trained on.

    Raises:
        InputError: one class only, no training images, a class that training lacks, one with too few images, or one whose name is not
            UTF-8, which every answer and report has to hold.
    """
    counts = Counter(file.label for file in files)
    if len(counts) == 1:
        raise InputError(f"{source}: only one class folder with images ('{next(iter(counts))}'); a classifier needs at least two")
    for label in sorted(counts):
        if label != label.encode(errors="replace").decode():
            raise InputError(f"{source}: the name of class folder {label!a} is not UTF-8; rename it")
    splits = {file.split for file in files}
    if not splits & {"", TRAIN}:
        raise InputError(f"{source}: has {' and '.join(sorted(splits))} but no {TRAIN} folder with images; nothing can be trained on it")
    learnable = {file.label for file in files if file.split in ("", TRAIN)}
    for label in sorted(set(counts) - learnable):
        where = next(file.split for file in files if file.label == label)
        raise InputError(f"{source}: class '{label}' is in {where}/ but not in {TRAIN}/; add training images or remove it")
    check_counts(counts, source)


def check_counts(counts: dict[str, int] | Counter[str], source: str) -> None:
    """Refuse a class with too few images to split.

    Raises:
        InputError: fewer than `MIN_CLASS_IMAGES`.
    """
    label, fewest = min(sorted(counts.items()), key=lambda item: item[1])
    if fewest < MIN_CLASS_IMAGES:
        images = "image" if fewest == 1 else "images"
        raise InputError(
            f"{source}: class '{label}' has {fewest} {images}; at least {MIN_CLASS_IMAGES} are needed, two for each of {', '.join(SPLITS)}"
        )


def check_room(needed: int, folder: Path, source: str) -> None:
    """Refuse what the disk of `folder` has no room for.

    Args:
        needed: bytes.
        folder: where they are to be written.
        source: for the message.

    Raises:
        InputError: there is less room.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"{source}: takes {needed >> 20:,} MiB, and {folder} has room for {free >> 20:,}; set TMPDIR to a larger disk")


def list_folder(root: Path, classes: str = "") -> Listing:
    """The images below `root`, which its user may have put together with symbolic links to files and to class folders.

    Raises:
        InputError: no such folder, no permission, an image that is a link to nowhere, or not a layout that `arrange` reads.
    """
    if not root.exists():
        raise InputError(f"{root}: no such file or folder")
    names = []
    ways = {str(root): [root.resolve()]}
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refuse):
        way = ways.pop(folder)
        subfolders[:] = sorted(name for name in subfolders if not _leads_back(Path(folder, name), way))
        ways |= {os.path.join(folder, name): [*way, Path(folder, name).resolve()] for name in subfolders}
        names += [Path(folder, name).relative_to(root).as_posix() for name in files]
    listing = list_names(names, str(root), classes)
    for file in listing.files:
        if not os.path.exists(path := root / file.path):
            raise _unusable(path, os.strerror(errno.ENOENT))
    return listing


def hash_folder(root: Path, files: list[SourceFile]) -> str:
    """Content hash: every image's path, tags and every byte of it, streamed; names and times alone would make a wrong cache key."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(8) as pool:
        for file, content in zip(files, pool.map(lambda file: _hash_or_refuse(root / file.path), files), strict=True):
            digest.update(f"{file.path}\0{content}\n".encode(errors="surrogateescape"))
            if file.tags:
                digest.update(f"{file.path}\0{file.tags}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _hash_or_refuse(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise _unusable(path, error.strerror) from None


def _leads_back(path: Path, way: list[Path]) -> bool:
    """Whether a linked folder is, or contains, one of those on the way to the link: real paths, from the root to the link's folder."""
    if not path.is_symlink():
        return False
    target = path.resolve()
    return any(passed.is_relative_to(target) for passed in way)


def _refuse(error: OSError) -> None:
    raise _unusable(error.filename, error.strerror)


def _unusable(path: Path | str, reason: str | None) -> InputError:
    return InputError(f"{path}: {reason}; make it readable or remove it")
