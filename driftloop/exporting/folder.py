"""What every export begins and ends with: a version that was checked, and a folder that appears whole or not at all."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftloop import registry
from driftloop.errors import InputError, NoChampion
from driftloop.inference.served_model import ServedModel
from driftloop.store import Store


@dataclass(frozen=True)
class FetchedVersion:
    """A version's files on this machine, every one of them checked."""

    store: str
    """URI of the store that it comes from."""
    version: str
    """Its number."""
    champion: str
    """Number of the version that serves; the same unless another was asked for."""
    directory: Path
    """Its bundle."""
    model: ServedModel
    """Its served graph, which was loaded, and takes and gives what the bundle says."""

    @property
    def graph(self) -> Path:
        """The file of the served graph."""
        return self.directory / self.model.variant


def fetch(store: Store, version: str, directory: Path) -> FetchedVersion:
    """Fetch a version, or the champion where none is named, into `directory`.

    Raises:
        NoChampion: nobody serves, so there is nothing to export.
        NotFound: no such complete version.
        IntegrityError: a file does not match SHA256SUMS, or onnxruntime cannot load the graph.
        InputError: the version was not exported to ONNX, or its graph has other inputs or outputs than ours.
    """
    champion = registry.current(store)
    if champion is None:
        raise NoChampion(f"{store.uri}: no champion; train one with `driftloop run training --store {store.uri}`")
    version = version or champion.version
    registry.download(store, version, directory)
    return FetchedVersion(store.uri, version, champion.version, directory, ServedModel.open(directory))


def check_output(output: Path) -> None:
    """See that a folder can be written there: before anything is fetched, and so that nothing is written over.

    Raises:
        InputError: something is there already.
    """
    try:
        taken = output.exists() and (not output.is_dir() or any(output.iterdir()))
    except OSError as error:
        raise InputError(f"--output {output}: {error.strerror}") from None
    if taken:
        raise InputError(f"--output {output}: is there already and not empty; name a new folder, or remove it")


@contextmanager
def written_whole(output: Path) -> Iterator[Path]:
    """A folder to write into, which takes the name `output` once the block is through; nothing is left of it where it fails.

    Raises:
        InputError: something is there by then, or the disk does not take it.
    """
    check_output(output)
    output = output.absolute()
    work = output.parent / f".{output.name}.{secrets.token_hex(4)}"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir()
        yield work
        # Takes the place of an empty folder, and of nothing else: two exports to one name leave one of them whole.
        os.rename(work, output)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            check_output(output)
        raise InputError(f"--output {output}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
