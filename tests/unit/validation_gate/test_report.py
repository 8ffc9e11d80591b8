"""What the gate's page says of a criterion is what the criterion says of itself."""

from dataclasses import replace

import pytest

from components.validation_gate.criteria import Criterion
from components.validation_gate.decision import Decision
from components.validation_gate.report import build_report, forest_sentence

GATE = {
    "champion_version": "1",
    "margin": 0.02,
    "test_uses": 1,
    "settings": {"uses_limit": 10},
    "accuracy": {},
    "discordant": {},
}


def criterion(name: str = "clean test", *, holds: bool = False, refuted: bool = False, bound: float | None = -0.02) -> Criterion:
    return Criterion(name, holds, refuted, 0.001, -0.01, 0.012, bound, 1500, unit="points", regime="clean", groups=1500)


@pytest.mark.parametrize(
    ("holds", "refuted", "said"), [(True, False, "it holds"), (False, True, "it is refuted"), (False, False, "it is open")]
)
def test_a_row_is_told_by_its_state(holds: bool, refuted: bool, said: str) -> None:
    sentence = forest_sentence(criterion(holds=holds, refuted=refuted))
    assert sentence.endswith(f"{said}.")
    assert "1,500 clean images" in sentence


def test_what_has_no_limit_of_its_own_is_not_drawn_as_a_difference_of_candidate_and_champion() -> None:
    decision = Decision("promote", ["all hold"], [criterion(holds=True), criterion("INT8 drop", holds=True, bound=None)], [], {})
    svg = next(block.svg for block in build_report(GATE, decision).chapter.blocks if block.kind == "figure")
    assert "clean test" in svg
    assert "INT8 drop" not in svg


def test_a_gate_that_does_not_decide_says_what_can_be_done() -> None:
    opened = Decision("inconclusive", ["clean test is open"], [criterion()], [], {"clean test": 4000})
    html = build_report(GATE, opened).html()
    assert "What can be done" in html
    assert "4,000" in html
    assert "of about so many groups" not in html, "each image is one"
    of_patients = replace(criterion(), n=455, groups=10, labels=19_696)
    html = build_report(GATE, replace(opened, criteria=[of_patients], labels_needed={"clean test": 19_696})).html()
    assert "of about so many groups" in html
    assert "433" in html
