"""A promotion killed by SIGKILL before every single touch of the store's files."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_whenever_a_promotion_is_killed_one_whole_champion_serves_and_repeating_completes_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.model_promotion.killed", str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    kills = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
    assert len(kills) > 50
    assert [kill["killed"] for kill in kills] == [True] * (len(kills) - 1) + [False]
    for kill in kills:
        # The pointer never names anything but the old champion or the whole new one, which then stays.
        assert kill["served"] in ("1", kill["now"]), kill
        assert kill["now"] == kill["again"] != "1", kill
        assert (kill["moves"], kill["complete"]) == (2, 2), kill
    # Killed early it is the old one, killed late the new one: the move is one point, not a stretch.
    served = [kill["served"] == "1" for kill in kills]
    assert served == sorted(served, reverse=True)
    assert not served[-1]
