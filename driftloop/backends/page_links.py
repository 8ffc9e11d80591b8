"""Links between the pages of a run's deliverables: by relative name, and only to what lies in the same folder.

A page is written before anybody knows which others there will be, and the pipeline's UI shows each alone: so they are put in at the end.
"""

import html
import re
from functools import partial
from pathlib import Path

#: In the order of the themes; each page names the others that are there.
PAGES = {
    "report.html": "Report",
    "data_report.html": "Data",
    "baseline_curves.html": "Baseline",
    "optimization_report.html": "Optimisation",
    "deployment_report.html": "Deployment",
    "dashboard.html": "Monitoring",
    "drift_report.html": "Drift",
    "labelling_sheet.html": "Labelling sheet",
    "gate.html": "Gate",
}
_NAV = re.compile(r'<nav class="pages".*?</nav>\n?', re.DOTALL)
_NAMED_FILE = re.compile(r"(?:<a href=\"[\w.]+\">)?<code>([\w.]+\.(?:html|csv|json))</code>(?:</a>)?")


def link_pages(folder: Path) -> None:
    """Give each page in `folder` links to the others, and make links of the files that its text names; doing it again changes nothing."""
    there = {path.name for path in folder.iterdir() if path.is_file()}
    for name in PAGES.keys() & there:
        page = folder / name
        text = page.read_text(encoding="utf-8")
        linked = _NAV.sub("", text).replace("<body>\n", f"<body>\n{_navigation(name, there)}", 1)
        linked = _NAMED_FILE.sub(partial(_named, there=there - {name}), linked)
        if linked != text:
            page.write_text(linked, encoding="utf-8")


def _navigation(own: str, there: set[str]) -> str:
    shown = [(name, title) for name, title in PAGES.items() if name in there]
    items = [
        f'<b aria-current="page">{html.escape(title)}</b>' if name == own else f'<a href="{name}">{html.escape(title)}</a>'
        for name, title in shown
    ]
    return f'<nav class="pages" aria-label="Pages of this run">{" ".join(items)}</nav>\n' if len(shown) > 1 else ""


def _named(match: re.Match[str], there: set[str]) -> str:
    name = match.group(1)
    return f'<a href="{name}"><code>{name}</code></a>' if name in there else f"<code>{name}</code>"
