"""What happened in a window, in words."""

from driftloop.rehearsal.accepted import NONE, kind
from driftloop.rehearsal.labelling import Job
from driftloop.rehearsal.result import WindowRecord

HEADER = f"{'drift':<18} {'verdict':<12} {'decision':<12} {'model':<5} {'true acc.':>9}  events"


def line(record: WindowRecord) -> str:
    """A window as one line of a table, in the columns of `HEADER`."""
    decision, model = record.decision or "–", f"v{record.version}"
    events = "; ".join(record.events)
    return f"{record.drift:<18} {record.verdict:<12} {decision:<12} {model:<5} {record.accuracy:>9.3f}  {events}".rstrip()


def tell(record: WindowRecord, before: WindowRecord | None, *, handed_in: int, job: Job | None, failure: str | None) -> list[str]:
    """The events of a window, in the order in which they happened.

    Args:
        record: of the window.
        before: of the one before; None for the first.
        handed_in: labels that the team handed in.
        job: the list that it took.
        failure: why a retraining ended without a decision.
    """
    last = before.drift if before else NONE
    events = []
    if kind(record.drift) != kind(last):
        events.append("the drift is gone" if record.drift == NONE else f"{record.drift} sets in")
    if handed_in:
        events.append(f"{handed_in:,} labels arrive")
    if record.accepted and record.drifted:
        events.append("single alarm" if record.verdict == "stable" else "false alarm")
    elif record.confirmed and not (before and before.confirmed):
        events.append("drift confirmed")
    if failure:
        events.append(f"retraining failed: {failure}")
    if record.decision:
        events.append(f"retrained: version {record.promoted} from now on" if record.promoted else f"retrained: {record.decision}")
    if job:
        events.append(f"{len(job.requests):,} images go to be labelled, due in window {job.due}")
    return events
