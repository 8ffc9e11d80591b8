"""The whole gate on a real store, real datasets and real ONNX graphs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftloop import registry
from driftloop.bundle import SUMS, sha256_file
from driftloop.dataset import read_description
from driftloop.errors import InputError, IntegrityError, SettingError
from driftloop.step_facts import read_facts
from tests.unit.validation_gate.tiny import (
    CANDIDATE,
    CHAMPION,
    CLASSES,
    EARLIER,
    GateStore,
    answers,
    gate_watch_record,
    new_gate_store,
    pixel_graph,
    split_with_answers,
    write_pixel_bundle,
)

Part = tuple[Any, Any, Any]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateStore:
    monkeypatch.setenv("DRIFTLOOP_CACHE", str(tmp_path / "cache"))
    return new_gate_store(tmp_path)


def clean(gained: int = 6, lost: int = 5, n: int = 600) -> Part:
    """A clean test split on which the candidate gains and loses so many images; the earlier champion is right where the champion is."""
    candidate, champion = answers(n, gained=gained, lost=lost, wrong=n // 20)
    return split_with_answers(n, {CANDIDATE: candidate, CHAMPION: champion, EARLIER: champion}, "test")


def drifted(gained: int = 40, lost: int = 10, n: int = 300) -> Part:
    """A drifted hold-out on which the candidate gains and loses so many images."""
    candidate, champion = answers(n, gained=gained, lost=lost, wrong=n // 6)
    return split_with_answers(n, {CANDIDATE: candidate, CHAMPION: champion}, "drifted", seed=1)


def served(world: GateStore, dataset: str, pixel: int = CHAMPION, name: str = "champion", expected: str | None = None) -> Path:
    """A champion that the store names, promoted by the gate itself or beside it."""
    bundle = write_pixel_bundle(world.folder / name, pixel_graph(pixel), read_description(dataset).manifest_hash)
    world.judge(dataset, bundle, f"evidence-{name}")
    world.promote(bundle, f"evidence-{name}", expected)
    return bundle


def candidate_of(world: GateStore, dataset: str, **given: Any) -> Path:
    return write_pixel_bundle(world.folder / "candidate", pixel_graph(CANDIDATE, **given), read_description(dataset).manifest_hash)


def gate_of(world: GateStore, name: str = "evidence") -> dict[str, Any]:
    return json.loads((world.folder / name / "gate.json").read_text())


def criterion(gate: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in gate["criteria"] if entry["name"].startswith(name))


def test_a_first_candidate_that_has_learnt_something_is_promoted(world: GateStore, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    assert world.judge(dataset, candidate_of(world, dataset)) == "promote"
    gate = gate_of(world)
    assert gate["champion_version"] is None
    assert gate["test_uses"] == 1
    assert gate["candidate"] == sha256_file(world.folder / "candidate" / SUMS)
    assert gate["dataset"] == read_description(dataset).manifest_hash
    assert gate["accuracy"]["champion_clean"] is None
    assert "promote: better than the commonest class 94.2 % (> 50.0 %)" in capsys.readouterr().out


def test_a_first_candidate_at_chance_is_rejected_and_told_why(world: GateStore) -> None:
    right = np.arange(600) % 4 < 2
    dataset = world.dataset({"test": split_with_answers(600, {CANDIDATE: right}, "test")}, "dataset")
    assert world.judge(dataset, candidate_of(world, dataset)) == "reject"
    assert gate_of(world)["reasons"] == [
        "better than the commonest class: accuracy 50.0 % (at best 53.3 %), while always naming the commonest class gives 50.0 %"
    ]


def test_a_retrained_candidate_that_repairs_the_drift_is_promoted(world: GateStore, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    champion = served(world, dataset)
    extended = world.dataset({"drifted_gate": drifted()}, "extended", read_description(dataset))
    window = world.window("1", [])
    candidate = candidate_of(world, extended)
    assert world.judge(extended, candidate, champion=str(champion), traffic=window) == "promote"
    gate = gate_of(world)
    assert gate["champion_version"] == "1"
    assert criterion(gate, "drifted hold-out")["estimate"] == pytest.approx(0.1)
    assert gate["discordant"]["drifted"]["mcnemar_p"] < 0.001
    assert gate["accuracy"]["champion_drifted"]["n"] == 300
    assert gate["latency"]["rounds"] == 20
    shared = read_facts(world.folder / "evidence")["validation_gate"]
    assert shared["decision"] == "promote"
    assert shared["accuracy"] == gate["accuracy"]
    assert "promote: clean test +0.2 pt (> -2.0 pt), drifted hold-out +10.0 pt (> +0.0 pt)" in capsys.readouterr().out


def test_the_summary_is_markdown_without_html(world: GateStore) -> None:
    dataset = world.dataset({"test": clean(), "drifted_gate": drifted()}, "dataset")
    served(world, dataset)
    world.judge(dataset, candidate_of(world, dataset))
    text = (world.folder / "evidence.md").read_text()
    assert text.startswith("# Validation gate: ")
    assert "| clean test | yes | +0.2 pt |" in text
    assert "](data:image/png;base64," in text
    assert "<" not in text.replace("data:image", "")
    assert len(text) < 400_000


def test_a_candidate_that_loses_clean_accuracy_is_rejected(world: GateStore) -> None:
    dataset = world.dataset({"test": clean(gained=2, lost=40)}, "dataset")
    served(world, dataset)
    assert world.judge(dataset, candidate_of(world, dataset)) == "reject"
    assert gate_of(world)["reasons"][0].startswith("clean test: -6.3 pt, at best -4.8 pt, where more than -2.0 pt is asked for")


def test_a_small_hold_out_is_inconclusive_and_says_how_many_labels_would_decide(world: GateStore) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    champion = served(world, dataset)
    extended = world.dataset({"drifted_gate": drifted(gained=6, lost=3, n=40)}, "extended", read_description(dataset))
    assert world.judge(extended, candidate_of(world, extended), champion=str(champion), traffic=world.window("1", [])) == "inconclusive"
    gate = gate_of(world)
    assert gate["labels_needed"] == {"drifted hold-out": 343}
    assert "343 would decide" in gate["reasons"][0]
    assert "| drifted hold-out | 40 | 343 |" in (world.folder / "evidence.md").read_text()


def test_without_a_champion_input_the_home_store_is_asked(world: GateStore) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    served(world, dataset)
    assert world.judge(dataset, candidate_of(world, dataset)) == "promote"
    assert gate_of(world)["champion_version"] == "1"


def test_a_candidate_that_is_the_champion_is_not_promoted_again(world: GateStore) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    served(world, dataset)
    again = write_pixel_bundle(world.folder / "again", pixel_graph(CHAMPION), read_description(dataset).manifest_hash)
    assert world.judge(dataset, again) == "reject"
    assert gate_of(world)["reasons"] == ["differs from the champion: it serves the very same graph"]


@pytest.mark.parametrize(
    ("given", "written", "reason"),
    [
        (
            {"classes": 3},
            {"classes": [*CLASSES, "VIRUS"]},
            "knows NORMAL, PNEUMONIA, VIRUS, and the champion has NORMAL, PNEUMONIA",
        ),
        ({"side": 6}, {"side": 6}, "the candidate takes images of 6 px, and the champion's have 8 px"),
    ],
)
def test_another_schema_than_the_champions_is_rejected(world: GateStore, given: dict, written: dict, reason: str) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    served(world, dataset)
    candidate = write_pixel_bundle(world.folder / "other", pixel_graph(CANDIDATE, **given), "hash", **written)
    assert world.judge(dataset, candidate) == "reject"
    assert reason in gate_of(world)["reasons"][0]


def test_probabilities_that_are_not_numbers_are_rejected(world: GateStore) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    served(world, dataset)
    assert world.judge(dataset, candidate_of(world, dataset, broken=True)) == "reject"
    assert "not finite on 600 of 600 images" in gate_of(world)["reasons"][0]


def test_a_slower_candidate_is_not_promoted(world: GateStore) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    served(world, dataset)
    assert world.judge(dataset, candidate_of(world, dataset, burden=1500), config={"latency_slack_ms": 0.0}) == "reject"
    assert [reason.partition(":")[0] for reason in gate_of(world)["reasons"]] == ["p95 latency"]


def test_small_losses_do_not_add_up_against_the_best_earlier_champion(world: GateStore) -> None:
    """Each step loses less than the margin, the two together more; the champion between them has been accepted already."""
    n = 2000
    earlier = np.arange(n) >= 100
    champion = earlier & ~np.isin(np.arange(n), range(200, 240))
    candidate = champion & ~np.isin(np.arange(n), range(240, 265))
    test = split_with_answers(n, {EARLIER: earlier, CHAMPION: champion, CANDIDATE: candidate}, "test")
    dataset = world.dataset({"test": test}, "dataset")
    served(world, dataset, EARLIER, "earlier")
    served(world, dataset, CHAMPION, "champion", expected="1")
    assert world.judge(dataset, candidate_of(world, dataset)) == "reject"
    gate = gate_of(world)
    assert criterion(gate, "clean test")["holds"]
    assert gate["best_earlier_version"] == "1"
    assert gate["reasons"][0].startswith("best earlier champion (version 1): -3.2 pt")


def test_a_champion_that_was_rolled_back_is_no_yardstick(world: GateStore) -> None:
    n = 2000
    better = np.arange(n) >= 20
    champion = better & ~np.isin(np.arange(n), range(200, 260))
    test = split_with_answers(n, {EARLIER: better, CHAMPION: champion, CANDIDATE: champion}, "test")
    dataset = world.dataset({"test": test}, "dataset")
    served(world, dataset, CHAMPION, "champion")
    served(world, dataset, EARLIER, "better", expected="1")
    registry.rollback(world.store, reason="slow in production")
    assert world.judge(dataset, candidate_of(world, dataset)) == "promote"
    assert gate_of(world)["best_earlier_version"] is None


def test_uses_of_the_test_split_are_counted_over_versions_and_refused_watches(world: GateStore) -> None:
    dataset = world.dataset({"test": clean(), "drifted_gate": drifted()}, "dataset")
    champion = served(world, dataset)
    records = [
        gate_watch_record(1, "1", None),
        gate_watch_record(2, "1", "reject"),
        gate_watch_record(3, "1", "inconclusive"),
        gate_watch_record(4, "1", "inconclusive"),
    ]
    given = {"champion": str(champion), "traffic": world.window("1", records)}
    assert world.judge(dataset, candidate_of(world, dataset), **given) == "promote"
    gate = gate_of(world)
    assert gate["test_uses"] == 5
    assert gate["reasons"][-1].startswith("warning: this was use 5 of this test split; from use 10 on nothing is promoted")


def test_a_test_split_that_was_used_ten_times_promotes_nothing(world: GateStore) -> None:
    dataset = world.dataset({"test": clean(), "drifted_gate": drifted()}, "dataset")
    champion = served(world, dataset)
    records = [gate_watch_record(number, "1", "reject") for number in range(1, 9)]
    given = {"champion": str(champion), "traffic": world.window("1", records)}
    assert world.judge(dataset, candidate_of(world, dataset), **given) == "inconclusive"
    gate = gate_of(world)
    assert gate["test_uses"] == 10
    assert gate["reasons"][0].startswith("this test split has been used 10 times: no automatic promotion until it is refreshed")


def test_a_refreshed_test_split_starts_counting_anew(world: GateStore) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    champion = served(world, dataset)
    fresh = world.dataset({"test": clean(gained=7), "drifted_gate": drifted()}, "fresh")
    records = [gate_watch_record(number, "1", "reject") for number in range(1, 9)]
    world.judge(fresh, candidate_of(world, fresh), champion=str(champion), traffic=world.window("1", records))
    assert gate_of(world)["test_uses"] == 1


def test_a_model_trained_anew_may_not_take_away_the_drift_its_champion_was_accepted_for(world: GateStore) -> None:
    original = world.dataset({"test": clean()}, "dataset")
    extended = world.dataset({"drifted_gate": drifted(gained=10, lost=80)}, "extended", read_description(original))
    served(world, extended)
    candidate = write_pixel_bundle(world.folder / "anew", pixel_graph(CANDIDATE), read_description(original).manifest_hash)
    assert world.judge(original, candidate) == "reject"
    assert gate_of(world)["reasons"][0].startswith("drifted images that the champion was accepted for: shown worse, -23.3 pt on 300 images")


def test_a_second_drift_is_judged_on_its_own_images(world: GateStore) -> None:
    first = world.dataset({"test": clean(), "drifted_gate": drifted(gained=3, lost=3)}, "first")
    champion = served(world, first)
    n = 200
    candidate_right, champion_right = answers(n, gained=30, lost=6, wrong=30)
    new = split_with_answers(n, {CANDIDATE: candidate_right, CHAMPION: champion_right}, "second", seed=3)
    second = world.dataset({"drifted_gate": new}, "second", read_description(first))
    assert world.judge(second, candidate_of(world, second), champion=str(champion), traffic=world.window("1", [])) == "promote"
    gate = gate_of(world)
    assert criterion(gate, "drifted hold-out")["n"] == 200
    assert [entry["n"] for entry in gate["slices"] if entry["name"].startswith("drifted")] == [300]


def test_unlabelled_test_images_are_left_out(world: GateStore) -> None:
    images, labels, samples = clean()
    labels = np.where(np.arange(len(labels)) < 100, -1, labels)
    dataset = world.dataset({"test": (images, labels, samples)}, "dataset")
    world.judge(dataset, candidate_of(world, dataset))
    assert gate_of(world)["accuracy"]["candidate_clean"]["n"] == 500


def test_a_test_split_without_labels_is_an_error(world: GateStore) -> None:
    images, labels, samples = clean()
    dataset = world.dataset({"test": (images, np.full(len(labels), -1), samples)}, "dataset")
    with pytest.raises(InputError, match="split 'test' holds no labelled images"):
        world.judge(dataset, candidate_of(world, dataset))


def test_a_tampered_candidate_is_an_error(world: GateStore) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    candidate = candidate_of(world, dataset)
    (candidate / "model.onnx").write_bytes(b"something else")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        world.judge(dataset, candidate)


@pytest.mark.parametrize("margin", [0.0, -0.02, 0.21, 2.0, float("nan")])
def test_a_margin_outside_the_range_of_the_parameter_is_an_error(world: GateStore, margin: float) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    with pytest.raises(SettingError, match=r"gate_margin: .* is outside 0\.001\.\.0\.2"):
        world.judge(dataset, candidate_of(world, dataset), margin=margin)


def test_an_unknown_setting_is_an_error(world: GateStore) -> None:
    dataset = world.dataset({"test": clean()}, "dataset")
    with pytest.raises(SettingError, match=r"did you mean gate_config\.class_margin"):
        world.judge(dataset, candidate_of(world, dataset), config={"class_margins": 0.1})
