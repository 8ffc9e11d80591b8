"""Which archives are sources, and their two kinds behind one name each."""

from pathlib import Path

from driftloop.sources.folder import Listing, SourceFile
from driftloop.sources.tar_file import TAR_SUFFIXES, extract_tar, list_tar
from driftloop.sources.zip_file import extract_zip, list_zip

SUFFIXES = (".zip", *TAR_SUFFIXES)


def is_archive(name: str) -> bool:
    """Whether a path or address names an archive."""
    return name.lower().endswith(SUFFIXES)


def list_archive(path: Path, classes: str = "") -> Listing:
    """The images in it; see `list_zip` and `list_tar` for what is refused."""
    return list_zip(path, classes) if path.suffix.lower() == ".zip" else list_tar(path, classes)


def extract_archive(path: Path, files: list[SourceFile], folder: Path) -> None:
    """Unpack `files` and the table of their tags into `folder`; see `extract_zip` and `extract_tar`."""
    if path.suffix.lower() == ".zip":
        extract_zip(path, files, folder)
    else:
        extract_tar(path, files, folder)
