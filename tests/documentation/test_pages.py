"""What the pages of docs/ say of code and measurements is what these say."""

import re

import pytest

from tests.documentation.documented_commands import ROOT
from tests.documentation.troubleshooting import PAGE, page

MEASURED = (ROOT / "bench" / "README.md").read_text()
#: A share with its interval, one with its error, or one of three decimals.
FIGURE = r"\d\.\d{3} \(\d\.\d{3}-\d\.\d{3}\)|\d\.\d\d ± \d\.\d\d|\b\d\.\d{3}\b"
STATISTICS = (ROOT / "docs" / "statistics.md").read_text()


def test_the_page_of_messages_is_the_one_that_the_code_has_now() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.documentation.troubleshooting` and commit docs/troubleshooting.md"


def test_messages_of_the_code_are_found_with_their_cures() -> None:
    assert "| a rollback needs its reason, for the history | give one with --reason |" in page()
    assert "class '*label*' has *fewest* *images* | at least 10 are needed" in page(), "constants are written out"


@pytest.mark.parametrize("figure", sorted(set(re.findall(FIGURE, STATISTICS))))
def test_a_figure_of_the_statistics_stands_in_the_measurements(figure: str) -> None:
    assert figure in MEASURED


def test_the_results_that_the_statistics_name_are_there() -> None:
    named = set(re.findall(r"`(\w+\.json)`", STATISTICS))
    assert len(named) > 8
    assert {name for name in named if not (ROOT / "bench" / "results" / name).exists()} == set()


def test_the_index_names_every_page_of_the_folder_once() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "README.md").read_text())
    assert sorted(linked) == sorted(pages)
