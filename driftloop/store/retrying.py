"""Patience with faults that pass: time-outs, broken connections, 5xx answers, a server that is being restarted."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from driftloop.errors import StoreError

#: Covers a server's restart (about 20 s for MinIO in a cluster) twice.
PATIENCE_S = 45.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 4.0
#: A slow upload that breaks off after minutes deserves another try, however long the first one took.
FEWEST_TRIES = 3

Answer = TypeVar("Answer")


class TransientFault(Exception):
    """A fault that may pass; its message is the line that a person reads if it does not."""


def persist(attempt: Callable[[bool], Answer], *, patience_s: float = PATIENCE_S) -> Answer:
    """Call `attempt` until it gives an answer, with exponentially growing, jittered pauses between the tries.

    `attempt` is told whether a try before this one ended in a fault, and so may have taken effect without our knowing.

    Args:
        attempt: one try; raises `TransientFault` for a fault that may pass, and anything else to give up at once.
        patience_s: seconds after which no further try is made, once there were at least three.

    Raises:
        StoreError: the fault did not pass.
    """
    began = time.monotonic()
    tries = 0
    while True:
        tries += 1
        try:
            return attempt(tries > 1)
        except TransientFault as fault:
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
            waited = time.monotonic() - began
            if tries >= FEWEST_TRIES and waited + pause > patience_s:
                raise StoreError(f"{fault} (gave up after {tries} tries in {waited:.0f} s)") from None
            time.sleep(pause)
