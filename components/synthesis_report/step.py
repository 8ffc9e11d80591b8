"""The step `synthesis_report`: all that a run measured and decided, as one summary and one report; then the watch record is closed."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from components.synthesis_report.document import write_report
from components.synthesis_report.material import DRIFT_WATCH, FULL_LOOP, TRAINING, RunMaterial
from driftloop import registry, runtime
from driftloop.bundle import read_model
from driftloop.contracts import ENGLISH, LANGUAGES, OUTCOMES, PROMOTED, SUMMARY, SYNTHESIS_REPORT, VALIDATION_GATE
from driftloop.errors import InputError, NotFound
from driftloop.inference.traffic import Traffic, read_traffic
from driftloop.registry.gate_evidence import read_evidence
from driftloop.reporting.chapter import read_chapters
from driftloop.step_facts import read_facts, read_used, write_json
from driftloop.store import Store, open_store
from driftloop.summary import Summary, summarise
from driftloop.tracking import leave_record
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
    lang: str = ENGLISH,
) -> Summary:
    """Write summary, HTML and PDF to their paths, then close the watch record where traffic was watched.

    The report tells a training, the whole loop where the champion was trained by the same run, and a few pages where it only watched.
    In a language that there is not, it is written in English, and the log says so: what a run has found is worth more. Closing comes
    last: a step that dies before it leaves the record open, and its retry does everything again.

    Raises:
        InputError: `outcome` is not one of `contracts.OUTCOMES`.
        Conflict: the record is another run's.
        StoreError: the record could not be closed.
    """
    if outcome not in OUTCOMES:
        raise InputError(f"outcome: {outcome!r} is not one of {', '.join(OUTCOMES)}")
    home = open_store(store)
    facts, chapters, used = read_facts(model), read_chapters(model), read_used(model)
    for directory in (traffic, drift):
        facts |= read_facts(directory) if directory else {}
        chapters |= read_chapters(directory) if directory else {}
        used |= read_used(directory) if directory else {}
    judged = read_facts(gate) if gate else {}
    watched = read_traffic(traffic) if traffic else None
    before = watched.info.champion_version if watched else read_evidence(gate).champion_version if gate else None
    description = read_model(model)
    result = summarise(facts, candidate=judged.get(VALIDATION_GATE), before=before, after=version or before)
    pipeline = TRAINING if watched is None else FULL_LOOP if _whole_loop(home, watched) else DRIFT_WATCH
    result = result.model_copy(update={"seed": description.seed, "run_id": runtime.run_id(), "pipeline": pipeline})

    write_json(summary, result.model_dump())
    material = RunMaterial(
        pipeline=pipeline,
        summary=result,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        facts=facts,
        chapters=chapters,
        used=used,
        candidate_facts=judged,
        candidate_used=read_used(gate) if gate else {},
        candidate_chapters=read_chapters(gate) if gate else {},
        libraries=description.libraries,
    )
    if lang not in LANGUAGES:
        print(f"lang: {lang!r} is not one of {', '.join(LANGUAGES)}; the report is in English")
    write_report(material, Path(html), Path(pdf), lang if lang in LANGUAGES else ENGLISH)
    leave_record(home, SYNTHESIS_REPORT, result.model_dump(), {"report.html": html, "report.pdf": pdf, SUMMARY: summary})
    if watched is not None:
        close_watch(
            home,
            watched.info.sequence,
            runtime.run_id(),
            decision=result.gate.decision if result.gate else None,
            outcome=outcome,
            promoted_version=result.champion.after if outcome == PROMOTED else None,
        )
    said = [part for part in (result.drift and result.drift.verdict, result.gate and result.gate.decision) if part]
    runtime.report_metrics("; ".join([*said, f"champion version {result.champion.after}" if result.champion.after else "no champion"]))
    return result


def _whole_loop(home: Store, watched: Traffic) -> bool:
    """Whether this very run registered the version that it watched, and watches it for the first time: a rehearsal watches many times."""
    own = runtime.run_id()
    if any(record.run_id == own for record in watched.records):
        return False
    with suppress(NotFound):
        return registry.version_info(home, watched.info.champion_version).run == own
    return False
