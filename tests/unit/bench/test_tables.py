"""The page of measurements is what the committed results say."""

from bench.tables import PAGE, RESULTS, SECTIONS, render


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == render(), "run `python -m bench.tables` and commit the result"


def test_every_result_is_on_the_page() -> None:
    assert {path.stem for path in RESULTS.glob("*.json")} <= SECTIONS.keys()
