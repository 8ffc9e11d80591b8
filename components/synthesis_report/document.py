"""The document of a run: which chapters it has, in which order, and what stands where one is missing."""

from pathlib import Path

import driftloop
from components.synthesis_report.end_matter import (
    LIBRARIES,
    conclusion,
    environment_appendix,
    glossary_appendix,
    limits,
    parameters_appendix,
    reproduction_appendix,
)
from components.synthesis_report.front_matter import executive_summary, introduction, story
from components.synthesis_report.material import DRIFT_WATCH, FULL_LOOP, MAKING, RENEWING, TITLES, TRAINING, WATCHING, RunMaterial
from components.synthesis_report.sources import SOURCES
from components.synthesis_report.synthesis import synthesis
from driftloop.contracts import (
    AUTOMATED_RETRAINING,
    DATA_ANALYSIS,
    DRIFT_DETECTION,
    ENGLISH,
    ONNX_DEPLOYMENT,
    PRODUCTION_MONITORING,
    VALIDATION_GATE,
)
from driftloop.reporting.chapter import Chapter, Notice
from driftloop.reporting.document import write_html
from driftloop.reporting.layout import Document, Part
from driftloop.reporting.pdf import write_pdf
from driftloop.reporting.translation import translate

NOT_RENEWED = "Theme 7: Retraining and gate"
AGAIN = "Theme 7: Deployment of the retrained model"
PIPELINE_TITLES = {TRAINING: "Training report", FULL_LOOP: "Full-loop report", DRIFT_WATCH: "Drift watch"}


def write_report(material: RunMaterial, html: Path, pdf: Path, lang: str = ENGLISH) -> None:
    """Write both forms of the report; what has no translation into `lang` stands in English and is counted there.

    Raises:
        InputError: there is no catalogue of the language.
    """
    document, _ = translate(build_document(material), lang, names_of(material))
    write_html(document, html)
    write_pdf(document, pdf)


def names_of(material: RunMaterial) -> set[str]:
    """What this run calls its things, which no language changes: classes, steps and libraries."""
    steps = {*material.summary.steps, *TITLES}
    libraries = {"driftloop", "python", *LIBRARIES, *material.libraries}
    return {*material.facts.get(DATA_ANALYSIS, {}).get("classes", []), *libraries, *steps, *(step.replace("_", " ") for step in steps)}


def build_document(material: RunMaterial) -> Document:
    """The whole report; a watch gets the short one."""
    summary = material.summary
    provenance = {
        "run": summary.run_id,
        "date": material.date[:16].replace("T", " ") + " UTC",
        "pipeline": material.pipeline,
        "source": summary.source or "",
        "seed": "" if summary.seed is None else str(summary.seed),
        "dataset": str(material.facts.get(DATA_ANALYSIS, {}).get("manifest_hash", ""))[:12],
        "champion": _champion(material),
        "versions": ", ".join(f"{name} {number}" for name, number in {"driftloop": driftloop.__version__, **material.libraries}.items()),
    }
    return Document(
        title=PIPELINE_TITLES[material.pipeline],
        subtitle=story(material),
        provenance={name: value for name, value in provenance.items() if value},
        date=material.date,
        parts=_short_parts(material) if material.short else _parts(material),
        sources=() if material.short else SOURCES,
        short=material.short,
    )


def _champion(material: RunMaterial) -> str:
    before, after = material.summary.champion.before, material.summary.champion.after
    if not after:
        return "none"
    return f"version {before}, then version {after}" if before and before != after else f"version {after}"


def _parts(material: RunMaterial) -> list[Part]:
    numbered = [introduction(material), *_themes(material), synthesis(material), limits(material), conclusion(material)]
    parts = [Part(executive_summary(material), "", "summary")]
    parts += [Part(chapter, str(number), f"chapter-{number}") for number, chapter in enumerate(numbered, 1)]
    appendices = [parameters_appendix(material), environment_appendix(material), glossary_appendix(), reproduction_appendix(material)]
    return parts + [Part(chapter, letter, f"appendix-{letter}") for letter, chapter in zip("ABCD", appendices, strict=True)]


def _themes(material: RunMaterial) -> list[Chapter]:
    """The chapters of the steps, in the order in which the pipeline runs them; a missing one says why it is missing."""
    chapters = [_chapter(material.chapters.get(step), TITLES[step], _why_missing(material, step)) for step in MAKING]
    if material.pipeline == TRAINING:
        return [
            *chapters,
            _chapter(material.candidate_chapters.get(VALIDATION_GATE), "The gate: first champion", _why_missing(material, VALIDATION_GATE)),
        ]
    chapters += [_chapter(material.chapters.get(step), TITLES[step], _why_missing(material, step)) for step in WATCHING]
    if not any(step in material.candidate_chapters for step in RENEWING):
        return [*chapters, _chapter(None, NOT_RENEWED, _why_not_renewed(material))]
    for step in RENEWING:
        title = AGAIN if step == ONNX_DEPLOYMENT else TITLES[step]
        chapters.append(_chapter(material.candidate_chapters.get(step), title, _why_not_renewed(material)))
    return chapters


def _chapter(chapter: Chapter | None, title: str, why_missing: str) -> Chapter:
    if chapter is None:
        return Chapter(title=title, blocks=[Notice(text=why_missing, tone="neutral", essential=True)])
    return chapter.model_copy(update={"title": title})


def _why_missing(material: RunMaterial, step: str) -> str:
    if material.summary.error:
        return f"This step left no chapter; the run failed: {material.summary.error}"
    if step in material.facts or step in material.candidate_facts:
        return (
            "This step ran in an earlier release of driftloop, which wrote facts and no chapter; its figures are in the tables "
            "of the synthesis."
        )
    return "This step did not run."


def _why_not_renewed(material: RunMaterial) -> str:
    if material.summary.error:
        return f"This step left no chapter; the run failed: {material.summary.error}"
    if material.verdict and material.verdict != "retrain":
        return (
            f"Not run: the verdict was {material.verdict}, which retrains nothing. "
            f"{material.summary.drift.reason if material.summary.drift else ''}"
        )
    return _why_missing(material, AUTOMATED_RETRAINING)


def _short_parts(material: RunMaterial) -> list[Part]:
    """A watch: its summary, and of each of its chapters what is essential."""
    chapters = [_essential(executive_summary(material))]
    for step, source in (
        (PRODUCTION_MONITORING, material.chapters),
        (DRIFT_DETECTION, material.chapters),
        (AUTOMATED_RETRAINING, material.candidate_chapters),
        (VALIDATION_GATE, material.candidate_chapters),
    ):
        if step in source:
            chapters.append(_essential(source[step].model_copy(update={"title": TITLES[step].partition(": ")[2]})))
        elif material.summary.error:
            chapters.append(_chapter(None, TITLES[step].partition(": ")[2], _why_missing(material, step)))
    return [Part(chapter, str(number), f"chapter-{number}") for number, chapter in enumerate(chapters, 1)]


def _essential(chapter: Chapter) -> Chapter:
    return chapter.model_copy(update={"blocks": [block for block in chapter.blocks if block.essential], "limits": []})
