"""Which faults of S3 are tried again, how long, and what a person reads of the others."""

import random
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import ParseError

import pytest
import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ProtocolError, ReadTimeoutError, SSLError

from driftloop.errors import NotFound, StoreError
from driftloop.store import s3_faults
from driftloop.store.s3_faults import PASSING_CODES, PASSING_STATUS, REFUSED_KEY, NoBucket, TransientFault, explained_fault, retry

WHAT, SERVER, BUCKET = "s3://team/demo/key", "http://s3:9000", "team"
ENDPOINT = "; check AWS_ENDPOINT_URL"
REFUSED = f"{SERVER} refuses the credentials (%s); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
DENIED = f"{SERVER} denies access (%s); check AWS_ACCESS_KEY_ID and what it may do in bucket 'team'"
NO_TLS = f"no trusted TLS connection to {SERVER}; name the server's CA in AWS_CA_BUNDLE, or check http/https in AWS_ENDPOINT_URL"
UNREACHED = f"cannot reach {SERVER} (%s){ENDPOINT} and that the server runs"


def answered(status: int | None, code: str | None = "", message: str | None = "") -> S3Error:
    """What the server said about a request; without a status about a part of a batch."""
    response: Any = None if status is None else urllib3.HTTPResponse(status=status)
    return S3Error(response, code, message, None, None, None)


@pytest.mark.parametrize(
    ("fault", "kind", "line"),
    [
        (answered(404, "NoSuchBucket"), NoBucket, f"there is no bucket 'team' on {SERVER}; check its name, or create it"),
        (answered(503, "NoSuchBucket"), NoBucket, f"there is no bucket 'team' on {SERVER}; check its name, or create it"),
        (answered(404, "NoSuchKey"), NotFound, "no such object"),
        (answered(None, "NoSuchKey"), NotFound, "no such object"),
        (answered(404), NotFound, "no such object"),
        (answered(503, "SlowDown", "wait a little"), TransientFault, f"{SERVER} answers 503 SlowDown"),
        (answered(None, "SlowDown"), TransientFault, f"{SERVER} answers SlowDown"),
        (answered(500, None, None), TransientFault, f"{SERVER} answers 500"),
        (answered(400, "BadDigest"), TransientFault, f"{SERVER} answers 400 BadDigest"),
        (answered(403, "InvalidAccessKeyId"), StoreError, REFUSED % "InvalidAccessKeyId"),
        (
            answered(403, "SignatureDoesNotMatch"),
            StoreError,
            f"{REFUSED % 'SignatureDoesNotMatch'}, and whether a proxy on the way changes requests",
        ),
        (answered(403, "AccessDenied"), StoreError, DENIED % "AccessDenied"),
        (answered(None, "AccessDenied"), StoreError, DENIED % "AccessDenied"),
        (answered(403), StoreError, DENIED % 403),
        (answered(401), StoreError, DENIED % 401),
        (answered(507, "StorageFull"), StoreError, f"{SERVER} has no room left; free some space there"),
        (answered(400, "Odd", "It is odd."), StoreError, f"{SERVER} answers 400 Odd It is odd.{ENDPOINT} and AWS_REGION"),
        (answered(None, "Odd"), StoreError, f"{SERVER} answers Odd{ENDPOINT} and AWS_REGION"),
        (answered(301), StoreError, f"{SERVER} answers 301{ENDPOINT} and AWS_REGION"),
        (ServerError("server failed", 502), TransientFault, f"{SERVER} answers 502"),
        (ServerError("not built", 501), StoreError, f"{SERVER} answers 501 not built{ENDPOINT} and AWS_REGION"),
        (InvalidResponseError(503, "text/html", None), TransientFault, f"{SERVER} answers 503"),
        (InvalidResponseError(200, "text/html", None), StoreError, f"{SERVER} does not answer like an S3 server{ENDPOINT}"),
        (ParseError("no element found"), StoreError, f"{SERVER} does not answer like an S3 server{ENDPOINT}"),
        (SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"), StoreError, NO_TLS),
        (SSLError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), StoreError, NO_TLS),
        (SSLError("EOF occurred in violation of protocol"), TransientFault, UNREACHED % "the connection broke"),
        (HTTPError("not of TLS: CERTIFICATE_VERIFY_FAILED"), TransientFault, UNREACHED % "the connection broke"),
        (ProtocolError("IncompleteRead(3 bytes read)"), TransientFault, UNREACHED % "the connection broke"),
        (ReadTimeoutError(None, "/", "Read timed out."), TransientFault, UNREACHED % "no answer in time"),  # type: ignore[arg-type]
        (TimeoutError(), TransientFault, UNREACHED % "no answer in time"),
        (ConnectTimeoutError("[Errno 111] Connection refused"), TransientFault, UNREACHED % "connection refused"),
        (HTTPError("Failed to resolve 's3'"), TransientFault, UNREACHED % "failed to resolve"),
        (OSError("[Errno 113] No route to host"), TransientFault, UNREACHED % "no route to host"),
        (OSError("[Errno 101] Network is unreachable"), TransientFault, UNREACHED % "network is unreachable"),
        (ConnectionResetError("[Errno 104] Connection reset by peer"), TransientFault, UNREACHED % "connection reset"),
    ],
)
def test_each_fault_has_its_kind_and_its_line(fault: Exception, kind: type[Exception], line: str) -> None:
    error = explained_fault(fault, what=WHAT, server=SERVER, bucket=BUCKET)
    assert (type(error), str(error)) == (kind, f"{WHAT}: {line}")


