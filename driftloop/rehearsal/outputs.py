"""Where a step's outputs lie."""

from pathlib import Path


def outputs(artifacts: Path, component: str, *names: str) -> tuple[str, ...]:
    """Paths of a component's outputs, laid out as KFP's local runner does."""
    (artifacts / component).mkdir(parents=True, exist_ok=True)
    return tuple(str(artifacts / component / name) for name in names)
