"""The whole gate on a real store, real datasets and real ONNX graphs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from driftloop import registry
from driftloop.bundle import SUMS, sha256_file
from driftloop.dataset import read_description
from driftloop.errors import InputError, IntegrityError, SettingError
from driftloop.step_facts import read_facts
from driftloop.tags import tags_text
from driftloop.watch_record import RecordedTagWindow, RecordedWindow, TagPart, WatchRecord
from driftloop.watch_store import start_watch
from tests.factories.gate_store import (
    CANDIDATE,
    CHAMPION,
    EARLIER,
    GateStore,
    answers,
    new_gate_store,
    pixel_graph,
    split_with_answers,
    write_pixel_bundle,
)
from tests.factories.records import CLASSES, decided_watch, watch_record
from tests.factories.version_links import write_version_link

Part = tuple[Any, Any, Any]


@pytest.fixture
def gate_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateStore:
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


def served(gate_store: GateStore, dataset: str, pixel: int = CHAMPION, name: str = "champion", expected: str | None = None) -> Path:
    """A champion that the store names, promoted by the gate itself or beside it."""
    bundle = write_pixel_bundle(gate_store.folder / name, pixel_graph(pixel), read_description(dataset).manifest_hash)
    gate_store.judge(dataset, bundle, f"evidence-{name}")
    gate_store.promote(bundle, f"evidence-{name}", expected)
    return bundle


def candidate_of(gate_store: GateStore, dataset: str, folder: str = "", **given: Any) -> Path:
    return write_pixel_bundle(
        gate_store.folder / f"candidate{folder}", pixel_graph(CANDIDATE, **given), read_description(dataset).manifest_hash
    )


def gate_of(gate_store: GateStore, name: str = "evidence") -> dict[str, Any]:
    return json.loads((gate_store.folder / name / "gate.json").read_text())


def criterion(gate: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in gate["criteria"] if entry["name"].startswith(name))


def test_a_first_candidate_that_has_learnt_something_is_promoted(gate_store: GateStore, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    assert gate_store.judge(dataset, candidate_of(gate_store, dataset)) == "promote"
    gate = gate_of(gate_store)
    assert gate["champion_version"] is None
    assert gate["test_uses"] == 1
    assert gate["candidate"] == sha256_file(gate_store.folder / "candidate" / SUMS)
    assert gate["dataset"] == read_description(dataset).manifest_hash
    assert gate["accuracy"]["champion_clean"] is None
    assert "promote: better than the commonest class 94.2 % (> 50.0 %)" in capsys.readouterr().out


def test_a_first_candidate_at_chance_is_rejected_and_told_why(gate_store: GateStore) -> None:
    right = np.arange(600) % 4 < 2
    dataset = gate_store.dataset({"test": split_with_answers(600, {CANDIDATE: right}, "test")}, "dataset")
    assert gate_store.judge(dataset, candidate_of(gate_store, dataset)) == "reject"
    assert gate_of(gate_store)["reasons"] == [
        "better than the commonest class: accuracy 50.0 % (at best 53.3 %), while always naming the commonest class gives 50.0 %"
    ]


def test_a_retrained_candidate_that_repairs_the_drift_is_promoted(gate_store: GateStore, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    served(gate_store, dataset)
    champion = write_version_link(gate_store.store, "1", gate_store.folder)
    extended = gate_store.dataset({"drifted_gate": drifted()}, "extended", read_description(dataset))
    window = gate_store.traffic("1", [])
    candidate = candidate_of(gate_store, extended)
    assert gate_store.judge(extended, candidate, champion=str(champion), traffic=window) == "promote"
    gate = gate_of(gate_store)
    assert gate["champion_version"] == "1"
    assert criterion(gate, "drifted hold-out")["estimate"] == pytest.approx(0.1)
    assert gate["discordant"]["drifted"]["mcnemar_p"] < 0.001
    assert gate["accuracy"]["champion_drifted"]["n"] == 300
    assert gate["latency"]["rounds"] == 20
    shared = read_facts(gate_store.folder / "evidence")["validation_gate"]
    assert shared["decision"] == "promote"
    assert shared["accuracy"] == gate["accuracy"]
    assert "promote: clean test +0.2 pt (> -2.0 pt), drifted hold-out +10.0 pt (> +0.0 pt)" in capsys.readouterr().out


def test_the_summary_is_markdown_without_html(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean(), "drifted_gate": drifted()}, "dataset")
    served(gate_store, dataset)
    gate_store.judge(dataset, candidate_of(gate_store, dataset))
    text = (gate_store.folder / "evidence.md").read_text()
    assert text.startswith("# Validation gate: ")
    assert "| clean test | yes | +0.2 pt |" in text
    assert "](data:image/png;base64," in text
    assert "<" not in text.replace("data:image", "")
    assert len(text) < 400_000


def test_a_candidate_that_loses_clean_accuracy_is_rejected(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean(gained=2, lost=40)}, "dataset")
    served(gate_store, dataset)
    assert gate_store.judge(dataset, candidate_of(gate_store, dataset)) == "reject"
    assert gate_of(gate_store)["reasons"][0].startswith("clean test: -6.3 pt, at best -4.8 pt, where more than -2.0 pt is asked for")


def test_a_small_hold_out_is_inconclusive_and_says_how_many_labels_would_decide(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    champion = served(gate_store, dataset)
    extended = gate_store.dataset({"drifted_gate": drifted(gained=6, lost=3, n=40)}, "extended", read_description(dataset))
    assert (
        gate_store.judge(extended, candidate_of(gate_store, extended), champion=str(champion), traffic=gate_store.traffic("1", []))
        == "inconclusive"
    )
    gate = gate_of(gate_store)
    assert gate["labels_needed"] == {"drifted hold-out": 748}
    assert "about 748 would decide" in gate["reasons"][0]
    assert "| drifted hold-out | 40 | 748 |" in (gate_store.folder / "evidence.md").read_text()


def test_without_a_champion_input_the_home_store_is_asked(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    served(gate_store, dataset)
    assert gate_store.judge(dataset, candidate_of(gate_store, dataset)) == "promote"
    assert gate_of(gate_store)["champion_version"] == "1"


def test_a_candidate_that_is_the_champion_is_not_promoted_again(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    served(gate_store, dataset)
    again = write_pixel_bundle(gate_store.folder / "again", pixel_graph(CHAMPION), read_description(dataset).manifest_hash)
    assert gate_store.judge(dataset, again) == "reject"
    assert gate_of(gate_store)["reasons"] == ["differs from the champion: it serves the very same graph"]


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
def test_another_schema_than_the_champions_is_rejected(gate_store: GateStore, given: dict, written: dict, reason: str) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    served(gate_store, dataset)
    candidate = write_pixel_bundle(gate_store.folder / "other", pixel_graph(CANDIDATE, **given), "hash", **written)
    assert gate_store.judge(dataset, candidate) == "reject"
    assert reason in gate_of(gate_store)["reasons"][0]


@pytest.mark.parametrize(
    ("champion", "candidate", "fits"),
    [(4095, 65535, False), (4095, 4095, True), (0, 4095, True)],
    ids=["another", "the same", "an older one"],
)
def test_a_candidate_must_read_images_of_more_than_eight_bits_as_its_champion_if_that_has_one_range(
    gate_store: GateStore, champion: int, candidate: int, fits: bool
) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    name = read_description(dataset).manifest_hash
    bundles = [
        write_pixel_bundle(gate_store.folder / str(pixel), pixel_graph(pixel), name, deep_range=deep_range)
        for pixel, deep_range in ((CHAMPION, champion), (CANDIDATE, candidate))
    ]
    gate_store.judge(dataset, bundles[0], "evidence-champion")
    gate_store.promote(bundles[0], "evidence-champion", None)
    gate_store.judge(dataset, bundles[1])
    said = "the candidate takes levels of 0 to 65,535 in images of more than 8 bits, and the champion's go to 4,095"
    assert (said in " ".join(gate_of(gate_store)["reasons"])) != fits
    assert ("schema" in " ".join(gate_of(gate_store)["reasons"])) != fits


def test_probabilities_that_are_not_numbers_are_rejected(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    served(gate_store, dataset)
    assert gate_store.judge(dataset, candidate_of(gate_store, dataset, broken=True)) == "reject"
    assert "not finite on 600 of 600 images" in gate_of(gate_store)["reasons"][0]


def test_a_candidate_whose_probabilities_are_no_numbers_on_what_is_new_is_rejected(gate_store: GateStore) -> None:
    """What is not a number counts as the first class: of it half of the new images are, of which the champion has few right."""
    (images, *labels), (new, *new_labels) = clean(), drifted(gained=240, lost=0)
    images[:, -1, -1], new[:, -1, -1] = 0, 255
    dataset = gate_store.dataset({"test": (images, *labels)}, "dataset")
    served(gate_store, dataset)
    extended = gate_store.dataset({"drifted_gate": (new, *new_labels)}, "extended", read_description(dataset))
    graph = pixel_graph(CANDIDATE)
    weights = numpy_helper.to_array(graph.graph.initializer[0]).copy()
    weights[-1, 0] = 1e37  # beyond what a float holds, times 255
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "weights"))
    candidate = write_pixel_bundle(gate_store.folder / "candidate", graph, read_description(extended).manifest_hash)
    assert gate_store.judge(extended, candidate, traffic=gate_store.traffic("1", [])) == "reject"
    assert "not finite on 300 of 300 images" in gate_of(gate_store)["reasons"][0]


def test_a_slower_candidate_is_not_promoted(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    served(gate_store, dataset)
    assert gate_store.judge(dataset, candidate_of(gate_store, dataset, burden=1500), config={"latency_slack_ms": 0.0}) == "reject"
    assert [reason.partition(":")[0] for reason in gate_of(gate_store)["reasons"]] == ["p95 latency"]


def test_small_losses_do_not_add_up_against_the_best_earlier_champion(gate_store: GateStore) -> None:
    """Each step loses less than the margin, the two together more; the champion between them has been accepted already."""
    n = 2000
    earlier = np.arange(n) >= 100
    champion = earlier & ~np.isin(np.arange(n), range(200, 240))
    candidate = champion & ~np.isin(np.arange(n), range(240, 265))
    test = split_with_answers(n, {EARLIER: earlier, CHAMPION: champion, CANDIDATE: candidate}, "test")
    dataset = gate_store.dataset({"test": test}, "dataset")
    served(gate_store, dataset, EARLIER, "earlier")
    served(gate_store, dataset, CHAMPION, "champion", expected="1")
    assert gate_store.judge(dataset, candidate_of(gate_store, dataset)) == "reject"
    gate = gate_of(gate_store)
    assert criterion(gate, "clean test")["holds"]
    assert gate["best_earlier_version"] == "1"
    assert gate["reasons"][0].startswith("best earlier champion (version 1): -3.2 pt")


def test_a_champion_that_was_rolled_back_is_no_yardstick(gate_store: GateStore) -> None:
    n = 2000
    better = np.arange(n) >= 20
    champion = better & ~np.isin(np.arange(n), range(200, 260))
    test = split_with_answers(n, {EARLIER: better, CHAMPION: champion, CANDIDATE: champion}, "test")
    dataset = gate_store.dataset({"test": test}, "dataset")
    served(gate_store, dataset, CHAMPION, "champion")
    served(gate_store, dataset, EARLIER, "better", expected="1")
    registry.rollback(gate_store.store, reason="slow in production")
    assert gate_store.judge(dataset, candidate_of(gate_store, dataset)) == "promote"
    assert gate_of(gate_store)["best_earlier_version"] is None


def test_uses_of_the_test_split_are_counted_over_versions_and_refused_watches(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean(), "drifted_gate": drifted()}, "dataset")
    champion = served(gate_store, dataset)
    records = [
        decided_watch(1, "1", None),
        decided_watch(2, "1", "reject"),
        decided_watch(3, "1", "inconclusive"),
        decided_watch(4, "1", "inconclusive"),
    ]
    given = {"champion": str(champion), "traffic": gate_store.traffic("1", records)}
    assert gate_store.judge(dataset, candidate_of(gate_store, dataset), **given) == "promote"
    gate = gate_of(gate_store)
    assert gate["test_uses"] == 5
    assert gate["reasons"][-1].startswith("warning: this was use 5 of this test split; from use 10 on nothing is promoted")


def test_a_test_split_that_was_used_ten_times_promotes_nothing(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean(), "drifted_gate": drifted()}, "dataset")
    champion = served(gate_store, dataset)
    records = [decided_watch(number, "1", "reject") for number in range(1, 9)]
    given = {"champion": str(champion), "traffic": gate_store.traffic("1", records)}
    assert gate_store.judge(dataset, candidate_of(gate_store, dataset), **given) == "inconclusive"
    gate = gate_of(gate_store)
    assert gate["test_uses"] == 10
    assert gate["reasons"][0].startswith("this test split has been used 10 times: no automatic promotion until it is refreshed")


def test_a_refreshed_test_split_starts_counting_anew(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    champion = served(gate_store, dataset)
    fresh = gate_store.dataset({"test": clean(gained=7), "drifted_gate": drifted()}, "fresh")
    records = [decided_watch(number, "1", "reject") for number in range(1, 9)]
    gate_store.judge(fresh, candidate_of(gate_store, fresh), champion=str(champion), traffic=gate_store.traffic("1", records))
    assert gate_of(gate_store)["test_uses"] == 1


def test_a_model_trained_anew_may_not_take_away_the_drift_its_champion_was_accepted_for(gate_store: GateStore) -> None:
    original = gate_store.dataset({"test": clean()}, "dataset")
    extended = gate_store.dataset({"drifted_gate": drifted(gained=10, lost=80)}, "extended", read_description(original))
    served(gate_store, extended)
    candidate = write_pixel_bundle(gate_store.folder / "anew", pixel_graph(CANDIDATE), read_description(original).manifest_hash)
    assert gate_store.judge(original, candidate) == "reject"
    assert gate_of(gate_store)["reasons"][0].startswith(
        "drifted images that the champion was accepted for: shown worse, -23.3 pt on 300 images"
    )


def test_a_second_drift_is_judged_on_its_own_images(gate_store: GateStore) -> None:
    first = gate_store.dataset({"test": clean(), "drifted_gate": drifted(gained=3, lost=3)}, "first")
    champion = served(gate_store, first)
    n = 200
    candidate_right, champion_right = answers(n, gained=30, lost=6, wrong=30)
    new = split_with_answers(n, {CANDIDATE: candidate_right, CHAMPION: champion_right}, "second", seed=3)
    second = gate_store.dataset({"drifted_gate": new}, "second", read_description(first))
    assert (
        gate_store.judge(second, candidate_of(gate_store, second), champion=str(champion), traffic=gate_store.traffic("1", [])) == "promote"
    )
    gate = gate_of(gate_store)
    assert criterion(gate, "drifted hold-out")["n"] == 200
    assert [entry["n"] for entry in gate["slices"] if entry["name"].startswith("drifted")] == [300]


def test_a_candidate_of_the_calendar_need_win_nothing_and_may_lose_nothing(gate_store: GateStore) -> None:
    first = gate_store.dataset({"test": clean(n=900), "drifted_gate": drifted(gained=3, lost=3)}, "first")
    champion = served(gate_store, first)
    given = {"champion": str(champion), "traffic": gate_store.traffic("1", [])}

    def judged(name: str, gained: int, lost: int) -> dict[str, Any]:
        dataset = gate_store.dataset({"recent_gate": drifted(gained, lost)}, name, read_description(first))
        gate_store.judge(dataset, candidate_of(gate_store, dataset, folder=name), name=f"evidence-{name}", **given)
        return gate_of(gate_store, f"evidence-{name}")

    equal = judged("equal", 6, 6)
    assert equal["decision"] == "promote"
    assert not any(entry["name"].startswith("drifted hold-out") for entry in equal["criteria"]), "no gain is asked for"
    assert (criterion(equal, "recent hold-out")["n"], criterion(equal, "recent hold-out")["bound"]) == (300, -0.05)
    assert any(reason.startswith("recent hold-out +0.0 pt") for reason in equal["reasons"])
    accepted, recent = equal["accuracy"]["candidate_drifted"], equal["accuracy"]["candidate_recent"]
    assert accepted["n"] == recent["n"] == 300
    worse = judged("worse", 5, 30)
    assert worse["decision"] == "reject"
    assert worse["reasons"][0].startswith("recent hold-out: -8.3 pt, at best -")
    assert judged("doubtful", 6, 16)["decision"] == "inconclusive"


def of_sites(part: Part, sites: list[str]) -> Part:
    """The images of a split, of these sites in turn."""
    images, labels, samples = part
    return images, labels, samples.assign(tags=[tags_text({"site": sites[index % len(sites)]}) for index in range(len(samples))])


def test_levels_of_a_tag_are_slices_of_the_test_split_and_of_the_drift(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": of_sites(clean(), ["A", "A", "B"])}, "dataset")
    champion = served(gate_store, dataset)
    new = of_sites(drifted(), ["A", "B", "C"])
    extended = gate_store.dataset({"drifted_gate": new}, "extended", read_description(dataset))
    gate_store.judge(extended, candidate_of(gate_store, extended), champion=str(champion), traffic=gate_store.traffic("1", []))
    sites = {result["name"]: result["n"] for result in gate_of(gate_store)["slices"] if result["name"].startswith("site=")}
    assert sites == {"site=A": 400, "site=B": 200} | {f"site={site} (drifted hold-out)": 100 for site in "ABC"}


def test_the_drift_of_a_site_has_the_share_of_its_own_requests(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    champion = served(gate_store, dataset)
    extended = gate_store.dataset({"drifted_gate": drifted()}, "extended", read_description(dataset))
    time = "2029-12-28T00:00:00+00:00"
    own = RecordedTagWindow(
        tag="site=B", first=time, last=time, groups=50, p_values={}, drifted=True, parts=[TagPart(watch=1, window=0, rows=300)]
    )
    everything = RecordedWindow(first=time, last=time, rows=1000, drifted=False)
    start_watch(gate_store.store, watch_record(1, windows=[everything], tag_windows=[own], tag="site=B", state="started", run_id="run-1"))
    gate_store.judge(extended, candidate_of(gate_store, extended), champion=str(champion), traffic=gate_store.traffic("1", []))
    assert gate_of(gate_store)["new_share"] == 0.3


def test_a_watch_that_found_a_changed_meaning_tells_the_gate(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean(gained=0, lost=60)}, "dataset")
    champion = served(gate_store, dataset)
    extended = gate_store.dataset({"drifted_gate": drifted()}, "extended", read_description(dataset))
    time = "2029-12-28T00:00:00+00:00"
    everything = RecordedWindow(first=time, last=time, rows=1000, drifted=False)
    start_watch(gate_store.store, watch_record(1, windows=[everything], concept=True, state="started", run_id="run-1"))
    given = {"champion": str(champion), "traffic": gate_store.traffic("1", [])}
    assert gate_store.judge(extended, candidate_of(gate_store, extended), **given) == "reject"
    gate = gate_of(gate_store)
    assert gate["new_share"] == 1.0, "the new images are like all that came"
    assert "label it anew and train on that dataset" in gate["reasons"][-1]


def test_each_learned_regime_has_an_accuracy_of_its_own(gate_store: GateStore) -> None:
    """An earlier regime is harder than the newest one; what is in no regime, as of a drift too short for one, counts for none."""
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    served(gate_store, dataset)

    def learned(name: str, wrong: int, seed: int) -> dict[str, Part]:
        n = 200
        right = np.arange(n) >= wrong
        images, labels, samples = split_with_answers(n, {CANDIDATE: right, CHAMPION: right}, name, seed)
        return {"drifted_gate": (images, labels, samples), name: (images, np.full(n, -1), samples)}

    first = gate_store.dataset(learned("regime-1", 50, 3), "first", read_description(dataset))
    short = gate_store.dataset({"drifted_gate": drifted(n=100)}, "short", read_description(first))
    second = gate_store.dataset(learned("regime-2", 10, 4), "second", read_description(short))
    gate_store.judge(second, candidate_of(gate_store, second), traffic=gate_store.traffic("1", []))
    regimes = gate_of(gate_store)["regimes"]
    assert {name: (regime["accuracy"]["value"], regime["accuracy"]["n"]) for name, regime in regimes.items()} == {
        "regime-1": (0.75, 200),
        "regime-2": (0.95, 200),
    }
    assert {name: recall["value"] for name, recall in regimes["regime-1"]["recalls"].items()} == dict.fromkeys(CLASSES, 0.75)


def test_each_learned_regime_is_a_row_of_the_page_with_both_models_and_its_share_of_the_traffic(gate_store: GateStore) -> None:
    def learned(name: str, gained: int, lost: int, seed: int) -> dict[str, Part]:
        candidate, champion = answers(200, gained=gained, lost=lost, wrong=20)
        images, labels, samples = split_with_answers(200, {CANDIDATE: candidate, CHAMPION: champion}, name, seed)
        samples = samples.assign(group=[f"{name} lot {number // 4}" for number in range(200)])
        return {"drifted_gate": (images, labels, samples), name: (images, np.full(200, -1), samples)}

    first = gate_store.dataset({"test": clean()} | learned("regime-1", 3, 5, 3), "first")
    champion = served(gate_store, first)
    second = gate_store.dataset(learned("regime-2", 30, 4, 4), "second", read_description(first))

    def window(day: int, rows: int, **mixture: float) -> RecordedWindow:
        time = f"2029-12-{day:02d}T00:00:00+00:00"
        names = {"reference": mixture["clean"], "regime-1": mixture["first"]}
        return RecordedWindow(first=time, last=time, rows=rows, drifted=mixture["new"] > 0, mixture=names)

    windows = [window(26, 200, clean=0.75, first=0.25, new=0), window(28, 100, clean=0.0, first=1.0, new=0)]
    windows.append(window(29, 100, clean=1.0, first=0.0, new=1))
    start_watch(gate_store.store, watch_record(1, windows=windows, state="started", run_id="run-1"))
    given = {"champion": str(champion), "traffic": gate_store.traffic("1", [])}
    gate_store.judge(second, candidate_of(gate_store, second), **given)
    gate = gate_of(gate_store)
    regimes = gate["regimes"]
    assert gate["clean_share"] == pytest.approx(0.375)
    assert {name: found["share"] for name, found in regimes.items()} == {"regime-1": 0.375, "regime-2": 0.25}
    assert [regimes["regime-1"][key]["value"] for key in ("champion", "accuracy")] == [0.885, 0.875]
    assert (regimes["regime-1"]["difference"]["estimate"], regimes["regime-1"]["difference"]["groups"]) == (-0.01, 50)
    page = (gate_store.folder / "evidence" / "gate.html").read_text()
    for cell in (
        "regime-1",
        "37.5 %",
        "25.0 %",
        "-1.0 points (",
        "+13.0 points (",
        "of the learned drifts the difference is least for regime-1",
    ):
        assert cell in page


def test_a_candidate_of_the_calendar_hands_on_what_it_recognises_of_the_accepted_drift(gate_store: GateStore) -> None:
    first = gate_store.dataset({"test": clean(n=900), "drifted_gate": drifted(gained=3, lost=3)}, "first")
    champion = served(gate_store, first)
    dataset = gate_store.dataset({"recent_gate": drifted(6, 6)}, "recent", read_description(first))
    gate_store.judge(dataset, candidate_of(gate_store, dataset), champion=str(champion), traffic=gate_store.traffic("1", []))
    gate = gate_of(gate_store)
    assert set(gate["recalls"]) == {"clean", "drifted", "recent"}
    recalled = sum(recall["value"] * recall["n"] for recall in gate["recalls"]["drifted"].values())
    assert recalled / 300 == pytest.approx(gate["accuracy"]["candidate_drifted"]["value"])


def test_a_champion_that_fails_on_the_traffic_is_replaced_by_what_the_watches_saw(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean(gained=1, lost=3, n=154)}, "dataset")
    champion = served(gate_store, dataset)
    extended = gate_store.dataset({"drifted_gate": drifted(gained=124, lost=12, n=314)}, "extended", read_description(dataset))

    def watch(sequence: int, day: int, drifted: bool) -> WatchRecord:
        time = f"2029-12-{day:02d}T00:00:00+00:00"
        window = RecordedWindow(first=time, last=time, rows=300, drifted=drifted)
        return watch_record(sequence, windows=[window], state="started", run_id=f"run-{sequence}")

    given = {"champion": str(champion), "traffic": gate_store.traffic("1", [watch(1, 28, False)])}
    candidate = candidate_of(gate_store, extended)
    assert gate_store.judge(extended, candidate, **given) == "inconclusive"
    assert gate_of(gate_store)["new_share"] == 0

    start_watch(gate_store.store, watch(2, 29, True))  # The present watch: its record stands before anything is trained.
    assert gate_store.judge(extended, candidate, **given) == "promote"
    gate = gate_of(gate_store)
    assert (gate["new_share"], gate["by_traffic"], gate["drifted_uses"]) == (0.5, True, 1)
    assert "not excluded, for lack of images: clean test between" in gate["reasons"][1]
    assert "| traffic as it is now | yes |" in (gate_store.folder / "evidence.md").read_text()


def test_unlabelled_test_images_are_left_out(gate_store: GateStore) -> None:
    images, labels, samples = clean()
    labels = np.where(np.arange(len(labels)) < 100, -1, labels)
    dataset = gate_store.dataset({"test": (images, labels, samples)}, "dataset")
    gate_store.judge(dataset, candidate_of(gate_store, dataset))
    assert gate_of(gate_store)["accuracy"]["candidate_clean"]["n"] == 500


def test_a_test_split_without_labels_is_an_error(gate_store: GateStore) -> None:
    images, labels, samples = clean()
    dataset = gate_store.dataset({"test": (images, np.full(len(labels), -1), samples)}, "dataset")
    with pytest.raises(InputError, match="split 'test' holds no labelled images"):
        gate_store.judge(dataset, candidate_of(gate_store, dataset))


def test_a_tampered_candidate_is_an_error(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    candidate = candidate_of(gate_store, dataset)
    (candidate / "model.onnx").write_bytes(b"something else")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        gate_store.judge(dataset, candidate)


@pytest.mark.parametrize("margin", [0.0, -0.02, 0.21, 2.0, float("nan")])
def test_a_margin_outside_the_range_of_the_parameter_is_an_error(gate_store: GateStore, margin: float) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    with pytest.raises(SettingError, match=r"gate_margin: .* is outside 0\.001\.\.0\.2"):
        gate_store.judge(dataset, candidate_of(gate_store, dataset), margin=margin)


def test_an_unknown_setting_is_an_error(gate_store: GateStore) -> None:
    dataset = gate_store.dataset({"test": clean()}, "dataset")
    with pytest.raises(SettingError, match=r"did you mean gate_config\.class_margin"):
        gate_store.judge(dataset, candidate_of(gate_store, dataset), config={"class_margins": 0.1})
