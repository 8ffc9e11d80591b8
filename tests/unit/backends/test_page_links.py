"""The pages of a run's deliverables name each other, as far as they are in the folder."""

from pathlib import Path

from driftloop.backends.page_links import link_pages
from driftloop.reporting import Page


def test_pages_link_to_what_is_in_the_folder_and_to_nothing_else(tmp_path: Path) -> None:
    drift, dashboard = tmp_path / "drift_report.html", tmp_path / "dashboard.html"
    page = Page("Drift", lead="See `dashboard.html`, `labelling_sheet.html`, `label_requests.csv` and `drift_report.html`.")
    page.write(drift)
    Page("Monitoring").write(dashboard)
    (tmp_path / "label_requests.csv").touch()
    link_pages(tmp_path)
    text = drift.read_text()
    assert '<a href="dashboard.html">Monitoring</a> <b aria-current="page">Drift</b></nav>' in text
    assert '<a href="dashboard.html"><code>dashboard.html</code></a>, <code>labelling_sheet.html</code>' in text
    assert '<a href="label_requests.csv"><code>label_requests.csv</code></a> and <code>drift_report.html</code>' in text
    link_pages(tmp_path)
    assert drift.read_text() == text, "doing it again changes nothing"
    dashboard.unlink()
    link_pages(tmp_path)
    page.write(tmp_path / "alone.html")
    assert drift.read_text() == (tmp_path / "alone.html").read_text().replace(
        "<code>label_requests.csv</code>", '<a href="label_requests.csv"><code>label_requests.csv</code></a>'
    )
