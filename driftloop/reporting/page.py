"""HTML reports in one file: no script, no network, everything inlined, because KFP's UI shows them in a sandboxed frame."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

TEMPLATES = Environment(
    loader=PackageLoader("driftloop.reporting", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


class Page:
    """A report, written from top to bottom; all text is escaped.

    Example:
        page = Page("Drift report", lead="Window 3 drifted.")
        page.tiles({"verdict": "retrain", "p (MMD)": "0.001"})
        page.section("What moved", "Brightness fell by 12 grey levels.")
        page.table([{"statistic": "brightness", "p": 0.001}])
        page.write(report.path)
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self.title, self.lead = title, lead
        self.blocks: list[dict[str, Any]] = []

    def section(self, heading: str, text: str = "") -> None:
        """A heading, and a paragraph under it."""
        self.blocks.append({"kind": "section", "heading": heading})
        if text:
            self.text(text)

    def text(self, text: str) -> None:
        """A paragraph."""
        self.blocks.append({"kind": "text", "text": text})

    def notice(self, text: str, tone: Literal["good", "warning", "bad", "neutral"] = "neutral") -> None:
        """A highlighted line: what the reader must not miss."""
        self.blocks.append({"kind": "notice", "text": text, "tone": tone})

    def tiles(self, values: Mapping[str, object]) -> None:
        """Big numbers side by side: name -> value."""
        self.blocks.append({"kind": "tiles", "tiles": {name: readable_cell(value) for name, value in values.items()}})

    def table(self, rows: Sequence[Mapping[str, object]], caption: str = "") -> None:
        """A table; the columns are the keys of the first row. Columns of numbers are set right."""
        columns = {name: any(is_number(row.get(name)) for row in rows) for name in (rows[0] if rows else ())}
        body = [[(readable_cell(row.get(name)), number) for name, number in columns.items()] for row in rows]
        self.blocks.append({"kind": "table", "columns": columns, "rows": body, "caption": caption})

    def figure(self, figure: Figure, caption: str) -> None:
        """A matplotlib figure as an inline PNG; the caption is also its alternative text."""
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=144, bbox_inches="tight")
        self.blocks.append({"kind": "figure", "data": base64_text(stream.getvalue()), "caption": caption})

    def gallery(self, images: Sequence[np.ndarray], captions: Sequence[str], caption: str = "", side: int = 96) -> None:
        """Small pictures side by side: uint8 (H, W), (H, W, 1) or (H, W, 3), shown `side` CSS pixels wide."""
        cells = [(base64_text(png_bytes(image)), text) for image, text in zip(images, captions, strict=True)]
        self.blocks.append({"kind": "gallery", "images": cells, "caption": caption, "side": side})

    def html(self) -> str:
        """The whole page."""
        return TEMPLATES.get_template("page.html.j2").render(title=self.title, lead=self.lead, blocks=self.blocks)

    def write(self, path: str | Path) -> None:
        """Write the page to `path`, whose directories are made."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.html(), encoding="utf-8")


def is_number(value: object) -> bool:
    """Whether a value is set right in a table; yes and no are words."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def readable_cell(value: Any) -> str:
    """A value as people read it: three significant digits, thousands apart, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
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
