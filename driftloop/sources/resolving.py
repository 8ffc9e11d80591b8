"""From what a user typed to a checked source, its content hash, and a folder to read."""

import contextlib
import difflib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from driftloop.dataset.npy_files import file_sha256
from driftloop.errors import InputError
from driftloop.sources import s3
from driftloop.sources.built_in import BUILT_IN_NAMES, check_built_in, hash_built_in, is_built_in, write_built_in
from driftloop.sources.folder import SourceFile, hash_folder, list_folder
from driftloop.sources.zip_file import extract_zip, list_zip

_S3 = "s3://"


@dataclass(frozen=True)
class Opened:
    """A source as local files."""

    root: Path
    files: list[SourceFile]
    """By path, each below `root`."""


def check_source(source: str) -> str:
    """Say at once what is wrong with a source; the source with its path made absolute. Reads names, not images.

    Raises:
        InputError: missing, empty, without classes, or otherwise unusable; one line, with the cure.
        StoreError: S3 cannot be reached.
    """
    source = source.strip()
    if not source:
        raise InputError(f"the source is empty; give a folder, a zip, s3://bucket/folder, or one of {', '.join(BUILT_IN_NAMES)}")
    if is_built_in(source):
        return check_built_in(source)
    if source.startswith(_S3):
        if not s3.is_zip(source):
            s3.list_remote(source)
        return source
    path = _local(source)
    _list_local(path)
    return str(path.absolute())


def resolve(source: str) -> str:
    """Check a source and hash its content: the cache key of data_analysis.

    Folders and zips are hashed by every byte, S3 by its listing (see `hash_remote`), built-in sources by name and version.

    Raises:
        InputError, StoreError: as `check_source`.
    """
    source = check_source(source)
    if is_built_in(source):
        return hash_built_in(source)
    if source.startswith(_S3):
        return s3.hash_remote(source)
    path = Path(source)
    return file_sha256(path) if path.is_file() else hash_folder(path, list_folder(path))


@contextlib.contextmanager
def opened(source: str, *, seed: int, workers: int = 0) -> Iterator[Opened]:
    """The source as a local folder: a user's own in place, anything else in a temporary one that goes afterwards.

    Args:
        source: a folder, a zip, `s3://...`, or a built-in source.
        seed: of synthetic images that name none themselves.
        workers: processes that write synthetic images; 0 takes one per core.

    Raises:
        InputError, StoreError: as `check_source`.
    """
    source = check_source(source)
    if not is_built_in(source) and not source.startswith(_S3) and Path(source).is_dir():
        yield Opened(Path(source), list_folder(Path(source)))
        return
    with tempfile.TemporaryDirectory(prefix="driftloop-source-") as name:
        folder = Path(name)
        if is_built_in(source):
            root = write_built_in(source, folder, seed, workers)
            yield Opened(root, list_folder(root))
        elif source.startswith(_S3) and not s3.is_zip(source):
            yield Opened(folder, s3.fetch_folder(source, folder))
        else:
            archive = s3.fetch_zip(source, folder / "source.zip") if source.startswith(_S3) else Path(source)
            files = list_zip(archive)
            (folder / "images").mkdir()
            extract_zip(archive, files, folder / "images")
            yield Opened(folder / "images", files)


def _local(source: str) -> Path:
    """The path of a local source, as it was typed, for messages; a name that is not a path but nearly a built-in source gets a hint."""
    path = Path(source.removeprefix("file://")).expanduser()
    if not path.exists():
        near = difflib.get_close_matches(source.partition("?")[0], BUILT_IN_NAMES, n=1, cutoff=0.7)
        raise InputError(f"{source}: no such file or folder" + (f" (did you mean {near[0]}?)" if near else ""))
    return path


def _list_local(path: Path) -> list[SourceFile]:
    if path.is_dir():
        return list_folder(path)
    if path.suffix.lower() != ".zip":
        raise InputError(f"{path}: neither a folder nor a .zip; give the folder that holds the class folders")
    return list_zip(path)
