"""Check the source before anything is spent on it, and name its content."""

from typing import Any

from driftloop import runtime
from driftloop.settings import DataSettings
from driftloop.sources import resolve


def run(source: str, config: dict[str, Any] | None = None) -> str:
    """The content hash of `source`, 64 hexadecimal digits; equal content, equal hash. See the component for the arguments.

    Raises:
        InputError: missing, unsafe, without class folders, one class only, or a class with too few images; one line, with the cure.
        SettingError: a data setting out of range.
        StoreError: a source in S3 that cannot be reached.
    """
    content_hash = resolve(source, DataSettings.complete(config).classes)
    runtime.report_metrics(f"{source}: content {content_hash[:12]}")
    return content_hash
