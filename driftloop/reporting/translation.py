"""A report in another language: the sentences that steps wrote in English, found again in a catalogue of templates.

Steps know no language and their chapters are stored as they wrote them, so that a run of any age can be read in any language that has a
catalogue. A catalogue (`catalogues/<language>.yaml`) maps an English sentence, heading or cell to its translation. In it {name} stands
for a number or for words that have an entry of their own, {#name} for a number only, {=name} for a name that stays as it is. What has no
entry is counted, never guessed.
"""

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files

import yaml

from driftloop.contracts import ENGLISH, IMAGE_SUFFIXES, LANGUAGES
from driftloop.errors import InputError
from driftloop.reporting.chapter import AnyBlock, Chapter, Figure, Gallery, Notice, Points, Section, Table, Text, Tiles
from driftloop.reporting.layout import FRAME, Document, Part

#: Where a sentence of a paragraph ends.
SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z0-9`\[])")
#: "[[key]] and [[other]]: ", with which a sentence about figures begins.
REFERENCES = re.compile(r"(\[\[[\w:.-]+\]\](?: and \[\[[\w:.-]+\]\])*): (.+)", re.DOTALL)
HOLE = re.compile(r"\{([=#]?)(\w+)\}")
ONE_NUMBER = r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
#: A number with its unit, a range, an interval in brackets or a shape.
NUMBER = re.compile(rf"[-+−<>≤≥±≈ ]*{ONE_NUMBER}(?:(?: ?[–→/x×-] ?| \()[-+]?{ONE_NUMBER})*\)?(?: ?(?:%|x|pt|ms|MB|s))?")
#: What a hole of each kind takes: a name goes over no end of a sentence and no semicolon, else English behind one would pass for it.
HOLDS = {"#": NUMBER.pattern, "=": r"(?:(?![.!?] [A-Z0-9`\[]|; ).)+?", "": ".+?"}
#: A name rather than a word: of a file, a setting, a version, a hash, the level of a tag; or code.
NAME = re.compile(r"`[^`]+`|(?=\S*[\d_/.=\[])[^\s,;]*[^\s,;.:]|[A-Z][A-Za-z]*[A-Z]\w*|[–—-]|\W+")
#: Of an axis: 2026-Nov-29 01:33, or 11-29 01:33.
TIME = re.compile(r"(\d{4}\W)?([A-Z][a-z]{2}|\d\d)\W\d\d\s\d\d:\d\d(:\d\d)?")
DRAWN_TEXT = re.compile(r"(<text\b[^>]*>)([^<]+)(</text>)")
#: Of a font in a drawing, and what a text that grew is reduced to at most.
PIXELS, SMALLEST = re.compile(r"(\d+(?:\.\d+)?)px"), 0.7
#: Of the cover's entries those whose value is said; the others are names.
SAID = ("champion", "date", "serving", "watches")
NARROW, WIDE = "\u202f", "\u00a0"
NOT_FOUND = "{count} sentences, headings and cells of this chapter have no translation yet and stand in English."
ONE_NOT_FOUND = "1 sentence, heading or cell of this chapter has no translation yet and stands in English."


