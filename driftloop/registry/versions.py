"""`versions/<n>/`: bundles that were registered, each written once and never changed.

A number is claimed by creating `registration.json`, which two writers cannot both do; the files follow, and `SHA256SUMS` comes last: it
is the mark that the version is complete. A registration that dies on the way leaves a number that nobody reads and nobody uses again.

`versions/refused/`: the gate's evidence on candidates that a training run offered in vain.

They are no versions, but each has used the test split. (A refused retraining is in its watch's record.)
"""

import hashlib
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from driftloop import bundle
from driftloop.errors import Conflict, InputError, IntegrityError, NotFound
from driftloop.evaluation.intervals import Proportion
from driftloop.store import Store

PREFIX = "versions/"


CLAIM = "registration.json"


GATE = "gate.json"


class VersionInfo(BaseModel):
    """A complete version: what it is, where it comes from, and what it was accepted on.

    `digest` is the SHA-256 of its SHA256SUMS; `candidate` that of the bundle the gate judged, before `gate.json` was added to it;
    `accuracy` the served graph's on the clean test split where it is known, else the trained model's; `bytes` the size of all files.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    registered_at: str
    run: str
    dataset: str
    parent: str | None
    architecture: str
    served: str
    accuracy: Proportion | None
    decision: str | None
    candidate: str
    digest: str
    bytes: int
    files: dict[str, str]


def register(store: Store, bundle_dir: str | Path, evidence_dir: str | Path, *, run: str = "") -> str:
    """Put a candidate's bundle, together with the gate's evidence on it, into the store as a new version.

    Registering the same content again gives the version it has already, so that a step that was killed can be repeated.

    Args:
        store: the model's home.
        bundle_dir: the sealed candidate.
        evidence_dir: where the gate left `gate.json`, and perhaps a MODEL_CARD.md.
        run: the name of the run that registers, for the lineage.

    Returns:
        The version: "1", "2", ...

    Raises:
        InputError: no bundle or no `gate.json` there.
        IntegrityError: the bundle does not match its SHA256SUMS.
    """
    bundle.read_model(bundle_dir)
    bundle.verify(bundle_dir)
    files = _files(Path(bundle_dir), Path(evidence_dir))
    sums = "".join(f"{bundle.sha256_file(path)}  {name}\n" for name, path in sorted(files.items())).encode()
    found = _find(store, sums)
    if found is not None:
        return found
    version = _claim(store, run)
    for name, path in sorted(files.items()):
        store.upload(_key(version, name), path)
    store.create(_key(version, bundle.SUMS), sums)
    return version


def versions(store: Store) -> list[VersionInfo]:
    """The complete versions, oldest first."""
    return [version_info(store, version) for version in _complete(store)]


def version_info(store: Store, version: str) -> VersionInfo:
    """What is known of one version.

    Raises:
        NotFound: there is no such complete version.
    """
    sums = _sums(store, version)
    files = listed(sums, f"{store.uri}/{_key(version, bundle.SUMS)}")
    digest = hashlib.sha256(sums).hexdigest()
    model = description(store, version)
    claim = json.loads(store.read(_key(version, CLAIM)))
    gate = json.loads(store.read(_key(version, GATE))) if GATE in files else {}
    return VersionInfo(
        version=version,
        registered_at=claim["registered_at"],
        run=claim["run"],
        dataset=model.dataset,
        parent=model.parent,
        architecture=model.architecture,
        served=model.served,
        accuracy=model.metrics.get("served_accuracy") or model.metrics.get("test_accuracy"),
        decision=gate.get("decision"),
        candidate=gate.get("candidate") or digest,
        digest=digest,
        bytes=sum(info.size for info in store.list(_key(version, "")) if info.key.rpartition("/")[2] in files),
        files=files,
    )


def gate_evidence(store: Store) -> dict[str, dict[str, Any]]:
    """The gate's evidence by version, oldest first; also of versions that were pruned, of which it stays."""
    found = [str(number) for number, names in sorted(_numbers(store).items()) if GATE in names]
    return {version: json.loads(store.read(_key(version, GATE))) for version in found}


def description(store: Store, version: str) -> bundle.ModelDescription:
    """A version's `model.json`."""
    return bundle.ModelDescription.model_validate_json(store.read(_key(version, bundle.DESCRIPTION)))


