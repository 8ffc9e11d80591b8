"""A new kind of drift is one function and one line of registration: it is read, played and rehearsed like the others."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from components.traffic_replay.replay import Amounts, replay
from driftloop import scenarios
from driftloop.dataset import open_split
from driftloop.errors import InputError
from driftloop.inference.log import read_images, read_log
from driftloop.rehearsal.timeline import plan_timeline
from driftloop.scenarios import DRIFT_KINDS, DriftKind, parse
from driftloop.settings import TrafficSettings
from tests.unit.traffic_replay.world import build_serving_store


def inverted(images: np.ndarray, severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mix each image with its negative."""
    weight = severity[:, None, None, None]
    return np.rint(images * (1 - weight) + (255.0 - images) * weight).astype(np.uint8)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DRIFT_KINDS, "toy", DriftKind("a negative", images=inverted))


def test_it_is_read_with_severity_course_and_other_kinds() -> None:
    assert str(parse("toy:0.5")) == "toy:0.5"
    assert parse("gradual:toy+blur:0.5").kinds == ("toy", "blur")
    with pytest.raises(InputError, match="did you mean toy"):
        parse("tooy:0.5")


def test_it_is_rehearsed() -> None:
    assert [str(scenario) for scenario in plan_timeline("gradual:toy:0.8", windows=3, drift_at=2)] == ["none", "toy:0.2", "toy:0.6"]


def test_it_is_replayed(tmp_path: Path) -> None:
    store, dataset = build_serving_store(tmp_path)
    stream = open_split(dataset, "stream")
    played = replay(
        store,
        stream,
        dataset,
        version="",
        scenario=parse("toy:1"),
        amounts=Amounts(clean=20, drifted=40, labels=10),
        seed=1,
        settings=TrafficSettings(window_size=20),
    )
    assert played.drift == "toy:1"
    images = read_images(store, read_log(store, after=None, until=datetime.fromisoformat(played.until)))
    originals = {image.tobytes() for image in stream.images}
    assert [image.tobytes() in originals for image in images] == [True] * 20 + [False] * 40
    assert all((255 - image).astype(np.uint8).tobytes() in originals for image in images[20:])


def test_the_readers_table_holds_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    page = Path(scenarios.__file__).with_name("README.md").read_text()
    rows = [f"| `{name}` | {kind.description} |" for name, kind in DRIFT_KINDS.items()]
    assert "\n".join(rows) in page, "a kind of drift and its description stand in driftloop/scenarios/README.md as well"
