"""Imports of labels that are killed, or race each other and the watches that read them: every label once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from driftloop.cli.main import app
from driftloop.inference.labels import LABELS_PREFIX, read_labels
from driftloop.store import Store, open_store
from tests.factories.store_history import StoreHistory
from tests.killing import killed_before


@pytest.fixture
def home(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with a champion."""
    monkeypatch.setenv("DRIFTLOOP_CACHE", str(tmp_path / "cache"))
    history = StoreHistory(store, tmp_path / "history")
    history.promote(history.register(history.dataset(10).manifest_hash))
    return store


def label_file(folder: Path, number: int) -> Path:
    """Twenty labels that no file of another number has, and one that all have."""
    path = folder / f"labels-{number}.csv"
    rows = [f"r{number}-{index},{'NORMAL' if index % 2 else 'PNEUMONIA'},random\n" for index in range(20)]
    path.write_text("request_id,label,origin\n" + "".join(rows) + "shared,NORMAL,import\n")
    return path


def import_labels(store: Store, path: Path) -> None:
    """`driftloop labels import`."""
    result = CliRunner().invoke(app, ["labels", "import", str(path), "--store", store.uri], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def as_dict(labels: pd.DataFrame) -> dict[str, tuple[str, str]]:
    assert labels["request_id"].is_unique
    return dict(zip(labels["request_id"], zip(labels["label"], labels["origin"], strict=True), strict=True))


def test_killed_before_any_write_and_repeated_every_label_is_there_once(home: Store, tmp_path: Path) -> None:
    first, second = label_file(tmp_path, 1), label_file(tmp_path, 2)
    import_labels(home, first)
    before = as_dict(read_labels(home)[0])
    write = 0
    while killed_before(write, import_labels, home.uri, second):
        assert as_dict(read_labels(home)[0]) == before, "of an import that was killed, all labels are there or none"
        write += 1
    assert write >= 1
    for _ in range(2):
        labels = as_dict(read_labels(home)[0])
        assert len(labels) == 41
        assert {name: labels[name] for name in before} == before
        import_labels(home, second)


def test_of_fifty_racing_imports_of_the_same_and_of_other_files_every_label_is_there_once(home: Store, tmp_path: Path) -> None:
    paths = [label_file(tmp_path, 0 if number % 2 else number) for number in range(50)]
    together = threading.Barrier(50)

    def race(path: Path) -> None:
        from driftloop.cli.labels import import_labels as command

        together.wait()
        command(path, home.uri)

    # A watch reads while they write, and the next one goes on from what it knew.
    with ThreadPoolExecutor(51) as pool:
        imports = [pool.submit(race, path) for path in paths]
        known, through = read_labels(open_store(home.uri))
        for done in imports:
            done.result()
    labels, last = read_labels(home)
    assert len(as_dict(labels)) == 25 * 20 + 1
    assert as_dict(read_labels(home, known, through)[0]) == as_dict(labels)
    assert last == max(entry.key for entry in home.list(LABELS_PREFIX))
