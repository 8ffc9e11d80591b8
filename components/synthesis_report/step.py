"""Theme 8: everything a run found, as one report and one summary; then the watch record."""

from pathlib import Path

from components.synthesis_report.commit import commit
from components.synthesis_report.report import write_report
from driftloop import facts, progress
from driftloop.bundle import read_model
from driftloop.errors import InputError
from driftloop.facts import write_json
from driftloop.inference.window import read_window
from driftloop.store import open_store
from driftloop.summary import Summary, summarise

OUTCOMES = ("watched", "kept", "promoted")


def run(
    *,
    model: str,
    outcome: str,
    store: str,
    summary: str,
    html: str,
    pdf: str,
    window: str | None = None,
    drift: str | None = None,
    gate: str | None = None,
    version: str = "",
) -> Summary:
    """Write summary, HTML and PDF to their paths, then commit the watch record where a window was watched.

    The record comes last: a step that dies before it leaves nothing behind, and its retry does all again.

    Raises:
        InputError: an outcome that the pipelines do not know.
        StoreError: the record could not be written.
    """
    if outcome not in OUTCOMES:
        raise InputError(f"outcome: {outcome!r} is none of {', '.join(OUTCOMES)}")
    everything = facts.read(model)
    for directory in (window, drift):
        everything |= facts.read(directory) if directory else {}
    candidate = facts.read(gate).get("validation_gate") if gate else None
    watched = read_window(window) if window else None
    before = watched.info.champion_version if watched else None
    result = summarise(everything, candidate=candidate, before=before, after=version or before)
    result = result.model_copy(update={"seed": read_model(model).seed})

    write_json(summary, result.model_dump())
    write_report(result, everything, candidate, outcome, Path(html), Path(pdf))
    if watched is not None:
        commit(open_store(store), watched, everything.get("drift_detection", {}), result, outcome)
    verdict = result.drift.verdict if result.drift else "no watch"
    progress.figures(f"{verdict}; " + (f"{result.gate.decision}; " if result.gate else "") + f"champion version {result.champion.after}")
    return result
