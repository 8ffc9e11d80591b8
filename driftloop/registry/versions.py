"""`versions/<n>/`: bundles that were registered, each written once and never changed.

A number is claimed by creating `registration.json`, which two writers cannot both do; the files follow, and `SHA256SUMS` comes last: it
is the mark that the version is complete. A registration that dies on the way leaves a number that nobody reads and nobody uses again.
"""

import hashlib
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from driftloop import bundle
from driftloop.contracts import GATE_EVIDENCE, STRETCH
from driftloop.errors import Conflict, InputError, IntegrityError, NotFound
from driftloop.evaluation.intervals import Proportion
from driftloop.prune_marks import take_up
from driftloop.registry.gate_evidence import read_evidence
from driftloop.schema import parse_json, parse_stored
from driftloop.store import Store

PREFIX = "versions/"
#: A version's first file: who registered it, and when.
CLAIM = "registration.json"


#: What of model.json changes an answer; all else in it is how the model came to be.
SERVING_FIELDS = {"classes", "image_size", "channels", "resize", "deep_range", "mean", "std", "temperature"}


class VersionInfo(BaseModel):
    """A complete version: what it is, where it comes from, and what it was accepted on."""

    model_config = ConfigDict(frozen=True)

    version: str
    """its number"""
    registered_at: str
    """ISO 8601, UTC"""
    run: str
    """name of the run that registered it"""
    dataset: str
    """manifest hash of the dataset it was trained on"""
    parent: str | None
    """version it was fine-tuned from"""
    architecture: str
    """as in its `model.json`"""
    served: str
    """ONNX file that users get"""
    accuracy: Proportion | None
    """the served graph's on the clean test split where it is known, else the trained model's"""
    drifted_accuracy: Proportion | None
    """on the labelled images that the gate held out of the drift that it was retrained for; None where it was for none"""
    p95_ms: float | None
    """of single-image requests, as the gate timed them, in milliseconds; None where it timed none"""
    decision: str | None
    """the gate's"""
    candidate: str
    """digest of the bundle that the gate judged, before `gate.json` was added to it"""
    digest: str
    """digest of the version's own SHA256SUMS"""
    serves: str
    """digest of what users get, by `digest_of_what_serves`"""
    bytes: int
    """size of all files"""
    served_bytes: int
    """size of the ONNX file that users get"""
    files: dict[str, str]
    """SHA-256 of each file by its name"""


def register(store: Store, bundle_dir: str | Path, evidence_dir: str | Path, *, run: str = "") -> str:
    """Put a candidate's bundle, together with the gate's evidence on it, into the store as a new version.

    The one place where a candidate is checked on its way from the gate to the store: what gets in is, byte for byte, what the evidence
    is about. Registering the same content again gives the version it has already, so that a step that was killed can be repeated.

    Args:
        store: the model's home.
        bundle_dir: the sealed candidate.
        evidence_dir: where the gate left `gate.json`, and perhaps a MODEL_CARD.md.
        run: the name of the run that registers, for the lineage.

    Returns:
        The version: "1", "2", ...

    Raises:
        InputError: no bundle or no `gate.json` there, or one about another candidate.
        IntegrityError: the bundle does not match its SHA256SUMS.
        Conflict: a prune is deleting its dataset.
    """
    bundle_dir, evidence_dir = Path(bundle_dir), Path(evidence_dir)
    model = bundle.read_model(bundle_dir)
    judged = read_evidence(evidence_dir).candidate
    checksums = bundle.verify(bundle_dir)
    if checksums.digest != judged:
        raise InputError(
            f"{bundle_dir}: the gate judged another candidate ({judged[:12]}, this is {checksums.digest[:12]}); run the gate again"
        )
    added = {name: evidence_dir / name for name in (GATE_EVIDENCE, bundle.CARD) if (evidence_dir / name).exists()}
    files = {name: bundle_dir / name for name in checksums.files} | added
    sums = bundle.write_checksums(checksums.files | {name: bundle.sha256_file(path) for name, path in added.items()})
    registered = _find(store, sums)
    if registered is not None:
        return registered
    version = _claim(store, run)
    take_up(store, "dataset", model.dataset)
    for name, path in sorted(files.items()):
        store.upload(_key(version, name), path)
    store.create(_key(version, bundle.SUMS), sums)
    return version


def versions(store: Store) -> list[VersionInfo]:
    """The complete versions, oldest first."""
    return [version_info(store, version) for version in complete_versions(store)]


def version_info(store: Store, version: str) -> VersionInfo:
    """What is known of one version.

    Raises:
        NotFound: there is no such complete version.
        IntegrityError: one of the files that tell it is damaged.
    """
    checksums = _checksums(store, version, _sums(store, version))
    model = description(store, version)
    claim = _json(store, version, CLAIM)
    gate = _json(store, version, GATE_EVIDENCE) if GATE_EVIDENCE in checksums.files else {}
    sizes = {name: info.size for info in store.list(_key(version, "")) if (name := info.key.rpartition("/")[2]) in checksums.files}
    return VersionInfo(
        version=version,
        registered_at=str(claim.get("registered_at", "")),
        run=str(claim.get("run", "")),
        dataset=model.dataset,
        parent=model.parent,
        architecture=model.architecture,
        served=model.served,
        accuracy=model.metrics.get("served_accuracy") or model.metrics.get("test_accuracy"),
        drifted_accuracy=gate.get("accuracy", {}).get("candidate_drifted"),
        p95_ms=(gate.get("latency") or {}).get("candidate_p95_ms"),
        decision=gate.get("decision"),
        candidate=gate.get("candidate") or checksums.digest,
        digest=checksums.digest,
        serves=digest_of_what_serves(model, checksums.files),
        bytes=sum(sizes.values()),
        served_bytes=sizes.get(model.served, 0),
        files=checksums.files,
    )


