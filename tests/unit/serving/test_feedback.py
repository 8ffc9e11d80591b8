"""Labels that users give are written once, whoever dies and however long the store is away."""

from pathlib import Path

import pandas as pd
import pytest

from driftloop.errors import StoreError
from driftloop.inference.labels import read_labels, write_labels, write_requested
from driftloop.serving.feedback import Feedback
from tests.factories.troubled_stores import TroubledStore


@pytest.fixture
def store(tmp_path: Path) -> TroubledStore:
    return TroubledStore(tmp_path / "store")


def given(store: TroubledStore, spool: Path) -> Feedback:
    return Feedback(store, seconds=3600, spool=spool)


def ids(store: TroubledStore) -> list[str]:
    return sorted(read_labels(store)[0]["request_id"])


def files(store: TroubledStore) -> int:
    return len(list(store.list("labels/")))


def test_two_services_on_one_spool_write_their_own_labels(store: TroubledStore, tmp_path: Path) -> None:
    first, second = given(store, tmp_path / "spool"), given(store, tmp_path / "spool")
    first.take("a", "x", None)
    second.take("b", "x", 2.5)
    second.flush()
    assert ids(store) == ["b"]
    first.take("c", "x", None)
    first.close()
    second.close()
    assert ids(store) == ["a", "b", "c"]
    assert not list((tmp_path / "spool").iterdir())


def test_labels_that_waited_for_days_are_found_by_a_watch_that_has_read_newer_ones(store: TroubledStore, tmp_path: Path) -> None:
    late = given(store, tmp_path / "spool")
    late.take("late", "x", None)
    store.away = True
    with pytest.raises(StoreError, match="away"):
        late.flush()
    late.close(write=False)
    # The spool of a service that ended long ago: its files are named after that time.
    (home,) = (tmp_path / "spool").iterdir()
    home.rename(home.with_name("20200101T000000000000-0123456789ab"))
    store.away = False
    write_labels(store, pd.DataFrame({"request_id": ["new"], "label": ["x"], "origin": ["import"]}))
    known, through = read_labels(store)
    given(store, tmp_path / "spool").close()
    assert set(read_labels(store, known, through)[0]["request_id"]) == {"new", "late"}


def test_labels_whose_answer_was_lost_are_not_written_twice(store: TroubledStore, tmp_path: Path) -> None:
    feedback = given(store, tmp_path / "spool")
    feedback.take("a", "x", None)
    store.answerless = True
    with pytest.raises(StoreError, match="broke"):
        feedback.flush()
    store.answerless = False
    feedback.close()
    assert (ids(store), files(store)) == (["a"], 1)


def test_labels_of_a_list_that_has_just_come_are_drawn_however_fast_they_are_given(store: TroubledStore, tmp_path: Path) -> None:
    feedback = given(store, tmp_path / "spool")
    for number in (1, 2):
        write_requested(store, number, pd.DataFrame({"request_id": [f"r-{number}"], "origin": ["random"]}))
        feedback.take(f"r-{number}", "bright", None)
        feedback.flush()
    feedback.close()
    labels, _ = read_labels(store)
    assert dict(zip(labels["request_id"], labels["origin"], strict=True)) == {"r-1": "random", "r-2": "random"}


def test_a_label_that_cannot_be_written_holds_no_other_up(store: TroubledStore, tmp_path: Path) -> None:
    feedback = given(store, tmp_path / "spool")
    feedback.take("a", " ", None)
    with pytest.MonkeyPatch.context() as one_each:
        one_each.setattr("driftloop.serving.feedback.MOST_LABELS", 1)
        feedback.take("b", "x", None)
    feedback.take("c", "x", None)
    feedback.flush()
    assert ids(store) == ["c"]
    feedback.close()
    (kept,) = [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    assert kept.name == "000001.damaged"