@dataclass
class Translator:
    """Translates what one document says.

    Args:
        lang: one of `contracts.LANGUAGES`.
        kept: names of this run that are no words, such as its classes.

    Raises:
        InputError: there is no catalogue of the language.
    """

    lang: str
    kept: frozenset[str] = frozenset()
    missing: list[str] = field(default_factory=list)
    """what had no translation, in the order in which it stood"""
    asked: int = 0
    """how many sentences, headings and cells were looked for"""
    _known: dict[str, str | None] = field(default_factory=dict)
    """what was found of each phrase: parts of long sentences come again and again"""

    def __post_init__(self) -> None:
        if self.lang not in LANGUAGES:
            raise InputError(f"lang: {self.lang!r} is not one of {', '.join(LANGUAGES)}")

    def __call__(self, text: str) -> str:
        """The text in the language; sentences without a translation stay, and are remembered."""
        if not text.strip() or self.lang == ENGLISH:
            return text
        if (whole := self._phrase(text)) is not None:
            self.asked += 1
            return _typeset(whole)
        if (begun := REFERENCES.fullmatch(text)) is not None:
            return _typeset(begun[1].replace(" and ", " et ") + " : ") + self(begun[2])
        return " ".join(self._sentence(sentence) for sentence in SENTENCE_END.split(text))

    def _sentence(self, sentence: str) -> str:
        self.asked += 1
        found = self._phrase(sentence)
        if found is None:
            self.missing.append(sentence)
            return sentence
        return _typeset(found)

    def _phrase(self, text: str) -> str | None:
        """The translation of a sentence, of words or of a number; None where a part of it has none.

        It may begin in either case, and end with or without a full stop.
        """
        if text not in self._known:
            said = self._as_it_stands(text)
            if said is None and text[:1].isalpha():
                said = self._as_it_stands(text[0].swapcase() + text[1:])
                said = said and (said[0].upper() if text[0].isupper() else said[0].lower()) + said[1:]
            if said is None and text.endswith(".") and (said := self._phrase(text[:-1])):
                said += "."
            self._known[text] = said
        return self._known[text]

    def _as_it_stands(self, text: str) -> str | None:
        exact, templates = _catalogue(self.lang)
        if text in exact:
            return exact[text]
        if text in self.kept or _is_file(text) or TIME.fullmatch(text) or (NAME.fullmatch(text) and not NUMBER.fullmatch(text)):
            return text
        if NUMBER.fullmatch(text):
            return _number(text)
        for pattern, holes, translated in templates:
            found = pattern.fullmatch(text)
            if found is None:
                continue
            filled = {
                name: found[name] if verbatim or found[name] in self.kept else self._phrase(found[name]) for name, verbatim in holes.items()
            }
            if None not in filled.values():
                return _filled(translated, filled)
        for mark, french in (("; ", " ; "), (", ", ", ")):
            parts = text.split(mark)
            if len(parts) > 1:
                said = [self._phrase(part) for part in parts]
                if None not in said:
                    return french.join(str(part) for part in said)
        return None

    def chapter(self, chapter: Chapter) -> Chapter:
        """All that a chapter says."""
        return chapter.model_copy(
            update={
                **{name: self(getattr(chapter, name)) for name in ("title", "lead", "question", "result", "decision")},
                "limits": [self(limit) for limit in chapter.limits],
                "blocks": [self._block(block) for block in chapter.blocks],
            }
        )

    def _block(self, block: AnyBlock) -> AnyBlock:
        match block:
            case Section():
                return block.model_copy(update={"heading": self(block.heading)})
            case Text() | Notice():
                return block.model_copy(update={"text": self(block.text)})
            case Points():
                return block.model_copy(update={"points": [self(point) for point in block.points]})
            case Tiles():
                names = {name: self(name) for name in block.tiles}
                return block.model_copy(
                    update={
                        "tiles": {names[name]: self(value) for name, value in block.tiles.items()},
                        "tones": {names[name]: tone for name, tone in block.tones.items()},
                    }
                )
            case Table():
                columns = [column.model_copy(update={"name": self(column.name)}) for column in block.columns]
                rows = [[self(cell) for cell in row] for row in block.rows]
                return block.model_copy(update={"columns": columns, "rows": rows, "caption": self(block.caption)})
            case Figure():
                svg = DRAWN_TEXT.sub(self._drawn, block.svg)
                return block.model_copy(update={"svg": svg, "caption": self(block.caption), "alt": self(block.alt)})
            case Gallery():
                pictures = [picture.model_copy(update={"text": self(picture.text)}) for picture in block.pictures]
                return block.model_copy(update={"pictures": pictures, "caption": self(block.caption)})

    def _drawn(self, found: re.Match[str]) -> str:
        """A text of a drawing; what grew towards its left edge is set smaller, since the drawing left room for the English."""
        tag, text = found[1], html.unescape(found[2])
        said = self(text)
        if len(said) > len(text) and "text-anchor: end" in tag:
            smaller = max(SMALLEST, len(text) / len(said))
            tag = PIXELS.sub(lambda size: f"{float(size[1]) * smaller:.2f}px", tag, count=1)
        return tag + html.escape(said, quote=False) + found[3]


