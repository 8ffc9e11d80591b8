"""A soak of the service whose store is a real MinIO server, killed for a minute in the middle.

    python -m bench.serving_soak [--side 64] [--seconds 600] [--out bench/results/serving_soak.json]

80 % of the load that the service can bear, by `hey`. The server gets SIGKILL, and its successor the same port and data; it runs on the same
cores as the service, as a store of its own machine would not. Every request is counted in the log afterwards.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from bench.gate_error_rates import environment
from bench.serving import ours, soak, write_bodies
from bench.serving_store import promote_new_version
from driftloop.store import open_store
from tests.minio_server import MinioServer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "serving_soak.json")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftloop-bench-") as temporary:
        work = Path(temporary)
        write_bodies(work, chosen.side)
        minio = MinioServer(work / "minio")
        minio.start()
        try:
            uri = "s3://production/model"
            store = open_store(uri, minio.environment)
            promote_new_version(store, chosen.side, expected=None)
            variables = {**os.environ, **minio.environment}
            row = soak(work, store, ours(work, store=uri), variables, chosen.seconds, minio.kill, minio.start)
        finally:
            minio.kill()
    chosen.out.write_text(json.dumps(environment() | {"side": chosen.side} | row, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
