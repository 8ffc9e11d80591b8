"""The demo on a store with a champion: a real service, real watches, a page in a real browser; its visitors alone are simulated.

Training is left out: what a worker says of a retraining is recorded, and what it leads to, promotion, swap and rollback, is real.
"""

import http.client
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from components.validation_gate.criteria import Criterion
from driftloop import registry
from driftloop.backends.compiled_pipeline import default_arguments
from driftloop.cli.demo import QUICK
from driftloop.cli.main import app
from driftloop.contracts import AUTOMATED_RETRAINING, MODEL_PROMOTION, ONNX_DEPLOYMENT, VALIDATION_GATE
from driftloop.dataset import Description
from driftloop.demo.site import SiteThread
from driftloop.demo.story import Event, Story
from driftloop.demo.visitors import Shown, Visitors
from driftloop.demo.worker import Told
from driftloop.errors import Conflict
from driftloop.inference.labels import read_labels
from driftloop.store import Store
from pipelines import PIPELINES
from tests.factories.serving_store import register_and_promote
from tests.pipelines.command import Command
from tests.serving.chromium import Tab, chromium, needs_chromium

#: Of a gate that promoted, in the demo of seed 1.
CRITERIA = (
    Criterion("clean test", True, False, 0.0093, -0.0007, 0.0196, -0.02, 1500, unit="points", regime="clean", groups=1500),
    Criterion("drifted hold-out", True, False, 0.0956, 0.0522, 0.1367, 0.0, 272, unit="points", regime="new drift", groups=272),
    Criterion("class NORMAL", True, False, 0.0, -0.0125, 0.0125, -0.05, 750, unit="points", regime="clean", groups=750),
    Criterion("p95 latency", True, False, 0.47, 0.445, 0.485, 1.5, 200, unit="ratio", note="0.62 ms against 1.31 ms"),
    Criterion("schema", True, False),
)


NOTHING_SHOWN: dict[str, Any] = {"asked": [], "cloud": {}, "neighbours": [], "latency": {"p95_ms": None, "limit_ms": None}}


class RecordedRetraining:
    """Says what a worker says whose candidate convinces the gate; `promote` is what its promotion does."""

    def __init__(self, promote: Callable[[], str]) -> None:
        self.promote = promote

    def ask(self, what: str, told: Callable[[Told], None], **arguments: Any) -> dict[str, Any]:
        for step in (AUTOMATED_RETRAINING, ONNX_DEPLOYMENT):
            told(Told("started", step))
            told(Told("ended", step))
        told(Told("started", VALIDATION_GATE))
        gate = {"decision": "promote", "reasons": ["all 5 criteria hold"], "criteria": [asdict(criterion) for criterion in CRITERIA]}
        told(Told("ended", VALIDATION_GATE, gate))
        found = {"verdict": "retrain", "decision": None, "promoted": None, "failure": None} | NOTHING_SHOWN
        told(Told("started", MODEL_PROMOTION))
        try:
            version = self.promote()
        except Conflict as refused:
            return found | {"failure": str(refused)}
        told(Told("ended", MODEL_PROMOTION, version))
        return found | {"decision": "promote", "promoted": version}

    def close(self) -> None: ...


def retrain_as_recorded(story: Story, promote: Callable[[], str]) -> None:
    """Let the next watch end with a retraining."""
    story._worker.close()
    story._worker = RecordedRetraining(promote)  # type: ignore[assignment]


@pytest.fixture
def story(production: tuple[Store, Description], tmp_path: Path) -> Iterator[Story]:
    """Of a champion that tells bright from dark squares, and is asked about X-rays: a drift that nobody could miss."""
    arguments = default_arguments(PIPELINES["full-loop"]) | QUICK | {"store": str(tmp_path / "model" / "store"), "gpus": "0"}
    folder = tmp_path / "demo"
    folder.mkdir()
    told: list[Event] = []
    made = Story(folder, arguments, kind="xray", drift="blur+noise", rate=1000, say=told.append)
    yield made
    made.close()
    assert told == made.events


def test_a_drift_is_confirmed_labels_are_given_and_arrive_in_the_store(story: Story) -> None:
    story.begin()
    story._wait_for(400)
    story._watch()
    assert story.visitors
    assert [event.event for event in story.events] == ["serving", "drift_confirmed"]
    assert all(window["drifted"] for window in story.windows)
    assert story.stage == "labels"
    asked = list(story.asked)
    assert len(asked) >= 100
    assert story.state()["labels"]["needed"] == len(asked), "without those that only train"
    story._wait_for(200)
    assert story.events[-1].event == "labels"
    assert story.state()["labels"]["given"] == len(asked)
    story.close()  # the service writes its log and its labels before it ends
    given, _ = read_labels(story.store)
    assert set(asked) <= set(given["request_id"])
    assert dict(zip(given["request_id"], given["label"], strict=True)) == {name: story.visitors.truth[name] for name in given["request_id"]}


