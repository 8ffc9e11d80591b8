"""The trials of a search for TensorBoard and the trackers: each with its values, its curve and what it came to."""

from collections.abc import Iterable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from components.model_optimization.sweep import Trial
from driftloop.contracts import MODEL_OPTIMIZATION
from driftloop.tracking import leave_record
from driftloop.training.curves import EVENTS_FOLDER

#: What trackers show the trials of a run under.
GROUP = f"{MODEL_OPTIMIZATION}_trials"
#: In the folder of the bundle's events, a folder a trial.
TRIALS_FOLDER = "trials"


def leave_trial(store: str, trial: Trial) -> None:
    """Leave a finished trial for the trackers, as steps do; the same trial again leaves nothing more."""
    parameters = {name: f"{value:.6g}" for name, value in trial.values.items()} | {"trial": str(trial.number), "ended": trial.ended}
    curve = [{"epoch": epoch, trial.measure: accuracy} for epoch, accuracy in enumerate(trial.accuracies, 1)]
    facts = parameters | _reached(trial, f"best_{trial.measure}", "latency_ms") | {"history": curve}
    leave_record(store, f"{MODEL_OPTIMIZATION}_trial_{trial.number}", facts, {}, group=GROUP)


def write_trial_events(bundle: str | Path, trials: Iterable[Trial]) -> None:
    """Write each trial's curve and values below `<bundle>/events/`, for TensorBoard's table of hyperparameters."""
    for trial in trials:
        with SummaryWriter(str(Path(bundle, EVENTS_FOLDER, TRIALS_FOLDER, f"{trial.number:04d}"))) as writer:
            for epoch, accuracy in enumerate(trial.accuracies, 1):
                writer.add_scalar(f"trial/{trial.measure}", accuracy, epoch)
            values: dict[str, bool | float | int | str] = {**trial.values, "ended": trial.ended}
            writer.add_hparams(values, _reached(trial, f"trial/best_{trial.measure}", "trial/latency_ms"), run_name=".")


def _reached(trial: Trial, accuracy: str, latency: str) -> dict[str, float]:
    """What is known of a trial, by the names given: one that was over its limit has no accuracy, one without a limit no latency."""
    return {name: value for name, value in ((accuracy, trial.accuracy), (latency, trial.latency_ms)) if value is not None}
