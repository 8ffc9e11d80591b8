"""A tenth of the traffic that drifts is seen by itself, judged by its own labels, and named."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.drift_detection.harm import DRIFT_ALPHA
from components.drift_detection.step import run
from components.drift_detection.tags import TAGS_SHARE
from components.production_monitoring.collect import WatchPeriod, champion_rows, read_context, with_labels
from driftloop.bundle import SERVED_ACCURACY_OF, read_model, write_model
from driftloop.evaluation.intervals import wilson
from driftloop.inference.labels import LABEL_SCHEMA
from driftloop.inference.log_files import LogCoverage
from driftloop.inference.reference import Regime
from driftloop.inference.traffic import Traffic, read_traffic, write_traffic
from driftloop.inference.watch_tables import read_window_rows
from driftloop.settings import MonitorSettings
from driftloop.store import open_store
from driftloop.watch_record import WatchRecord
from driftloop.watch_store import read_records
from tests.factories.drift_traffic import CLASSES, GrowingLog, draw_regime, write_champion_with_references
from tests.unit.drift_detection.test_step import CONFIG, DRIFT, Metrics, watch

A, B = '{"site": "A"}', '{"site": "B"}'


def tagged_regime(count: int, of_b: int, rng: np.random.Generator, others: str = "") -> Regime:
    tags = np.array([B] * of_b + [others] * (count - of_b))
    return replace(draw_regime("reference", count, rng), tags=tags)


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_champion_with_references(tmp_path_factory.mktemp("champion"), [tagged_regime(400, 40, np.random.default_rng(1))])


@pytest.fixture
def production(tmp_path: Path) -> GrowingLog:
    return GrowingLog(np.random.default_rng(2), str(tmp_path / "store"))


def serve(
    production: GrowingLog, count: int, drift: str = DRIFT, *, labels: int = 0, flip: float = 0.0, others: str = "", every: int = 10
) -> None:
    """Every tenth request is of site B, and only these drift."""
    of_b = np.arange(count) % every == 0
    tags = [B if here else others for here in of_b]
    production.serve(count, drift, labels=labels, flip=flip, tags=tags, drifted=of_b)


def test_a_site_with_a_tenth_of_the_traffic_has_its_own_windows_and_is_named(
    production: GrowingLog, champion: Path, tmp_path: Path
) -> None:
    serve(production, 600)
    facts = watch(production, champion, tmp_path, random_requests=40, ranked_requests=5, quota_requests=0)
    assert (facts["verdict"], facts["confirmed"], facts["tag"]) == ("needs_labels", False, "site=B")
    assert facts["reason"].startswith("Of the requests with site=B: drift is confirmed; 0 of at least 100 random labels are there")
    requests = pd.read_csv(facts["directory"] / "label_requests.csv")
    of_b = {f"r{number:06d}" for number in range(0, 600, 10)}
    assert requests["origin"].value_counts().to_dict() == {"random": 40, "ranked": 5}
    assert set(requests["request_id"]) <= of_b
    assert requests.loc[requests["origin"] == "random", "stratum"].str.fullmatch(r"1/\d site=B").all()
    covered = pd.read_parquet(facts["directory"] / "windows.parquet")
    assert set(covered.loc[covered["confirmed"], "request_id"]) <= of_b
    assert len(covered) == 600
    rows = {row["tag"]: row for row in facts["tags"]}
    assert (list(rows), rows["site=B"]["confirmed"]) == (["site=B"], True)
    assert "site=B" in facts["in_plain_words"]
    assert "site=B" in (facts["directory"].parent / "report" / "drift.html").read_text()


#: Of twelve windows, so that few are tested.
WIDE: dict[str, Any] = {"window_size": 100, "harm_labels": 50}


def test_harm_is_judged_on_the_site_s_own_labels(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    serve(production, 1200, labels=1200, flip=0.4)
    facts = watch(production, champion, tmp_path, gate_power=0, **WIDE)
    assert (facts["verdict"], facts["tag"]) == ("retrain", "site=B")
    assert facts["reason"].startswith("Of the requests with site=B: drift is confirmed and harmful: on ")
    assert (facts["labels"], facts["drop"]["n"]) == (120, 120 - facts["gate_labels"])
    assert 0.2 < facts["drop"]["value"] < 0.6
    assert facts["drop"]["alpha"] == pytest.approx(TAGS_SHARE * DRIFT_ALPHA), "all requests have the rest"
    recorded = read_records(open_store(production.store))[-1]
    assert (recorded.tag, recorded.drop) == ("site=B", pytest.approx(facts["drop"]))
    of_b = [tally for tally in recorded.labels_by_window if tally.tag == "site=B"]
    assert (sum(tally.labels for tally in of_b), {tally.rows for tally in of_b}) == (facts["drop"]["n"], {10})

    # A site that was never much better than this: nothing was lost there.
    hard = write_champion_with_references(tmp_path / "hard", [tagged_regime(400, 40, np.random.default_rng(1))])
    model = read_model(hard)
    of_site = {SERVED_ACCURACY_OF.format(level="site=B"): wilson(90, 150)}
    write_model(hard, model.model_copy(update={"metrics": model.metrics | of_site}))
    again = watch(production, hard, tmp_path / "again", gate_power=0, **WIDE)
    (found,) = again["tags"]
    assert (found["drop"]["expected"], found["drop"]["expected_n"]) == (0.6, 150)
    assert again["verdict"] != "retrain"


def test_a_site_whose_images_look_as_ever_but_mean_something_else_is_found_by_its_labels(
    production: GrowingLog, champion: Path, tmp_path: Path
) -> None:
    serve(production, 1200, "none", labels=1200, flip=0.4)
    facts = watch(production, champion, tmp_path, gate_power=0, **WIDE)
    assert (facts["verdict"], facts["confirmed"], facts["tag"]) == ("retrain", False, "site=B")
    assert facts["reason"].startswith("Of the requests with site=B: the images look as accepted, but what they mean has changed")
    (found,) = facts["tags"]
    assert (found["confirmed"], found["drop"]["n"]) == (False, facts["labels"] - facts["gate_labels"])
    covered = pd.read_parquet(facts["directory"] / "windows.parquet")
    assert set(covered.loc[covered["confirmed"], "request_id"]) <= {f"r{number:06d}" for number in range(0, 1200, 10)}


def test_a_site_that_drifts_without_harm_alarms_by_its_name(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    serve(production, 1000, "brightness:0.5", labels=1000, every=20)
    facts = watch(production, champion, tmp_path, retrain_config={"gate_parts": 1e-9}, harmless_drop=0.4, **WIDE)
    assert (facts["verdict"], facts["tag"]) == ("alert", "site=B")
    assert "drift is confirmed but harmless: on 50 random labels" in facts["reason"]
    recorded = read_records(open_store(production.store))[-1]
    assert (recorded.harmless_drift, recorded.tag) == (1, "site=B")


def test_a_drift_is_not_harmless_while_a_site_may_be_harmed(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    of_b = np.arange(1000) % 20 == 0
    tags = [B if here else "" for here in of_b]
    production.serve(1000, "brightness:0.5", labels=1000, tags=tags, drifted=~of_b)
    config = WIDE | {"harmless_drop": 0.4, "quota_requests": 0}

    def judged(name: str) -> dict[str, Any]:
        return watch(production, champion, tmp_path / name, retrain_config={"gate_parts": 1e-9}, **config)

    facts = judged("calm")
    assert (facts["verdict"], facts["tag"], facts["tags"][0]["confirmed"]) == ("alert", "", False)
    # What these 50 images mean has changed, or nearly all of them are unlabelled.
    table = production.tables[0]
    known = table.loc[of_b, ["label", "label_origin"]].copy()
    table.loc[of_b, "label"] = table.loc[of_b, "predicted"].map(lambda name: CLASSES[name == CLASSES[0]])
    looks = judged("harmed")
    assert (looks["verdict"], looks["tag"]) == ("needs_labels", "")
    assert "harmless on the whole: " in looks["reason"]
    assert "but not of every tag: site=B: right on 0 of 50 random labels, " in looks["reason"]
    table.loc[of_b, ["label", "label_origin"]] = known.where(np.repeat(np.arange(50)[:, None] < 19, 2, axis=1), None)
    few = judged("few")
    assert few["verdict"] == "needs_labels"
    assert "site=B: 19 random labels of its own, 20 are needed to tell" in few["reason"]
    assert len(pd.read_csv(few["directory"] / "label_requests.csv")) > 0
    # Where nobody can give more, what there is must do.
    table.loc[of_b, "label_origin"] = table.loc[of_b, "label_origin"].fillna("skipped")
    assert judged("skipped")["verdict"] == "alert"
    # Two images of each patient, of which the second is the harder one.
    table.loc[of_b, "group"] = [f"patient {number // 2}" for number in range(50)]
    table.loc[of_b, "label_origin"] = "random"
    table.loc[of_b, "label"] = table.loc[of_b, "predicted"]
    assert judged("patients")["verdict"] == "alert"
    second = table.index[of_b][1::2]
    table.loc[second, "label"] = table.loc[second, "predicted"].map(lambda name: CLASSES[name == CLASSES[0]])
    assert "but not of every tag: site=B: right on 23 of 46 random labels, " in judged("harder")["reason"]


def test_a_site_of_few_images_in_the_reference_is_only_shown(production: GrowingLog, tmp_path: Path) -> None:
    few = write_champion_with_references(tmp_path / "few", [tagged_regime(400, 31, np.random.default_rng(1))])
    serve(production, 200)
    facts = watch(production, few, tmp_path, **WIDE)
    assert facts["tags"] == [{"tag": "site=B", "requests": 20, "reference_groups": 31, "tested": False}]
    assert facts["tag"] == ""
    assert "too few to test" in (facts["directory"].parent / "report" / "drift.html").read_text()


def test_the_budget_of_false_alarms_is_shared_by_all_tests(production: GrowingLog, tmp_path: Path) -> None:
    both = write_champion_with_references(tmp_path / "both", [tagged_regime(400, 40, np.random.default_rng(1), A)])
    serve(production, 120, "none", others=A)
    tagged = watch(production, both, tmp_path, windows_per_90_days=10_000)
    production.tables[0]["tags"] = None
    plain = watch(production, both, tmp_path / "plain", windows_per_90_days=10_000)
    assert plain["tags"] == []
    assert (plain["alpha"] / tagged["alpha"]) ** 2 == pytest.approx(2)
    # Two false alarms of three windows confirm: 2 alpha^2 for each window, of all requests and of both levels.
    each = [2 * 10_000 * row["alpha"] ** 2 for row in tagged["tags"]]
    assert [*each, 2 * 10_000 * tagged["alpha"] ** 2] == pytest.approx([0.25, 0.25, 0.25])
    assert tagged["pooled_alpha"] * 2 * 10_000 == pytest.approx(0.25)


def next_watch(production: GrowingLog, champion: Path, folder: Path, **config: Any) -> WatchRecord:
    """A watch over the newest table alone: what came before is there as far as the watches before have kept it."""
    store = open_store(production.store)
    records = [record.model_copy(update={"state": "closed", "coverage": LogCoverage()}) for record in read_records(store)]
    info = read_traffic(production.watch(folder / "info")).info
    fresh = production.tables[-1].drop(columns=["watch", "window", "for_pool", "tag_waits", "for_tag", "label", "label_origin"])
    period = WatchPeriod(len(records) + 1, None, production.now, LogCoverage())
    rows = champion_rows(fresh, read_context(store, records, "1", period, [], MonitorSettings()), "1")
    rows = with_labels(rows, LABEL_SCHEMA.empty_table().to_pandas())
    here = folder / str(period.sequence)
    write_traffic(here, Traffic(rows, info.model_copy(update={"sequence": period.sequence}), records))
    run(
        str(here),
        str(champion),
        str(here / "evidence"),
        str(here / "drift.html"),
        str(here / "sheet.html"),
        store=production.store,
        alpha=0.05,
        config=CONFIG | config,
        metrics=Metrics(),
    )
    return read_records(store)[-1]


def test_windows_of_a_site_fill_up_over_watches_and_each_row_is_tested_once(production: GrowingLog, champion: Path, tmp_path: Path) -> None:
    seen = []
    for day in range(4):
        serve(production, 60)
        record = next_watch(production, champion, tmp_path, quota_requests=2)
        seen.append(record.tag_windows)
        kept = read_window_rows(open_store(production.store), record.window_rows)
        # Six requests of site B a watch; ten make a window, and eight are not worth waiting for the rest.
        assert kept["tag_waits"].eq("site").sum() == [6, 2, 0, 6][day]
        production.now += timedelta(hours=20)
    assert [[window.rows for window in windows] for windows in seen] == [[], [10], [8], []]
    parts = [(part.watch, part.rows) for windows in seen for window in windows for part in window.parts]
    assert parts == [(1, 6), (2, 4), (2, 2), (3, 6)]
    assert (record.tag, record.verdict) == ("site=B", "needs_labels")
    asked = pd.read_csv(tmp_path / "4" / "evidence" / "label_requests.csv")
    asked = asked[asked["purpose"] == "harm"]
    assert set(asked["stratum"]) == {f"{number}/0 site=B" for number in range(1, 4)}, "the rows of every window of its drift are still here"
    assert asked["probability"].eq(1.0).all()


def test_a_record_of_before_there_were_tags_is_read_and_its_rows_wait_for_none(
    production: GrowingLog, champion: Path, tmp_path: Path
) -> None:
    serve(production, 90, "none")
    record = next_watch(production, champion, tmp_path)
    old = json.loads(record.model_dump_json())
    for name in ("tag_windows", "tag"):
        del old[name]
    read = WatchRecord.model_validate(old)
    assert (read.tag_windows, read.tag) == ([], "")


def test_a_site_whose_requests_fill_no_window_yet_is_held_against_what_was_accepted_for_clean_images(
    production: GrowingLog, tmp_path: Path
) -> None:
    """The drift of all requests is harmless; of site B, 30 requests wait for a window of 50."""
    large = write_champion_with_references(tmp_path / "large", [tagged_regime(400, 200, np.random.default_rng(1))])
    of_b = np.arange(600) % 20 == 0
    production.serve(600, "brightness:0.5", labels=600, tags=[B if here else "" for here in of_b])
    config = WIDE | {"harmless_drop": 0.4, "quota_requests": 0}
    facts = watch(production, large, tmp_path, retrain_config={"gate_parts": 1e-9}, **config)
    assert [record.tag_windows for record in read_records(open_store(production.store))] == [[]]
    assert facts["verdict"] == "alert"
    table = production.tables[0]
    table.loc[of_b, "label"] = table.loc[of_b, "predicted"].map(lambda name: CLASSES[name == CLASSES[0]])
    harmed = watch(production, large, tmp_path / "harmed", retrain_config={"gate_parts": 1e-9}, **config)
    assert "but not of every tag: site=B: right on 0 of 30 random labels, 93% was accepted" in harmed["reason"]
