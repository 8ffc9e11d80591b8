"""A replay in a process of its own that dies, by SIGKILL, when it has logged some of its rows."""

import os
import signal
import sys

from components.traffic_replay.replay import Amounts, replay
from driftloop.dataset import open_split
from driftloop.dataset.description import Description
from driftloop.inference.log_writer import InferenceLogger
from driftloop.scenarios import parse
from driftloop.settings import TrafficSettings
from driftloop.store import open_store


class MortalLogger(InferenceLogger):
    """Flushes at once, and kills the process at its second batch."""

    calls = 0

    def log(self, *arguments: object, **named: object) -> list[str]:
        ids = super().log(*arguments, **named)  # type: ignore[arg-type]
        self.flush()
        type(self).calls += 1
        if type(self).calls == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return ids


if __name__ == "__main__":
    import components.traffic_replay.replay as module

    module.InferenceLogger = MortalLogger  # type: ignore[misc]
    store = open_store(sys.argv[1])
    dataset = Description.model_validate_json(store.read(f"datasets/{sys.argv[2]}/dataset.json"))
    replay(
        store,
        open_split(dataset, "stream"),
        dataset,
        version="1",
        scenario=parse("blur+noise:0.6"),
        amounts=Amounts(100, 150, 40),
        seed=5,
        settings=TrafficSettings(),
    )
