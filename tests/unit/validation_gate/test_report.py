"""What the gate's page says of a criterion is what the criterion says of itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from components.validation_gate.criteria import Criterion
from components.validation_gate.decision import Decision
from components.validation_gate.report import build_report, forest_sentence
from components.validation_gate.summary import write_summary

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


@pytest.mark.parametrize("decision", ["promote", "reject", "inconclusive"])
def test_of_a_first_candidate_nothing_says_that_a_champion_stays(tmp_path: Path, decision: str) -> None:
    gate = GATE | {"champion_version": "", "accuracy": {"champion_clean": None}}
    judged = Decision(decision, ["shown worse"], [criterion("better than the commonest class", refuted=decision == "reject")], [], {})
    html = build_report(gate, judged).html()
    write_summary(tmp_path / "gate.md", gate, judged)
    for said in (html, (tmp_path / "gate.md").read_text("utf-8")):
        assert "champion stays" not in said
        assert "replace the champion" not in said
        assert ("serve as the first champion." if decision == "promote" else "nothing serves.") in said
    assert "been used 1 time by gates" in html
    assert ("train_epochs" in html) == (decision != "promote")
    assert "gate_margin" not in html  # there is nothing yet to be worse than


@pytest.mark.parametrize("champion", ["", "1"])
def test_a_refused_candidate_which_is_no_version_is_not_said_to_be_promotable_by_hand(champion: str) -> None:
    gate = GATE | {"champion_version": champion, "accuracy": {"champion_clean": None}}
    html = build_report(gate, Decision("reject", ["shown worse"], [criterion(refuted=True)], [], {})).html()
    assert "models promote" not in html
    assert "deliverables/candidate" in html
