"""training: from labelled images to a serving champion."""

from driftloop.settings import TrainingParameters
from pipelines.signature import pipeline
from pipelines.stages import training_report_stage, training_stage


@pipeline("training", "Train, optimise and export an image classifier; the gate decides whether it becomes the champion.")
def training(parameters: TrainingParameters) -> None:
    training_report_stage(parameters, training_stage(parameters, replayed=False))
