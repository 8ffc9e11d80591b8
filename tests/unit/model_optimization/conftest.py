"""What the tests of private trainings share."""

import pytest


@pytest.fixture
def noises(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The noise multiplier of every step with noise that this process takes, as they are taken."""
    from opacus.optimizers import DPOptimizer

    taken: list[float] = []
    add_noise = DPOptimizer.add_noise

    def counted(optimizer: DPOptimizer) -> None:
        taken.append(optimizer.noise_multiplier)
        add_noise(optimizer)

    monkeypatch.setattr(DPOptimizer, "add_noise", counted)
    return taken
