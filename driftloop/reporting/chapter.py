"""What a step tells people, as data: a chapter is a list of blocks, which HTML and PDF are drawn from.

A step writes its chapter into the directory that it hands on anyway, as `chapters.json`, beside those that the directories before it
carry: like the facts (`driftloop.step_facts`), so that a watch can report on how its champion was made. Figures are SVG, drawn once by
the step that has the numbers.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from driftloop.contracts import CHAPTERS
from driftloop.schema import of_known_form, parse_stored
from driftloop.step_facts import write_json

#: Of the form of `chapters.json`.
CHAPTER_SCHEMA = 1
Tone = Literal["good", "warning", "bad", "neutral"]


class Block(BaseModel):
    """A part of a chapter. Text may hold `code` and references: [[key]] of a figure or table, [[cite:key]] of a source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    essential: bool = False
    """whether a short report shows it, too"""


class Section(Block):
    """A heading."""

    kind: Literal["section"] = "section"
    heading: str


class Text(Block):
    """A paragraph."""

    kind: Literal["text"] = "text"
    text: str


class Points(Block):
    """A list of short paragraphs."""

    kind: Literal["points"] = "points"
    points: list[str]


class Notice(Block):
    """What the reader must not miss."""

    kind: Literal["notice"] = "notice"
    text: str
    tone: Tone = "neutral"


class Tiles(Block):
    """Big numbers side by side: name -> value."""

    kind: Literal["tiles"] = "tiles"
    tiles: dict[str, str]
    tones: dict[str, Tone] = {}
    """by name, of those that are in a state"""


class Column(BaseModel):
    """A column of a table."""

    name: str
    number: bool = False
    """whether its cells are set right"""


class Table(Block):
    """Rows of cells."""

    kind: Literal["table"] = "table"
    columns: list[Column]
    rows: list[list[str]]
    breached: list[int] = []
    """indices of the rows that lie beyond a limit"""
    caption: str = ""
    key: str = ""
    """by which text refers to it"""


class Figure(Block):
    """A drawing."""

    kind: Literal["figure"] = "figure"
    svg: str
    """the whole SVG element; colours that follow the theme are those of `plot_style`"""
    caption: str
    alt: str = ""
    """what it shows, for who cannot see it; empty where the caption says it"""
    key: str = ""


class Picture(BaseModel):
    """A small image of a gallery."""

    png: str
    """base64"""
    text: str = ""


class Gallery(Block):
    """Small images side by side."""

    kind: Literal["gallery"] = "gallery"
    pictures: list[Picture]
    caption: str = ""
    side: int = 96
    """width of each, in CSS pixels"""
    key: str = ""


AnyBlock = Annotated[Section | Text | Points | Notice | Tiles | Table | Figure | Gallery, Field(discriminator="kind")]


class Chapter(BaseModel):
    """What one step has to tell."""

    model_config = ConfigDict(extra="forbid")

    title: str
    lead: str = ""
    """the whole in a sentence or two"""
    question: str = ""
    """what the step was to find out"""
    result: str = ""
    """the answer, with its numbers"""
    limits: list[str] = []
    """what the answer does not say"""
    decision: str = ""
    """what follows from it"""
    numbers: dict[str, float] = {}
    """what a later chapter compares, by name"""
    blocks: list[AnyBlock] = []


class Chapters(BaseModel):
    """`chapters.json`: chapters by the name of their step."""

    schema_version: int = CHAPTER_SCHEMA
    chapters: dict[str, Chapter] = {}

    _of_a_known_form = of_known_form(CHAPTERS, CHAPTER_SCHEMA)


def read_chapters(directory: str | Path) -> dict[str, Chapter]:
    """The chapters in `directory` by step, in the order in which they were written; empty where it has none.

    Raises:
        IntegrityError: the file is damaged, or of a newer driftloop.
    """
    path = Path(directory, CHAPTERS)
    return parse_stored(Chapters, path.read_bytes(), str(path)).chapters if path.exists() else {}


def write_chapter(directory: str | Path, step: str, chapter: Chapter, *inherited: str | Path) -> None:
    """Write the chapter of `step` into `directory`, together with those that the `inherited` directories carry."""
    chapters: dict[str, Chapter] = {}
    for source in inherited:
        chapters |= read_chapters(source)
    chapters.pop(step, None)
    write_json(Path(directory, CHAPTERS), Chapters(chapters=chapters | {step: chapter}).model_dump())