def registered_at(store: Store, version: str) -> datetime:
    """When a version was registered, also one that was pruned."""
    claim = _json(store, version, CLAIM)
    try:
        return datetime.fromisoformat(claim["registered_at"])
    except (KeyError, TypeError, ValueError):
        raise IntegrityError(f"{store.uri}/{_key(version, CLAIM)}: does not say when; restore it from a backup") from None


def digest_of_what_serves(model: bundle.ModelDescription, files: dict[str, str]) -> str:
    """A digest of what users get, and of nothing else: two trainings that took different times and made the same model share it.

    The reference is left out: it decides what a watch says, and the answers to users are the same under another one.

    Args:
        model: the bundle's `model.json`.
        files: SHA-256 of each of its files by name; of the served graph, or of the weights before there is one.
    """
    graph = files.get(model.served) or files.get(bundle.WEIGHTS, "")
    content = {"graph": graph} | model.model_dump(include=SERVING_FIELDS)
    # Models of earlier releases have no mode and no range, and are stretched ones of 8 bits: they keep their digest.
    if model.resize == STRETCH:
        del content["resize"]
    if not model.deep_range:
        del content["deep_range"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def description(store: Store, version: str) -> bundle.ModelDescription:
    """A version's `model.json`."""
    key = _key(version, bundle.DESCRIPTION)
    return parse_stored(bundle.ModelDescription, store.read(key), f"{store.uri}/{key}")


def evidence_by_version(store: Store) -> dict[str, dict[str, Any]]:
    """Each version's gate.json, oldest version first; also of versions that were pruned, of which it stays."""
    judged = [str(number) for number, names in sorted(_numbers(store).items()) if GATE_EVIDENCE in names]
    return {version: _json(store, version, GATE_EVIDENCE) for version in judged}


def claimed_versions(store: Store) -> list[str]:
    """Every version that was ever claimed, also those that were never completed, in the order of their numbers."""
    return [str(number) for number, names in sorted(_numbers(store).items()) if CLAIM in names]


def complete_versions(store: Store) -> list[str]:
    """The versions that carry their mark, in the order of their numbers."""
    return [str(number) for number, names in sorted(_numbers(store).items()) if bundle.SUMS in names]


def check_files(store: Store, info: VersionInfo) -> None:
    """See that a version has all of its files, which is no promise that their bytes are right: `download` reads them.

    Raises:
        IntegrityError: some are missing.
    """
    missing = info.files.keys() - {entry.key.rpartition("/")[2] for entry in store.list(_key(info.version, ""))}
    if missing:
        raise IntegrityError(f"{store.uri}: version {info.version} lacks {', '.join(sorted(missing))}; restore it from a backup")


def same_content(store: Store, version: str, other: str) -> bool:
    """Whether two complete versions hold the same files."""
    return _sums(store, version) == _sums(store, other)


def content_digest(store: Store, version: str) -> str:
    """The digest of a version's SHA256SUMS, which tells versions of the same number in two stores apart.

    Raises:
        NotFound: there is no such complete version.
        IntegrityError: the file is damaged.
    """
    return _checksums(store, version, _sums(store, version)).digest


def download(store: Store, version: str, directory: str | Path) -> None:
    """Fetch a version's files into `directory` and check them; SHA256SUMS comes last, so a fetch that was cut off never verifies.

    Raises:
        NotFound: there is no such complete version.
        IntegrityError: a file does not match its checksum.
    """
    sums = _sums(store, version)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name in _checksums(store, version, sums).files:
        store.download(_key(version, name), directory / name)
    (directory / bundle.SUMS).write_bytes(sums)
    bundle.verify(directory)


def _claim(store: Store, run: str) -> str:
    """A number that was never used, not even by a registration that died: creating the claim decides between racing writers."""
    number = max(_numbers(store), default=0) + 1
    claim = {"registered_at": datetime.now(UTC).isoformat(timespec="seconds"), "run": run, "nonce": secrets.token_hex()}
    while True:
        try:
            store.create(_key(str(number), CLAIM), json.dumps(claim, indent=1).encode())
        except Conflict:
            number += 1
            continue
        return str(number)


def _find(store: Store, sums: bytes) -> str | None:
    return next((version for version in complete_versions(store) if _sums(store, version) == sums), None)


def _numbers(store: Store) -> dict[int, set[str]]:
    """Every number that was ever claimed, with the names of its files."""
    numbers: dict[int, set[str]] = {}
    for info in store.list(PREFIX):
        number, _, name = info.key.removeprefix(PREFIX).partition("/")
        if number.isascii() and number.isdigit():
            numbers.setdefault(int(number), set()).add(name)
    return numbers


def _checksums(store: Store, version: str, sums: bytes) -> bundle.Checksums:
    return bundle.read_checksums(sums, f"{store.uri}/{_key(version, bundle.SUMS)}")


def _sums(store: Store, version: str) -> bytes:
    if not (version.isascii() and version.isdigit()):
        raise InputError(f"{version!r}: not a version; versions are the numbers that `driftloop models list` shows")
    try:
        return store.read(_key(version, bundle.SUMS))
    except NotFound:
        raise NotFound(f"{store.uri}: no complete version {version}; see `driftloop models list --store {store.uri}`") from None


def _json(store: Store, version: str, name: str) -> dict[str, Any]:
    key = _key(version, name)
    return parse_json(store.read(key), f"{store.uri}/{key}")


def _key(version: str, name: str) -> str:
    return f"{PREFIX}{version}/{name}"
