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

TEXT_COLOUR, MUTED_COLOUR, LINE_COLOUR, TILE_COLOUR = (colors.HexColor(code) for code in ("#1f2933", "#616e7c", "#e4e7eb", "#f5f7fa"))
TONE_COLOURS = {"good": "#0b7a53", "warning": "#9c5700", "bad": "#b42318", "neutral": "#616e7c"}
TEXT_WIDTH = A4[0] - 36 * mm
BODY_STYLE = ParagraphStyle("body", fontName="Helvetica", fontSize=9.5, leading=13.5, textColor=TEXT_COLOUR, spaceAfter=4)
LEAD_STYLE = ParagraphStyle("lead", parent=BODY_STYLE, fontSize=11, leading=15, textColor=MUTED_COLOUR, spaceAfter=8)
TITLE_STYLE = ParagraphStyle("title", parent=BODY_STYLE, fontName="Helvetica-Bold", fontSize=18, leading=22, spaceAfter=5)
HEADING_STYLE = ParagraphStyle(
    "heading", parent=BODY_STYLE, fontName="Helvetica-Bold", fontSize=12.5, leading=16, spaceBefore=12, spaceAfter=4, keepWithNext=True
)
CELL_STYLE = ParagraphStyle("cell", parent=BODY_STYLE, fontSize=8, leading=10.5, spaceAfter=0)
NUMBER_STYLE = ParagraphStyle("number", parent=CELL_STYLE, alignment=2)
HEAD_STYLE = ParagraphStyle("head", parent=CELL_STYLE, fontName="Helvetica-Bold", textColor=MUTED_COLOUR)
HEAD_NUMBER_STYLE = ParagraphStyle("head-number", parent=HEAD_STYLE, alignment=2)
#: Width of a character in tables, in points, on the safe side.
CHARACTER_WIDTH = 5.0
CAPTION_STYLE = ParagraphStyle("caption", parent=CELL_STYLE, textColor=MUTED_COLOUR, spaceBefore=2, spaceAfter=6)
TILE_VALUE_STYLE = ParagraphStyle("figure", parent=BODY_STYLE, fontName="Helvetica-Bold", fontSize=13, leading=16, spaceAfter=0)


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
    story: list[Flowable] = [Paragraph(_plain(page.title), TITLE_STYLE)]
    if page.lead:
        story.append(Paragraph(_plain(page.lead), LEAD_STYLE))
    for block in page.blocks:
        story += RENDER[block["kind"]](block)
    document.build(story, onFirstPage=_number, onLaterPages=_number)


def _plain(text: str) -> str:
    """Escaped, and without the few characters that the built-in fonts lack."""
    for character, replacement in (("≥", ">="), ("≤", "<="), ("→", "->"), ("✓", "yes"), ("✗", "no"), ("−", "-"), ("≈", "about")):
        text = text.replace(character, replacement)
    return escape(text)


def _section(block: dict[str, Any]) -> list[Flowable]:
    return [Paragraph(_plain(block["heading"]), HEADING_STYLE)]


def _text(block: dict[str, Any]) -> list[Flowable]:
    return [Paragraph(_plain(block["text"]), BODY_STYLE)]


def _notice(block: dict[str, Any]) -> list[Flowable]:
    bar = ("LINEBEFORE", (0, 0), (0, -1), 3, colors.HexColor(TONE_COLOURS[block["tone"]]))
    table = Table([[Paragraph(_plain(block["text"]), BODY_STYLE)]], colWidths=[TEXT_WIDTH], hAlign="LEFT")
    table.setStyle(TableStyle([("BACKGROUND", (0, 0), (-1, -1), TILE_COLOUR), bar, ("LEFTPADDING", (0, 0), (-1, -1), 8)]))
    return [table, Spacer(1, 6)]


def _tiles(block: dict[str, Any]) -> list[Flowable]:
    cells = [[Paragraph(_plain(value), TILE_VALUE_STYLE), Paragraph(_plain(name), CAPTION_STYLE)] for name, value in block["tiles"].items()]
    columns = min(4, max(1, len(cells)))
    cells += [[] for _ in range(-len(cells) % columns)]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    table = Table(rows, colWidths=[TEXT_WIDTH / columns] * columns)
    style = [
        ("BACKGROUND", (0, 0), (-1, -1), TILE_COLOUR),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("INNERGRID", (0, 0), (-1, -1), 4, colors.white),
    ]
    table.setStyle(TableStyle(style))
    return [table, Spacer(1, 6)]


def _table(block: dict[str, Any]) -> list[Flowable]:
    if not block["rows"]:
        return []
    head = [Paragraph(_plain(name), HEAD_NUMBER_STYLE if number else HEAD_STYLE) for name, number in block["columns"].items()]
    body = [[Paragraph(_plain(text), NUMBER_STYLE if number else CELL_STYLE) for text, number in row] for row in block["rows"]]
    # Columns are as wide as their longest text, and share the page where that is too much; a long remark is broken, not the figures.
    lengths = [max(len(name), *(len(row[index][0]) for row in block["rows"])) for index, name in enumerate(block["columns"])]
    wanted = [CHARACTER_WIDTH * min(max(length, 6), 52) + 10 for length in lengths]
    scale = min(1.0, TEXT_WIDTH / sum(wanted))
    table = Table([head, *body], colWidths=[width * scale for width in wanted], repeatRows=1, hAlign="LEFT")
    table.setStyle(
        TableStyle(
            [
                ("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE_COLOUR),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 8),
                ("TOPPADDING", (0, 0), (-1, -1), 2.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
            ]
        )
    )
    return [table, Paragraph(_plain(block["caption"]), CAPTION_STYLE) if block["caption"] else Spacer(1, 6)]


def _figure(block: dict[str, Any]) -> list[Flowable]:
    return [KeepTogether([_image(block["data"], TEXT_WIDTH, 110 * mm), Paragraph(_plain(block["caption"]), CAPTION_STYLE)])]


def _gallery(block: dict[str, Any]) -> list[Flowable]:
    columns = 8
    cells = [[_image(data, TEXT_WIDTH / columns - 6, 30 * mm), Paragraph(_plain(text), CAPTION_STYLE)] for data, text in block["images"]]
    cells += [[] for _ in range(-len(cells) % columns)]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    table = Table(rows, colWidths=[TEXT_WIDTH / columns] * columns)
    table.setStyle(TableStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP")]))
    return [table, Paragraph(_plain(block["caption"]), CAPTION_STYLE)]


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
    canvas.setFillColor(MUTED_COLOUR)
    canvas.drawRightString(A4[0] - 18 * mm, 9 * mm, f"{document.title}, page {document.page}")
    canvas.restoreState()


RENDER = {"section": _section, "text": _text, "notice": _notice, "tiles": _tiles, "table": _table, "figure": _figure, "gallery": _gallery}
