"""A harmless drift is accepted once, by one write, and only the one that the last watch has called harmless."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftloop.accepted_drifts import KEY, accept, accept_newest, accepted_drifts, find_acceptance, standing_acceptance
from driftloop.cli.main import app
from driftloop.errors import InputError, IntegrityError, NoChampion
from driftloop.store import Store, open_store
from driftloop.store.local import LocalStore
from tests.factories.store_history import StoreHistory


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def serving(store: Store, tmp_path: Path) -> StoreHistory:
    history = StoreHistory(store, tmp_path)
    history.promote(history.register(history.dataset(1).manifest_hash))
    return history


def test_it_is_known_by_champion_and_drift_with_who_when_and_why(store: Store) -> None:
    assert accepted_drifts(store) == []
    added = accept(store, "1", 7, by="ada", reason=" the new\n scanner ")
    assert find_acceptance(store, "1", 7) == added
    assert added.said == f"accepted on {added.at[:10]} by ada (the new scanner)"
    assert find_acceptance(store, "1", 8) is None
    assert find_acceptance(store, "2", 7) is None
    accept(store, "1", 12, by="bo", reason="winter")
    assert [(known.drift, known.by) for known in accepted_drifts(store)] == [(7, "ada"), (12, "bo")]


def test_it_stands_for_drifts_that_begin_in_the_next_four_weeks_under_its_champion(store: Store) -> None:
    at = datetime(2025, 3, 1, tzinfo=UTC)
    old = accept(store, "1", 7, by="ada", reason="the new scanner", at=at.isoformat())
    assert (old.time, old.until) == (at, at + timedelta(days=28))
    assert standing_acceptance(store, "1", at + timedelta(days=28)) == old
    assert standing_acceptance(store, "1", at + timedelta(days=28, seconds=1)) is None
    assert standing_acceptance(store, "2", at) is None
    assert standing_acceptance(store, "1", at, "site=B") is None
    newer = accept(store, "1", 12, by="bo", reason="winter", at=(at + timedelta(days=20)).isoformat())
    assert standing_acceptance(store, "1", at) == standing_acceptance(store, "1", at + timedelta(days=48)) == newer


def test_twice_is_once(store: Store) -> None:
    first = accept(store, "1", 7, by="ada", reason="the new scanner")
    before = store.read(KEY)
    assert accept(store, "1", 7, by="bo", reason="another") == first
    assert store.read(KEY) == before


def test_who_comes_second_at_the_same_moment_loses_and_doubles_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    accept(store, "1", 7, by="ada", reason="a")
    swap = LocalStore.replace

    def overtaken(drift: int, tag: str = "") -> None:
        def replace(self: LocalStore, key: str, data: bytes, etag: str) -> str:
            monkeypatch.setattr(LocalStore, "replace", swap)
            accept(store, "1", drift, by="bo", reason="was faster", tag=tag)
            return swap(self, key, data, etag)

        monkeypatch.setattr(LocalStore, "replace", replace)

    overtaken(8)
    assert accept(store, "1", 9, by="the policy", reason="b").by == "the policy", "of another drift: a watch must not fail for it"
    overtaken(10)
    assert accept(store, "1", 10, by="the policy", reason="b").by == "bo"
    overtaken(10, "site=B")
    of_a_level = accept(store, "1", 10, by="ada", reason="b", tag="site=B")
    assert (of_a_level.by, of_a_level.tag) == ("bo", "site=B")
    assert [(known.drift, known.tag) for known in accepted_drifts(store)] == [(7, ""), (8, ""), (9, ""), (10, ""), (10, "site=B")]


def test_what_cannot_be_read_says_its_cure(store: Store) -> None:
    store.put(KEY, b"{}")
    with pytest.raises(IntegrityError, match="restore it from a backup"):
        accepted_drifts(store)


def test_the_command_accepts_what_the_last_watch_called_harmless(serving: StoreHistory) -> None:
    uri = serving.store.uri
    serving.watched(1, "1", verdict="needs_labels", confirmed=True)
    refused = CliRunner().invoke(app, ["drift", "accept", "--reason", "x", "--store", uri])
    assert isinstance(refused.exception, InputError)
    assert "watch 1 of version 1 said needs_labels" in str(refused.exception)
    serving.watched(2, "1", verdict="alert", confirmed=True, harmless_drift=1)
    with pytest.raises(InputError, match="a reason and a name"):
        accept_newest(serving.store, by="ada", reason=" ")
    done = CliRunner().invoke(app, ["drift", "accept", "--reason", "new [scanner]", "--by", "ada", "--store", uri], catch_exceptions=False)
    assert "version 1: the drift that began with watch 1 was accepted on" in done.stdout
    assert f"it stands for drifts that begin until {accepted_drifts(serving.store)[0].until:%Y-%m-%d}" in done.stdout.replace("\n", " ")
    assert done.stdout == CliRunner().invoke(app, ["drift", "list", "--store", uri], catch_exceptions=False).stdout
    listed = CliRunner().invoke(app, ["drift", "list", "--store", uri, "--json"], catch_exceptions=False).stdout
    assert [(known["by"], known["reason"]) for known in json.loads(listed)] == [("ada", "new [scanner]")]
    assert "by ada (new [scanner])" in done.stdout
    serving.watched(3, "0", verdict="alert", confirmed=True, harmless_drift=1)
    with pytest.raises(InputError, match="watch 3 of version 0"):
        accept_newest(serving.store, by="ada", reason="x")
    serving.watched(4, "1", verdict="alert", confirmed=True, harmless_drift=2, tag="site=B")
    of_a_level = accept_newest(serving.store, by="ada", reason="x")
    assert (of_a_level.drift, of_a_level.tag) == (2, "site=B")


def test_before_the_first_watch_there_is_nothing_to_accept(serving: StoreHistory) -> None:
    with pytest.raises(InputError, match="there was no watch"):
        accept_newest(serving.store, by="ada", reason="x")


def test_it_is_of_now_in_universal_time_where_no_time_is_given(store: Store) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    at = accept(store, "1", 7, by="ada", reason="x").time
    assert at.utcoffset() == timedelta(0)
    assert before <= at <= datetime.now(UTC)


def test_without_a_champion_there_is_nothing_to_accept(store: Store) -> None:
    with pytest.raises(NoChampion, match="no champion"):
        accept_newest(store, by="ada", reason="x")


def test_the_drift_of_a_level_of_a_tag_is_another_than_that_of_all_requests(store: Store) -> None:
    accept(store, "1", 7, by="ada", reason="the new scanner", tag="site=B")
    assert find_acceptance(store, "1", 7) is None
    found = find_acceptance(store, "1", 7, "site=B")
    assert found is not None
    assert found.tag == "site=B"
