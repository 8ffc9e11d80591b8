"""How many threads a process may use."""

from pathlib import Path

import pytest

from driftloop.runtime import available_threads


def test_threads_keep_to_the_container_and_to_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    free = available_threads(quota)
    assert free >= 1
    quota.write_text("max 100000\n")
    assert available_threads(quota) == free
    quota.write_text("50000 100000\n")
    assert available_threads(quota) == 1
    quota.write_text("6400000 100000\n")
    assert available_threads(quota) == min(free, 64)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert available_threads(quota) == 1
    quota.write_text("max 100000\n")
    assert available_threads(quota) == 1
