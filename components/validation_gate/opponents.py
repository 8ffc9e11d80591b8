"""Whom the candidate has to face: the champion, the best earlier one, and the drifted images that the champion was accepted for."""

from dataclasses import dataclass
from pathlib import Path

from components.validation_gate.history import best_earlier, count_uses, gated_versions, split_identity, standing
from driftloop import registry
from driftloop.bundle import SUMS, read_model
from driftloop.dataset import description as descriptions
from driftloop.dataset.description import Description
from driftloop.inference.window import read_window
from driftloop.registry.refusals import refusals
from driftloop.store import Store

DRIFTED_SPLIT = "drifted_gate"


@dataclass(frozen=True)
class Opponents:
    """Bundles on disk; a directory is None where there is no such model.

    `version` is the champion's in the registry, None where it is not registered. `accepted` is the dataset
    whose drifted hold-out the champion was accepted for, if there is one. `earlier_uses` counts the gates on this test split so far.
    """

    champion: Path | None
    version: str | None
    earlier: Path | None
    earlier_version: str
    accepted: Description | None
    earlier_uses: int


def find_opponents(store: Store, dataset: Description, champion: str | None, window: str | None, scratch: Path) -> Opponents:
    """Look in the dataset's home store, and fetch what is needed into `scratch`.

    Args:
        store: the dataset's home.
        dataset: the candidate's.
        champion: the champion's bundle, as the step was given it; None takes the one the store names.
        window: the window that the retraining answers to, with the records of earlier watches; or None.
        scratch: a directory that outlives the comparison.
    """
    current = registry.current(store)
    seen = read_window(window) if window else None
    if champion is not None:
        directory: Path | None = Path(champion)
        version = seen.info.champion_version if seen else registered_version(store, Path(champion))
    else:
        version = current.version if current else None
        directory = fetch(store, version, scratch / "champion") if version else None
    gated, test_split = gated_versions(store), split_identity(dataset)
    earlier = best_earlier(gated, standing(current), version, test_split) if directory else None
    return Opponents(
        champion=directory,
        version=version,
        earlier=fetch(store, earlier.version, scratch / "earlier") if earlier else None,
        earlier_version=earlier.version if earlier else "",
        accepted=accepted_drift(store, directory) if directory else None,
        earlier_uses=count_uses(gated, refusals(store), seen.records if seen else [], test_split),
    )


def registered_version(store: Store, bundle_dir: Path) -> str | None:
    """The registered version with the same files as the bundle, if any."""
    sums = (bundle_dir / SUMS).read_bytes() if (bundle_dir / SUMS).exists() else b""
    return next((info.version for info in registry.versions(store) if store.read(f"versions/{info.version}/{SUMS}") == sums), None)


def fetch(store: Store, version: str, directory: Path) -> Path:
    """A version's bundle, downloaded and verified."""
    registry.download(store, version, directory)
    return directory


def accepted_drift(store: Store, champion: Path) -> Description | None:
    """The champion's dataset, if it holds drifted images that the champion was accepted for.

    A model trained anew from the original source never saw the drift that its champion was retrained for; it must not take it away.
    """
    key = f"datasets/{read_model(champion).dataset}/{descriptions.NAME}"
    if not store.exists(key):
        return None
    accepted = Description.model_validate_json(store.read(key)).model_copy(update={"store": store.uri})
    return accepted if accepted.counts.get(DRIFTED_SPLIT) else None
