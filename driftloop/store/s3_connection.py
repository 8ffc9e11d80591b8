"""The S3 client as the standard AWS_* variables describe it: endpoint, region, credentials, time-outs."""

import base64
import hashlib
import os
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials.providers import Provider
from minio.signer import sign_v4_s3
from minio.time import to_amz_date, utcnow
from urllib3.util import Timeout

from driftloop.errors import StoreError
from driftloop.store.s3_credentials import find_credentials

AWS_ENDPOINT = "https://s3.amazonaws.com"
S3_CONNECT_TIMEOUT_S = 5.0
S3_READ_TIMEOUT_S = 60.0


class SigningClient(Minio):
    """MinIO's client with the one request that it lacks: a PUT on a condition, which its `put_object` cannot take."""

    def put_if(self, bucket: str, name: str, data: bytes, condition: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """The server's answer to one conditional PUT, of whatever status.

        Every header is signed, and with them the hash of the body, over TLS too: what a proxy on the way drops or changes of the
        condition or of the content makes the server refuse the request.

        Args:
            condition: the header `If-Match` or `If-None-Match`.
        """
        region = self._get_region(bucket)
        url = self._base_url.build(method="PUT", region=region, bucket_name=bucket, object_name=name)
        credentials, now, content = self._provider.retrieve(), utcnow(), hashlib.sha256(data).hexdigest()
        headers = {
            **condition,
            "Host": url.netloc,
            "User-Agent": self._user_agent,
            # Buckets whose objects are locked by default ask for this one.
            "Content-MD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            "x-amz-content-sha256": content,
            "x-amz-date": to_amz_date(now),
        }
        if credentials.session_token:
            headers["X-Amz-Security-Token"] = credentials.session_token
        sign_v4_s3(method="PUT", url=url, region=region, headers=headers, credentials=credentials, content_sha256=content, date=now)
        return self._http.urlopen("PUT", urlunsplit(url), body=data, headers=headers)


def s3_endpoint(environment: Mapping[str, str] = os.environ) -> str:
    """The server's URL, without credentials that somebody may have put into it: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, else AWS.

    Args:
        environment: where the variables are looked up.

    Raises:
        StoreError: the variable does not hold the URL of a host.
    """
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if url := environment.get(variable, "").strip():
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
                raise StoreError(f"{variable} is not the URL of a server; write it like http://localhost:9000")
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return AWS_ENDPOINT


def s3_credentials(uri: str, environment: Mapping[str, str] = os.environ) -> Provider:
    """Who gives the keys of the server that `s3_endpoint` names; any other than AWS also exchanges tokens for them itself.

    Args:
        uri: of the store, for messages.
        environment: where the variables are looked up.

    Raises:
        StoreError: as `find_credentials`.
    """
    endpoint = s3_endpoint(environment)
    sts = environment.get("AWS_ENDPOINT_URL_STS") or (None if endpoint == AWS_ENDPOINT else endpoint)
    return find_credentials(uri, environment, sts=sts)


def connect_s3(uri: str, environment: Mapping[str, str] = os.environ) -> SigningClient:
    """A client, which contacts nobody yet and repeats no request by itself.

    What may be repeated, and what an answer that was lost may mean, is decided request by request (`driftloop.store.s3`).

    Args:
        uri: of the store, for messages.
        environment: where the AWS_* variables are looked up.

    Raises:
        StoreError: no credentials (`find_credentials`), or an endpoint that is not a URL.
    """
    server, credentials = urlsplit(s3_endpoint(environment)), s3_credentials(uri, environment)
    authorities = environment.get("AWS_CA_BUNDLE") or environment.get("SSL_CERT_FILE") or certifi.where()
    if server.scheme == "https" and not os.path.isfile(authorities):
        raise StoreError(f"{uri}: {authorities}: no such file; AWS_CA_BUNDLE names the file with the certificate of the server's authority")
    connections = urllib3.PoolManager(
        maxsize=16,
        timeout=Timeout(connect=S3_CONNECT_TIMEOUT_S, read=S3_READ_TIMEOUT_S),
        retries=False,
        cert_reqs="CERT_REQUIRED",
        ca_certs=authorities,
    )
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    try:
        return SigningClient(
            server.netloc,
            credentials=credentials,
            secure=server.scheme == "https",
            region=region or None,
            http_client=connections,
        )
    except ValueError as error:
        raise StoreError(f"{uri}: {error}; check AWS_ENDPOINT_URL and AWS_REGION") from None
