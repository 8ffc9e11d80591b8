"""Where this run stands on the MLOps maturity levels, and what the next one asks for."""

from driftloop.summary import Summary


def maturity(summary: Summary) -> list[dict[str, object]]:
    """The levels, each with whether this run shows it and what it takes."""
    watched, judged = summary.drift is not None, summary.gate is not None
    return [
        {
            "level": "0: manual process",
            "asks for": "a model trained and handed over by people",
            "this run": "passed",
        },
        {
            "level": "1: pipeline automation",
            "asks for": "data and model validation, monitoring, and retraining that a trigger starts",
            "this run": "shown: monitored, retrained and gated without a person"
            if judged
            else ("monitored; nothing had to be retrained" if watched else "trained only; run a drift watch on a schedule"),
        },
        {
            "level": "2: CI/CD automation",
            "asks for": "tested, versioned pipelines deployed by continuous integration, on real clusters",
            "this run": "beyond one run: compile, test and schedule the pipelines from continuous integration",
        },
    ]
