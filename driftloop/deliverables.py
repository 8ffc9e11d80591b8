"""production_logs.csv: the fresh rows of the log as a table for spreadsheets."""

from pathlib import Path

import numpy as np
import pandas as pd

from driftloop.inference.traffic import LABEL, LABEL_ORIGIN

PLAIN = ("request_id", "time", "model_version", "status", "predicted", "confidence", "latency_ms", LABEL, LABEL_ORIGIN, "group")
#: A cell that begins with one of these is a formula to a spreadsheet.
FORMULA = ("=", "+", "-", "@")
#: Control characters, which could end a cell or hide what it begins with, become spaces.
CONTROL = dict.fromkeys([*range(32), 127], " ")


def write_production_logs(path: str | Path, rows: pd.DataFrame, classes: list[str], statistic_names: list[str]) -> None:
    """Write log rows, whose vectors become columns: a probability for each class, each statistic, the embedding's length.

    Text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV injection).
    """
    table = rows.loc[:, list(PLAIN)].copy()
    table["time"] = rows["time"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    columns = {f"p({name})": values for name, values in _spread(rows["probabilities"], classes)}
    columns |= dict(_spread(rows["statistics"], statistic_names))
    columns["embedding_norm"] = np.array([_norm(data) for data in rows["embedding"]], dtype=float)
    columns["image_sha256"] = rows["image_sha256"].to_numpy()
    columns["image"] = rows["image"].to_numpy()
    table = pd.concat([table, pd.DataFrame(columns, index=rows.index)], axis=1)
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(harmless, na_action="ignore")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    table.rename(columns=harmless).to_csv(path, index=False, float_format="%.6g")


def harmless(text: object) -> object:
    """The text without control characters, with an apostrophe in front where a spreadsheet would take it for a formula."""
    if not isinstance(text, str):
        return text
    clean = text.translate(CONTROL)
    return f"'{clean}" if clean.lstrip().startswith(FORMULA) else clean


def _spread(column: pd.Series, names: list[str]) -> list[tuple[str, np.ndarray]]:
    """A column of vectors as one column a component; NaN where a row has no vector, or one of another length."""
    matrix = np.full((len(column), len(names)), np.nan)
    for row, vector in enumerate(column):
        if vector is not None and len(vector) == len(names):
            matrix[row] = vector
    return [(name, matrix[:, index]) for index, name in enumerate(names)]


def _norm(data: bytes | None) -> float:
    return float(np.linalg.norm(np.frombuffer(data, "<f2").astype(np.float64))) if data else float("nan")
