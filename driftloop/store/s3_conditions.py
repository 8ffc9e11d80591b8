"""Proof that a server honours conditional writes, before anything rests on one: some S3 servers and gateways ignore the conditions.

The proof is tried on an object of the store's own, whose name no key can have, and noted there, so that a process asks for it once:
one GET. It holds for the server's address and for `PROOF_HOLDS`, since a server may be changed or put behind another.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from driftloop.errors import Conflict, NotFound, StoreError

#: In each store, beside its keys.
PROOF = ".conditional-writes.json"
PROOF_HOLDS = timedelta(days=7)
PROOF_SCHEMA = 1
#: A tag that no object has.
NO_TAG = "0" * 32
#: Of those who try it at once, one notes the proof, and the others find it.
TRIES = 5
OTHER_SERVER = "take a current MinIO, or an S3 server that honours If-None-Match and If-Match when objects are written"

#: (server, store) -> when its proof is to be looked at again, in seconds of `time.monotonic`.
_proved: dict[tuple[str, str], float] = {}
_proving = threading.Lock()


class ProofObject(Protocol):
    """The object on which it is tried."""

    def read(self) -> tuple[bytes, str]:
        """Its bytes and its tag. Raises `NotFound`."""

    def create(self, data: bytes) -> str:
        """As `Store.create`."""

    def replace(self, data: bytes, tag: str) -> str:
        """As `Store.replace`."""


def prove_conditions(server: str, uri: str, proof: ProofObject) -> None:
    """Return once conditional writes are known to be honoured; in a process that knows it already, at once.

    Args:
        server: its URL.
        uri: of the store.
        proof: the object of that store.

    Raises:
        StoreError: they are not honoured, or it could not be tried.
    """
    place = (server, uri)
    if time.monotonic() < _proved.get(place, 0.0):
        return
    with _proving:
        if time.monotonic() >= _proved.get(place, 0.0):
            _prove(server, uri, proof)
            _proved[place] = time.monotonic() + PROOF_HOLDS.total_seconds()


def _prove(server: str, uri: str, proof: ProofObject) -> None:
    for _ in range(TRIES):
        try:
            data, tag = proof.read()
        except NotFound:
            data, tag = b"", ""
        proofs = _read(data)
        if _holds(proofs.get(server)):
            return
        proofs = {name: at for name, at in proofs.items() if _holds(at)}
        try:
            tag = tag or proof.create(_content(proofs))
            _must_be_refused(server, uri, lambda: proof.create(_content(proofs)))  # noqa: B023 - called at once
            _must_be_refused(server, uri, lambda: proof.replace(_content(proofs), NO_TAG))  # noqa: B023
            proof.replace(_content(proofs | {server: datetime.now(UTC).isoformat()}), tag)
            return
        except Conflict:
            # Somebody else tries it, too: is the proof there by now?
            continue
    raise StoreError(f"{uri}: {server} refuses conditional writes that it should take; {OTHER_SERVER}")


def _must_be_refused(server: str, uri: str, write: Callable[[], str]) -> None:
    try:
        write()
    except Conflict:
        return
    raise StoreError(f"{uri}: {server} ignores the conditions of conditional writes: two promotions at once could both win; {OTHER_SERVER}")


def _content(proofs: dict[str, str]) -> bytes:
    """What is noted, with a nonce: a write whose answer was lost is told apart by its content."""
    return json.dumps({"schema": PROOF_SCHEMA, "proved": proofs, "nonce": secrets.token_hex(8)}, indent=1).encode()


def _read(data: bytes) -> dict[str, str]:
    """Server -> when it was proved; nothing where the object is not as it should be: then it is proved anew."""
    try:
        noted = json.loads(data)
        return dict(noted["proved"]) if noted["schema"] == PROOF_SCHEMA else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _holds(proved: object) -> bool:
    try:
        return abs(datetime.now(UTC) - datetime.fromisoformat(str(proved))) < PROOF_HOLDS
    except (ValueError, TypeError):
        return False
