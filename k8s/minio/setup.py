"""Bring a MinIO server to the state that driftloop wants: buckets, users with their policies, lifecycle. Run again, it changes nothing.

Reads MINIO_ENDPOINT, MINIO_ROOT_USER, MINIO_ROOT_PASSWORD, LOG_DAYS and OLD_VERSION_DAYS; POLICIES names a folder with one
<user>.json for each user, USERS a folder with that user's secret key in a file of its name. Every change is a line of output.
"""

import json
import os
import sys
from pathlib import Path

import urllib3
from minio import Minio, MinioAdmin
from minio.commonconfig import ENABLED, Filter, Tag
from minio.credentials import StaticProvider
from minio.error import MinioAdminException, MinioException, S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, NoncurrentVersionExpiration, Rule
from minio.versioningconfig import VersioningConfig

#: KFP's pipeline root. A cached step is served from here for ever, so nothing may expire in it.
PIPELINE_ROOT = "mlpipeline"
STORES = "driftloop"
#: What driftloop's stores tag their logs with (driftloop/store/s3.py).
LOG_TAG = ("driftloop", "log")
#: Copies of the curves that stay with each run's artifacts.
TENSORBOARD = "tensorboard/"


class Server:
    """A MinIO server, seen as its root and as anyone else."""

    def __init__(self, url: str, user: str, password: str) -> None:
        parts = urllib3.util.parse_url(url)
        self._address = {"endpoint": parts.netloc, "secure": parts.scheme == "https"}
        self._http = urllib3.PoolManager(timeout=10, retries=urllib3.Retry(total=4, backoff_factor=0.5))
        self.client = self.login(user, password)
        self.admin = MinioAdmin(**self._address, credentials=StaticProvider(user, password), region="us-east-1", http_client=self._http)

    def login(self, user: str, password: str) -> Minio:
        """A client with somebody's own credentials."""
        return Minio(**self._address, access_key=user, secret_key=password, region="us-east-1", http_client=self._http)


def make_buckets(client: Minio) -> None:
    """Both buckets; old versions are kept of what driftloop stores, not of KFP's artifacts, which never change."""
    for bucket in (PIPELINE_ROOT, STORES):
        if not client.bucket_exists(bucket):
            client.make_bucket(bucket)
            print(f"bucket {bucket}: made")
    if client.get_bucket_versioning(STORES).status != ENABLED:
        client.set_bucket_versioning(STORES, VersioningConfig(ENABLED))
        print(f"bucket {STORES}: old versions are kept")


def make_policies(admin: MinioAdmin, folder: Path) -> None:
    """One policy per file, named as its user."""
    there = json.loads(admin.policy_list())
    for file in sorted(folder.glob("*.json")):
        wanted = json.loads(file.read_text())
        if _canonical(there.get(file.stem)) != _canonical(wanted):
            admin.policy_add(file.stem, policy=wanted)
            print(f"policy {file.stem}: set")


def _canonical(policy: object) -> object:
    """A policy without the order in which the server lists actions and resources."""
    if isinstance(policy, dict):
        return {key: _canonical(value) for key, value in policy.items()}
    if isinstance(policy, list):
        return sorted((_canonical(value) for value in policy), key=str)
    return policy


def make_users(server: Server, folder: Path) -> None:
    """One user per file, with the policy of its name and no other; a secret key that was changed is changed here too."""
    there = json.loads(server.admin.user_list())
    for file in sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")):
        user, secret = file.name, file.read_text().strip()
        if user not in there or not can_log_in(server, user, secret):
            server.admin.user_add(user, secret)
            print(f"user {user}: set")
        if there.get(user, {}).get("policyName") != user:
            server.admin.policy_set(user, user=user)
            print(f"user {user}: may do what policy {user} says")


def can_log_in(server: Server, user: str, secret: str) -> bool:
    """Whether the server takes these credentials, whatever they are allowed to do."""
    try:
        server.login(user, secret).list_buckets()
    except S3Error as error:
        return error.code == "AccessDenied"
    return True


def make_lifecycle(client: Minio, log_days: int, old_version_days: int) -> None:
    """All stores' logs expire, TensorBoard's copies, and versions that something newer replaced; KFP's pipeline root keeps everything."""
    rules = [Rule(ENABLED, Filter(prefix=""), "old-versions", noncurrent_version_expiration=NoncurrentVersionExpiration(old_version_days))]
    rules += [Rule(ENABLED, Filter(tag=Tag(*LOG_TAG)), "expire-logs", expiration=Expiration(days=log_days))]
    rules += [Rule(ENABLED, Filter(prefix=TENSORBOARD), "expire-tensorboard", expiration=Expiration(days=log_days))]
    if _rules(client.get_bucket_lifecycle(STORES)) != _rules(LifecycleConfig(rules)):
        client.set_bucket_lifecycle(STORES, LifecycleConfig(rules))
        print(f"bucket {STORES}: {len(rules)} lifecycle rules: {', '.join(rule.rule_id or '' for rule in rules)}")
    if client.get_bucket_lifecycle(PIPELINE_ROOT) is not None:
        client.delete_bucket_lifecycle(PIPELINE_ROOT)
        print(f"bucket {PIPELINE_ROOT}: nothing expires")


def _rules(config: LifecycleConfig | None) -> set[tuple[object, ...]]:
    """What a lifecycle says, to be compared."""
    rules: set[tuple[object, ...]] = set()
    for rule in config.rules if config else []:
        days = rule.expiration.days if rule.expiration else None
        old = rule.noncurrent_version_expiration.noncurrent_days if rule.noncurrent_version_expiration else None
        prefix, tag = (rule.rule_filter.prefix or "", rule.rule_filter.tag) if rule.rule_filter else ("", None)
        rules.add((rule.rule_id, rule.status, prefix, (tag.key, tag.value) if tag else None, days, old))
    return rules


def main() -> None:
    """Bring the server to that state."""
    server = Server(os.environ["MINIO_ENDPOINT"], os.environ["MINIO_ROOT_USER"], os.environ["MINIO_ROOT_PASSWORD"])
    make_buckets(server.client)
    make_policies(server.admin, Path(os.environ["POLICIES"]))
    make_users(server, Path(os.environ["USERS"]))
    make_lifecycle(server.client, int(os.environ["LOG_DAYS"]), int(os.environ["OLD_VERSION_DAYS"]))
    print("MinIO is as it should be")


if __name__ == "__main__":
    try:
        main()
    except KeyError as error:
        sys.exit(f"minio setup: the environment lacks {error}")
    except (MinioException, MinioAdminException, urllib3.exceptions.HTTPError) as error:
        sys.exit(f"minio setup: {os.environ['MINIO_ENDPOINT']}: {error}")
