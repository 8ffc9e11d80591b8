"""What watches keep for later ones outlives a new column of the log, and damage is one line."""

import io
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from driftloop.errors import IntegrityError
from driftloop.inference.watch_tables import ROW_SCHEMA, read_label_table, read_window_rows, write_window_rows
from driftloop.store.local import LocalStore


def rows(count: int) -> pd.DataFrame:
    table = ROW_SCHEMA.empty_table().to_pandas().reindex(range(count))
    times = pd.date_range("2025-01-01", periods=count, freq="s", tz="UTC")
    return table.assign(request_id=[f"r{index}" for index in range(count)], time=times, watch=3, window=0)


def rewrite(store: LocalStore, key: str, without: str) -> None:
    stream = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(store.read(key))).drop_columns([without]), stream)
    store.put(key, stream.getvalue())


def test_rows_of_before_a_column_came_are_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    key = write_window_rows(store, 3, rows(4))
    rewrite(store, key, "group")
    kept = read_window_rows(store, key)
    assert (list(kept.columns), len(kept), kept["group"].isna().all()) == (ROW_SCHEMA.names, 4, True)


@pytest.mark.parametrize("column", ["request_id", "time", "watch", "window"])
def test_rows_without_what_makes_them_rows_of_a_window_are_damaged(tmp_path: Path, column: str) -> None:
    store = LocalStore(tmp_path)
    key = write_window_rows(store, 3, rows(4))
    rewrite(store, key, column)
    with pytest.raises(IntegrityError, match=r"is damaged .*; restore it from a backup"):
        read_window_rows(store, key)


def test_what_is_no_table_is_damaged(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("watch/labels/x.parquet", b"no table")
    with pytest.raises(IntegrityError, match="is damaged"):
        read_label_table(store, "watch/labels/x.parquet")
