"""Labels that arrive later."""

from pathlib import Path

import pandas as pd
import pytest

from driftloop.errors import InputError, IntegrityError
from driftloop.inference.labels import read_labels, write_labels
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
    assert as_dict(read_labels(store)) == {"a": ("NORMAL", "random"), "b": ("PNEUMONIA", "ranked"), "c": ("NORMAL", "import")}


def test_no_labels_are_an_empty_frame(store: Store) -> None:
    labels = read_labels(store)
    assert list(labels.columns) == ["request_id", "label", "origin", "labelled_at"]
    assert len(labels) == 0


def test_the_newest_label_of_a_request_wins(store: Store) -> None:
    write_labels(store, frame(("a", "NORMAL", "ranked")))
    write_labels(store, frame(("a", "PNEUMONIA", "import"), ("b", "NORMAL", "import"), ("b", "PNEUMONIA", "import")))
    assert as_dict(read_labels(store)) == {"a": ("PNEUMONIA", "import"), "b": ("PNEUMONIA", "import")}


def test_a_request_once_drawn_at_random_stays_in_the_random_sample_when_its_label_is_corrected(store: Store) -> None:
    write_labels(store, frame(("a", "NORMAL", "random")))
    write_labels(store, frame(("a", "PNEUMONIA", "import")))
    assert as_dict(read_labels(store)) == {"a": ("PNEUMONIA", "random")}


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (frame(("a", "NORMAL", "guess")), "origin 'guess' is not known; use one of random, ranked, import"),
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
