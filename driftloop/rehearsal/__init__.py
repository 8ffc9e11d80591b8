"""A rehearsal: a simulated history of production, window of traffic after window, played through the real steps of the watch.

It shows what a policy would have done before anyone has to live with it. Nothing of the steps is copied or imitated here; what is
simulated is the traffic, the calendar and the people who label. Begin reading at `rehearsing.py`.
"""

from collections.abc import Mapping
from typing import Any

#: Neither changes what the policy does: the ablation is left out, and speed is measured briefly.
QUICK: Mapping[str, Mapping[str, Any]] = {"train_config": {"ablation_epochs": 0}, "deploy_config": {"benchmark_seconds": 1.0}}


def shortened(arguments: dict[str, Any], quick: Mapping[str, Mapping[str, Any]] = QUICK) -> dict[str, Any]:
    """The parameters of a pipeline with the settings of `quick`, except where others were asked for."""
    return arguments | {group: {**settings, **arguments[group]} for group, settings in quick.items()}
