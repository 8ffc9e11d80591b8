"""`baseline_metrics.pt`: the training data's figures as plain tensors, for whoever wants to compare with them."""

from pathlib import Path

import torch

from components.data_analysis.statistics import ClassStatistics
from driftloop.dataset import Description

NAME = "baseline_metrics.pt"


def write_baseline_metrics(directory: str | Path, description: Description, statistics: ClassStatistics, counts: dict[str, int]) -> None:
    """Write them; `torch.load(..., weights_only=True)` reads them.

    mean, std (C,) on the scale 0-1; class_counts (K,) of the training split; histogram (C, 256) of grey levels; mean_images
    (K, H, W, C); statistics_mean, statistics_std (F,) of the per-image statistics named in facts.json.
    """
    content = {
        "mean": torch.tensor(description.mean),
        "std": torch.tensor(description.std),
        "class_counts": torch.tensor([counts[name] for name in description.classes]),
        "histogram": torch.from_numpy(statistics.histogram),
        "mean_images": torch.from_numpy(statistics.mean_images).float(),
        "statistics_mean": torch.from_numpy(statistics.statistics.mean(0)),
        "statistics_std": torch.from_numpy(statistics.statistics.std(0)),
    }
    torch.save(content, Path(directory, NAME))
