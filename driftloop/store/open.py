"""Opening the store that a URI names."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from driftloop.errors import StoreError
from driftloop.store.interface import Store
from driftloop.store.local import LocalStore


def open_store(uri: str, environment: Mapping[str, str] = os.environ) -> Store:
    """The store at `uri`; nothing is created or contacted before its first use.

    Args:
        uri: `s3://bucket/prefix`, a folder's path, or `file:///folder`. For S3 the endpoint comes from AWS_ENDPOINT_URL (or
            AWS_ENDPOINT_URL_S3) and AWS_REGION, the credentials from where `driftloop.store.s3_credentials` looks.
        environment: where these variables are looked up.

    Raises:
        StoreError: not such a URI, or S3 without credentials.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri.strip():
            raise StoreError("the store's URI is empty; give a folder or s3://bucket/prefix")
        return LocalStore(Path(uri).expanduser())
    if scheme == "s3":
        # Imported here: a local store need not wait for the client library.
        from driftloop.store.s3 import S3Store

        bucket, _, prefix = rest.partition("/")
        return S3Store(bucket, prefix, environment=environment)
    if scheme == "file" and not urlsplit(uri).netloc:
        return LocalStore(Path(unquote(urlsplit(uri).path)))
    raise StoreError(f"{uri}: not a store; give a folder or s3://bucket/prefix (for MinIO also s3://, with AWS_ENDPOINT_URL set)")
