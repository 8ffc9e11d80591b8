"""A link to a version: what a watch hands on in place of the version's bundle, which the store holds already.

A link is a folder with `version.json` and the small files of the bundle, so that who needs only those fetches nothing.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from driftloop import bundle
from driftloop.contracts import CHAPTERS, FACTS, USED
from driftloop.errors import IntegrityError
from driftloop.registry.versions import download
from driftloop.schema import parse_stored
from driftloop.step_facts import write_json
from driftloop.store import Store

LINK = "version.json"
#: What a link holds of the bundle, as far as the bundle has it.
SMALL_FILES = (bundle.SUMS, bundle.DESCRIPTION, bundle.CARD, FACTS, USED, CHAPTERS)


class BundleLink(BaseModel):
    """`version.json`."""

    model_config = ConfigDict(frozen=True)

    version: str
    """number in the registry"""
    digest: str
    """SHA-256 of the version's SHA256SUMS, which names all its files with theirs"""


def write_link(directory: str | Path, version: str, bundle_dir: str | Path) -> None:
    """Write a link to a version into `directory`.

    Args:
        directory: made where it is not there.
        version: its number.
        bundle_dir: the version's bundle, downloaded.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name in SMALL_FILES:
        source = Path(bundle_dir, name)
        if source.exists():
            (directory / name).write_bytes(source.read_bytes())
    write_json(directory / LINK, BundleLink(version=version, digest=bundle.digest_of(bundle_dir)).model_dump())


def linked_bundle(store: Store, directory: str | Path, scratch: str | Path) -> Path:
    """The whole bundle that `directory` links to, fetched into a folder in `scratch` and checked; or `directory`, if it is one itself.

    Raises:
        NotFound: the store has no such version.
        IntegrityError: the link is damaged, a file does not match its checksum, or the version is another one in this store.
    """
    path = Path(directory, LINK)
    if not path.exists():
        return Path(directory)
    link = parse_stored(BundleLink, path.read_bytes(), str(path))
    fetched = Path(scratch, f"version-{link.version}")
    download(store, link.version, fetched)
    if bundle.digest_of(fetched) != link.digest:
        raise IntegrityError(f"{store.uri}: version {link.version} is not the one that was watched; was another store put in its place?")
    return fetched
