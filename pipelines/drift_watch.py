"""drift-watch: what a schedule runs; it looks at the traffic since the last watch and closes the loop where it must."""

from driftloop.settings import WatchParameters
from pipelines.signature import pipeline
from pipelines.stages import watch_stage


@pipeline("drift-watch", "Watch the champion's traffic; on confirmed and harmful drift retrain, and promote what passes the gate.")
def drift_watch(until: str, parameters: WatchParameters) -> None:
    watch_stage(parameters, until)
