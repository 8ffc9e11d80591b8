"""Chapters travel from directory to directory, and both renderers draw the same ones."""

import re
from pathlib import Path

import pytest

from driftloop.contracts import CHAPTERS
from driftloop.errors import IntegrityError
from driftloop.reporting import Page, axes
from driftloop.reporting.chapter import Chapter, read_chapters, write_chapter
from driftloop.reporting.document import document_html
from driftloop.reporting.layout import Document, Part, Source
from driftloop.reporting.pdf import write_pdf
from tests.factories.pdf import pages_of


def a_chapter(text: str = "See [[line]], [[cite:guo]] and `code`.") -> Chapter:
    page = Page("A chapter <b>", question="Why?")
    figure, (axis,) = axes(3, 2)
    axis.plot([1, 2])
    page.figure(figure, "A line.", key="line")
    page.table([{"name": "#let x = 1", "share": "87.3 %"}], "A table.")
    page.table([], "None.", key="empty")
    page.text(f"{text} [[empty]]")
    page.conclude("Because.", limits=["Not always."], decision="Go on.", numbers={"auroc": 0.9})
    return page.chapter


def a_document(*chapters: Chapter) -> Document:
    parts = [Part(chapter, str(number), f"chapter-{number}") for number, chapter in enumerate(chapters, 1)]
    return Document("A report", "On a run", {"run": "r1"}, "2026-01-02T03:04:05+00:00", parts, [Source("guo", "C. Guo. 2017.")])


def test_a_directory_carries_the_chapters_of_those_before_it(tmp_path: Path) -> None:
    write_chapter(tmp_path / "a", "first", a_chapter())
    write_chapter(tmp_path / "b", "second", Chapter(title="Second"), tmp_path / "a", tmp_path / "none")
    assert list(read_chapters(tmp_path / "b")) == ["first", "second"]
    assert read_chapters(tmp_path / "b")["first"] == a_chapter()
    assert read_chapters(tmp_path / "none") == {}


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / CHAPTERS).write_text("{")
    with pytest.raises(IntegrityError, match=CHAPTERS):
        read_chapters(tmp_path)


def test_figures_are_numbered_by_chapter_and_references_lead_to_them() -> None:
    html = document_html(a_document(a_chapter(), a_chapter()))
    assert "<b>Figure 2.1.</b>" in html
    for target in set(re.findall(r'href="#([\w-]+)"', html)):
        assert f'id="{target}"' in html
    # A key that two chapters have means the chapter's own figure.
    assert html.count(">Figure 2.1</a>") == 1


def test_what_refers_to_nothing_stays_as_it_was_written() -> None:
    html = document_html(a_document(a_chapter("[[nothing]] and a ` alone [[cite:nobody]].")))
    assert "[[nothing]] and a ` alone." in html


def test_text_is_escaped_and_nothing_is_loaded() -> None:
    html = document_html(a_document(a_chapter()))
    assert "A chapter &lt;b&gt;" in html
    assert "<script" not in html
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", html)


def test_the_pdf_is_tagged_dated_by_the_run_and_the_same_again(tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        write_pdf(a_document(a_chapter("Ключ 中文 ≥")), tmp_path / name)
    made = (tmp_path / "a.pdf").read_bytes()
    assert made == (tmp_path / "b.pdf").read_bytes()
    assert b"pdfuaid" in made
    assert b"2026-01-02" in made
    # Cover, contents, the chapter, references.
    assert pages_of(tmp_path / "a.pdf") == 4
