"""A tar of images (.tar, .tar.gz, .tgz), held to the limits of a zip."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from driftloop.errors import InputError
from driftloop.sources.folder import MOST_SOURCE_BYTES, MOST_SOURCE_FILES, Listing, SourceFile, check_room, list_names
from driftloop.sources.tags_file import tags_path
from driftloop.sources.zip_file import MOST_ZIP_RATIO, leads_outside

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_BLOCK = 1 << 20
#: tarfile reads a header in one piece, whatever length the archive claims for it.
_MOST_HEADER = 16 << 20


def list_tar(path: Path, classes: str = "") -> Listing:
    """The images in a tar, for which a compressed one is read to its end.

    Raises:
        InputError: not a tar or cut short, not a layout that `arrange` reads, or an unsafe tar (paths that lead outside, links and
            devices, too many files or bytes).
    """
    with _members(path) as members:
        return list_names({name for name, _, _ in members}, str(path), classes)


def extract_tar(path: Path, files: list[SourceFile], folder: Path) -> None:
    """Unpack the images `files` and the table of their tags into `folder`, and nothing else; of two members of a name the last stays.

    Raises:
        InputError: as `list_tar`, or larger than the room on the disk.
    """
    with _members(path) as members:
        sizes = {name: member.size for name, member, _ in members}
    wanted = {*(file.path for file in files), *filter(None, [tags_path(sizes, files)])}
    check_room(sum(sizes[name] for name in wanted), folder, str(path))
    with _members(path) as members:
        for name, member, archive in members:
            if name in wanted:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with cast(IO[bytes], archive.extractfile(member)) as packed, open(target, "wb") as plain:
                    while block := packed.read(_BLOCK):
                        plain.write(block)


@contextmanager
def _members(path: Path) -> Iterator[Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]]:
    """The files in a tar with their names made plain, each checked before what it holds is read."""
    try:
        with open(path, "rb") as packed:
            compressed = packed.read(2) == b"\x1f\x8b"
            packed.seek(0)
            with gzip.open(packed) if compressed else packed as plain:
                careful = _Careful(cast(IO[bytes], plain))
                with tarfile.open(fileobj=cast(IO[bytes], careful), mode="r:") as archive:
                    yield _checked(path, archive, compressed)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder") from None
    except (tarfile.TarError, zlib.error, EOFError, OSError, UnicodeError) as error:
        raise InputError(f"{path}: not a readable tar file ({error}); pack it anew") from None


def _checked(path: Path, archive: tarfile.TarFile, compressed: bool) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    most = min(MOST_SOURCE_BYTES, max(_BLOCK, MOST_ZIP_RATIO * path.stat().st_size) if compressed else MOST_SOURCE_BYTES)
    count = size = 0
    while member := archive.next():
        # tarfile would keep every header that it has seen.
        archive.members = []  # type: ignore[attr-defined]
        count, size = count + 1, size + member.size
        if count > MOST_SOURCE_FILES:
            raise InputError(f"{path}: unsafe tar: more than {MOST_SOURCE_FILES:,} files are not read")
        if size > most:
            limit = f"{MOST_ZIP_RATIO} times its size" if most < MOST_SOURCE_BYTES else f"{MOST_SOURCE_BYTES >> 30} GiB"
            raise InputError(f"{path}: unsafe tar: unpacks to more than {limit}")
        problem = _problem(member)
        if problem:
            raise InputError(f"{path}: unsafe tar: {member.name!r} {problem}; pack it anew from a plain folder")
        if member.isreg():
            yield PurePosixPath(member.name).as_posix(), member, archive


def _problem(member: tarfile.TarInfo) -> str:
    if leads_outside(member.name):
        return "leads outside of the folder"
    if member.issym() or member.islnk():
        return "is a link"
    if member.issparse() or not (member.isreg() or member.isdir()):
        return "is no plain file"
    return ""


class _Careful(io.RawIOBase):
    """A file that is never asked for more at once than a header takes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream

    def read(self, size: int = -1) -> bytes:
        if size > _MOST_HEADER or size < 0:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.stream.read(size)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        return self.stream.seek(position, whence)

    def tell(self) -> int:
        return self.stream.tell()
