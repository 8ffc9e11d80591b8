"""Reports are self-contained, escape what they are given, and draw with vectors."""

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from driftloop.reporting import Page, axes
from driftloop.reporting.page import readable_cell, svg_text


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
    loaded = re.findall(r"""(?:src|href)=["'](?!#|data:)""", html)
    assert not loaded
    assert "<script" not in html
    assert html.count("data:image/png;base64,") == 2


def test_figures_are_vectors_that_follow_the_theme() -> None:
    html = example().html()
    assert "<svg" in html
    assert "var(--ink)" in html


def test_a_number_in_a_drawing_keeps_its_digits() -> None:
    figure, (axis,) = axes(3, 2)
    axis.plot([0.12345, 0.67891], [1, 2])
    axis.set_title("p = 0.00123")
    text = svg_text(figure, "s")
    assert ">p = 0.00123<" in text
    assert not re.search(r'd="[^"]*\d\.\d{3}', text), "coordinates need no more than hundredths of a point"


def test_a_drawing_is_laid_out_and_cut_as_matplotlib_does_it() -> None:
    """With all that lies beside its axes: a long label, and a legend."""

    def drawn() -> Figure:
        figure, (axis, other) = axes(4, 2, columns=2)
        axis.plot([1, 2, 3], label="a line that is named at length")
        axis.set_ylabel("what is told\nin two lines")
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
        other.imshow(np.eye(3))
        return figure

    stream = io.StringIO()
    drawn().savefig(stream, format="svg", bbox_inches="tight", transparent=True)
    for what in (r'viewBox="([^"]*)"', r' d="([^"]*)" clip-path'):
        ours, theirs = (" ".join(re.findall(what, text)).split() for text in (svg_text(drawn(), "s"), stream.getvalue()))
        numbers = [float(number) for number in theirs if number not in ("M", "L")]
        assert len(numbers) >= 4
        assert [float(number) for number in ours if number not in ("M", "L")] == pytest.approx(numbers, abs=0.02)


def test_the_same_drawing_gives_the_same_page() -> None:
    assert example().html() == example().html()


def test_an_empty_table_is_no_error() -> None:
    page = Page("Empty")
    page.table([])
    assert "<table" in page.html()


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
