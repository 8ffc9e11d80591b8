"""From what a user typed to a checked source, its content hash, and a folder to read."""

import contextlib
import difflib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from driftloop.bundle import sha256_file
from driftloop.errors import InputError
from driftloop.sources import s3
from driftloop.sources.archives import SUFFIXES, extract_archive, is_archive, list_archive
from driftloop.sources.built_in import BUILT_IN_NAMES, check_built_in, hash_built_in, is_built_in, write_built_in
from driftloop.sources.elpv import ELPV_NAMES, hash_elpv, is_elpv, link_elpv, list_cells
from driftloop.sources.folder import Listing, SourceFile, hash_folder, list_folder
from driftloop.sources.kaggle import KAGGLE, check_kaggle, fetch_kaggle, is_kaggle
from driftloop.sources.tags_file import with_tags
from driftloop.store import ObjectInfo

_S3 = "s3://"
#: Sources that are named, not found.
_NAMES = (*BUILT_IN_NAMES, *ELPV_NAMES)


@dataclass(frozen=True)
class Opened:
    """A source as local files."""

    root: Path
    files: list[SourceFile]
    """By path, each below `root`."""
    unread: dict[str, int] = field(default_factory=dict)
    """Files of images that are not read, by their ending."""
    remote: str = ""
    """Where files that are not below `root` yet are fetched from; "" where all are there."""
    objects: Mapping[str, ObjectInfo] = field(default_factory=dict)
    """What is there, by path."""

    def fetch(self) -> None:
        """Download all of them that are still there.

        Raises:
            InputError: they are too many, or too large.
        """
        if self.remote:
            s3.check_fetchable(self.remote, self.root, self.objects.values())
            s3.fetch_files(self.remote, self.root, list(self.objects))


def check_source(source: str, classes: str = "") -> str:
    """Say at once what is wrong with a source; the source with its path made absolute. Reads names, not images.

    Args:
        source: what a user typed.
        classes: those that file names tell, as `DataSettings.classes`.

    Raises:
        InputError: missing, empty, without classes, or otherwise unusable; one line, with the cure.
        StoreError: S3 cannot be reached.
    """
    source = source.strip()
    if not source:
        raise InputError(f"the source is empty; give a folder, a zip, s3://bucket/folder, kaggle:owner/name, or one of {', '.join(_NAMES)}")
    if is_built_in(source):
        return check_built_in(source)
    if is_elpv(source):
        list_cells(source)
        return source
    if is_kaggle(source):
        return check_kaggle(source)
    if source.startswith(_S3):
        if not is_archive(source):
            s3.list_remote(source, classes)
        return source
    path = _local(source)
    _check_local(path, classes)
    return str(path.absolute())


def resolve(source: str, classes: str = "") -> str:
    """Check a source and hash its content: the cache key of data_analysis.

    Folders, zips, tars and what Kaggle gives are hashed by every byte, S3 by its listing (see `hash_remote`), built-in sources by name
    and version.

    Args:
        source, classes: as `check_source` has them.

    Raises:
        InputError, StoreError: as `check_source`.
    """
    source = source.strip()
    if source.startswith(_S3):
        # A listing takes minutes where there are millions of objects: it is checked and hashed at once.
        return s3.hash_remote(source, classes)
    source = check_source(source, classes)
    if is_built_in(source):
        return hash_built_in(source)
    if is_elpv(source):
        return hash_elpv(source)
    path = fetch_kaggle(source) if is_kaggle(source) else Path(source)
    return sha256_file(path) if path.is_file() else hash_folder(path, with_tags(path, list_folder(path, classes).files))


def is_folder(source: str) -> bool:
    """Whether a checked source is a folder, here or on S3, whose files can be read one by one by whoever has their names."""
    if source.startswith(_S3):
        return not is_archive(source)
    return not (is_built_in(source) or is_elpv(source) or is_kaggle(source)) and Path(source).is_dir()


@contextlib.contextmanager
def opened(source: str, *, seed: int, classes: str = "", workers: int = 0, fetched: bool = True) -> Iterator[Opened]:
    """The source as a local folder: a user's own and Kaggle's in place, anything else in a temporary one that goes afterwards.

    Args:
        source: a folder, a zip or tar, `s3://...`, `kaggle:...`, or a built-in source.
        seed: of synthetic images that name none themselves.
        classes: those that file names tell, as `DataSettings.classes`.
        workers: processes that write synthetic images; 0 takes one per core.
        fetched: whether the files of a folder on S3 are there at once, not when `Opened.fetch` is called.

    Raises:
        InputError, StoreError: as `check_source`.
    """
    source = source.strip()
    if source.startswith(_S3) and not is_archive(source):
        with tempfile.TemporaryDirectory(prefix="driftloop-source-") as name:
            listing, objects = s3.list_folder_of(source, Path(name), classes)
            local = replace(_opened(Path(name), listing), remote=source, objects=objects)
            if fetched:
                local.fetch()
            yield local
        return
    source = check_source(source, classes)
    named = is_built_in(source) or is_elpv(source)
    place = fetch_kaggle(source) if is_kaggle(source) else Path(source)
    if not named and not source.startswith(_S3) and place.is_dir():
        yield _opened(place, list_folder(place, classes))
        return
    with tempfile.TemporaryDirectory(prefix="driftloop-source-") as name:
        folder = Path(name)
        if named:
            root = link_elpv(source, folder) if is_elpv(source) else write_built_in(source, folder, seed, workers)
            yield Opened(root, list_folder(root, classes).files)
        else:
            archive = s3.fetch_archive(source, folder) if source.startswith(_S3) else Path(source)
            listing = list_archive(archive, classes)
            (folder / "images").mkdir()
            extract_archive(archive, listing.files, folder / "images")
            yield _opened(folder / "images", listing)


def _opened(root: Path, listing: Listing) -> Opened:
    return Opened(root, with_tags(root, listing.files), listing.unread)


def _local(source: str) -> Path:
    """The path of a local source, as it was typed, for messages; a name that is not a path but nearly a built-in source gets a hint."""
    path = Path(source.removeprefix("file://")).expanduser()
    if not path.exists():
        near = difflib.get_close_matches(source.partition("?")[0], (*_NAMES, KAGGLE), n=1, cutoff=0.7)
        raise InputError(f"{source}: no such file or folder" + (f" (did you mean {near[0]}?)" if near else ""))
    return path


def _check_local(path: Path, classes: str) -> None:
    if path.is_dir():
        with_tags(path, list_folder(path, classes).files)
        return
    if not is_archive(path.name):
        raise InputError(f"{path}: neither a folder nor a {', '.join(SUFFIXES)}; give the folder that holds the class folders")
    list_archive(path, classes)
