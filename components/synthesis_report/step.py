"""The step `synthesis_report`: all that a run measured and decided, as one summary and one report; then the watch record is closed."""

from pathlib import Path

from components.synthesis_report.report import write_synthesis_report
from driftloop import runtime
from driftloop.bundle import read_model
from driftloop.contracts import OUTCOMES, PROMOTED, VALIDATION_GATE
from driftloop.errors import InputError
from driftloop.inference.traffic import read_traffic
from driftloop.step_facts import read_facts, write_json
from driftloop.store import open_store
from driftloop.summary import Summary, summarise
from driftloop.watch_store import close_watch


def run(
    *,
    model: str,
    outcome: str,
    store: str,
    summary: str,
    html: str,
    pdf: str,
    traffic: str | None = None,
    drift: str | None = None,
    gate: str | None = None,
    version: str = "",
) -> Summary:
    """Write summary, HTML and PDF to their paths, then close the watch record where traffic was watched.

    Closing comes last: a step that dies before it leaves the record open, and its retry does everything again.

    Raises:
        InputError: `outcome` is not one of `contracts.OUTCOMES`.
        Conflict: the record is another run's.
        StoreError: the record could not be closed.
    """
    if outcome not in OUTCOMES:
        raise InputError(f"outcome: {outcome!r} is not one of {', '.join(OUTCOMES)}")
    facts = read_facts(model)
    for directory in (traffic, drift):
        facts |= read_facts(directory) if directory else {}
    candidate = read_facts(gate).get(VALIDATION_GATE) if gate else None
    watched = read_traffic(traffic) if traffic else None
    before = watched.info.champion_version if watched else None
    result = summarise(facts, candidate=candidate, before=before, after=version or before)
    result = result.model_copy(update={"seed": read_model(model).seed})

    write_json(summary, result.model_dump())
    write_synthesis_report(result, facts, candidate, outcome, Path(html), Path(pdf))
    if watched is not None:
        close_watch(
            open_store(store),
            watched.info.sequence,
            runtime.run_id(),
            decision=result.gate.decision if result.gate else None,
            outcome=outcome,
            promoted_version=result.champion.after if outcome == PROMOTED else None,
        )
    verdict = result.drift.verdict if result.drift else "no watch"
    runtime.report_metrics(
        f"{verdict}; " + (f"{result.gate.decision}; " if result.gate else "") + f"champion version {result.champion.after}"
    )
    return result
