"""The whole step on real files: what the log holds on one side, the verdict and its evidence on the other."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.step import run
from driftloop.dataset import write_dataset
from driftloop.dataset.group_names import GroupNames
from driftloop.errors import InputError, SettingError
from driftloop.evaluation.intervals import wilson
from driftloop.inference.confirmed_rows import judging_rows
from driftloop.inference.labels import RequestedLabels
from driftloop.settings import RetrainSettings
from driftloop.step_facts import write_facts
from driftloop.store import open_store
from driftloop.watch_store import read_records
from tests.factories.drift_traffic import SIDE, GrowingLog, draw_images, draw_regime, write_champion_with_references
from tests.factories.records import CLASSES, watch_record
from tests.factories.version_links import register_and_link

DRIFT = "blur+noise:0.8"
#: Under this one the network is less sure of itself.
UNSURE = "contrast:0.5"
CONFIG: dict[str, Any] = {"window_size": 60, "minimum_window": 20}


class Metrics(dict):
    """Collects what the step logs."""

    def log_metric(self, metric: str, value: float) -> None:
        self[metric] = value


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    return write_champion_with_references(tmp_path_factory.mktemp("champion"), [draw_regime("reference", 240, rng)])


@pytest.fixture
def production(tmp_path: Path) -> GrowingLog:
    return GrowingLog(np.random.default_rng(2), str(tmp_path / "store"))


def watch(
    production: GrowingLog,
    champion: Path,
    directory: Path,
    *,
    retrain_config: dict[str, Any] | None = None,
    measured: dict[str, Any] | None = None,
    critical_classes: str = "",
    **config: Any,
) -> dict[str, Any]:
    """Run the step on what production holds now, and production_monitoring measured; its facts, with the verdict it returned."""
    here = directory / f"watch-{len(production.records)}-{production.now:%d%H%M}"
    window = production.watch(here / "window")
    if measured:
        write_facts(window, "production_monitoring", measured)
    verdict = run(
        str(window),
        str(champion),
        str(here / "evidence"),
        str(here / "report" / "drift.html"),
        str(here / "sheet.html"),
        store=production.store,
        alpha=0.05,
        critical_classes=critical_classes,
        config=CONFIG | config,
        retrain_config=retrain_config,
        metrics=Metrics(),
    )
    facts = json.loads((here / "evidence" / "facts.json").read_text())["drift_detection"]
    assert facts["verdict"] == verdict
    assert "<h1>Drift report</h1>" in (here / "report" / "drift.html").read_text()
    return facts | {"directory": here / "evidence"}


def next_of(facts: dict[str, Any]) -> str:
    page = (facts["directory"].parent / "report" / "drift.html").read_text()
    return page[page.index(">Next</h2>") : page.index(">Windows</h2>")]


def gate_side(production: GrowingLog, requests: pd.DataFrame) -> int:
    """How many of the random ones are kept for the gate."""
    table = pd.concat(production.tables)
    judging = judging_rows(table, RetrainSettings(), GroupNames(b""))
    random = requests.loc[requests["origin"] == "random", "request_id"]
    return int(table.loc[judging, "request_id"].isin(random).sum())


def test_clean_windows_are_stable(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(300)
    facts = watch(production, champion, tmp_path)
    assert (facts["verdict"], facts["confirmed"]) == ("stable", False)
    assert len(facts["windows"]) == 5


def test_no_requests_at_all_are_stable_with_a_reason(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    facts = watch(production, champion, tmp_path)
    assert facts["verdict"] == "stable"
    assert facts["reason"] == "There are no new requests to test."
    assert facts["p_values"] == {"statistics": None, "embedding": None}


def test_a_link_to_the_champion_serves_as_the_champion_itself(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    link = register_and_link(open_store(production.store), champion, tmp_path)
    assert not (link / "reference.npz").exists()
    assert watch(production, link, tmp_path)["verdict"] == "stable"


def test_confirmed_drift_without_labels_needs_labels_and_says_which(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(60)
    production.serve(180, DRIFT)
    facts = watch(production, champion, tmp_path, random_requests=50, ranked_requests=20, quota_requests=0)
    assert facts["verdict"] == "needs_labels"
    assert [window["drifted"] for window in facts["windows"]][1:] == [True, True, True]
    requests = pd.read_csv(facts["directory"] / "label_requests.csv")
    assert requests["origin"].value_counts().to_dict() == {"random": 50, "ranked": 20}
    covered = pd.read_parquet(facts["directory"] / "windows.parquet")
    assert set(requests["request_id"]) <= set(covered.loc[covered["confirmed"], "request_id"])
    assert facts["asked"] == {"images": 70, "listed": 50 - gate_side(production, requests), "have": 0, "needed": 100, "in_vain": False} | {
        name: facts["asked"][name] for name in ("obtainable", "without_image")
    }
    sheet = (facts["directory"].parent / "sheet.html").read_text()
    assert re.findall('data-id="([^"]+)" data-origin="([^"]+)"', sheet) == list(
        zip(requests["request_id"], requests["origin"], strict=True)
    )
    assert sheet.count("data:image/png;base64,") == 70
    assert not {"predicted", "confidence"} & set(requests.columns)
    assert "Label the 70 images on" in next_of(facts)
    assert "This list alone will not decide it: about 100 random labels are needed to judge harm" in next_of(facts)


def test_what_cannot_be_labelled_is_said(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(240, DRIFT)
    production.tables[0].loc[:99, "image"] = None
    facts = watch(production, champion, tmp_path)
    assert facts["asked"]["without_image"] == 100
    assert "100 requests of these windows cannot be labelled: the log kept no image of them" in next_of(facts)
    assert "These images will not decide it: about 100 random labels are needed to judge harm" in next_of(facts)
    open_store(production.store).delete("logs/000000.images.npy")
    assert "no longer in the log" in (watch(production, champion, tmp_path / "gone")["directory"].parent / "sheet.html").read_text()
    production.tables[0]["image"] = None
    facts = watch(production, champion, tmp_path / "none")
    assert "No image can be labelled: of 240 requests without a label the log kept no image." in next_of(facts)
    assert "asks for no labels" in (facts["directory"].parent / "sheet.html").read_text()


def test_the_record_keeps_what_was_measured_for_alerts_and_dashboards(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(180, DRIFT)
    measured = {
        "requests": 180,
        "p95_ms": 7.5,
        "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40},
        "calibration_error": None,
        "class_shares": {"NORMAL": 1.0},
        "baseline": {"p95_ms": 2.5, "mean_confidence": 0.9},
        "alerts": [{"rule": "p95 latency", "fired": True, "value": 3.0, "limit": 2.0, "message": "slow"}],
    }
    facts = watch(production, champion, tmp_path, measured=measured)
    (record,) = read_records(open_store(production.store))
    assert record.metrics == {"requests": 180, "p95_ms": 7.5, "accuracy": 0.9}
    assert record.baseline == {"p95_ms": 2.5, "mean_confidence": 0.9}
    assert record.alerts == {"p95 latency": "slow"}
    assert record.labels_requested == len(pd.read_csv(facts["directory"] / "label_requests.csv")) > 0


def test_harmful_confirmed_drift_is_retrained_for(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(60)
    production.serve(300, DRIFT, labels=270, flip=0.3)
    facts = watch(production, champion, tmp_path, gate_power=0.5)
    assert facts["verdict"] == "retrain"
    assert facts["labels"] == 270
    assert facts["drop"]["n"] == 270 - facts["gate_labels"]
    assert 90 < facts["gate_labels"] < 160, "the gate's part has no say in whether to retrain"
    assert facts["drop"]["value"] >= 0.03
    assert facts["drop"]["low"] > 0


def test_a_retraining_waits_for_the_labels_that_its_gate_needs(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(300, DRIFT, labels=270, flip=0.3)
    facts = watch(production, champion, tmp_path, gate_power=0.97)
    assert facts["verdict"] == "needs_labels"
    assert f"with the {facts['gate_labels']} labels kept for it the gate could hardly tell" in facts["reason"]
    assert facts["requests"]["random"] > 0


def test_a_retraining_is_ordered_with_the_settings_that_it_will_have(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(300, DRIFT, labels=270, flip=0.3)
    enough = watch(production, champion, tmp_path / "enough", retrain_config={"needed_labels": 270}, gate_power=0)
    assert enough["verdict"] == "retrain"
    more = watch(production, champion, tmp_path / "more", retrain_config={"needed_labels": 400}, gate_power=0)
    assert more["verdict"] == "needs_labels"
    assert "270 labelled images of the confirmed drift" in more["reason"]
    assert "400 are needed: 130 more" in more["reason"]
    # The gate's part decides how many labels are waited for.
    parts = {"train_parts": 590, "val_parts": 60, "gate_parts": 10}
    assert watch(production, champion, tmp_path / "gate", retrain_config=parts, gate_power=0.5)["verdict"] == "needs_labels"
    assert watch(production, champion, tmp_path / "default", gate_power=0.5)["verdict"] == "retrain"


def test_a_part_without_labels_is_not_trained_for(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(300, DRIFT, labels=270, flip=0.3)
    facts = watch(production, champion, tmp_path, retrain_config={"train_parts": 1000, "val_parts": 60, "gate_parts": 1}, gate_power=0)
    assert facts["verdict"] == "needs_labels"
    assert "labelled drifted images for the gate, at least 10 are needed" in facts["reason"]


def test_images_of_patients_that_the_champion_was_trained_on_do_not_count_for_the_gate(production: GrowingLog, tmp_path: Path) -> None:
    patients = [f"p{index}" for index in range(300)]
    samples = pd.DataFrame({"path": patients, "group": patients, "sha256": patients, "width": SIDE, "height": SIDE})
    images, classes = draw_images(300, np.random.default_rng(0))
    store = open_store(str(tmp_path / "store"))
    dataset = write_dataset(store, {"train": (images, classes, samples)}, classes=CLASSES, source="patients")
    rng = np.random.default_rng(1)
    champion = write_champion_with_references(tmp_path / "champion", [draw_regime("reference", 240, rng)], dataset=dataset.manifest_hash)
    production.store = store.uri
    production.serve(300, DRIFT, labels=270, flip=0.3, groups=patients)
    facts = watch(production, champion, tmp_path, gate_power=0)
    assert facts["verdict"] == "needs_labels"
    assert "270 for training, 0 for early stopping, 0 for the gate" in facts["reason"]


def test_the_courses_detector_is_shown_where_it_is_asked_for(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(120, DRIFT)
    for teaching in (False, True):
        facts = watch(production, champion, tmp_path / str(teaching), teaching=teaching)
        details = json.loads((facts["directory"] / "drift_report.json").read_text())["details"]
        assert ("fixed_threshold_mmd" in details["explanation"]) is teaching
        assert ("teaching only" in (facts["directory"].parent / "report" / "drift.html").read_text()) is teaching


def test_labels_of_long_ago_do_not_vouch_for_a_drift_that_goes_on(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(360, "brightness:0.5", labels=360)
    assert watch(production, champion, tmp_path)["verdict"] == "alert"
    production.now += timedelta(days=4)
    production.serve(120, "brightness:0.5", labels=120, flip=0.45)
    # Pooled they are not harmful; what came last is.
    facts = watch(production, champion, tmp_path, harm_half_life_days=1.0, gate_power=0)
    assert (facts["verdict"], facts["drop"]["n"]) == ("retrain", 480 - facts["gate_labels"])
    slow = watch(production, champion, tmp_path / "slow", harm_half_life_days=3650, gate_power=0)
    assert slow["verdict"] != "retrain"
    assert slow["drop"]["value"] < 0.05 < facts["drop"]["value"]


def test_late_labels_count_whatever_the_number_of_windows_since(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(300, DRIFT, labels=270, flip=0.3)
    production.serve(60 * 14, DRIFT)
    facts = watch(production, champion, tmp_path, gate_power=0)
    assert len(facts["windows"]) == 19
    assert (facts["verdict"], facts["drop"]["n"]) == ("retrain", 270 - facts["gate_labels"])


def test_a_window_stands_for_its_rows_however_many_labels_it_has(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(60, DRIFT, labels=60)
    production.serve(60, DRIFT, labels=20, flip=1.0)
    facts = watch(production, champion, tmp_path, retrain_config={"gate_parts": 1e-9})
    assert facts["drop"]["n"] == 80
    assert facts["drop"]["value"] == pytest.approx(0.93 - 0.5, abs=0.06)
    by_window = json.loads((facts["directory"] / "drift_report.json").read_text())["details"]["labels_by_window"]
    assert [(window["labels"], window["rows"], window["drift"]) for window in by_window] == [(60, 60, 1), (20, 60, 1)]


def test_each_window_has_its_quota_and_no_more_while_nothing_is_confirmed(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(180)
    facts = watch(production, champion, tmp_path, quota_requests=7)
    assert facts["verdict"] == "stable"
    requests = pd.read_csv(facts["directory"] / "label_requests.csv")
    assert requests.groupby(["stratum", "purpose", "origin"]).size().to_dict() == {
        (f"1/{index}", "quota", "random"): 7 for index in range(3)
    }
    there = production.tables[0]
    judging = judging_rows(there, RetrainSettings(), GroupNames(b""))
    assert not set(requests["request_id"]) & set(there.loc[judging, "request_id"]), "a quota is there to show harm, the gate's part cannot"
    sides = np.bincount(np.arange(180)[~judging] // 60)
    assert sorted(requests["probability"].unique()) == pytest.approx(sorted(set(7 / sides)))


def test_what_was_asked_for_is_known_by_its_probability(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(240, DRIFT)
    facts = watch(production, champion, tmp_path, random_requests=60, ranked_requests=5, quota_requests=10)
    assert facts["requests_for"] == {"quota": 40, "harm": 23, "ranked": 5}
    requested = RequestedLabels(open_store(production.store))
    requested.refresh()
    requests = pd.read_csv(facts["directory"] / "label_requests.csv")
    judging = judging_rows(production.tables[0], RetrainSettings(), GroupNames(b""))
    drawn = production.tables[0].assign(
        judging=judging, stratum=np.arange(240) // 60, p=lambda table: table["request_id"].map(requested.probabilities)
    )
    for _, side in drawn.groupby(["stratum", "judging"]):
        assert side["p"].dropna().unique() == pytest.approx([side["p"].notna().mean()])
    assert drawn.groupby("stratum")["p"].count().tolist() == pytest.approx([15] * 4, abs=7)
    assert set(requested.probabilities) == set(requests.loc[requests["origin"] == "random", "request_id"])


def test_a_drift_is_not_harmless_until_a_critical_class_is_shown_to_be_kept(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(300, DRIFT, labels=300)
    facts = watch(production, champion, tmp_path, critical_classes=CLASSES[1], class_drop=0.01, harmless_drop=0.3, harm_labels=50)
    assert facts["verdict"] == "needs_labels"
    (critical,) = (recall for recall in facts["recalls"] if recall["critical"])
    assert critical["name"] == CLASSES[1]
    assert critical["sentence"] in facts["reason"]
    assert critical["accepted"] is None, "this champion's gate has measured none"
    record = read_records(open_store(production.store))[-1]
    assert [recall.name for recall in record.recalls if recall.critical] == [CLASSES[1]]
    assert sum(record.windows[0].predicted.values()) == 60
    report = (facts["directory"].parent / "report" / "drift.html").read_text()
    assert "What cannot be seen: recall of" in report
    plain = watch(production, champion, tmp_path / "plain", harmless_drop=0.3, harm_labels=50)
    assert plain["verdict"] == "alert"
    assert [recall["critical"] for recall in plain["recalls"]] == [False, False]
    with pytest.raises(SettingError, match="critical_classes: 'absent' is no class of this model"):
        watch(production, champion, tmp_path / "wrong", critical_classes="absent")


def test_where_what_was_accepted_stands_on_few_images_no_labels_are_promised_to_decide(production: GrowingLog, tmp_path: Path) -> None:
    few = write_champion_with_references(tmp_path / "few", [draw_regime("reference", 240, np.random.default_rng(1))], correct=8, n=9)
    production.serve(300, DRIFT, labels=300, flip=0.2)
    facts = watch(production, few, tmp_path, harm_labels=50)
    assert facts["verdict"] == "needs_labels"
    assert facts["reason"].endswith(
        "no number of labels would decide, since the images that told the accuracy that was accepted are worth 9 independent ones."
    )
    assert facts["asked"]["in_vain"] is True
    assert facts["in_plain_words"].endswith("no number of labels will tell whether it matters.")


def test_where_all_is_labelled_no_list_is_spoken_of(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(300, DRIFT, labels=300)
    facts = watch(production, champion, tmp_path, harm_labels=301)
    assert (facts["verdict"], facts["asked"]["images"]) == ("needs_labels", 0)
    assert facts["in_plain_words"].endswith("all images that can be labelled are, and the next windows bring more.")


def test_labels_that_show_harm_without_any_drift_confirm_themselves(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(240, labels=240, flip=0.3)
    facts = watch(production, champion, tmp_path, gate_power=0)
    assert (facts["confirmed"], facts["concept"], facts["verdict"]) == (False, True, "retrain")
    assert "concept drift" in facts["reason"]
    assert "the right answers have changed" in facts["in_plain_words"]
    covered = pd.read_parquet(facts["directory"] / "windows.parquet")
    assert covered["confirmed"].all(), "the retraining learns from them"
    assert facts["labels"] == 240


def test_the_calendar_learns_from_the_windows_since_the_last_decision(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    calendar = {"retrain_every_days": 0.3, "gate_power": 0, "cooldown_days": 0}
    production.serve(240, labels=240)
    facts = watch(production, champion, tmp_path, **calendar)
    assert facts["verdict"] == "stable", "4 hours after its first request the champion is too young"
    production.commit(facts)
    production.serve(240)
    facts = watch(production, champion, tmp_path, **calendar)
    assert (facts["verdict"], facts["confirmed"], facts["nothing_to_win"]) == ("retrain", False, True)
    assert facts["reason"].startswith("The calendar asks for a retraining every 0.3 days: 240 random labels")
    assert "the calendar asks" in facts["in_plain_words"]
    covered = pd.read_parquet(facts["directory"] / "windows.parquet")
    assert covered["confirmed"].all()
    assert set(covered["window"]) == set(range(-4, 4))
    production.commit(facts, decision="inconclusive")

    production.serve(240)
    facts = watch(production, champion, tmp_path, **calendar)
    assert facts["verdict"] == "stable", "the calendar begins anew"
    production.commit(facts)
    production.serve(240)
    facts = watch(production, champion, tmp_path, **calendar)
    assert facts["verdict"] == "needs_labels"
    assert "0 labelled images since the last decision" in facts["reason"]
    assert set(facts["requests_for"]) == {"quota", "gate"}


def test_labels_of_the_quota_judge_nothing_where_they_are_as_good_as_before(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(240, labels=240)
    facts = watch(production, champion, tmp_path)
    assert (facts["verdict"], facts["concept"], facts["drop"]) == ("stable", False, None)
    report = json.loads((facts["directory"] / "drift_report.json").read_text())
    assert (
        report["details"]["drop_without_drift"]["n"] == 240 - judging_rows(production.tables[0], RetrainSettings(), GroupNames(b"")).sum()
    )


def test_harm_on_a_new_drift_is_against_the_regime_that_it_is_nearest_to(production: GrowingLog, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    regimes = [draw_regime("reference", 240, rng), draw_regime("regime-1", 240, rng, DRIFT)]
    champion = write_champion_with_references(tmp_path / "two", regimes)
    production.serve(300, "blur+noise:1.0", labels=300, flip=0.16)
    facts = watch(production, champion, tmp_path / "clean", gate_power=0)
    assert facts["verdict"] == "retrain", "against clean accuracy, for want of another, it looks harmful"
    accepted = wilson(round(1000 * (0.93 - facts["drop"]["value"])), 1000)
    (champion / "gate.json").write_text(json.dumps({"accuracy": {"candidate_drifted": accepted.model_dump()}}))
    facts = watch(production, champion, tmp_path / "own", gate_power=0)
    assert facts["windows"][0]["mixture"] == {"regime-1": 1.0}
    assert facts["drop"]["expected"] == pytest.approx(accepted.value)
    assert facts["verdict"] != "retrain"
    assert facts["regime_accuracy"]["regime-1"]["n"] == 1000


def test_what_labellers_skipped_is_said_and_not_asked_for_again(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(180, DRIFT)
    first = watch(production, champion, tmp_path, random_requests=30, ranked_requests=0)
    asked = set(pd.read_csv(first["directory"] / "label_requests.csv")["request_id"])
    production.tables[0].loc[production.tables[0]["request_id"].isin(asked), "label_origin"] = "skipped"
    facts = watch(production, champion, tmp_path / "again", random_requests=30, ranked_requests=0)
    assert facts["skipped_requests"] == len(asked) == 74, "a quota of 20 in each window, and 14 of the sides that it leaves out"
    assert "(74 were skipped)" in facts["reason"]
    again = set(pd.read_csv(facts["directory"] / "label_requests.csv")["request_id"])
    assert again, "a labeller who can tell nothing of a whole list gets another"
    assert not again & asked


def test_what_was_counted_goes_on_counting_where_the_rows_have_gone(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(300, DRIFT, labels=270, flip=0.3)
    first = watch(production, champion, tmp_path, gate_power=0.97)
    production.commit(first)
    recorded = read_records(open_store(production.store))[-1]
    assert sum(window.labels for window in recorded.labels_by_window) == first["drop"]["n"]
    assert recorded.drop == pytest.approx(first["drop"])
    production.records[-1] = production.records[-1].model_copy(update={"labels_by_window": recorded.labels_by_window})
    production.tables[0]["label"] = None
    production.tables[0]["label_origin"] = None
    facts = watch(production, champion, tmp_path / "later", gate_power=0.97)
    assert facts["drop"] == first["drop"]
    assert facts["labels"] == 0, "no images are left to learn from"


def test_harmless_confirmed_drift_is_an_alert(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(360, "brightness:0.5", labels=360)
    facts = watch(production, champion, tmp_path)
    assert facts["verdict"] == "alert"
    assert facts["drop"]["high"] < 0.05


def test_a_harmless_drift_is_accepted_by_itself_where_that_is_asked_for(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(360, "brightness:0.5", labels=360)
    facts = watch(production, champion, tmp_path, accept_harmless_after=6)
    assert facts["verdict"] == "alert"
    production.commit(facts)
    production.serve(60, "brightness:0.5")
    facts = watch(production, champion, tmp_path)
    assert (facts["verdict"], facts["confirmed"]) == ("stable", True)
    assert "by the policy (harmless after 6 windows)" in facts["reason"]
    assert "accepted as harmless" in facts["in_plain_words"]
    assert set(facts["requests_for"]) == {"quota"}
    stood = read_records(open_store(production.store))[-1].acceptances
    assert [(acceptance.tag, acceptance.drift, acceptance.label_free_drop) for acceptance in stood] == [("", 1, None)]


def test_after_a_rollback_labels_count_that_the_champion_s_own_watches_have_counted(
    production: GrowingLog, champion: Path, tmp_path: Path
) -> None:
    production.serve(240, DRIFT, labels=240)
    first = watch(production, champion, tmp_path)
    production.since = production.now
    # Another version served meanwhile, and the labelled rows have gone.
    production.records += [*read_records(open_store(production.store)), watch_record(2, production.now.isoformat(), champion_version="2")]
    production.tables[0][["label", "label_origin"]] = None
    again = watch(production, champion, tmp_path)
    assert again["drop"]["n"] == first["drop"]["n"] > 100


def test_only_random_labels_of_the_confirmed_windows_judge_harm(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(120, labels=120)
    production.serve(180, DRIFT, labels=130, flip=0.3)
    production.tables[-1].loc[100:, "label_origin"] = "ranked"
    judging = judging_rows(production.tables[-1], RetrainSettings(), GroupNames(b""))
    assert watch(production, champion, tmp_path)["drop"]["n"] == (~judging[:100]).sum()


def test_one_drifted_window_is_not_confirmed_and_the_next_one_confirms_it(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(60, DRIFT)
    first = watch(production, champion, tmp_path, label_free_drop=1.0)
    assert (first["verdict"], first["confirmed"]) == ("stable", False)
    production.commit(first)
    production.serve(60, DRIFT)
    second = watch(production, champion, tmp_path)
    assert (second["verdict"], second["confirmed"]) == ("needs_labels", True)
    assert len(second["windows"]) == 1
    covered = pd.read_parquet(second["directory"] / "windows.parquet")
    assert covered.groupby("window")["confirmed"].all().to_dict() == {-1: True, 0: True}


def test_a_drift_too_weak_for_any_window_is_confirmed_by_four_together(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    verdicts = []
    for number in range(4):
        production.serve(20, "brightness:0.03")
        facts = watch(production, champion, tmp_path / str(number), window_size=20, quota_requests=2)
        verdicts.append(facts["verdict"])
        production.commit(facts)
    assert verdicts == ["stable", "stable", "stable", "needs_labels"]
    assert (facts["confirmed_together"]["windows"], facts["confirmed_together"]["images"]) == (4, 80)
    assert "which only many of them show" in facts["in_plain_words"]
    assert "The last 4 windows together, 80 images" in (facts["directory"].parent / "report" / "drift.html").read_text()
    # All four are of the drift now, and labels are asked for in each.
    requests = pd.read_csv(facts["directory"] / "label_requests.csv")
    assert set(requests["stratum"]) == {"1/0", "2/0", "3/0", "4/0"}
    recorded = read_records(open_store(production.store))[-1].windows[0]
    assert (recorded.pooled, recorded.drifted, recorded.groups) == (4, True, 20)


def test_labels_that_come_late_turn_needs_labels_into_retrain_without_new_requests(
    production: GrowingLog, champion: Path, tmp_path: Path
) -> None:
    production.serve(300, DRIFT)
    production.commit(watch(production, champion, tmp_path))
    rows = production.tables[0]
    rows["label"], rows["label_origin"] = np.where(rows.index % 3 == 0, "PNEUMONIA", "NORMAL"), "random"
    facts = watch(production, champion, tmp_path)
    assert (facts["verdict"], facts["windows"]) == ("retrain", [])


def test_what_was_decided_on_is_settled(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(300, DRIFT, labels=270, flip=0.3)
    production.commit(watch(production, champion, tmp_path), decision="reject")
    assert watch(production, champion, tmp_path)["verdict"] == "stable"
    production.serve(120, DRIFT)
    facts = watch(production, champion, tmp_path)
    assert facts["verdict"] == "alert"
    assert "cooldown" in facts["reason"]


def test_small_windows_wait_and_are_tested_with_the_rows_that_follow(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(15, DRIFT)
    first = watch(production, champion, tmp_path)
    assert (first["verdict"], first["windows"], first["waiting"]) == ("stable", [], 15)
    production.commit(first)
    production.serve(45, DRIFT)
    second = watch(production, champion, tmp_path)
    assert [window["rows"] for window in second["windows"]] == [60]


def test_few_images_a_day_fill_a_window_over_watches_and_are_judged_once(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    tested, waiting = [], []
    for number in range(6):
        production.serve(20)
        production.now += timedelta(days=1)
        facts = watch(production, champion, tmp_path / str(number))
        tested += [window["rows"] for window in facts["windows"]]
        waiting.append(facts["waiting"])
        production.commit(facts)
    assert (tested, waiting) == ([60, 60], [20, 40, 0, 20, 40, 0])


def test_a_window_that_does_not_fill_is_judged_after_the_days_that_it_may_wait(
    production: GrowingLog, champion: Path, tmp_path: Path
) -> None:
    production.serve(30)
    waits = watch(production, champion, tmp_path, wait_days=3)
    assert (waits["windows"], waits["waiting"]) == ([], 30)
    assert "30 distinct groups wait, 48 groups are needed" in waits["reason"]
    assert [window["rows"] for window in watch(production, champion, tmp_path / "none", wait_days=0)["windows"]] == [30]
    production.now += timedelta(days=3)
    assert [window["rows"] for window in watch(production, champion, tmp_path / "later", wait_days=3)["windows"]] == [30]


def test_rows_of_another_version_and_failed_requests_are_not_tested(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(120)
    production.serve(120, DRIFT)
    production.tables[1].loc[:59, "model_version"] = "0"
    production.tables[1].loc[60:, "status"] = "error"
    facts = watch(production, champion, tmp_path)
    assert (facts["verdict"], len(facts["windows"])) == ("stable", 2)


def test_many_images_of_a_patient_count_once(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(120, groups=[f"p{index // 6}" for index in range(120)])
    facts = watch(production, champion, tmp_path)
    assert len(facts["windows"]) == 1
    assert json.loads((facts["directory"] / "drift_report.json").read_text())["details"]["windows"][0]["images"] == 20


@pytest.mark.parametrize(("drift", "drifted"), [("none", False), ("brightness:0.5", True)])
def test_few_large_lots_are_tested_by_their_means(production: GrowingLog, tmp_path: Path, drift: str, drifted: bool) -> None:
    images = draw_regime("reference", 360, np.random.default_rng(5))
    lots = replace(images, groups=np.array([f"old-{index // 20}" for index in range(360)]))
    champion = write_champion_with_references(tmp_path / "lots", [lots])
    production.serve(180, drift, groups=[f"lot-{index // 20}" for index in range(180)])
    facts = watch(production, champion, tmp_path)
    report = json.loads((facts["directory"] / "drift_report.json").read_text())
    (window,) = report["details"]["windows"]
    assert (window["images"], window["reference_images"], window["images_averaged"], window["drifted"]) == (8, 18, 20, drifted)
    assert (facts["waiting"], facts["ungrouped_requests"]) == (20, 0)
    assert len(report["details"]["most_shifted"]) == 8


def test_each_image_of_a_lot_can_bring_a_label_that_counts(production: GrowingLog, tmp_path: Path) -> None:
    images = draw_regime("reference", 360, np.random.default_rng(5))
    champion = write_champion_with_references(tmp_path / "lots", [replace(images, groups=np.array([f"old-{i // 20}" for i in range(360)]))])
    production.serve(720, DRIFT, labels=24, groups=[f"lot-{index % 36}" for index in range(720)])
    facts = watch(production, champion, tmp_path)
    assert facts["confirmed"]
    (table,) = production.tables
    windows = pd.read_parquet(facts["directory"] / "windows.parquet")
    inside = table["request_id"].isin(windows.loc[windows["confirmed"], "request_id"])
    own = table[inside & ~judging_rows(table, RetrainSettings(), GroupNames(b""))]
    asked = facts["asked"]
    assert asked["have"] == own["label"].notna().sum() > 0
    assert asked["have"] + asked["obtainable"] == own["image"].notna().sum() > own["group"].nunique()
    assert 0 < asked["listed"] <= asked["obtainable"]


def test_requests_without_a_group_are_counted_and_the_report_says_what_is_assumed(
    production: GrowingLog, champion: Path, tmp_path: Path
) -> None:
    production.serve(60)
    facts = watch(production, champion, tmp_path)
    assert facts["ungrouped_requests"] == 60
    assert "60 of these requests name no group" in (facts["directory"].parent / "report" / "drift.html").read_text()


def test_a_learned_regime_of_few_images_is_not_used(production: GrowingLog, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    references = [draw_regime("reference", 240, rng), draw_regime("few", 31, rng, DRIFT), draw_regime("enough", 32, rng, DRIFT)]
    production.serve(60)
    facts = watch(production, write_champion_with_references(tmp_path / "learned", references), tmp_path)
    assert facts["regimes"] == ["reference", "enough"]


def test_copies_of_one_image_are_an_alert(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(150)
    production.tables[0]["image_sha256"] = "a" * 64
    facts = watch(production, champion, tmp_path)
    assert facts["verdict"] == "alert"
    assert "copies" in facts["reason"]


def test_a_drift_that_a_champion_was_retrained_for_is_stable_and_mixtures_too(
    production: GrowingLog, champion: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    retrained = write_champion_with_references(
        tmp_path / "retrained", [draw_regime("reference", 240, rng), draw_regime("regime-1", 240, rng, DRIFT)]
    )
    production.serve(120, DRIFT)
    production.serve(120)
    for _ in range(4):
        production.serve(15)
        production.serve(15, DRIFT)
    assert watch(production, champion, tmp_path)["confirmed"]
    facts = watch(production, retrained, tmp_path / "again")
    assert facts["verdict"] == "stable"
    assert not any(window["drifted"] for window in facts["windows"])


def test_a_new_drift_is_found_in_spite_of_an_accepted_regime(production: GrowingLog, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    retrained = write_champion_with_references(
        tmp_path / "retrained", [draw_regime("reference", 240, rng), draw_regime("regime-1", 240, rng, DRIFT)]
    )
    production.serve(180, "brightness:0.8")
    assert watch(production, retrained, tmp_path)["confirmed"]


def test_a_second_run_gives_the_same_evidence(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(60)
    production.serve(120, DRIFT, labels=40)
    first, second = (watch(production, champion, tmp_path / name)["directory"] for name in "ab")
    for name in ("drift_report.json", "label_requests.csv", "facts.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_report_states_level_budget_and_share_of_the_window(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(120)
    facts = watch(production, champion, tmp_path, windows_per_90_days=2160)
    report = json.loads((facts["directory"] / "drift_report.json").read_text())
    # Half of the budget is for windows taken together.
    assert facts["alpha"] == pytest.approx(0.0108, abs=1e-4)
    assert facts["permutations"] == 3999
    assert report["details"]["windows"][0]["n/(n+m)"] == pytest.approx(60 / 300)
    assert "day to day" in report["details"]["budget_caveat"]


def test_a_number_that_is_not_finite_is_one_clear_line(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(60)
    production.tables[0].at[7, "embedding"] = np.full(13, np.nan, "<f2").tobytes()
    with pytest.raises(InputError, match="request r000007: embedding holds a number that is not finite"):
        watch(production, champion, tmp_path)


def test_vectors_of_another_model_are_one_clear_line(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(60)
    production.tables[0]["embedding"] = [np.zeros(9, "<f2").tobytes()] * 60
    with pytest.raises(InputError, match="embedding of 9 numbers, the champion's reference has 13"):
        watch(production, champion, tmp_path)


def test_a_champion_without_a_reference_is_one_clear_line(production: GrowingLog, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    bare = write_champion_with_references(tmp_path / "bare", [draw_regime("reference", 20, rng)])
    (bare / "reference.npz").unlink()
    with pytest.raises(InputError, match="no drift reference"):
        watch(production, bare, tmp_path)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_an_impossible_alpha_is_one_clear_line(production: GrowingLog, champion: Path, tmp_path: Path, alpha: float) -> None:
    window = production.watch(tmp_path / "window")
    with pytest.raises(SettingError, match="drift_alpha"):
        run(
            str(window),
            str(champion),
            str(tmp_path / "e"),
            str(tmp_path / "r.html"),
            str(tmp_path / "sheet.html"),
            store=production.store,
            alpha=alpha,
            config={},
            metrics=Metrics(),
        )


def test_labels_of_an_earlier_alarm_say_nothing_about_a_new_drift(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    production.serve(120, DRIFT, labels=120)
    production.now += timedelta(days=1)
    production.serve(240)
    production.now += timedelta(days=2)
    production.serve(120, DRIFT)
    facts = watch(production, champion, tmp_path)
    assert (facts["confirmed"], facts["verdict"], facts["drop"], facts["labels"]) == (True, "needs_labels", None, 0)
    covered = pd.read_parquet(facts["directory"] / "windows.parquet")
    assert set(covered.loc[covered["confirmed"], "request_id"]) == set(production.tables[-1]["request_id"])


def test_the_estimate_without_labels_is_compared_with_what_was_accepted(production: GrowingLog, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    clean, flat = draw_regime("reference", 400, rng), draw_regime("flat", 400, rng, UNSURE)
    production.serve(60, UNSURE)
    unprepared = watch(production, write_champion_with_references(tmp_path / "one", [clean]), tmp_path / "1")
    prepared = watch(production, write_champion_with_references(tmp_path / "two", [clean, flat]), tmp_path / "2")
    assert unprepared["label_free"]["accuracy"] == prepared["label_free"]["accuracy"]
    assert unprepared["label_free"]["drop"] > 0.2
    assert abs(prepared["label_free"]["drop"]) < 0.1
