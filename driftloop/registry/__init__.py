"""The registry: immutable numbered versions in the store, and the pointer to the one that serves."""

from driftloop.registry.champion import Champion, Change, Hold, current, promote, read_pointer, release, rollback, standing
from driftloop.registry.versions import VersionInfo, content_digest, description, download, register, version_info, versions

__all__ = [
    "Champion",
    "Change",
    "Hold",
    "VersionInfo",
    "content_digest",
    "current",
    "description",
    "download",
    "promote",
    "read_pointer",
    "register",
    "release",
    "rollback",
    "standing",
    "version_info",
    "versions",
]
