"""The policy without images says what the project's functions say, and its tables say what they counted."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import policy_world
from bench.policy_alarms import POOLED, Alarms, Chains, alarm_rate
from bench.policy_cells import DAYS, ONSET, Cell, design
from bench.policy_tables import delay_goal, goals, row
from bench.policy_world import agrees, play
from components.drift_detection.windows import level_of
from driftloop.settings import DriftSettings


def test_the_arrays_agree_with_the_functions_look_by_look() -> None:
    assert agrees(count=1) > 10


def test_the_design_has_every_rate_turnaround_and_kind() -> None:
    cells = design()
    assert 55 <= len(cells) == len(set(cells)) <= 80
    assert {(cell.windows, cell.turnaround) for cell in cells} == {(windows, days) for windows in (1, 3, 24, 200) for days in (0, 4, 14)}
    assert {cell.drop for cell in cells} == {0, 0.02, 0.05, 0.08, 0.15}


def test_windows_alarm_as_often_as_the_real_test_let_them() -> None:
    assert alarm_rate("clean", 0.05) == pytest.approx(0.05, abs=0.03)
    assert alarm_rate("clean", 0.0053) < 0.02
    assert alarm_rate("blur+noise:0.6", 0.0053) == 1
    assert alarm_rate("prior:0.1", 0.0053) < alarm_rate("prior:0.1", 0.05) < alarm_rate("prior:0.2", 0.05)


def test_four_windows_together_alarm_as_often_as_the_real_test_and_go_with_those_that_share_windows() -> None:
    alarms = Alarms(20_000, level := level_of(0.05, DriftSettings(), windows=90, looks=90), np.random.default_rng(1))
    weak = np.full(20_000, "prior:0.1")
    seen = [alarms.of_day(weak, 1) for _ in range(POOLED + 1)]
    assert not any(together.any() for _, together in seen[: POOLED - 1])
    rate = alarm_rate(f"prior:0.1 x{POOLED}", level.pooled_alpha)
    first, second = seen[POOLED - 1][1], seen[POOLED][1]
    # Less what the most extreme of them shows alone.
    assert 0.6 * rate < first.mean() < rate + 0.02
    assert second[first].mean() > 1.2 * second.mean()
    alarms.settle(3)
    assert not alarms.of_day(weak, 1)[1][3]


def test_windows_that_drift_together_confirm_a_drift_and_join_it() -> None:
    chains = Chains(2, 1, 10)
    for day in range(5):
        chains.see(day, np.array([[False, False]]))
    another, joined = chains.mark(4, 1)
    assert (another, joined.tolist()) == (False, [0, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    assert chains.members[:6].T.tolist() == [[0] * 6, [0, 1, 1, 1, 1, 0]]
    assert chains.see(5, np.array([[True, True]]))[0].tolist() == [False, True]


def test_a_world_that_was_cut_short_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, kept, asked = tmp_path / "world.json", tmp_path / "kept", []
    monkeypatch.setattr(policy_world, "design", lambda: [Cell("none", 0.0, 1, 0), Cell("none", 0.0, 3, 0)])
    monkeypatch.setattr(policy_world, "agrees", lambda seed: seed)
    monkeypatch.setattr(policy_world, "BATCH", 2)
    monkeypatch.setattr(policy_world, "play", lambda cell, count, seed: asked.append((cell.windows, count)) or play(cell, count, seed))
    monkeypatch.setattr("sys.argv", ["policy_world", "--histories", "3", "--kept", str(kept), "--out", str(out)])
    policy_world.main()
    assert asked == [(1, 2), (3, 2), (1, 1), (3, 1)]
    assert [found["histories"] for found in json.loads(out.read_text())["rows"]] == [3, 3]
    (kept / "1-1.npz").unlink()
    policy_world.main()
    assert asked[4:] == [(3, 1)]


def test_a_drop_comes_when_it_should() -> None:
    assert Cell("abrupt", 0.08, 1, 0).drops()[[ONSET - 1, ONSET, DAYS - 1]].tolist() == [0, 0.08, 0.08]
    assert Cell("gradual", 0.15, 1, 0).drops()[[ONSET - 1, ONSET + 29]].tolist() == pytest.approx([0, 0.15])
    assert Cell("seasonal", 0.15, 1, 0).drops()[[ONSET, ONSET + 24, ONSET + 25, ONSET + 50]].tolist() == [0.15, 0.15, 0, 0.15]


def test_a_large_drop_is_won_back_and_no_drop_is_left_alone() -> None:
    harmful = row(cell := Cell("abrupt", 0.15, 3, 0), play(cell, 10, 1))
    assert harmful["first_promotion"]["median"] < 20
    assert harmful["lost"] < harmful["without"] / 2
    calm = row(cell := Cell("none", 0.0, 3, 0), play(cell, 10, 1))
    assert (calm["false_retrained"], calm["promotions"], calm["lost"]) == (0, 0, 0)
    assert not any("missed" in said for said in goals([harmful, calm]).values())
    missed = harmful | {"false_calm": 10, "first_retrain": {"median": delay_goal(0.15, 1) + 1, "p80": 90}}
    assert sum("missed in 1: abrupt 15 pt" in said for said in goals([missed, calm]).values()) == 2


def test_a_slow_drift_is_not_called_harmless_by_labels_of_before_it_grew() -> None:
    late = play(Cell("gradual", 0.08, 24, 14), 40, 5)
    assert late["false_calm"].sum() <= 2
    # Labels at once show an equally frequent drift without any drop to be harmless within days.
    assert np.median(play(Cell("harmless", 0.0, 24, 0), 20, 5)["first_calm"]) <= 4
