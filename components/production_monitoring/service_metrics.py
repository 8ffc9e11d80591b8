"""Service metrics: is it up, is it fast, is it used."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.production_monitoring.collect import OK


@dataclass(frozen=True)
class ServiceMetrics:
    """Of the champion's requests; times in ms, None where there is nothing to measure. `per_second` is the mean over their span."""

    requests: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    per_second: float | None

    @property
    def error_share(self) -> float:
        return self.failed / self.requests if self.requests else 0.0


def service_metrics(rows: pd.DataFrame) -> ServiceMetrics:
    """Latency percentiles of the answered requests, throughput, and how many failed.

    Args:
        rows: time, status and latency_ms, in time order.
    """
    good = rows["status"] == OK
    latency = rows.loc[good, "latency_ms"].dropna().to_numpy(dtype=float)
    quantiles = [float(value) for value in np.percentile(latency, [50, 95, 99])] if len(latency) else [None, None, None]
    seconds = (rows["time"].iloc[-1] - rows["time"].iloc[0]).total_seconds() if len(rows) > 1 else 0.0
    return ServiceMetrics(
        requests=len(rows),
        failed=int((~good).sum()),
        p50_ms=quantiles[0],
        p95_ms=quantiles[1],
        p99_ms=quantiles[2],
        per_second=(len(rows) - 1) / seconds if seconds > 0 else None,
    )
