"""Run one pipeline with KFP's local subprocess runner: the child process of `driftloop run --on local`.

It is a process of its own because KFP writes its log to standard output, which the parent turns into lines for people.
"""

import json
import sys
from pathlib import Path
from typing import Any

from kfp import local

from driftloop.backends.compiled_pipeline import dags_of
from pipelines import PIPELINES


def main(name: str, parameters: Path, artifacts: Path) -> None:
    """Run pipeline `name` with the arguments in the JSON file `parameters`; artifacts go below `artifacts`."""
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(artifacts))
    tried_once(PIPELINES[name])(**json.loads(parameters.read_text()))


def tried_once(pipeline: Any) -> Any:
    """The pipeline without the repetitions of failed steps: a cluster's nodes come and go, here a person waits for the reason."""
    for dag in dags_of(pipeline):
        for task in dag.tasks.values():
            task.ClearField("retry_policy")
    return pipeline


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
