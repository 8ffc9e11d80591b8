"""The pipelines, by the name that people type."""

from typing import Any

from pipelines.drift_watch import drift_watch
from pipelines.full_loop import full_loop
from pipelines.training import training

PIPELINES: dict[str, Any] = {"training": training, "drift-watch": drift_watch, "full-loop": full_loop}
