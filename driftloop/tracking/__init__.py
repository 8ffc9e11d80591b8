"""Experiment trackers: what steps found goes into the store, and from there into MLflow or Weights & Biases.

A step never speaks to a tracker. It leaves a record in the store (`step_record`), the same on a laptop and on a cluster, and the store is
the outbox: `deliver` hands over what a tracker has not got yet, at the end of a run or from a cron job. So an outage stops nothing, is
caught up by the next delivery, and the pods that read foreign images need neither keys nor a way out.
"""

from driftloop.tracking.delivery import Delivery, deliver
from driftloop.tracking.step_record import leave_record, want_records

__all__ = ["Delivery", "deliver", "leave_record", "want_records"]
