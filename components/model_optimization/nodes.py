"""The training itself on several machines: what the step hands to a TrainJob, and what each process of that job does with it.

Step and processes meet in the store: `datasets/<hash>/checkpoints/<digest>.json` says what is to be done, and `<digest>.pth` beside it is
the checkpoint that any training has. When the job is complete the step goes on from that as it does after a kill.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel

from components.model_optimization.training_plan import TrainingPlan
from driftloop.dataset import Description, write_description
from driftloop.errors import DriftloopError, RunFailed, SettingError
from driftloop.plurals import counted
from driftloop.runtime import available_threads
from driftloop.schema import parse_stored
from driftloop.settings import TrainSettings
from driftloop.store import Store, open_store
from driftloop.training import followers
from driftloop.training.augmentation import Augmentation
from driftloop.training.checkpoint import FileCheckpoint, StoreCheckpoint
from driftloop.training.distributed import Rank
from driftloop.training.loop import EpochRecord
from driftloop.training.pretrained import PACKAGE, Pretrained
from driftloop.training.recipe import Recipe
from driftloop.training.task import Task
from driftloop.training.train_job import KIND, NodeWork, TrainJobs, condition

#: What the names of checkpoints, and with them those of works, look like.
_KEY = re.compile(r"datasets/[0-9a-f]{16,64}/checkpoints/([0-9a-f]{24})\.(json|pth)")


class Work(BaseModel):
    """What every process of the job has to know: the JSON of `<digest>.json`."""

    architecture: str
    recipe: Recipe
    augmentation: Augmentation | None
    mixup: float
    cutmix: float = 0.0
    weights: str
    """Where the network's pretrained ones are; empty for none."""
    settings: TrainSettings
    dataset: Description
    seed: int
    device: Literal["cpu", "cuda"]

    @property
    def plan(self) -> TrainingPlan:
        """What is trained and how."""
        weights = Pretrained(self.weights) if self.weights else None
        return TrainingPlan(self.architecture, self.recipe, self.augmentation, self.mixup, self.cutmix, weights)


@dataclass(frozen=True)
class Nodes:
    """The machines that the training of a step is given to."""

    jobs: TrainJobs
    pod: dict[str, Any]
    """The step's own, which the others are like."""
    processes: int
    """Of each machine."""

    @classmethod
    def asked_for(cls, task: Task, plan: TrainingPlan) -> Self | None:
        """Those of `train_config.nodes`, where that says more than one and there is something to share.

        Raises:
            SettingError: something that does not go with it, or nothing here that gives machines.
        """
        settings = task.settings
        if settings.nodes == 1:
            return None
        others = followers.started()
        processes = others.rank.size if others else 1
        asked, size = f"train_config.nodes={settings.nodes}", settings.nodes * processes
        if settings.epsilon:
            raise SettingError(f"train_config.epsilon does not go with {asked}: the noise is drawn in one process; set nodes=1")
        if settings.batch_size % size:
            raise SettingError(
                f"train_config.batch_size={settings.batch_size} cannot be shared by {size} processes ({asked}): choose a multiple"
            )
        if settings.checkpoints or not task.description.store.startswith("s3://"):
            place = settings.checkpoints or task.description.store
            raise SettingError(f"{asked}: other machines do not see {place}; put the store on S3 and leave train_config.checkpoints empty")
        if plan.pretrained and plan.pretrained.place != PACKAGE and not plan.pretrained.place.startswith("s3://"):
            raise SettingError(
                f"{asked}: other machines do not see {plan.pretrained.place}; upload it and set train_config.weights=s3://..."
            )
        if plan.head_only:
            print(f"{asked} plays no part: only the head of a pretrained network learns, in one pass", flush=True)
            return None
        jobs = TrainJobs()
        return cls(jobs, jobs.own_pod(), processes)

    def train(
        self,
        plan: TrainingPlan,
        task: Task,
        seed: int,
        *,
        checkpoint: StoreCheckpoint | FileCheckpoint,
        progress: Callable[[float, str], None],
    ) -> None:
        """Leave the checkpoint of the finished training in the store. Killed and called again, it goes on with the job that it made.

        Raises:
            RunFailed: the job failed, or is gone.
        """
        assert isinstance(checkpoint, StoreCheckpoint)
        store, key = checkpoint.store, _work_key(checkpoint.key)
        work = Work(
            architecture=plan.architecture,
            recipe=plan.recipe,
            augmentation=plan.augmentation,
            mixup=plan.mixup,
            cutmix=plan.cutmix,
            weights=plan.pretrained.place if plan.pretrained else "",
            settings=task.settings,
            dataset=task.description,
            seed=seed,
            device="cuda" if task.device.type == "cuda" else "cpu",
        )
        store.put(key, work.model_dump_json().encode())
        arguments = ["-m", __name__, store.uri, key]
        job = NodeWork(_job_name(key), task.settings.nodes, self.processes, arguments, task.settings.queue)
        self.jobs.begin(job.manifest(self.pod), begun=lambda there: _will_do(there, store, checkpoint.key))
        self.jobs.wait(job.name, _ProgressOf(checkpoint, plan.recipe.epochs, progress))
        if not store.exists(checkpoint.key):
            raise RunFailed(f"{KIND} {job.name} is complete and left no checkpoint in {store.uri}; run the step again")

    def clear(self, checkpoint: StoreCheckpoint | FileCheckpoint) -> None:
        """The bundle is written: remove the job and what it was told."""
        assert isinstance(checkpoint, StoreCheckpoint)
        key = _work_key(checkpoint.key)
        self.jobs.remove(_job_name(key), wait=False)
        checkpoint.store.delete(key)