def download(store: Store, version: str, directory: str | Path) -> None:
    """Fetch a version's files into `directory` and check them; SHA256SUMS comes last, so a fetch that was cut off never verifies.

    Raises:
        NotFound: there is no such complete version.
        IntegrityError: a file does not match its checksum.
    """
    sums = _sums(store, version)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name in listed(sums, f"{store.uri}/{_key(version, bundle.SUMS)}"):
        store.download(_key(version, name), directory / name)
    (directory / bundle.SUMS).write_bytes(sums)
    bundle.verify(directory)


def listed(sums: bytes, where: str) -> dict[str, str]:
    """The files that a SHA256SUMS lists, with their checksums.

    Raises:
        IntegrityError: a line that is none, or a name that would lead out of the bundle.
    """
    files = {}
    for line in sums.decode(errors="replace").splitlines():
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64 or not name or "/" in name or name.startswith("."):
            raise IntegrityError(f"{where}: not a list of checksums and file names: {line[:80]!r}")
        files[name] = digest
    return files


def same_content(store: Store, one: str, other: str) -> bool:
    """Whether two complete versions hold the same files."""
    return _sums(store, one) == _sums(store, other)


def _files(bundle_dir: Path, evidence_dir: Path) -> dict[str, Path]:
    """The version's files by name: the bundle's own, then what the gate adds."""
    names = listed((bundle_dir / bundle.SUMS).read_bytes(), str(bundle_dir / bundle.SUMS))
    files = {name: bundle_dir / name for name in names}
    if not (evidence_dir / GATE).exists():
        raise InputError(f"{evidence_dir}: no {GATE}; pass the `evidence` output of validation_gate")
    added = {name: evidence_dir / name for name in (GATE, bundle.CARD) if (evidence_dir / name).exists()}
    return files | added


def _claim(store: Store, run: str) -> str:
    """A number that was never used, not even by a registration that died: creating the claim decides between racing writers."""
    number = max(_numbers(store), default=0) + 1
    claim = {"registered_at": datetime.now(UTC).isoformat(timespec="seconds"), "run": run, "nonce": secrets.token_hex(16)}
    while True:
        try:
            store.create(_key(str(number), CLAIM), json.dumps(claim, indent=1).encode())
        except Conflict:
            number += 1
            continue
        return str(number)


def _find(store: Store, sums: bytes) -> str | None:
    return next((version for version in _complete(store) if _sums(store, version) == sums), None)


def _complete(store: Store) -> list[str]:
    """The versions that carry their mark, in the order of their numbers."""
    return [str(number) for number, names in sorted(_numbers(store).items()) if bundle.SUMS in names]


def _numbers(store: Store) -> dict[int, set[str]]:
    """Every number that was ever claimed, with the names of its files."""
    numbers: dict[int, set[str]] = {}
    for info in store.list(PREFIX):
        number, _, name = info.key.removeprefix(PREFIX).partition("/")
        if number.isascii() and number.isdigit():
            numbers.setdefault(int(number), set()).add(name)
    return numbers


def _sums(store: Store, version: str) -> bytes:
    if not (version.isascii() and version.isdigit()):
        raise InputError(f"{version!r}: not a version; versions are the numbers that `driftloop models list` shows")
    try:
        return store.read(_key(version, bundle.SUMS))
    except NotFound:
        raise NotFound(f"{store.uri}: no complete version {version}; see `driftloop models list --store {store.uri}`") from None


def _key(version: str, name: str) -> str:
    return f"{PREFIX}{version}/{name}"


REFUSED = f"{PREFIX}refused/"


def keep_refusal(store: Store, evidence_dir: str | Path) -> None:
    """Keep what the gate said, once: a step that is repeated has the same evidence, and so the same key."""
    evidence = Path(evidence_dir, GATE).read_bytes()
    try:
        store.create(f"{REFUSED}{hashlib.sha256(evidence).hexdigest()[:16]}.json", evidence)
    except Conflict:
        return


def refusals(store: Store) -> list[dict[str, Any]]:
    """The gate.json of each refused candidate."""
    return [json.loads(store.read(info.key)) for info in store.list(REFUSED)]
