"""Give the TensorBoard of `make up` a user of its own in MinIO, who may read its events and nothing else.

    python docker/tensorboard_user.py docker/minio.env docker/tensorboard.env

Run again, it changes nothing, but a secret key that has changed. The policy is the cluster's (k8s/minio/policies).
"""

import json
import sys
from pathlib import Path

import urllib3
from minio import MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException

USER = "driftloop-tensorboard"
POLICY = Path(__file__).parents[1] / "k8s" / "minio" / "policies" / f"{USER}.json"


def read_variables(path: Path) -> dict[str, str]:
    """The `name=value` lines of a file."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def main(root_file: Path, user_file: Path) -> None:
    """Bring the server that `root_file` names to that state."""
    root, user = read_variables(root_file), read_variables(user_file)
    url = urllib3.util.parse_url(root["AWS_ENDPOINT_URL"])
    keys = StaticProvider(root["MINIO_ROOT_USER"], root["MINIO_ROOT_PASSWORD"])
    admin = MinioAdmin(endpoint=url.netloc, credentials=keys, secure=url.scheme == "https", region="us-east-1")
    try:
        admin.policy_add(USER, policy=json.loads(POLICY.read_text()))
        admin.user_add(user["AWS_ACCESS_KEY_ID"], user["AWS_SECRET_ACCESS_KEY"])
        if json.loads(admin.user_info(user["AWS_ACCESS_KEY_ID"])).get("policyName") != USER:
            admin.policy_set(USER, user=user["AWS_ACCESS_KEY_ID"])
    except (MinioAdminException, urllib3.exceptions.HTTPError) as error:
        sys.exit(f"driftloop: TensorBoard's user was not made in MinIO at {root['AWS_ENDPOINT_URL']}: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
