"""Run one pipeline with KFP's local subprocess runner: the child process of `driftloop run --on local`.

It is a process of its own because KFP writes its log to standard output, which the parent turns into lines for people.
"""

import json
import sys
from pathlib import Path

from kfp import local

from pipelines import PIPELINES


def main(name: str, parameters: Path, artifacts: Path) -> None:
    """Run pipeline `name` with the arguments in the JSON file `parameters`; artifacts go below `artifacts`."""
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(artifacts))
    PIPELINES[name](**json.loads(parameters.read_text()))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
