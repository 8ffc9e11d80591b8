"""Faults of requests to S3: which may pass and are tried again, and one line that says how to mend the others.

Time-outs, broken connections, 5xx answers and a server that is being restarted may pass.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, SSLError
from urllib3.exceptions import TimeoutError as HttpTimeout

from driftloop.errors import NotFound, StoreAway, StoreError

#: Covers a server's restart (about 20 s for MinIO in a cluster) twice.
S3_PATIENCE_S = 45.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 4.0
#: A slow upload that breaks off after minutes deserves another try, however long the first took.
FEWEST_TRIES = 3

#: What the client can raise for a fault of the network or of the server.
CLIENT_FAULTS = (MinioException, HTTPError, ParseError, ConnectionError, TimeoutError)
#: 409 is how S3 answers a conditional write that ran into another one: neither has won yet.
PASSING_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
PASSING_CODES = frozenset({"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable"})
#: What arrived was not what was sent, a part's tag not what was answered, or an upload is over whose last answer was lost: the next try
#: may go through whole.
PASSING_CODES |= {"XAmzContentSHA256Mismatch", "BadDigest", "IncompleteBody", "InvalidPart", "NoSuchUpload"}
REFUSED_KEY = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired", "AuthorizationHeaderMalformed"}
)

Answer = TypeVar("Answer")


class TransientFault(Exception):
    """A fault that may pass; its message is the line that a person reads if it does not."""


def retry(attempt: Callable[[bool], Answer], *, patience_s: float = S3_PATIENCE_S) -> Answer:
    """Call `attempt` until it gives an answer, with exponentially growing, jittered pauses between the tries.

    `attempt` is called with whether an earlier try ended in a fault, since that one may have taken effect all the same.

    Args:
        attempt: one try; raises `TransientFault` for a fault that may pass, and anything else to give up at once.
        patience_s: seconds after which no further try is made, once there were at least three.

    Raises:
        StoreAway: the fault did not pass.
    """
    began = time.monotonic()
    tries = 0
    while True:
        tries += 1
        try:
            return attempt(tries > 1)
        except TransientFault as fault:
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
            waited = time.monotonic() - began
            if tries >= FEWEST_TRIES and waited + pause > patience_s:
                raise StoreAway(f"{fault} (gave up after {tries} tries in {waited:.0f} s)") from None
            time.sleep(pause)


class NoBucket(NotFound):
    """The bucket does not exist (yet)."""


def explained_fault(fault: Exception, *, what: str, server: str, bucket: str) -> Exception:
    """The error to raise for `fault`: a `TransientFault` for one that may pass, else a `StoreError` (`NotFound`, `NoBucket`).

    Args:
        fault: one of `CLIENT_FAULTS`.
        what: the URI of the object or of the store, with which the line begins.
        server: the endpoint's URL.
        bucket: the bucket's name.
    """
    if isinstance(fault, S3Error):
        return _answered(fault.code or "", fault.message or "", getattr(fault.response, "status", 0), what, server, bucket)
    if isinstance(fault, ServerError):
        return _answered("", str(fault), fault.status_code, what, server, bucket)
    if isinstance(fault, InvalidResponseError) and int(fault._code) in PASSING_STATUS:
        return TransientFault(f"{what}: {server} answers {fault._code}")
    if isinstance(fault, InvalidResponseError | ParseError):
        return StoreError(f"{what}: {server} does not answer like an S3 server; check AWS_ENDPOINT_URL")
    if isinstance(fault, SSLError) and any(sign in str(fault) for sign in ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER")):
        return StoreError(
            f"{what}: no trusted TLS connection to {server}; name the server's CA in AWS_CA_BUNDLE, or check http/https in AWS_ENDPOINT_URL"
        )
    return TransientFault(f"{what}: cannot reach {server} ({cause_of(fault)}); check AWS_ENDPOINT_URL and that the server runs")


def _answered(code: str, message: str, status: int, what: str, server: str, bucket: str) -> Exception:
    """The error for a request that the server did answer; a part of a batch is answered without a status."""
    answer = f"{status or ''} {code}".strip()
    if code == "NoSuchBucket":
        return NoBucket(f"{what}: there is no bucket {bucket!r} on {server}; check its name, or create it")
    if status in PASSING_STATUS or code in PASSING_CODES:
        return TransientFault(f"{what}: {server} answers {answer}")
    if code == "NoSuchKey" or status == 404:
        return NotFound(f"{what}: no such object")
    if code in REFUSED_KEY:
        proxy = ", and whether a proxy on the way changes requests" if code == "SignatureDoesNotMatch" else ""
        return StoreError(f"{what}: {server} refuses the credentials ({code}); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY{proxy}")
    if status in (401, 403) or code == "AccessDenied":
        return StoreError(
            f"{what}: {server} denies access ({code or status}); check AWS_ACCESS_KEY_ID and what it may do in bucket {bucket!r}"
        )
    if status == 507:
        return StoreError(f"{what}: {server} has no room left; free some space there")
    return StoreError(f"{what}: {server} answers {answer} {message}".strip() + "; check AWS_ENDPOINT_URL and AWS_REGION")


def cause_of(fault: Exception) -> str:
    """The few words that matter of a connection's error."""
    # Looked for first: urllib3 counts a refused connection among the time-outs.
    text = str(fault)
    for sign in ("Connection refused", "Failed to resolve", "No route to host", "Network is unreachable", "Connection reset"):
        if sign in text:
            return sign.lower()
    return "no answer in time" if isinstance(fault, HttpTimeout | TimeoutError) else "the connection broke"
