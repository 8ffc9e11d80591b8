"""Where the keys of an S3 store come from: variables, a file, or an identity that is exchanged for keys which expire.

In the order of AWS's own tools, and decided by what is set: a network is asked only where something says that it has the keys, or, for
AWS itself, in the end.

    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN       keys
    MINIO_ACCESS_KEY, MINIO_SECRET_KEY                                keys
    AWS_WEB_IDENTITY_TOKEN_FILE (and AWS_ROLE_ARN)                    a token that Kubernetes gives a pod: EKS's IRSA, MinIO's STS
    AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials, AWS_PROFILE    keys in a file
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI               ECS and EKS's Pod Identity
    the machine's role in EC2                                         where the server is AWS; AWS_EC2_METADATA_DISABLED=true asks nobody
"""

import configparser
import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import ParseError

import urllib3
from minio.credentials import AWSConfigProvider, Credentials, IamAwsProvider, StaticProvider
from minio.credentials.providers import Provider
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from driftloop.errors import StoreError
from driftloop.store.s3_faults import PASSING_STATUS, TransientFault, cause_of

KEYS = (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"))
WEB_IDENTITY = "AWS_WEB_IDENTITY_TOKEN_FILE"
CONTAINER = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
EXPORT = "export the store's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
#: Who hands out keys is near, or not there at all.
TIMEOUT_S = 2.0
STATUS = re.compile(r"HTTP status code (\d+)")


def names_credentials(environment: Mapping[str, str]) -> bool:
    """Whether keys, or where to get them, are named here; a machine's role in EC2, which names nothing, does not count."""
    variables = (*(name for pair in KEYS for name in pair), WEB_IDENTITY, *CONTAINER)
    return any(environment.get(name) for name in variables) or _keys_file(environment).exists()


def find_credentials(uri: str, environment: Mapping[str, str], *, sts: str | None) -> Provider:
    """Who gives the keys; nobody on a network is asked before they are needed.

    Args:
        uri: of the store, for messages.
        environment: where the variables are looked up.
        sts: the URL of the server that exchanges tokens for keys; None where that is AWS's own, and so is the store.

    Raises:
        StoreError: nothing names keys, or not whole ones, or the file with them cannot be read.
    """
    for names in KEYS:
        if any(environment.get(name) for name in names):
            if missing := [name for name in names if not environment.get(name)]:
                raise StoreError(f"{uri}: {missing[0]} is not set; export the store's {' and '.join(names)}")
            return StaticProvider(*(environment[name] for name in names), session_token=environment.get("AWS_SESSION_TOKEN"))
    if environment.get(WEB_IDENTITY):
        return _Exchanged(uri, f"the token in {WEB_IDENTITY}", sts)
    if _keys_file(environment).exists():
        return _file_provider(uri, environment)
    if any(environment.get(name) for name in CONTAINER):
        return _Exchanged(uri, "the container's credentials endpoint", None)
    if sts is None and environment.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true":
        return _Exchanged(uri, "the machine's role in EC2; no variable and no file names any", None, named=False)
    raise StoreError(f"{uri}: AWS_ACCESS_KEY_ID is not set, nor are there keys in {_keys_file(environment)}; {EXPORT}")


def as_variables(credentials: Credentials) -> dict[str, str]:
    """The AWS_* variables of keys, for a process that cannot look where they came from."""
    token = {"AWS_SESSION_TOKEN": credentials.session_token} if credentials.session_token else {}
    return {"AWS_ACCESS_KEY_ID": credentials.access_key, "AWS_SECRET_ACCESS_KEY": credentials.secret_key} | token


def _keys_file(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or Path(environment.get("HOME") or "~", ".aws", "credentials")).expanduser()


def _file_provider(uri: str, environment: Mapping[str, str]) -> Provider:
    """Reads the file at every request: a key that is changed there counts from then on."""
    path, profile = _keys_file(environment), environment.get("AWS_PROFILE") or "default"
    provider = AWSConfigProvider(str(path), profile)
    try:
        provider.retrieve()
    except (ValueError, configparser.Error, OSError):
        raise StoreError(f"{uri}: {path} has no readable keys of profile {profile!r}; name another with AWS_PROFILE, or {EXPORT}") from None
    return provider


class _Exchanged(Provider):
    """Keys that expire, and are fetched again then.

    Args:
        uri: of the store, for messages.
        what: is exchanged for them.
        endpoint: of who does that; None for AWS's own.
        named: whether something says that there are such keys: then a fault that may pass is waited for.
    """

    def __init__(self, uri: str, what: str, endpoint: str | None, *, named: bool = True) -> None:
        connections = urllib3.PoolManager(timeout=Timeout(TIMEOUT_S), retries=False)
        self._provider = IamAwsProvider(custom_endpoint=endpoint, http_client=connections)
        self._uri, self._what, self._waiting = uri, what, named

    def retrieve(self) -> Credentials:
        """The keys as they are now.

        Raises:
            StoreError: nobody gives any.
            TransientFault: nobody does just now.
        """
        try:
            credentials = self._provider.retrieve()
        except HTTPError as error:
            # The address that was asked has the token in it: it is not shown.
            raise self._fault(cause_of(error), passing=True) from None
        except (ValueError, KeyError, OSError, ParseError) as error:
            answered = STATUS.search(str(error))
            if answered:
                raise self._fault(f"refused with {answered[1]}", passing=int(answered[1]) in PASSING_STATUS) from None
            reason = error.strerror if isinstance(error, OSError) else "not an answer with keys"
            raise self._fault(reason or "not readable", passing=False) from None
        self._waiting = True
        return credentials

    def _fault(self, reason: str, *, passing: bool) -> Exception:
        line = f"{self._uri}: no keys from {self._what} ({reason}); {EXPORT}"
        return TransientFault(line) if passing and self._waiting else StoreError(line)
