"""Files that no step reads: what users of the course look for among the outputs of a run.

    baseline_metrics.pt                        the training data's figures as plain tensors
    plots/lr_finder.png, plots/ablation.csv    the range test's plot and the ablation's table, for people's own reports
    production_logs.csv                        the fresh rows of the inference log, for spreadsheets

The steps write them into their outputs, since a cluster has no moment after the run. torch is imported only where tensors are written:
the image that watches production lacks it.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from driftloop.contracts import BASELINE_METRICS, PRODUCTION_LOGS
from driftloop.inference.traffic import LABEL, LABEL_ORIGIN

#: Below the bundle's top level, which SHA256SUMS covers and the store takes: these stay with the run.
PLOTS = "plots"

#: Columns of the log that go into the table as they are.
PLAIN = ("request_id", "time", "model_version", "status", "predicted", "confidence", "latency_ms", LABEL, LABEL_ORIGIN, "group")
#: A cell that begins with one of these is a formula to a spreadsheet.
FORMULA = ("=", "+", "-", "@")
#: Control characters, which could end a cell or hide what it begins with, become spaces.
CONTROL = dict.fromkeys([*range(32), 127], " ")


def write_baseline_metrics(
    directory: str | Path,
    *,
    mean: list[float],
    std: list[float],
    class_counts: list[int],
    histogram: np.ndarray,
    mean_images: np.ndarray,
    statistics: np.ndarray,
) -> None:
    """Write `baseline_metrics.pt`, which `torch.load(..., weights_only=True)` reads: a tensor for each argument but the last.

    Args:
        directory: of the dataset artifact.
        mean, std: of each channel, (C,), on the scale 0-1.
        class_counts: images of the training split by class, (K,).
        histogram: of grey levels, (C, 256).
        mean_images: of each class, (K, H, W, C).
        statistics: of each image, (N, F), named in facts.json; their means and deviations are `statistics_mean` and `statistics_std`.
    """
    import torch

    content = {
        "mean": torch.tensor(mean),
        "std": torch.tensor(std),
        "class_counts": torch.tensor(class_counts),
        "histogram": torch.from_numpy(histogram),
        "mean_images": torch.from_numpy(mean_images).float(),
        "statistics_mean": torch.from_numpy(statistics.mean(0)),
        "statistics_std": torch.from_numpy(statistics.std(0)),
    }
    torch.save(content, Path(directory, BASELINE_METRICS))


def write_training_plots(model: str | Path, range_test: Figure | None, ablation: list[dict[str, Any]]) -> None:
    """Write `plots/lr_finder.png` and `plots/ablation.csv`.

    Args:
        model: directory of the bundle.
        range_test: the learning-rate finder's plot; None where no rate was looked for.
        ablation: a row for each run; the first one's keys are the columns.
    """
    folder = Path(model, PLOTS)
    folder.mkdir(parents=True, exist_ok=True)
    if range_test is not None:
        range_test.savefig(folder / "lr_finder.png", dpi=144)
    with open(folder / "ablation.csv", "w", newline="") as stream:
        table = csv.DictWriter(stream, fieldnames=list(ablation[0]) if ablation else ["name"])
        table.writeheader()
        table.writerows(ablation)


def write_production_logs(directory: str | Path, rows: pd.DataFrame, classes: list[str], statistic_names: list[str]) -> None:
    """Write `production_logs.csv`: log rows, whose vectors become columns.

    These are a probability for each class, each statistic, and the embedding's length.
    Text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV injection).

    Args:
        directory: of the traffic artifact; made where it is missing.
        rows: of the inference log, with the labels that arrived.
        classes: of the model.
        statistic_names: of the per-image statistics.
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
    Path(directory).mkdir(parents=True, exist_ok=True)
    table.rename(columns=harmless).to_csv(Path(directory, PRODUCTION_LOGS), index=False, float_format="%.6g")


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
