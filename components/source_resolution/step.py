"""Check the source before anything is spent on it, and name its content."""

from driftloop import runtime
from driftloop.sources import resolve


def run(source: str) -> str:
    """The content hash of `source`, 64 hexadecimal digits; equal content, equal hash.

    Raises:
        InputError: missing, unsafe, without class folders, one class only, or a class with too few images; one line, with the cure.
        StoreError: a source in S3 that cannot be reached.
    """
    content_hash = resolve(source)
    runtime.report_metrics(f"{source}: content {content_hash[:12]}")
    return content_hash
