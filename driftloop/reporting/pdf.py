"""A document as PDF, set by Typst from `report.typ`: tagged (PDF/UA-1), its fonts inside, the same bytes for the same content."""

import base64
import functools
import json
import re
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib
import typst
from matplotlib.ft2font import FT2Font

from driftloop.reporting.layout import Document, lay_out

#: DejaVu Sans, whose licence is free, lies in matplotlib: letters of the drawings, and those that Typst's own fonts lack (Cyrillic, Greek).
FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
#: A column of a table whose cells are longer than this shares what the others leave of the page.
LONG_CELL = 22
#: Of the printed text, in points; and where a drawing says its own.
TEXT_WIDTH, WIDTH = 453, re.compile(r'width="([\d.]+)pt"')
#: Of the drawings of a short report.
SHORT_SCALE = 0.75
#: Small images beside each other, at most, and their width in CSS pixels that makes fewer.
ACROSS, SIDE = 8, 96


def write_pdf(document: Document, path: str | Path) -> None:
    """Write `document` as an A4 PDF.

    Characters that no font on this machine has stand as their code points, such as [U+4E2D], and the cover says so.
    """
    content = lay_out(document)
    missing: set[str] = set()
    content = _printable(content, missing)
    if missing:
        named = ", ".join(sorted(f"U+{ord(character):04X}" for character in missing)[:5])
        content["provenance"]["fonts"] = (
            f"{len(missing)} characters have no font on the machine that printed this ({named}): they stand as code points; "
            "install one that "
            "has them, such as Noto Sans CJK, and run `driftloop report` again"
        )
    with TemporaryDirectory(prefix="driftloop-print-") as scratch:
        folder = Path(scratch)
        _place_pictures(content, folder)
        (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
        (folder / "report.typ").write_bytes(files("driftloop.reporting").joinpath("templates/report.typ").read_bytes())
        made = typst.compile(
            folder / "report.typ",
            root=folder,
            font_paths=[FONTS],
            format="pdf",
            pdf_standards=["ua-1"],
            timestamp=datetime.fromisoformat(document.date),
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(made)


def _place_pictures(content: dict[str, Any], folder: Path) -> None:
    """Drawings and images become files, which the blocks name; tables get the widths of their columns."""
    for block in (block for part in content["parts"] for block in part["blocks"]):
        if block["kind"] == "figure":
            block["file"] = f"{block['anchor']}.svg"
            drawn = WIDTH.search(block["svg"])
            width = min(float(drawn.group(1)) if drawn else TEXT_WIDTH, TEXT_WIDTH)
            block["width"] = width * (SHORT_SCALE if content["short"] else 1)
            (folder / block["file"]).write_text(block.pop("svg"), encoding="utf-8")
        elif block["kind"] == "gallery":
            block["across"] = max(1, min(ACROSS, ACROSS * SIDE // block["side"]))
            for number, picture in enumerate(block["pictures"]):
                picture["file"] = f"{block['anchor']}-{number}.png"
                (folder / picture["file"]).write_bytes(base64.b64decode(picture.pop("png")))
        elif block["kind"] == "table":
            lengths = [max([len(column["name"]), *(len(row[at]) for row in block["rows"])]) for at, column in enumerate(block["columns"])]
            block["widths"] = [0 if length <= LONG_CELL else min(length, 90) for length in lengths]


def _printable(value: Any, missing: set[str]) -> Any:
    """The same content with each character that no font has as its code point; these are added to `missing`."""
    if isinstance(value, str):
        if value.isascii():
            return value
        lacking = {character for character in value if not character.isascii() and not _has_font(character)}
        missing |= lacking
        return "".join(f"[U+{ord(character):04X}]" if character in lacking else character for character in value)
    if isinstance(value, list):
        return [_printable(item, missing) for item in value]
    return {key: _printable(item, missing) for key, item in value.items()} if isinstance(value, dict) else value


@functools.cache
def _has_font(character: str) -> bool:
    """Whether DejaVu Sans or another font of this machine has a character; spaces and marks need none."""
    if not character.isprintable() or character.isspace():
        return True
    return any(ord(character) in characters for characters in _covered())


@functools.cache
def _covered() -> list[set[int]]:
    """The characters of each font that Typst may use; its own have none that DejaVu Sans lacks and text needs."""
    paths = {str(FONTS / "DejaVuSans.ttf")}
    paths |= {
        font.path for font in typst.Fonts(include_system_fonts=True, include_embedded_fonts=False).fonts() if font.path and font.index == 0
    }
    covered = []
    for path in sorted(paths):
        try:
            covered.append(set(FT2Font(path).get_charmap()))
        except RuntimeError:  # a font that FreeType cannot open is none to count on
            continue
    return covered
