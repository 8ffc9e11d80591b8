"""Links to versions, as production_monitoring hands them on."""

from pathlib import Path

from driftloop import bundle, registry
from driftloop.registry.bundle_link import write_link
from driftloop.store import Store
from tests.factories.candidates import write_gate_evidence


def write_version_link(store: Store, version: str, folder: Path) -> Path:
    """A link to a registered version, in `folder`."""
    registry.download(store, version, folder / f"whole-{version}")
    write_link(folder / f"link-{version}", version, folder / f"whole-{version}")
    return folder / f"link-{version}"


def register_and_link(store: Store, bundle_dir: Path, folder: Path) -> Path:
    """Seal and register a bundle; a link to its version, in `folder`."""
    bundle.seal(bundle_dir)
    evidence = write_gate_evidence(folder / "evidence-of-link", bundle_dir, champion=None, dataset=bundle.read_model(bundle_dir).dataset)
    return write_version_link(store, registry.register(store, bundle_dir, evidence), folder)
