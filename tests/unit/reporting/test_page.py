"""Reports are self-contained, escape what they are given, and are the same as PDF."""

from pathlib import Path

import numpy as np
import pytest

from driftloop.reporting import Page, axes
from driftloop.reporting.page import readable_cell
from driftloop.reporting.pdf import write_pdf


def example() -> Page:
    page = Page("A <report>", "Lead & all.")
    page.section("What moved", "p < 0.05 & more")
    page.notice("Careful.", "warning")
    page.tiles({"verdict": "retrain", "rows": 1234})
    page.table([{"name": "<b>", "value": 0.5}, {"name": "none", "value": None}], "A caption.")
    figure, (axis,) = axes(3, 2)
    axis.plot([1, 2, 3])
    page.figure(figure, "A line.")
    page.gallery([np.zeros((8, 8, 1), np.uint8), np.zeros((8, 8, 3), np.uint8)], ["grey", "colour"], "Two.")
    return page


def test_text_is_escaped() -> None:
    html = example().html()
    assert "A &lt;report&gt;" in html
    assert "<b></td>" not in html


def test_a_page_needs_no_network_and_no_script() -> None:
    html = example().html()
    assert "http" not in html.replace("http-equiv", "")
    assert "<script" not in html
    assert html.count("data:image/png;base64,") == 3


def test_the_pdf_has_every_page_and_is_reproducible(tmp_path: Path) -> None:
    page = example()
    for name in ("a.pdf", "b.pdf"):
        write_pdf(page, tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF-")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_an_empty_table_is_no_error(tmp_path: Path) -> None:
    page = Page("Empty")
    page.table([])
    write_pdf(page, tmp_path / "empty.pdf")
    assert "<table>" in page.html()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (1234, "1,234"),
        (0.12345, "0.123"),
        (0.00002, "2.0e-05"),
        (0.0, "0.000"),
        (12345.6, "12,346"),
        ("x", "x"),
    ],
)
def test_values_read_as_people_write_them(value: object, text: str) -> None:
    assert readable_cell(value) == text
