"""A document as one HTML file: everything inside, no script, so that it works in the sandboxed frame of a pipeline's UI and from a disk."""

from pathlib import Path

from driftloop.reporting.layout import TEMPLATES, Document, lay_out


def document_html(document: Document) -> str:
    """The whole file."""
    return TEMPLATES.get_template("document.html.j2").render(document=lay_out(document))


def write_html(document: Document, path: str | Path) -> None:
    """Write `document` to `path`, whose directories are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(document_html(document), encoding="utf-8")
