"""Which keys a store takes: the same on every backend, so that a store can be copied from a folder to S3 and back."""

from driftloop.errors import StoreError


def checked(key: str) -> str:
    """`key` itself, once it is known to be a plain relative path.

    Names that begin with a dot are refused as well: a local store keeps its lock and its unfinished files under such names.

    Raises:
        StoreError: an absolute key, one with an empty part, or one with a part that begins with a dot (so also `..`).
    """
    parts = key.split("/")
    if any(not part or part.startswith(".") for part in parts) or "\\" in key or "\0" in key:
        raise StoreError(
            f"{key!r}: not a key; keys are relative paths such as versions/1/model.json, with no part empty or beginning with a dot"
        )
    return key


def cannot_follow(prefix: str, after: str) -> bool:
    """Whether no key that starts with `prefix` can be greater than `after`."""
    return after > prefix and not after.startswith(prefix)