def _will_do(job: dict[str, Any], store: Store, checkpoint: str) -> bool:
    """Whether a job that is there leads to the checkpoint: it is under way, or left one."""
    state, _ = condition(job)
    return state != "Failed" and (state != "Complete" or store.exists(checkpoint))


class _ProgressOf:
    """Reports each epoch as its checkpoint appears."""

    def __init__(self, checkpoint: StoreCheckpoint, epochs: int, progress: Callable[[float, str], None]) -> None:
        self._checkpoint, self._epochs, self._progress = checkpoint, epochs, progress
        self._seen: object = None

    def __call__(self) -> None:
        store, key = self._checkpoint.store, self._checkpoint.key
        written = next((info.modified for info in store.list(key)), None)
        if written is None or written == self._seen:
            return
        self._seen = written
        saved = self._checkpoint.load(torch.device("cpu"))
        if saved and saved["records"]:
            last = EpochRecord(**saved["records"][-1])
            self._progress(last.epoch / self._epochs, f"epoch {last.epoch}: validation {last.val_accuracy:.3f}")


class _SharedCheckpoint:
    """The checkpoint that all processes read, and the first alone writes."""

    def __init__(self, checkpoint: StoreCheckpoint, rank: Rank) -> None:
        self._checkpoint, self._rank = checkpoint, rank

    def save(self, state: dict[str, Any]) -> None:
        if self._rank.number == 0:
            self._checkpoint.save(state)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        saved = self._checkpoint.load(device)
        epochs = self._rank.gathered(len(saved["records"]) if saved else 0)
        if len(set(epochs)) > 1:
            raise RunFailed(
                f"the processes read checkpoints of different epochs ({epochs}): another job writes to the same one; run it again"
            )
        return saved


def take_part(store_uri: str, key: str) -> None:
    """The life of one process of the job, in torchrun's environment.

    Args:
        store_uri: of the dataset and the checkpoint.
        key: of the work there.

    Raises:
        SettingError: not a key of a work, or another device than the step has.
        StoreError: the store cannot be used, or has no such work.
    """
    store = open_store(store_uri)
    work = parse_stored(Work, store.read(_checked(key)), f"{store.uri}/{key}")
    local, beside = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if work.device == "cuda":
        if local >= torch.cuda.device_count():
            gpus = counted(torch.cuda.device_count(), "GPU")
            raise SettingError(f"this pod sees {gpus}, and {beside} processes want one each; set gpus=0, or mend its node")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        torch.set_num_threads(max(1, available_threads() // beside))
    with TemporaryDirectory(prefix="driftloop-node-") as folder:
        write_description(folder, work.dataset.model_copy(update={"store": store.uri}))
        task = Task.open(folder, device, work.settings)
    rank = followers.meet(work.device)
    checkpoint = _SharedCheckpoint(StoreCheckpoint(store, _checkpoint_key(key)), rank)
    work.plan.train(task, work.seed, checkpoint=checkpoint, on_epoch=_say if rank.number == 0 else None)
    followers.stop()


def _say(record: EpochRecord) -> None:
    print(f"epoch {record.epoch}: loss {record.loss:.4f}, validation {record.val_accuracy:.3f}", flush=True)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise SettingError(f"{key!r} is not the key of a work")
    return key


def _work_key(checkpoint: str) -> str:
    return _checked(checkpoint).removesuffix(".pth") + ".json"


def _checkpoint_key(work: str) -> str:
    return _checked(work).removesuffix(".json") + ".pth"


def _job_name(work: str) -> str:
    """By what determines the training, so that a step that is run again finds its job."""
    return f"driftloop-{Path(work).stem}"


if __name__ == "__main__":
    try:
        take_part(*sys.argv[1:])
    except DriftloopError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
