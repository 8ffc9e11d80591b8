"""The window's curves for TensorBoard, written without torch or TensorFlow."""

from pathlib import Path

from tensorboard.summary import Writer

from components.production_monitoring.blocks import Block

FOLDER = "events"


def write_events(window: str | Path, points: list[Block], statistic_names: list[str]) -> None:
    """Write scalar curves into `<window>/events`: one step a block, at the block's own time. Nothing without blocks."""
    if not points:
        return
    writer = Writer(str(Path(window, FOLDER)))
    for step, point in enumerate(points):
        for tag, value in _scalars(point, statistic_names).items():
            writer.add_scalar(tag, value, step, wall_time=point.time.timestamp())
    writer.close()


def _scalars(point: Block, statistic_names: list[str]) -> dict[str, float]:
    scalars = {"service/p50_ms": point.p50_ms, "service/p95_ms": point.p95_ms, "model/mean_confidence": point.mean_confidence}
    if point.accuracy is not None:
        scalars["model/accuracy_of_labelled"] = point.accuracy
    scalars |= {f"class_share/{name}": share for name, share in point.class_shares.items()}
    return scalars | {f"statistics/{name}": float(value) for name, value in zip(statistic_names, point.statistics, strict=True)}
