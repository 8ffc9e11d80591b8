"""Give a service of `make up` a user of its own in MinIO, who may do what the policy of its name says and nothing else.

    python docker/minio_user.py docker/minio.env docker/tensorboard.env

Run again, it changes nothing, but a secret key or a policy that has changed. The policies are the cluster's (k8s/minio/policies).
"""

import json
import sys
from pathlib import Path

import urllib3
from minio import MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException

POLICIES = Path(__file__).parents[1] / "k8s" / "minio" / "policies"


def read_variables(path: Path) -> dict[str, str]:
    """The `name=value` lines of a file."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def main(root_file: Path, user_file: Path) -> None:
    """Bring the server that `root_file` names to that state."""
    root, user = read_variables(root_file), read_variables(user_file)
    name = user["AWS_ACCESS_KEY_ID"]
    url = urllib3.util.parse_url(root["AWS_ENDPOINT_URL"])
    keys = StaticProvider(root["MINIO_ROOT_USER"], root["MINIO_ROOT_PASSWORD"])
    admin = MinioAdmin(endpoint=url.netloc, credentials=keys, secure=url.scheme == "https", region="us-east-1")
    try:
        admin.policy_add(name, policy=json.loads((POLICIES / f"{name}.json").read_text()))
        admin.user_add(name, user["AWS_SECRET_ACCESS_KEY"])
        if json.loads(admin.user_info(name)).get("policyName") != name:
            admin.policy_set(name, user=name)
    except (MinioAdminException, urllib3.exceptions.HTTPError) as error:
        sys.exit(f"driftloop: the user {name} was not made in MinIO at {root['AWS_ENDPOINT_URL']}: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
