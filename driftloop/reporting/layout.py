"""From chapters to what both renderers draw: numbers of figures and tables, references resolved, text cut into runs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from driftloop.reporting.chapter import AnyBlock, Chapter
from driftloop.reporting.plot_style import THEME_COLOURS

TEMPLATES = Environment(
    loader=PackageLoader("driftloop.reporting", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
#: `code`, [[key]] and [[cite:key]] inside a text.
MARKED = re.compile(r"`([^`\n]+)`|\[\[([\w:.-]+)\]\]")
CITED = re.compile(r" ?\[\[(cite:[\w.-]+)\]\]")
#: How a numbered block is called.
NAMES = {"figure": "Figure", "gallery": "Figure", "table": "Table"}
#: Words that the renderers say themselves.
FRAME = {word: word for word in ("Contents", "Question", "Answer", "Decision", "Limits", "References", "Figure", "Table")}


@dataclass(frozen=True)
class Source:
    """What the text refers to with [[cite:key]]."""

    key: str
    text: str


@dataclass(frozen=True)
class Part:
    """A chapter at its place in a document."""

    chapter: Chapter
    number: str
    """such as 3, or A for an appendix; empty for one without"""
    anchor: str
    lang: str = ""
    """where it is in another language than the document"""


@dataclass(frozen=True)
class Document:
    """All that a report says, for either renderer."""

    title: str
    subtitle: str
    provenance: Mapping[str, str]
    """of the cover: run, date, source, ..."""
    date: str
    """of the run, ISO 8601"""
    parts: Sequence[Part]
    sources: Sequence[Source] = field(default=())
    short: bool = False
    """whether it is a few pages, without contents"""
    lang: str = "en"
    """as of BCP 47"""
    words: Mapping[str, str] = field(default_factory=FRAME.copy)
    """those of `FRAME`, in the language"""


def lay_out(document: Document) -> dict[str, Any]:
    """The document as plain data: what the templates draw."""
    numbers: dict[str, dict[str, str]] = {}
    laid = []
    for part in document.parts:
        # Two parts may be chapters of the same step: a key means the part's own figure first.
        own: dict[str, dict[str, str]] = {}
        laid.append((part, _numbered(part.chapter.blocks, part.number, part.anchor, own, document.words), own))
        numbers |= own
    numbers |= {f"cite:{source.key}": {"text": f"[{index}]", "to": f"source-{index}"} for index, source in enumerate(document.sources, 1)}
    parts = [
        {"number": part.number, "anchor": part.anchor, "lang": part.lang or document.lang, **_chapter(part.chapter, blocks, numbers | own)}
        for part, blocks, own in laid
    ]
    return {
        "title": document.title,
        "subtitle": document.subtitle,
        "provenance": dict(document.provenance),
        "date": document.date,
        "short": document.short,
        "lang": document.lang,
        "words": dict(document.words),
        "parts": parts,
        "sources": [{"anchor": f"source-{index}", "runs": _runs(source.text, {})} for index, source in enumerate(document.sources, 1)],
    }


def lay_out_page(chapter: Chapter) -> dict[str, Any]:
    """One chapter as a page of its own."""
    numbers: dict[str, dict[str, str]] = {}
    return _chapter(chapter, _numbered(chapter.blocks, "", "page", numbers, FRAME), numbers)


def _numbered(
    blocks: Sequence[AnyBlock], prefix: str, anchor: str, numbers: dict[str, dict[str, str]], words: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The blocks as data, each figure and table with its label; `numbers` gets those that have a key."""
    counts = {"Figure": 0, "Table": 0}
    laid = []
    for place, block in enumerate(blocks):
        content = block.model_dump() | {"anchor": f"{anchor}-{place}"}
        name = NAMES.get(block.kind)
        if name and content["caption"]:
            counts[name] += 1
            content["label"] = f"{words[name]} {prefix}.{counts[name]}" if prefix else f"{words[name]} {counts[name]}"
            if content["key"]:
                numbers[content["key"]] = {"text": content["label"], "to": content["anchor"]}
        elif name:
            content["label"] = ""
        laid.append(content)
    return laid


def _chapter(chapter: Chapter, blocks: list[dict[str, Any]], numbers: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    for block in blocks:
        if "text" in block:
            block["runs"] = _runs(block["text"], numbers)
        if "points" in block:
            block["items"] = [_runs(point, numbers) for point in block["points"]]
        if "caption" in block:
            block["runs"] = _runs(block["caption"], numbers)
            block["alt"] = block.get("alt") or plain(block["caption"])
        if block["kind"] == "table":
            block["cells"] = [[_runs(cell, numbers) for cell in row] for row in block["rows"]]
    return {
        "title": chapter.title,
        "lead": _runs(chapter.lead, numbers),
        "question": _runs(chapter.question, numbers),
        "result": _runs(chapter.result, numbers),
        "decision": _runs(chapter.decision, numbers),
        "limits": [_runs(limit, numbers) for limit in chapter.limits],
        "blocks": blocks,
    }


def _runs(text: str, numbers: Mapping[str, Mapping[str, str]]) -> list[dict[str, str]]:
    """A text as runs: plain, code, or a link to a figure, a table or a source.

    A reference to nothing stays as it was written; a source, where none are listed, is left out.
    """
    text = CITED.sub(lambda match: match.group() if match.group(1) in numbers else "", text)
    runs: list[dict[str, str]] = []
    end = 0
    for match in MARKED.finditer(text):
        code, key = match.groups()
        if code is None and key not in numbers:
            continue
        if match.start() > end:
            runs.append({"kind": "text", "text": text[end : match.start()]})
        runs.append({"kind": "code", "text": code} if code is not None else {"kind": "link", **numbers[key]})
        end = match.end()
    if end < len(text):
        runs.append({"kind": "text", "text": text[end:]})
    return runs


def plain(text: str) -> str:
    """A text without its marks."""
    return MARKED.sub(lambda match: match.group(1) or "", text)


def themed(svg: str) -> str:
    """A drawing whose ink, greys and paper follow the page's light or dark theme."""
    for colour, variable in THEME_COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


TEMPLATES.filters["themed"] = themed