def test_without_a_team_no_label_is_given(story: Story) -> None:
    story.labelling = False
    story.begin()
    story._wait_for(400)
    story._watch()
    story._wait_for(200)
    assert story.asked
    assert not story.labelled


def test_promoted_is_said_of_a_version_that_serves(story: Story, production: tuple[Store, Description], tmp_path: Path) -> None:
    story.begin()
    said: list[str] = []

    def promote() -> str:
        said.extend(event.event for event in story.events)
        assert story.stage == "gate"
        return register_and_promote(story.store, tmp_path, production[1], expected="1", seed=1)

    retrain_as_recorded(story, promote)
    story._watch()
    assert said == ["serving", "retrained", "gate"]
    assert [event.event for event in story.events[3:]] == ["promoted", "swapped"]
    assert story.events[3].details == {"version": "2"}
    assert story.stage == "promoted"


def test_a_promotion_that_is_refused_is_not_called_one(story: Story, production: tuple[Store, Description], tmp_path: Path) -> None:
    register_and_promote(story.store, tmp_path, production[1], expected="1", seed=1)
    registry.rollback(story.store, reason="test", hold=True)
    story.begin()
    retrain_as_recorded(story, lambda: registry.promote(story.store, "2", expected="1", reason="test").version)
    story._watch()
    assert [event.event for event in story.events] == ["serving", "retrained", "gate", "failed"]
    assert "promotions are on hold" in story.events[-1].text
    assert (story.stage, story.step) == ("confirmed", "")


def test_a_rollback_right_after_the_promotion_does_not_end_the_demo(
    story: Story, production: tuple[Store, Description], tmp_path: Path
) -> None:
    story.begin()

    def promote() -> str:
        version = register_and_promote(story.store, tmp_path, production[1], expected="1", seed=1)
        story.roll_back()
        return version

    retrain_as_recorded(story, promote)
    story._watch()
    assert story.stage == "serving"
    champion = registry.current(story.store)
    assert champion
    assert champion.version == "1"


def test_an_answer_of_the_old_version_behind_one_of_the_new_is_no_swap_back(production: tuple[Store, Description]) -> None:
    visitors = Visitors("http://127.0.0.1:1", production[1], kind="xray", drift="blur+noise", seed=1)
    for number, versions in enumerate(("1111", "1212", "2222", "2121", "1111")):
        shown = [Shown(f"{number}-{place}", b"", "bright", "bright", 0.9, 0.5) for place in range(len(versions))]
        visitors._note(list(zip(versions, shown, strict=True)), 0.0)
    assert [(point.version, point.answers) for point in visitors.points] == [("1", 6), ("2", 8), ("1", 6)]
    assert visitors.version == "1"
    assert visitors.answered == 20


@needs_chromium
def test_the_page_shows_the_way_and_its_controls_reach_the_story(story: Story, tmp_path: Path) -> None:
    with SiteThread(story, 0) as site, chromium(tmp_path / "profile") as browser:
        tab = browser.tab()
        tab.look(1280)
        tab.open(f"{site.address}/")
        story.begin()
        story._wait_for(400)
        story._watch()
        tab.until("document.querySelector('#way [aria-current]')?.innerText == 'Labels'")
        assert tab.text(".badge") == "simulated traffic"
        tab.until("document.querySelectorAll('#pvalues circle.alarm').length >= 4")
        tab.until("document.querySelectorAll('#pictures img').length == 10 && [...document.images].every(i => i.naturalWidth > 0)")
        tab.until("document.querySelectorAll('#cloud circle').length == 300")
        assert "version 1" in tab.text("#tiles")
        tab.run("s = document.querySelector('#severity'); s.value = 0.5; for (n of ['input', 'change']) s.dispatchEvent(new Event(n))")
        tab.until("document.querySelector('#log').innerText.includes('blur+noise at 0.50')")
        assert story.visitors
        assert story.visitors.severity == 0.5
        tab.run("document.querySelector('#labelling').click()")
        tab.until("fetch('state').then(r => r.json()).then(s => s.labelling == false)")
        assert tab.run("document.querySelector('#rollback').disabled")
        # Three visitors, each with three accepted images; the p-values, the latency and the accuracy with what they are held against.
        tab.until("document.querySelectorAll('#neighbours img').length == 12")
        assert re.search(r"p95, last watch\n+[\d.]+ ms limit 3000 ms", tab.text("#tiles"))
        assert re.search(r"right answers\n+\d+ % \d+ to \d+ %", tab.text("#tiles"))
        fits_every_width(tab)
        assert tab.complaints == []


