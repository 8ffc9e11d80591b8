"""The models among a run's deliverables: the champion that serves after it, the candidate that does not, and a manifest of all files.

    champion/       the version that serves, as it is in the store, checked against its SHA256SUMS
    candidate/      what this run made last, where that is not the champion: refused, on hold, or not judged yet
    manifest.json   which versions these are, and the SHA-256 of every file
    model.onnx ...  the names of the course: copies of the champion's files

The store is asked who serves, not the artifacts: these hold what the run made, which the gate may have refused.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from driftloop import bundle, registry
from driftloop.backends.run_folder import CHAMPION_FILES, RunFolder
from driftloop.errors import DriftloopError
from driftloop.step_facts import write_json
from driftloop.store import Store

MANIFEST = "manifest.json"
CHAMPION, CANDIDATE = "champion", "candidate"
#: Of the form of `manifest.json`.
SCHEMA_VERSION = 1
#: The newest exported candidate of a run: KFP counts the tasks of a component up.
CANDIDATES = "*/onnx-deployment*/candidate"


def deliver_models(folder: RunFolder, open_home: Callable[[], Store], after: str | None) -> str:
    """Put the models into `deliverables/`, and the manifest beside them.

    Args:
        folder: of a run that has ended, its other deliverables collected.
        open_home: opens the run's store on this machine.
        after: the version that serves after the run, where the run says so; None takes the one that the store names.

    Returns:
        Why the champion could not be delivered, one line; empty where it was, or where nothing serves.
    """
    missing = ""
    version: registry.VersionInfo | None = None
    home: Store | None = None
    try:
        home = open_home()
        home.check()
        version = _deliver_champion(folder, home, after)
    except DriftloopError as error:
        shutil.rmtree(folder.deliverables / CHAMPION, ignore_errors=True)
        home, missing = None, f"the champion was not delivered: {error}"
    candidate = _deliver_candidate(folder, home, version)
    content = {
        "schema_version": SCHEMA_VERSION,
        "champion": _described(version) if version else None,
        "candidate": candidate,
        "note": missing or None,
        "files": _digests(folder.deliverables),
    }
    write_json(folder.deliverables / MANIFEST, content)
    return missing


def _deliver_champion(folder: RunFolder, home: Store, after: str | None) -> registry.VersionInfo | None:
    """Fetch the champion, and copy the files that the course knows; None where nothing serves."""
    if after is None:
        champion = registry.current(home)
        if champion is None:
            return None
        after = champion.version
    version = registry.version_info(home, after)
    directory = folder.deliverables / CHAMPION
    registry.download(home, after, directory)
    for name in CHAMPION_FILES:
        if name in version.files:
            shutil.copyfile(directory / name, folder.deliverables / name)
    return version


def _deliver_candidate(folder: RunFolder, home: Store | None, champion: registry.VersionInfo | None) -> dict[str, Any] | None:
    """Copy the run's last candidate, unless it is the champion; what the manifest says of it."""
    made = sorted(folder.artifacts.glob(CANDIDATES), key=lambda path: (len(path.parent.name), path.parent.name))
    digest = bundle.digest_of(made[-1]) if made else ""
    if not digest or (champion is not None and champion.candidate == digest):
        return None
    directory = folder.deliverables / CANDIDATE
    shutil.copytree(made[-1], directory, ignore=lambda path, names: [name for name in names if Path(path, name).is_dir()])
    registered = [info for info in registry.versions(home) if info.candidate == digest] if home else []
    return {"version": registered[-1].version if registered else None, "candidate": digest}


def _described(version: registry.VersionInfo) -> dict[str, Any]:
    return {"version": version.version, "served": version.served, "candidate": version.candidate, "serves": version.serves}


def _digests(directory: Path) -> dict[str, str]:
    """SHA-256 by path below the directory, without the manifest's own."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / MANIFEST)
    return {path.relative_to(directory).as_posix(): bundle.sha256_file(path) for path in files}
