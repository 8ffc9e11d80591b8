"""A folder of images."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from driftloop.dataset.npy import file_sha256
from driftloop.errors import InputError
from driftloop.sources.layout import SourceFile, arrange


def list_folder(root: Path) -> list[SourceFile]:
    """The images below `root`, which its user may have put together with symbolic links to files and to class folders.

    Raises:
        InputError: no such folder, no permission, or not a layout that `arrange` reads.
    """
    if not root.exists():
        raise InputError(f"{root}: no such file or folder")
    names = []
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not _leads_back(Path(folder, name)))
        names += [Path(folder, name).relative_to(root).as_posix() for name in files]
    return arrange(names, str(root))


def hash_folder(root: Path, files: list[SourceFile]) -> str:
    """Content hash: every image's path and every byte of it, streamed; names and times alone would make a wrong cache key."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(8) as pool:
        for file, content in zip(files, pool.map(lambda file: _hash_or_refuse(root / file.path), files), strict=True):
            digest.update(f"{file.path}\0{content}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _hash_or_refuse(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; make it readable or remove it") from None


def _leads_back(path: Path) -> bool:
    """Whether a linked folder contains the link itself."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: {error.strerror}; make it readable or remove it")
