"""For a critical class unknown is not good enough: it must be shown not to be lost, and else the gate says how many images would tell."""

from dataclasses import replace

import numpy as np
import pytest

from components.validation_gate.answers import Answers
from components.validation_gate.decision import GateInputs, decide
from components.validation_gate.step import accuracies, recalls
from driftloop.errors import SettingError
from driftloop.settings import GateSettings, critical_names

NAMES = ["common", "other", "rare"]
SETTINGS = GateSettings()


def probabilities(labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.eye(3)[np.where(right, labels, (labels + 1) % 3)] * 0.7 + 0.1


def against_champion(rare: int, lost: int, **changes: object) -> GateInputs:
    """A candidate equal on 1,500 images: what it loses of the last class, of which the champion has all right, it wins elsewhere."""
    labels = np.concatenate([np.arange(1500 - rare) % 2, np.full(rare, 2)])
    champion = np.arange(1500) % 12 > 0
    candidate = champion.copy()
    champion[1500 - rare :] = candidate[1500 - rare :] = True
    candidate[1500 - lost :] = False
    candidate[np.flatnonzero(~champion)[:lost]] = True
    clean = Answers(labels, probabilities(labels, candidate), probabilities(labels, champion))
    return replace(GateInputs(clean, NAMES), **changes)  # type: ignore[arg-type]


def first(confusion: list[list[int]]) -> GateInputs:
    pairs = [(label, answer) for label, row in enumerate(confusion) for answer, count in enumerate(row) for _ in range(count)]
    labels, named = np.array(pairs).T
    return GateInputs(Answers(labels, np.eye(3)[named]), NAMES)


def judged(inputs: GateInputs, *critical: str) -> tuple[str, str]:
    decision = decide(inputs, margin=0.02, settings=SETTINGS, critical=critical)
    return decision.decision, "; ".join(decision.reasons)


def test_a_class_of_one_percent_that_is_lost_passes_unless_it_is_critical() -> None:
    assert judged(against_champion(15, 15))[0] == "promote", "too few images for a slice, and nothing is lost on average"
    decision, reasons = judged(against_champion(15, 15), "rare")
    assert decision == "reject"
    assert "critical class rare: -100.0 pt" in reasons


def test_what_few_images_cannot_show_is_inconclusive_with_the_number_that_would_tell() -> None:
    decision, reasons = judged(against_champion(15, 0), "rare")
    assert decision == "inconclusive"
    assert "critical class rare: +0.0 pt on 15 labelled images leaves" in reasons
    needed = int(reasons.partition("; about ")[2].split()[0])
    assert 60 < needed < 1000
    # As soon as the images are there, an equal candidate passes.
    assert judged(against_champion(60, 0), "rare")[0] == "promote"
    assert judged(against_champion(15, 0), "common", "other")[0] == "promote"


def test_what_is_not_critical_says_how_many_images_would_tell() -> None:
    reasons = judged(against_champion(15, 0))[1]
    assert "not excluded, for lack of images: class rare between " in reasons
    assert "pt (n = 15, about " in reasons
    assert " would tell)" in reasons


def few_clean() -> Answers:
    """150 test images on which both are equal: too few for a margin of half a point."""
    labels = np.concatenate([np.arange(135) % 2, np.full(15, 2)])
    right = probabilities(labels, np.arange(150) % 10 > 0)
    return Answers(labels, right, right)


def test_no_traffic_outweighs_an_open_critical_class() -> None:
    drifted = np.arange(400) % 2
    gain = Answers(drifted, probabilities(drifted, np.arange(400) % 5 > 0), probabilities(drifted, np.arange(400) % 2 > 0))
    labels = np.concatenate([np.arange(135) % 2, np.full(15, 2)])
    right = np.arange(150) % 10 > 0
    right[135:] = True
    clean = Answers(labels, probabilities(labels, right), probabilities(labels, right))
    inputs = GateInputs(clean, NAMES, drifted=gain, new_share=0.8)
    decision = decide(inputs, margin=0.005, settings=SETTINGS)
    assert (decision.decision, decision.by_traffic) == ("promote", True)
    decision = decide(inputs, margin=0.005, settings=SETTINGS, critical=["rare"])
    assert (decision.decision, decision.by_traffic) == ("inconclusive", False)


def on_a_drift(champion: int, candidate: int, *, of: int = 40, others: int = 360) -> Answers:
    """Images of a drift on which the candidate is far better, but for the rare class, of which both have so many right."""
    labels = np.concatenate([np.arange(others) % 2, np.full(of, 2)])
    elsewhere = np.arange(others)
    right = [
        np.concatenate([elsewhere % 20 < 14, np.arange(of) < champion]),
        np.concatenate([elsewhere % 20 < 19, np.arange(of) < candidate]),
    ]
    return Answers(labels, probabilities(labels, right[1]), probabilities(labels, right[0]))


def test_a_critical_class_that_is_lost_on_what_comes_in_now_is_rejected() -> None:
    inputs = against_champion(300, 0, drifted=on_a_drift(33, 0), new_share=0.8)
    assert judged(inputs)[0] == "promote", "the drift as a whole is won back"
    decision, reasons = judged(inputs, "rare")
    assert decision == "reject"
    assert "critical class rare (drifted hold-out): -82.5 pt" in reasons


@pytest.mark.parametrize(("kind", "name"), [("drifted", "drifted hold-out"), ("recent", "recent hold-out"), ("accepted", "accepted drift")])
def test_a_critical_class_is_looked_at_on_every_kind_of_images(kind: str, name: str) -> None:
    def of(answers: Answers, *critical: str) -> tuple[str, str]:
        return judged(against_champion(300, 0, **{kind: answers}), *critical)

    assert of(on_a_drift(90, 90, of=100), "rare")[0] == "promote"
    decision, reasons = of(on_a_drift(9, 9, of=10), "rare")
    assert decision == "inconclusive", "unknown is not good enough"
    assert f"critical class rare ({name}): +0.0 pt on 10 labelled images leaves" in reasons
    decision, reasons = of(on_a_drift(0, 0, of=0), "rare")
    assert decision == "inconclusive"
    assert f"critical class rare ({name}): the {name} has no image of it" in reasons
    decision, reasons = of(on_a_drift(90, 40, of=100), "rare")
    assert decision == "reject"
    assert f"critical class rare ({name}): -50.0 pt" in reasons


def test_a_critical_class_on_a_hold_out_that_was_used_before_needs_more() -> None:
    once, often = (against_champion(300, 0, drifted=on_a_drift(70, 70, of=80), drifted_uses=use) for use in (1, 5))
    assert judged(once, "rare")[0] == "promote"
    assert judged(often, "rare")[0] == "inconclusive"


def test_no_traffic_outweighs_a_class_that_is_lost_on_what_comes_in_now() -> None:
    """Not critical: the usual bounds are open, and the floor of the rule by traffic holds for classes of the drift, too."""
    inputs = replace(against_champion(300, 0), clean=few_clean(), drifted=on_a_drift(36, 36), new_share=0.9)
    assert decide(inputs, margin=0.005, settings=SETTINGS).by_traffic
    lost = replace(inputs, drifted=on_a_drift(36, 10))
    decision = decide(lost, margin=0.005, settings=SETTINGS)
    assert (decision.decision, decision.by_traffic) == ("inconclusive", False)
    assert decision.reasons[-1].endswith("but more than 5 points are shown lost: class rare (new drift)")


def test_a_class_that_the_champion_answers_to_everything_cannot_be_lost() -> None:
    labels = np.concatenate([np.arange(360) % 2, np.full(40, 2)])
    candidate = np.arange(400) % 20 < 16
    always = np.eye(3)[np.full(400, 2)] * 0.7 + 0.1
    drifted = Answers(labels, probabilities(labels, candidate), always)
    inputs = replace(against_champion(300, 0), clean=few_clean(), drifted=drifted, new_share=0.9)
    assert decide(inputs, margin=0.005, settings=SETTINGS).by_traffic


def test_an_equal_candidate_is_hardly_ever_rejected_for_a_critical_class_of_a_drift() -> None:
    """5 % of the images answered otherwise: bench/gate_situations.py says how often it stays inconclusive."""
    rng, decisions = np.random.default_rng(8), []
    for _ in range(150):
        labels = np.arange(300) % 3
        champion = rng.random(300) < 0.8
        swap = rng.random(300) < 0.05
        candidate = np.where(swap, ~champion, champion)
        drifted = Answers(labels, probabilities(labels, candidate), probabilities(labels, champion))
        criteria = decide(against_champion(300, 0, drifted=drifted), margin=0.02, settings=SETTINGS, critical=["rare"]).criteria
        decisions += [item.refuted for item in criteria if item.name == "critical class rare (drifted hold-out)"]
    assert len(decisions) == 150
    assert np.mean(decisions) <= 0.02


def test_a_first_model_must_be_shown_to_recognise_a_critical_class() -> None:
    few = first([[90, 10, 0], [10, 90, 0], [3, 2, 0]])
    assert judged(few)[0] == "promote"
    decision, reasons = judged(few, "rare")
    assert decision == "inconclusive"
    assert "critical class rare recognised: 0.0 % on 5 labelled images" in reasons
    assert "would decide" in reasons
    assert judged(first([[90, 10, 0], [10, 90, 0], [1, 1, 8]]), "rare")[0] == "promote"
    decision, reasons = judged(first([[190, 10, 0], [10, 190, 0], [41, 40, 0]]), "rare")
    assert decision == "reject"
    assert "critical class rare recognised: 0.0 %" in reasons


@pytest.mark.parametrize(
    ("inputs", "name"),
    [(against_champion(0, 0), "critical class rare"), (first([[90, 10, 0], [10, 90, 0]]), "critical class rare recognised")],
)
def test_a_critical_class_without_test_images_shows_nothing(inputs: GateInputs, name: str) -> None:
    assert judged(inputs)[0] == "promote"
    decision, reasons = judged(inputs, "rare")
    assert decision == "inconclusive"
    assert f"{name}: the test split has no image of it" in reasons


def test_the_recalls_that_the_next_watches_compare_with_are_those_of_the_candidate() -> None:
    inputs = against_champion(60, 6, drifted=first([[9, 1, 0], [2, 8, 0]]).clean)
    found = recalls(inputs)
    assert found["clean"]["rare"]["value"] == 0.9
    assert found["clean"]["rare"]["n"] == 60
    assert {name: recall["value"] for name, recall in found["drifted"].items()} == {"common": 0.9, "other": 0.8}


def test_what_the_next_watches_compare_with_stands_on_patients_where_images_come_from_few() -> None:
    inputs = against_champion(60, 6)
    images = np.arange(1500)
    # One patient is always answered wrongly, and of those of the rare class another.
    patients = np.where(images >= 1440, 1000 + images // 6, images % 12)
    clustered = replace(inputs, clean=replace(inputs.clean, groups=patients))
    alone, together = (accuracies(of)["candidate_clean"] for of in (inputs, clustered))
    assert alone is not None
    assert together is not None
    assert (alone["effective_n"], together["value"], together["n"]) == (None, alone["value"], alone["n"])
    assert together["effective_n"] < alone["n"]
    assert recalls(clustered)["clean"]["rare"]["effective_n"] < 60


def test_names_are_checked_in_one_line() -> None:
    assert critical_names(" rare, common ,", NAMES) == ["common", "rare"]
    assert critical_names("", NAMES) == []
    fishes = ["goldfish", "tench", "tench, Tinca tinca", "x,y,z"]
    assert critical_names("goldfish,tench, Tinca tinca", fishes) == ["goldfish", "tench, Tinca tinca"]
    assert critical_names("x,y,z, tench", fishes) == ["tench", "x,y,z"]
    with pytest.raises(SettingError, match=r"^critical_classes: 'raer' is no class of this model \(did you mean rare\?\)$"):
        critical_names("raer", NAMES)
    with pytest.raises(SettingError, match=r"known: common, other, rare"):
        critical_names("xyz", NAMES)
