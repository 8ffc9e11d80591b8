"""What differs between two versions."""

from typing import Any

from driftloop import registry
from driftloop.store import Store


def differences(store: Store, one: str, other: str) -> dict[str, tuple[Any, Any]]:
    """The entries that differ, by dotted name, each with the value in `one` and in `other` (None: it has no such entry).

    Raises:
        NotFound: one of the versions does not exist.
    """
    left, right = _entries(store, one), _entries(store, other)
    names = [*left, *(name for name in right if name not in left)]
    return {name: (left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)}


def _entries(store: Store, version: str) -> dict[str, Any]:
    """A version's description and files as flat names and values; metrics as the line that a person reads."""
    info = registry.version_info(store, version)
    model = registry.description(store, version)
    entries: dict[str, Any] = {"run": info.run, "registered_at": info.registered_at, "decision": info.decision, "bytes": info.bytes}
    for name, value in model.model_dump(exclude={"metrics"}).items():
        entries |= _flat(name, value)
    entries |= {f"metrics.{name}": str(metric) for name, metric in model.metrics.items()}
    return entries | {f"files.{name}": digest[:12] for name, digest in info.files.items()}


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(f"{name}.{key}", inner)
    return flat