def translate(document: Document, lang: str, kept: Iterable[str] = ()) -> tuple[Document, list[str]]:
    """A document in a language of `contracts.LANGUAGES`, and what of it has no translation.

    A chapter of which less than half is known stays English as a whole, below a line that says so: half a sentence in each language
    helps nobody.
    """
    if lang == ENGLISH:
        return document, []
    names = frozenset(kept)
    missing: list[str] = []
    parts = []
    for part in document.parts:
        translated, lacking = _part(part, lang, names)
        parts.append(translated)
        missing += lacking
    cover = Translator(lang, names)
    provenance = {cover(name): cover(value) if name in SAID else value for name, value in document.provenance.items()}
    made = replace(
        document,
        title=cover(document.title),
        subtitle=cover(document.subtitle),
        provenance=provenance,
        parts=parts,
        lang=lang,
        words=_words(lang, FRAME),
    )
    return made, cover.missing + missing


def _part(part: Part, lang: str, kept: frozenset[str]) -> tuple[Part, list[str]]:
    translator = Translator(lang, kept)
    chapter = translator.chapter(part.chapter)
    lacking = translator.missing
    if not lacking:
        return replace(part, chapter=chapter), []
    said = Translator(lang)(ONE_NOT_FOUND if len(lacking) == 1 else NOT_FOUND.format(count=len(lacking)))
    notice = Notice(text=said, tone="warning", essential=True)
    if 2 * len(lacking) < translator.asked:
        return replace(part, chapter=chapter.model_copy(update={"blocks": [notice, *chapter.blocks]})), lacking
    left = part.chapter.model_copy(update={"title": chapter.title, "blocks": [notice, *part.chapter.blocks]})
    return replace(part, chapter=left, lang=ENGLISH), lacking


def _words(lang: str, english: Iterable[str]) -> dict[str, str]:
    """The words of the frame, by their English; all of them are in the catalogue."""
    return {word: _typeset(_catalogue(lang)[0][word]) for word in english}


def _filled(template: str, values: Mapping[str, str | None]) -> str:
    return HOLE.sub(lambda hole: str(values[hole[2]]), template)


@cache
def _catalogue(lang: str) -> tuple[dict[str, str], list[tuple[re.Pattern[str], dict[str, bool], str]]]:
    """Entries without holes, and templates: those that say most themselves first."""
    entries = yaml.safe_load(files("driftloop.reporting").joinpath(f"catalogues/{lang}.yaml").read_text(encoding="utf-8"))
    exact = {english: said for english, said in entries.items() if not HOLE.search(english)}
    templates = []
    for english in sorted(entries.keys() - exact.keys(), key=lambda entry: -len(HOLE.sub("", entry))):
        holes = {name: kind == "=" for kind, name in HOLE.findall(english)}
        pieces = HOLE.split(english)
        literals, kinds, names = pieces[::3], pieces[1::3], pieces[2::3]
        pattern = re.escape(literals[0])
        for kind, name, literal in zip(kinds, names, literals[1:], strict=True):
            pattern += f"(?P<{name}>{HOLDS[kind]}){re.escape(literal)}"
        templates.append((re.compile(pattern, re.DOTALL), holes, entries[english]))
    return exact, templates


def _number(text: str) -> str:
    """English digits as French writes them: 1,234.5 -> 1 234,5."""
    said = text.replace(",", NARROW).replace(".", ",")
    return re.sub(r" ?x$", " ×", said) if said.endswith("x") else said


def _is_file(text: str) -> bool:
    """Whether a caption is the name of an image file, which may hold spaces."""
    return text.lower().endswith(IMAGE_SUFFIXES) and ": " not in text and ", " not in text


def _typeset(text: str) -> str:
    """Spaces that a line must not break at, outside of code."""
    parts = re.split(r"(`[^`]*`|\[\[[^\]]*\]\])", text)
    for at in range(0, len(parts), 2):
        said = re.sub(r" (?=[;!?%×])", NARROW, parts[at])
        parts[at] = re.sub(r" (?=[:»])|(?<=«) ", WIDE, said)
    return "".join(parts)
