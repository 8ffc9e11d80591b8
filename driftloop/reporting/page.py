"""A step's report, written from top to bottom: its chapter as data, and its own page of HTML, which KFP's UI shows in a sandboxed frame."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG
from matplotlib.figure import Figure as Drawing
from PIL import Image

from driftloop.reporting import chapter as data
from driftloop.reporting.chapter import Chapter, Tone
from driftloop.reporting.layout import TEMPLATES, lay_out_page

#: A text that is a number with its unit.
MEASURED = re.compile(r"[-+−<>≤≥ ]*[\d.,]+(e[-+]?\d+)?( ?(%|x|pt|points|ms|MB))?")
#: A tag of a drawing, with its coordinates; what lies between tags is text.
TAG = re.compile(r"<[^>]*>")
#: Digits that a coordinate of a drawing needs: hundredths of a point.
COORDINATE = re.compile(r"(?<=[\d]\.)(\d\d)\d+")


class Page:
    """A report, written from top to bottom; all text is escaped where it is drawn.

    Example:
        page = Page("Drift report", lead="Window 3 drifted.", question="Has production drifted?")
        page.tiles({"verdict": "retrain", "p (MMD)": "0.001"})
        page.section("What moved", "Brightness fell by 12 grey levels.")
        page.table([{"statistic": "brightness", "p": 0.001}])
        page.write(report.path)
    """

    def __init__(self, title: str, lead: str = "", question: str = "") -> None:
        self.chapter = Chapter(title=title, lead=lead, question=question)

    def conclude(self, result: str, *, limits: Sequence[str] = (), decision: str = "", numbers: Mapping[str, float] | None = None) -> None:
        """The answer to the page's question, what it does not say, what follows from it, and numbers that a later chapter compares."""
        said = {"result": result, "limits": list(limits), "decision": decision, "numbers": dict(numbers or {})}
        self.chapter = self.chapter.model_copy(update=said)

    def section(self, heading: str, text: str = "", *, essential: bool = False) -> None:
        """A heading, and a paragraph under it."""
        self._add(data.Section(heading=heading, essential=essential))
        if text:
            self.text(text, essential=essential)

    def text(self, text: str, *, essential: bool = False) -> None:
        """A paragraph; an empty one is left out."""
        if text:
            self._add(data.Text(text=text, essential=essential))

    def points(self, points: Sequence[str], *, essential: bool = False) -> None:
        """A list of short paragraphs."""
        self._add(data.Points(points=[point for point in points if point], essential=essential))

    def notice(self, text: str, tone: Tone = "neutral") -> None:
        """A highlighted line: what the reader must not miss."""
        self._add(data.Notice(text=text, tone=tone, essential=True))

    def tiles(self, values: Mapping[str, object], tones: Mapping[str, Tone] | None = None) -> None:
        """Big numbers side by side: name -> value; `tones` colours those that are in a state."""
        tiles = {name: readable_cell(value) for name, value in values.items()}
        self._add(data.Tiles(tiles=tiles, tones=dict(tones or {}), essential=True))

    def table(
        self,
        rows: Sequence[Mapping[str, object]],
        caption: str = "",
        *,
        key: str = "",
        essential: bool = False,
        breached: Sequence[int] = (),
    ) -> None:
        """A table; the columns are the keys of the first row. Columns of numbers are set right; rows beyond a limit are set off."""
        columns = [data.Column(name=name, number=_holds_numbers([row.get(name) for row in rows])) for name in (rows[0] if rows else ())]
        body = [[readable_cell(row.get(column.name)) for column in columns] for row in rows]
        self._add(data.Table(columns=columns, rows=body, breached=list(breached), caption=caption, key=key, essential=essential))

    def figure(self, figure: Drawing, caption: str, *, alt: str = "", key: str = "", essential: bool = False) -> None:
        """A matplotlib figure as SVG; `alt` says to who cannot see it what it shows, the caption where it is empty."""
        salt = f"{self.chapter.title}-{len(self.chapter.blocks)}"
        self._add(data.Figure(svg=svg_text(figure, salt), caption=caption, alt=alt, key=key, essential=essential))

    def gallery(self, images: Sequence[np.ndarray], captions: Sequence[str], caption: str = "", side: int = 96, *, key: str = "") -> None:
        """Small pictures side by side: uint8 (H, W), (H, W, 1) or (H, W, 3), shown `side` CSS pixels wide."""
        pictures = [data.Picture(png=base64_text(png_bytes(image)), text=text) for image, text in zip(images, captions, strict=True)]
        self._add(data.Gallery(pictures=pictures, caption=caption, side=side, key=key))

    def _add(self, block: data.AnyBlock) -> None:
        self.chapter.blocks.append(block)

    def html(self) -> str:
        """The whole page."""
        return TEMPLATES.get_template("page.html.j2").render(chapter=lay_out_page(self.chapter))

    def write(self, path: str | Path) -> None:
        """Write the page to `path`, whose directories are made."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.html(), encoding="utf-8")


class MeasuringCanvas(FigureCanvasSVG):
    """What a drawing is laid out on: the sizes of texts are measured once in a process, and not anew for each layout of each drawing."""

    _measure = RendererSVG(1, 1, io.StringIO())

    def get_renderer(self) -> RendererSVG:
        """The renderer that a figure measures its texts with."""
        return self._measure


def svg_text(figure: Drawing, salt: str) -> str:
    """A drawing as an SVG element: text stays text, and the same drawing gives the same characters.

    It is laid out and cut here, once: `bbox_inches="tight"` would draw all of it a second time only to know where its parts lie.

    Args:
        figure: to draw.
        salt: of the ids inside, which must differ between drawings of one page.
    """
    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.set_dpi(MeasuringCanvas.fixed_dpi)
        MeasuringCanvas(figure)
        if layout := figure.get_layout_engine():
            layout.execute(figure)
            figure.set_layout_engine(None)
        box = figure.get_tightbbox().padded(rcParams["savefig.pad_inches"])
        figure.savefig(stream, format="svg", bbox_inches=box, transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return TAG.sub(lambda tag: COORDINATE.sub(r"\1", tag[0]), text)


def _holds_numbers(cells: Sequence[object]) -> bool:
    """Whether a column is set right: numbers, or texts that are one, such as 87.3 % and +1.2."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell]
    return all(MEASURED.fullmatch(text) for text in texts) and (bool(texts) or any(is_number(cell) for cell in cells))


def is_number(value: object) -> bool:
    """Whether a value is set right in a table; yes and no are words."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def readable_cell(value: Any) -> str:
    """A value as people read it: three significant digits, thousands apart, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return _fraction(float(value)) if isinstance(value, (float, np.floating)) else str(value)


def _fraction(value: float) -> str:
    if value != 0 and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"


def png_bytes(image: np.ndarray) -> bytes:
    """An image as PNG bytes: uint8 (H, W), (H, W, 1) or (H, W, 3)."""
    stream = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.ndim == 3 and image.shape[-1] == 1 else image).save(stream, "PNG")
    return stream.getvalue()


def base64_text(data: bytes) -> str:
    """Bytes as base64 text, for data URIs."""
    return base64.b64encode(data).decode()
