"""A zip of images, which may come from anywhere: nothing in it is trusted."""

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from driftloop.errors import InputError
from driftloop.sources.folder import MOST_SOURCE_BYTES, MOST_SOURCE_FILES, Listing, SourceFile, check_room, list_names
from driftloop.sources.tags_file import tags_path

#: Images hardly compress; what unpacks to so many times its size is an attack or a mistake.
MOST_ZIP_RATIO = 200
_BLOCK = 1 << 20


def list_zip(path: Path, classes: str = "") -> Listing:
    """The images in a zip.

    Raises:
        InputError: not a zip, not a layout that `arrange` reads, or an unsafe zip (paths that lead outside, links, too many files or
            bytes, encryption).
    """
    with _opened(path) as archive:
        members = archive.infolist()
        _check(path, members)
        return list_names((member.filename for member in members if not member.is_dir()), str(path), classes)


def extract_zip(path: Path, files: list[SourceFile], folder: Path) -> None:
    """Unpack the images `files` and the table of their tags into `folder`, and nothing else.

    What is counted is what comes out, not what the zip says.

    Raises:
        InputError: unsafe, damaged, or larger than the room on the disk.
    """
    with _opened(path) as archive:
        _check(path, archive.infolist())
        table = tags_path(archive.namelist(), files)
        wanted = [archive.getinfo(name) for name in [*(file.path for file in files), *filter(None, [table])]]
        check_room(sum(member.file_size for member in wanted), folder, str(path))
        for member in wanted:
            _extract(path, archive, member, folder / member.filename)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: not a readable zip file ({error})") from None


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_SOURCE_FILES:
        raise InputError(f"{path}: unsafe zip: {len(members):,} files, at most {MOST_SOURCE_FILES:,} are read")
    if sum(member.file_size for member in members) > MOST_SOURCE_BYTES:
        raise InputError(f"{path}: unsafe zip: unpacks to more than {MOST_SOURCE_BYTES >> 30} GiB")
    for member in members:
        problem = _problem(member)
        if problem:
            raise InputError(f"{path}: unsafe zip: {member.filename!r} {problem}; pack it anew from a plain folder")


def leads_outside(name: str) -> bool:
    """Whether a member of that name would not be unpacked below the folder."""
    return name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or ".." in PurePosixPath(name).parts


def _problem(member: zipfile.ZipInfo) -> str:
    if leads_outside(member.filename):
        return "leads outside of the folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a symbolic link"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.file_size > _BLOCK and member.file_size > MOST_ZIP_RATIO * max(1, member.compress_size):
        return f"unpacks to more than {MOST_ZIP_RATIO} times its size"
    return ""


def _extract(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    left = member.file_size
    try:
        with archive.open(member) as packed, open(target, "wb") as plain:
            while block := packed.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise InputError(f"{path}: unsafe zip: {member.filename!r} is larger than it says")
                plain.write(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        # A damaged member becomes a broken image, which the audit counts and lists.
        target.write_bytes(b"")
        print(f"{path}: {member.filename}: {error}")
