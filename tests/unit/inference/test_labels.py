"""Labels that arrive later."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftloop.errors import InputError, IntegrityError
from driftloop.inference.labels import LABEL_SCHEMA, read_labels, write_labels
from driftloop.inference.log_files import STAMP
from driftloop.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def frame(*rows: tuple[object, object, object]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["request_id", "label", "origin"])


def as_dict(labels: pd.DataFrame) -> dict[str, tuple[str, str]]:
    return {row.request_id: (row.label, row.origin) for row in labels.itertuples()}


def test_labels_are_read_back(store: Store) -> None:
    write_labels(store, frame(("a", "NORMAL", "random"), ("b", "PNEUMONIA", "ranked")))
    write_labels(store, frame(("c", "NORMAL", "import")))
    assert as_dict(read_labels(store)[0]) == {"a": ("NORMAL", "random"), "b": ("PNEUMONIA", "ranked"), "c": ("NORMAL", "import")}


def test_no_labels_are_an_empty_frame(store: Store) -> None:
    labels, _ = read_labels(store)
    assert list(labels.columns) == ["request_id", "label", "origin", "labelled_at", "outcome"]
    assert len(labels) == 0


def test_the_newest_label_of_a_request_wins(store: Store) -> None:
    write_labels(store, frame(("a", "NORMAL", "ranked")))
    write_labels(store, frame(("a", "PNEUMONIA", "import"), ("b", "NORMAL", "import"), ("b", "PNEUMONIA", "import")))
    assert as_dict(read_labels(store)[0]) == {"a": ("PNEUMONIA", "import"), "b": ("PNEUMONIA", "import")}


def test_a_request_once_drawn_at_random_stays_in_the_random_sample_when_its_label_is_corrected(store: Store) -> None:
    write_labels(store, frame(("a", "NORMAL", "random")))
    write_labels(store, frame(("a", "PNEUMONIA", "import")))
    assert as_dict(read_labels(store)[0]) == {"a": ("PNEUMONIA", "random")}


def test_a_file_from_a_clock_that_is_years_fast_hides_no_later_one(store: Store) -> None:
    fast = f"{datetime.now(UTC) + timedelta(days=700):{STAMP}}-fast"
    write_labels(store, frame(("a", "NORMAL", "import")), name=fast)
    known, through = read_labels(store)
    write_labels(store, frame(("b", "NORMAL", "import")))
    known, through = read_labels(store, known, through)
    assert set(as_dict(known)) == {"a", "b"}
    # As an earlier release has recorded it.
    assert set(as_dict(read_labels(store, known[:0], f"labels/{fast}.parquet")[0])) == {"a", "b"}


def test_files_that_were_read_are_not_read_again_and_the_labels_stay(store: Store) -> None:
    for hour in range(20):
        rows = frame((f"a{hour}", "NORMAL", "random")).assign(
            labelled_at=pd.Timestamp("2026-03-01T00:00Z") + pd.Timedelta(hours=hour), outcome=0.5
        )
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(rows, schema=LABEL_SCHEMA, preserve_index=False), stream)
        store.put(f"labels/20260301T{hour:02d}0000000000-{hour:012x}.parquet", stream.getvalue())
    labels, through = read_labels(store)
    assert through == "labels/20260301T190000000000-000000000013.parquet"
    for hour in range(13):
        store.delete(f"labels/20260301T{hour:02d}0000000000-{hour:012x}.parquet")
    again, through_again = read_labels(store, labels, through)
    assert (len(again), through_again) == (20, through)
    assert again["request_id"].is_unique


def test_a_label_file_whose_writers_clock_is_slow_is_found(store: Store) -> None:
    write_labels(store, frame(("a", "NORMAL", "random")))
    known, through = read_labels(store)
    late = datetime.now(UTC) - timedelta(hours=1)
    store.put(f"labels/{late:%Y%m%dT%H%M%S%f}-0123456789ab.parquet", store.read(write_labels(store, frame(("b", "NORMAL", "random")))))
    assert set(read_labels(store, known, through)[0]["request_id"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (frame(("a", "NORMAL", "guess")), "origin 'guess' is not known; use one of random, by_class, ranked, import"),
        (frame(("a", "NORMAL", "random"), ("b", None, "random")), "row 2 has no label"),
        (frame(("", "NORMAL", "random")), "row 1 has no request_id"),
        (frame(("a", "NORMAL", "random")).drop(columns="label"), "no column 'label'"),
    ],
)
def test_bad_labels_are_refused_whole(store: Store, labels: pd.DataFrame, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        write_labels(store, labels)
    assert not list(store.list("labels/"))


def test_a_foreign_file_among_the_labels_is_named(store: Store) -> None:
    store.create("labels/alien.parquet", b"nothing of ours")
    with pytest.raises(IntegrityError, match=r"alien\.parquet is not a label file"):
        read_labels(store)
