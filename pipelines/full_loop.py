"""full-loop: training, replayed traffic that drifts, and the watch that answers it."""

from driftloop.settings import TrafficParameters, TrainingParameters, WatchParameters
from pipelines.signature import pipeline
from pipelines.stages import traffic_stage, training_stage, watch_stage


@pipeline(
    "full-loop",
    "The whole loop in one run: train a champion, replay traffic that drifts, watch, retrain, judge and promote.",
    # Its report is read to learn from: the course's detector is shown beside those that decide.
    defaults={"drift_config": {"teaching": True}},
)
def full_loop(training: TrainingParameters, traffic: TrafficParameters, watch: WatchParameters) -> None:
    champion = training_stage(training, replayed=True)
    until = traffic_stage(traffic, champion)
    watch_stage(watch, until)
