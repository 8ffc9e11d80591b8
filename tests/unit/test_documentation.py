"""The pages that people read first: short enough, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "components", "configs", "docker", "docs", "driftloop", "k8s", "pipelines", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])


def test_the_readme_has_at_most_a_thousand_words() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files_that_are_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", page.read_text())
    targets = [link for pair in links for link in pair if link and "://" not in link]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_files_of_the_repository_that_pages_name_are_there() -> None:
    named = [
        (page, name) for page in PAGES for name in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+\.(?:py|yaml|md|sh))`", page.read_text())
    ]
    assert [f"{page.relative_to(ROOT)}: {name}" for page, name in named if not (ROOT / name).exists()] == []
