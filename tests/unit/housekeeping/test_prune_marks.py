"""The marks of a prune: what is marked, what may be deleted, and what was taken up in between."""

from datetime import UTC, datetime, timedelta

import pytest

from driftloop.errors import Conflict, IntegrityError
from driftloop.prune_marks import KEY, Mark, drop_deleted, next_marks, read_marks, take_up, write_marks
from driftloop.store import Store

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
WRITTEN = NOW - timedelta(days=30)
WAIT_S = 3600.0


def mark(*, age_s: float, deleting: bool = False) -> Mark:
    return Mark(marked_at=NOW - timedelta(seconds=age_s), touched=WRITTEN, deleting=deleting)


@pytest.mark.parametrize(
    ("before", "touched", "after"),
    [
        pytest.param(None, None, None, id="neither marked nor prunable"),
        pytest.param(None, WRITTEN, mark(age_s=0), id="newly prunable"),
        pytest.param(mark(age_s=3599), WRITTEN, mark(age_s=3599), id="marked too short a time ago"),
        pytest.param(mark(age_s=3600), WRITTEN, mark(age_s=3600, deleting=True), id="marked long enough ago"),
        pytest.param(mark(age_s=2 * 86400), WRITTEN, mark(age_s=2 * 86400, deleting=True), id="marked days ago"),
        pytest.param(mark(age_s=7200), None, None, id="not prunable any more"),
        pytest.param(mark(age_s=7200), NOW, Mark(marked_at=NOW, touched=NOW), id="written since"),
        pytest.param(mark(age_s=60, deleting=True), None, mark(age_s=60, deleting=True), id="being deleted, not found any more"),
        pytest.param(mark(age_s=60, deleting=True), WRITTEN, mark(age_s=60, deleting=True), id="being deleted"),
        pytest.param(mark(age_s=60, deleting=True), NOW, mark(age_s=60, deleting=True), id="being deleted, written since"),
    ],
)
def test_the_mark_that_follows(before: Mark | None, touched: datetime | None, after: Mark | None) -> None:
    marks = {} if before is None else {"version/3": before}
    prunable = {} if touched is None else {"version/3": touched}
    assert next_marks(marks, prunable, NOW, wait_s=WAIT_S) == ({} if after is None else {"version/3": after})


def test_what_is_taken_up_loses_its_mark_and_no_other_does(store: Store) -> None:
    take_up(store, "version", "3")
    assert read_marks(store)[0] == {}
    write_marks(store, {"version/3": mark(age_s=1), "dataset/3": mark(age_s=2)}, read_marks(store)[1])
    take_up(store, "version", "3")
    assert read_marks(store)[0] == {"dataset/3": mark(age_s=2)}


def test_what_is_being_deleted_cannot_be_taken_up(store: Store) -> None:
    marks = {"version/3": mark(age_s=1, deleting=True)}
    write_marks(store, marks, "")
    with pytest.raises(Conflict, match=r"version 3, marked at 2026-01-02T11:59:59\+00:00, is being pruned; let `driftloop prune --apply`"):
        take_up(store, "version", "3")
    assert read_marks(store)[0] == marks


def test_only_what_was_deleted_is_forgotten(store: Store) -> None:
    marks = {"version/1": mark(age_s=1, deleting=True), "version/2": mark(age_s=1), "version/3": mark(age_s=1, deleting=True)}
    write_marks(store, marks, "")
    before = store.read(KEY)
    drop_deleted(store, set())
    assert store.read(KEY) == before
    drop_deleted(store, {"version/1", "version/2"})
    assert set(read_marks(store)[0]) == {"version/2", "version/3"}


def test_marks_that_were_written_since_are_not_overwritten_though_they_read_the_same(store: Store) -> None:
    marks = {"version/1": mark(age_s=1)}
    write_marks(store, marks, "")
    tag = read_marks(store)[1]
    write_marks(store, {}, tag)
    write_marks(store, marks, read_marks(store)[1])
    with pytest.raises(Conflict):
        write_marks(store, {}, tag)
    assert read_marks(store)[0] == marks


def test_marks_that_cannot_be_read_are_one_line_with_its_cure(store: Store) -> None:
    store.put(KEY, b"{")
    with pytest.raises(IntegrityError, match=r"prune/marks\.json: cannot be read; delete it while no `driftloop prune` runs"):
        read_marks(store)
