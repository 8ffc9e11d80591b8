"""The pipelines, by the name that people type; each is built when it is asked for, which takes KFP a second."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any


class Pipelines(Mapping[str, Any]):
    """Name -> pipeline function."""

    NAMES = ("training", "drift-watch", "full-loop", "ingest")

    def __getitem__(self, name: str) -> Any:
        if name not in self.NAMES:
            raise KeyError(name)
        identifier = name.replace("-", "_")
        return getattr(import_module(f"pipelines.{identifier}"), identifier)

    def __iter__(self) -> Iterator[str]:
        return iter(self.NAMES)

    def __len__(self) -> int:
        return len(self.NAMES)


PIPELINES = Pipelines()