def test_what_may_pass_is_tried_again_however_it_is_told() -> None:
    told = [answered(status) for status in PASSING_STATUS] + [answered(400, code) for code in PASSING_CODES]
    told += [InvalidResponseError(status, None, None) for status in PASSING_STATUS]
    told += [ServerError("", status) for status in PASSING_STATUS]
    assert {type(explained_fault(fault, what=WHAT, server=SERVER, bucket=BUCKET)) for fault in told} == {TransientFault}
    refused = [answered(403, code) for code in REFUSED_KEY]
    assert {type(explained_fault(fault, what=WHAT, server=SERVER, bucket=BUCKET)) for fault in refused} == {StoreError}


class Clock:
    """A time that passes only where somebody sleeps; it stands at some hour when it is first looked at."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(s3_faults, "time", clock)
    return clock


def failing(times: int, seen: list[bool] | None = None) -> Callable[[bool], str]:
    """A request that fails so many times; what it is told of earlier tries is noted."""
    told: list[bool] = [] if seen is None else seen

    def attempt(retried: bool) -> str:
        told.append(retried)
        if len(told) <= times:
            raise TransientFault("it failed")
        return "answer"

    return attempt


def test_a_request_is_told_whether_an_earlier_try_may_have_taken_effect(clock: Clock) -> None:
    seen: list[bool] = []
    assert retry(failing(2, seen)) == "answer"
    assert seen == [False, True, True]
    assert len(clock.pauses) == 2


def test_pauses_double_up_to_the_longest_and_each_is_drawn_between_its_half_and_its_whole(clock: Clock) -> None:
    whole = [0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0]
    random.seed(20261129)
    for _ in range(100):
        assert retry(failing(len(whole)), patience_s=1e9) == "answer"
    drawn = [pause / whole[place % len(whole)] for place, pause in enumerate(clock.pauses)]
    assert min(drawn) >= 0.5
    assert max(drawn) <= 1.0
    assert min(drawn) < 0.51
    assert max(drawn) > 0.99


def test_nobody_waits_beyond_his_patience_and_the_line_says_how_long_it_was(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    clock.now = 0.0
    # Three pauses of 0.2, 0.4 and 0.8 s fill it to the brim: there is a fourth try.
    with pytest.raises(StoreError, match=r"^it failed \(gave up after 4 tries in 1 s\)$"):
        retry(failing(9), patience_s=0.2 + 0.4 + 0.8)
    clock.now = 0.0
    with pytest.raises(StoreError, match=r"gave up after 3 tries in 1 s"):
        retry(failing(9), patience_s=1.399)


def test_by_default_a_server_has_time_to_be_restarted_twice(clock: Clock) -> None:
    began = clock.now
    with pytest.raises(StoreError, match=r"gave up after \d+ tries in 4[1-5] s"):
        retry(failing(1_000))
    assert 41 <= clock.now - began <= 45


def test_even_after_a_very_slow_failure_there_are_three_tries(clock: Clock) -> None:
    def slow(retried: bool) -> str:
        clock.now += 600.0
        raise TransientFault("broke off")

    with pytest.raises(StoreError, match=r"^broke off \(gave up after 3 tries in 180[01] s\)$"):
        retry(slow)


def test_what_cannot_pass_is_not_tried_again(clock: Clock) -> None:
    def refused(retried: bool) -> str:
        raise StoreError("refused")

    with pytest.raises(StoreError, match=r"^refused$"):
        retry(refused)
    assert clock.pauses == []
