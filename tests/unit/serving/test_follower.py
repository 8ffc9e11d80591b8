"""Following the champion, where its files are damaged or the store is away."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftloop import registry
from driftloop.dataset.group_names import GroupNames
from driftloop.errors import IntegrityError, StoreAway
from driftloop.serving import follower as module
from driftloop.serving.familiarity import Familiarity
from driftloop.serving.follower import ChampionFollower
from driftloop.serving.metrics import Metrics
from driftloop.serving.service import Service
from driftloop.serving.settings import ServingSettings
from driftloop.store import open_store
from driftloop.store.local import LocalStore
from tests.factories.serving_store import build_serving_store, register_and_promote
from tests.serving.service_process import wait_for


class CountingStore(LocalStore):
    fetched = 0

    def download(self, key: str, path: str | Path) -> None:
        self.fetched += 1
        super().download(key, path)


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[tuple[CountingStore, ChampionFollower]]:
    """A store whose champion is version 2, and a follower that has not looked since it was version 1."""
    made, dataset = build_serving_store(tmp_path)
    store = CountingStore(made.uri)
    follower = ChampionFollower(store, Metrics(), poll_seconds=3600)
    follower.start()
    try:
        register_and_promote(made, tmp_path, dataset, expected="1", seed=1)
        yield store, follower
    finally:
        follower.stop()


def test_a_refused_version_is_not_fetched_at_every_look_and_taken_once_it_is_mended(
    behind: tuple[CountingStore, ChampionFollower], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, follower = behind
    graph = Path(store.uri, "versions", "2", "model.onnx")
    whole = graph.read_bytes()
    graph.write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        follower._look()
    fetched = store.fetched
    for _ in range(5):
        follower._look()
    assert store.fetched == fetched
    assert follower.live is not None
    assert follower.live.version == "1"
    graph.write_bytes(whole)
    begun = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: begun + 2 * module.REFUSED_SECONDS)
    follower._look()
    assert follower.live.version == "2"
    # Another pointer is looked at at once.
    monkeypatch.undo()
    registry.rollback(store, reason="test")
    follower._look()
    assert follower.live.version == "1"


class AwayStore(LocalStore):
    away = True

    def read(self, key: str) -> bytes:
        if self.away:
            raise StoreAway("the store is away")
        return super().read(key)

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        if self.away:
            raise StoreAway("the store is away")
        return super().read_tagged(key)


def test_a_service_that_waits_for_its_store_answers_and_hides_groups_once_it_is_there(tmp_path: Path) -> None:
    made, _ = build_serving_store(tmp_path)
    store = AwayStore(made.uri)
    settings = ServingSettings(poll_seconds=0.1, spool=tmp_path / "spool")
    impatient = Service(store, settings)
    with pytest.raises(StoreAway):
        impatient.start()
    impatient.close()
    patient = Service(store, settings)
    patient.start(patient=True)
    try:
        assert patient.live is None
        store.away = False
        wait_for(lambda: patient.live is not None)
        assert patient.names.hashed("patient 7") == GroupNames.known(made).hashed("patient 7") != "patient 7"
    finally:
        patient.close()


def test_a_version_that_cannot_answer_for_whatever_reason_is_refused_as_a_damaged_one_is(
    behind: tuple[CountingStore, ChampionFollower], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, follower = behind

    def mismatch(*_: object) -> None:
        raise ValueError("judge: statistics (1, 6)\nand more")

    monkeypatch.setattr(Familiarity, "judge", mismatch)
    with pytest.raises(IntegrityError, match=r"^version 2 cannot answer: ValueError: judge: statistics \(1, 6\)$"):
        follower._look()
    fetched = store.fetched
    follower._look()
    assert store.fetched == fetched


def test_a_store_that_is_made_anew_is_followed_though_its_champion_has_the_same_number(tmp_path: Path) -> None:
    made, dataset = build_serving_store(tmp_path / "old")
    service = Service(made, ServingSettings(poll_seconds=3600, spool=tmp_path / "spool"))
    service.start()
    try:
        old, names = service.live, service.names
        shutil.rmtree(made.uri)
        (tmp_path / "new").mkdir()
        assert register_and_promote(open_store(made.uri), tmp_path / "new", dataset, expected=None, seed=1) == "1"
        service.follower._look()
        assert service.live is not old
        assert service.live is not None
        assert service.live.version == "1"
        assert service.names.hashed("patient 7") == GroupNames.known(made).hashed("patient 7") != names.hashed("patient 7")
    finally:
        service.close()
