"""What a retraining says of itself in the run's log."""

from typing import Any

import pytest

from components.automated_retraining.retraining_facts import summary_line


@pytest.mark.parametrize(("dropped", "said"), [([], "gate)"), (["regime-1"], "gate); regime-1 is forgotten")])
def test_the_log_says_which_regime_a_new_one_has_replaced(dropped: list[str], said: str) -> None:
    accuracies = {"drifted": 0.7, "clean": 0.9}
    facts: dict[str, Any] = {"val_before": accuracies, "val_after": accuracies, "added": {"drifted_train": 30, "drifted_gate": 30}}
    assert summary_line(facts | {"dropped_regimes": dropped}).endswith(said)
