"""How the command line starts."""

import subprocess
import sys


def test_a_command_does_not_wait_for_kfp_or_torch() -> None:
    script = (
        "import sys; import driftloop.cli.main; assert not {'kfp', 'torch', 'pandas', 'scipy', 'matplotlib', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