@needs_chromium
def test_the_page_tells_a_story_to_its_end_and_takes_it_back(story: Story, production: tuple[Store, Description], tmp_path: Path) -> None:
    with SiteThread(story, 0) as site, chromium(tmp_path / "profile") as browser:
        tab = browser.tab()
        tab.look(1280)
        tab.open(f"{site.address}/")
        story.begin()
        story._wait_for(400)
        retrain_as_recorded(story, lambda: register_and_promote(story.store, tmp_path, production[1], expected="1", seed=1))
        story._watch()
        tab.until("document.querySelector('#way [aria-current]')?.innerText == 'Promoted'")
        tab.until("document.querySelectorAll('#forest g.arriving').length == 3")
        assert (
            tab.run("document.querySelector('#forest g:nth-of-type(2) text').textContent") == "drifted hold-out: 9.6 points, at worst 5.2"
        )
        # One after the other, the decision last.
        delays = tab.run("[...document.querySelectorAll('.arriving')].map(part => parseFloat(getComputedStyle(part).animationDelay))")
        assert len(delays) == len(CRITERIA) + 1
        assert len(set(delays)) == len(delays)
        assert tab.run("parseFloat(document.querySelector('#gate-said .arriving').style.animationDelay)") == max(delays)
        assert tab.text("#gate-said") == "promote: all 5 criteria hold"
        tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        assert tab.run("[...document.querySelectorAll('.arriving')].every(part => getComputedStyle(part).animationName == 'none')")
        assert tab.text("#facts").split("\n") == ["✓ p95 latency", "✓ schema"]
        tab.until("document.querySelectorAll('#accuracy line.deploy').length == 1")
        assert tab.run("document.querySelector('#accuracy text.value').textContent") == "v2"
        assert "version 2" in tab.text("#tiles")
        tab.run("document.querySelector('#rollback').click()")
        tab.until("document.querySelectorAll('#accuracy line.deploy').length == 2")
        tab.until("document.querySelector('#way [aria-current]').innerText == 'Serving'")
        assert "version 1 serves again, by hand" in tab.text("#log")
        assert tab.run("document.querySelector('#rollback').disabled")
        fits_every_width(tab)
        assert tab.complaints == []


def fits_every_width(tab: Tab) -> None:
    for width in (1280, 390):
        tab.look(width)
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.skipif(
    os.environ.get("DRIFTLOOP_TEST_DEMO") != "1", reason="trains two models, five minutes of one core: DRIFTLOOP_TEST_DEMO=1 plays it"
)
def test_once_plays_the_story_and_prints_its_events(tmp_path: Path) -> None:
    events = json.loads(Command(tmp_path)("demo", "--once", "--json", "--port", "0", "--no-browser").stdout)
    names = [event["event"] for event in events]
    story = ["trained", "serving", "drift_on", "drift_confirmed", "labels", "retrained", "gate", "promoted", "swapped"]
    assert sorted(story, key=names.index) == story
    seconds = [event["seconds"] for event in events]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    promoted = names.index("promoted")
    assert (names[promoted - 1], events[promoted - 1]["details"]) == ("gate", {"decision": "promote"})
    assert events[promoted]["details"] == events[names.index("swapped")]["details"] == {"version": "2"}


def test_the_page_refuses_what_another_site_could_send(story: Story) -> None:
    with SiteThread(story, 0) as site:
        port = int(site.address.rpartition(":")[2])

        def ask(method: str, path: str, body: str = "", **headers: str) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
                return connection.getresponse().status
            finally:
                connection.close()

        assert ask("GET", "/state") == 200
        assert ask("GET", "/state", Host="evil.example") == 400
        assert ask("POST", "/rollback", "{}", Content_Type="text/plain") == 415
        assert ask("POST", "/controls", json.dumps({"severity": 2}), Content_Type="application/json") == 422
        assert ask("POST", "/rollback", "{}", Content_Type="application/json") == 409  # there is no version to go back to


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json"], "--json: needs --once"),
        (["--source", "digits"], "--source digits: visitors bring new images without end"),
        (["--drift", "blur:0.5"], "--drift blur:0.5: the kinds alone"),
        (["--drift", "prior"], "--drift prior: the slider changes images"),
        (["--store", "nowhere"], "--store nowhere: no folder of a store"),
    ],
)
def test_what_a_demo_cannot_do_is_one_line_and_leaves_no_folder(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo", "--no-browser", *options])
    assert result.exception is not None
    assert str(result.exception).startswith(message)
    assert not Path("runs").exists()
