"""TensorBoard events of a training: `tensorboard --logdir <model>/events`."""

from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from driftloop.training.fit import EpochRecord

DIRECTORY = "events"


class Events:
    """Losses, accuracies and the learning rate by epoch, in `<bundle>/events/`; a context manager."""

    def __init__(self, bundle: str | Path) -> None:
        self.folder = Path(bundle, DIRECTORY)
        self.writer = SummaryWriter(str(self.folder))

    def epoch(self, record: EpochRecord) -> None:
        """Write one epoch."""
        self.writer.add_scalars("loss", {"train": record.loss, "validation": record.val_loss}, record.epoch)
        self.writer.add_scalars("accuracy", {"train": record.accuracy, "validation": record.val_accuracy}, record.epoch)
        self.writer.add_scalar("learning_rate", record.learning_rate, record.epoch)
        self.writer.add_scalar("images_per_second", record.images_per_second, record.epoch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.writer.close()
