"""What a step writes down of itself."""

import json
import subprocess
import sys
from pathlib import Path

from driftloop.contracts import FACTS
from driftloop.step_facts import read_used

STEP = """
import sys, time
from driftloop.step_facts import write_facts
taken = bytearray(250_000_000)
taken[::4096] = b"x" * len(taken[::4096])
until = time.process_time() + 0.4
while time.process_time() < until: pass
write_facts(sys.argv[1], "drift_detection", {"windows": 3}, sys.argv[2])
"""


def test_facts_carry_what_the_process_used(tmp_path: Path) -> None:
    before, out = tmp_path / "before", tmp_path / "out"
    before.mkdir()
    (before / FACTS).write_text(json.dumps({"data_analysis": {"images": 5}}))
    subprocess.run([sys.executable, "-c", STEP, str(out), str(before)], check=True)
    assert json.loads((out / FACTS).read_text()) == {"data_analysis": {"images": 5}, "drift_detection": {"windows": 3}}, "as in every try"
    assert read_used(out).keys() == {"drift_detection"}, "the other's release wrote none"
    used = read_used(out)["drift_detection"]
    assert used["seconds"] >= 0.4
    assert 0.4 <= used["cpu_seconds"] <= used["seconds"] + 0.1, "one thread, counted from the same moment on"
    assert 250 <= used["peak_mb"] < 600
    assert used["gpu_peak_mb"] is None
