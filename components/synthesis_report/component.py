"""Theme 8 as a KFP component."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Model, Output

from driftloop.runtime import WATCH_IMAGE


@dsl.component(base_image=WATCH_IMAGE, install_kfp_package=False)
def synthesis_report(
    model: Input[Model],
    outcome: str,
    store: str,
    summary: Output[Artifact],
    html: Output[HTML],
    pdf: Output[Artifact],
    traffic: Input[Dataset] = None,
    drift: Input[Artifact] = None,
    gate: Input[Artifact] = None,
    version: str = "",
    lang: str = "en",
) -> None:
    """Report all that a run measured and decided, and close the watch record that the next watch starts from.

    Args:
        model: the champion that was watched, or the candidate of a training; its facts say how it was trained.
        outcome: what became of the watch, or of the candidate: watched, kept or promoted.
        store: the model's home, where the watch record is closed.
        summary: `summary.json`.
        html: the report.
        pdf: the same report for printing.
        traffic: the traffic that was watched.
        drift: the drift evidence.
        gate: the gate's evidence, where a candidate was judged.
        version: the version now serving, where one was promoted.
        lang: language of the report.
    """
    from components.synthesis_report.step import run

    run(
        model=model.path,
        outcome=outcome,
        store=store,
        summary=summary.path,
        html=html.path,
        pdf=pdf.path,
        traffic=traffic.path if traffic else None,
        drift=drift.path if drift else None,
        gate=gate.path if gate else None,
        version=version,
        lang=lang,
    )
