"""The same page as a PDF: reportlab lays out the blocks that the HTML template shows."""

import base64
import io
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from driftloop.reporting.page import Page

INK, MUTED, LINE, TILE = (colors.HexColor(code) for code in ("#1f2933", "#616e7c", "#e4e7eb", "#f5f7fa"))
TONES = {"good": "#0b7a53", "warning": "#9c5700", "bad": "#b42318", "neutral": "#616e7c"}
WIDTH = A4[0] - 36 * mm
BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=9.5, leading=13.5, textColor=INK, spaceAfter=4)
LEAD = ParagraphStyle("lead", parent=BODY, fontSize=11, leading=15, textColor=MUTED, spaceAfter=8)
TITLE = ParagraphStyle("title", parent=BODY, fontName="Helvetica-Bold", fontSize=18, leading=22, spaceAfter=5)
HEADING = ParagraphStyle(
    "heading", parent=BODY, fontName="Helvetica-Bold", fontSize=12.5, leading=16, spaceBefore=12, spaceAfter=4, keepWithNext=True
)
CELL = ParagraphStyle("cell", parent=BODY, fontSize=8, leading=10.5, spaceAfter=0)
NUMBER = ParagraphStyle("number", parent=CELL, alignment=2)
HEAD = ParagraphStyle("head", parent=CELL, fontName="Helvetica-Bold", textColor=MUTED)
HEAD_NUMBER = ParagraphStyle("head-number", parent=HEAD, alignment=2)
#: Width of a character in tables, in points, on the safe side.
CHARACTER = 5.0
CAPTION = ParagraphStyle("caption", parent=CELL, textColor=MUTED, spaceBefore=2, spaceAfter=6)
FIGURE = ParagraphStyle("figure", parent=BODY, fontName="Helvetica-Bold", fontSize=13, leading=16, spaceAfter=0)


def write_pdf(page: Page, path: str | Path) -> None:
    """Write `page` as an A4 PDF; a page of the same content gives the same bytes."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    document = SimpleDocTemplate(
        str(path),
        pagesize=A4,
        title=page.title,
        author="driftloop",
        invariant=1,
        **dict.fromkeys(("leftMargin", "rightMargin"), 18 * mm),
        **dict.fromkeys(("topMargin", "bottomMargin"), 16 * mm),
    )
    story: list[Flowable] = [Paragraph(_plain(page.title), TITLE)]
    if page.lead:
        story.append(Paragraph(_plain(page.lead), LEAD))
    for block in page.blocks:
        story += RENDER[block["kind"]](block)
    document.build(story, onFirstPage=_number, onLaterPages=_number)


def _plain(text: str) -> str:
    """Escaped, and without the few characters that the built-in fonts lack."""
    for character, replacement in (("≥", ">="), ("≤", "<="), ("→", "->"), ("✓", "yes"), ("✗", "no"), ("−", "-"), ("≈", "about")):
        text = text.replace(character, replacement)
    return escape(text)


def _section(block: dict[str, Any]) -> list[Flowable]:
    return [Paragraph(_plain(block["heading"]), HEADING)]


def _text(block: dict[str, Any]) -> list[Flowable]:
    return [Paragraph(_plain(block["text"]), BODY)]


def _notice(block: dict[str, Any]) -> list[Flowable]:
    bar = ("LINEBEFORE", (0, 0), (0, -1), 3, colors.HexColor(TONES[block["tone"]]))
    table = Table([[Paragraph(_plain(block["text"]), BODY)]], colWidths=[WIDTH], hAlign="LEFT")
    table.setStyle(TableStyle([("BACKGROUND", (0, 0), (-1, -1), TILE), bar, ("LEFTPADDING", (0, 0), (-1, -1), 8)]))
    return [table, Spacer(1, 6)]


def _tiles(block: dict[str, Any]) -> list[Flowable]:
    cells = [[Paragraph(_plain(value), FIGURE), Paragraph(_plain(name), CAPTION)] for name, value in block["tiles"].items()]
    columns = min(4, max(1, len(cells)))
    cells += [[] for _ in range(-len(cells) % columns)]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    table = Table(rows, colWidths=[WIDTH / columns] * columns)
    style = [("BACKGROUND", (0, 0), (-1, -1), TILE), ("VALIGN", (0, 0), (-1, -1), "TOP"), ("INNERGRID", (0, 0), (-1, -1), 4, colors.white)]
    table.setStyle(TableStyle(style))
    return [table, Spacer(1, 6)]


def _table(block: dict[str, Any]) -> list[Flowable]:
    if not block["rows"]:
        return []
    head = [Paragraph(_plain(name), HEAD_NUMBER if number else HEAD) for name, number in block["columns"].items()]
    body = [[Paragraph(_plain(text), NUMBER if number else CELL) for text, number in row] for row in block["rows"]]
    # Columns are as wide as their longest text, and share the page where that is too much; a long remark is broken, not the figures.
    lengths = [max(len(name), *(len(row[index][0]) for row in block["rows"])) for index, name in enumerate(block["columns"])]
    wanted = [CHARACTER * min(max(length, 6), 52) + 10 for length in lengths]
    scale = min(1.0, WIDTH / sum(wanted))
    table = Table([head, *body], colWidths=[width * scale for width in wanted], repeatRows=1, hAlign="LEFT")
    table.setStyle(
        TableStyle(
            [
                ("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 8),
                ("TOPPADDING", (0, 0), (-1, -1), 2.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
            ]
        )
    )
    return [table, Paragraph(_plain(block["caption"]), CAPTION) if block["caption"] else Spacer(1, 6)]


def _figure(block: dict[str, Any]) -> list[Flowable]:
    return [KeepTogether([_image(block["data"], WIDTH, 110 * mm), Paragraph(_plain(block["caption"]), CAPTION)])]


def _gallery(block: dict[str, Any]) -> list[Flowable]:
    columns = 8
    cells = [[_image(data, WIDTH / columns - 6, 30 * mm), Paragraph(_plain(text), CAPTION)] for data, text in block["images"]]
    cells += [[] for _ in range(-len(cells) % columns)]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    table = Table(rows, colWidths=[WIDTH / columns] * columns)
    table.setStyle(TableStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP")]))
    return [table, Paragraph(_plain(block["caption"]), CAPTION)]


def _image(data: str, width: float, height: float) -> Image:
    """An inlined PNG, scaled to fit into width x height points."""
    content = io.BytesIO(base64.b64decode(data))
    pixels = ImageReader(content).getSize()
    scale = min(width / pixels[0], height / pixels[1])
    content.seek(0)
    return Image(content, pixels[0] * scale, pixels[1] * scale, hAlign="LEFT")


def _number(canvas: Canvas, document: SimpleDocTemplate) -> None:
    canvas.saveState()
    canvas.setFont("Helvetica", 8)
    canvas.setFillColor(MUTED)
    canvas.drawRightString(A4[0] - 18 * mm, 9 * mm, f"{document.title}, page {document.page}")
    canvas.restoreState()


RENDER = {"section": _section, "text": _text, "notice": _notice, "tiles": _tiles, "table": _table, "figure": _figure, "gallery": _gallery}
