"""What the proof of conditional writes does, write by write, on an object in memory."""

import json
import secrets
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftloop.errors import Conflict, NotFound, StoreError
from driftloop.store import s3_conditions
from driftloop.store.s3_conditions import NO_TAG, _proved, _proving, prove_conditions

SERVER, URI = "http://server", "s3://bucket/models"
NOW = datetime.now(UTC)


pytestmark = pytest.mark.usefixtures("new_process")


class Memory:
    """An object whose server honours conditions, as far as it is not `careless`; every write that is tried is kept."""

    def __init__(self, noted: dict[str, Any] | None = None, careless: str = "") -> None:
        self.careless, self.looks = careless, 0
        self.tried: list[tuple[str, dict[str, Any], str]] = []
        self.data, self.tag = (json.dumps(noted).encode(), "first") if noted else (b"", "")

    @property
    def noted(self) -> dict[str, str]:
        return dict(json.loads(self.data)["proved"])

    def read(self) -> tuple[bytes, str]:
        self.looks += 1
        if not self.tag:
            raise NotFound("nothing there")
        return self.data, self.tag

    def create(self, data: bytes) -> str:
        return self._write("create", data, "", refused=bool(self.tag))

    def replace(self, data: bytes, tag: str) -> str:
        return self._write("replace", data, tag, refused=tag != self.tag)

    def _write(self, how: str, data: bytes, tag: str, *, refused: bool) -> str:
        self.tried.append((how, json.loads(data), tag))
        if refused and how != self.careless:
            raise Conflict("the condition does not hold")
        self.data, self.tag = data, secrets.token_hex(16)
        return self.tag


def test_one_write_of_each_kind_is_refused_before_the_proof_is_noted() -> None:
    proof = Memory()
    prove_conditions(SERVER, URI, proof)
    assert [how for how, _, _ in proof.tried] == ["create", "create", "replace", "replace"]
    assert proof.tried[2][2] == NO_TAG
    for _, content, _ in proof.tried[:3]:
        assert (content["schema"], content["proved"]) == (1, {}), "nothing is claimed before it is proved"
    assert len({content["nonce"] for _, content, _ in proof.tried}) == 4, "a write whose answer was lost is told by its content"
    assert proof.noted.keys() == {SERVER}
    assert abs(datetime.fromisoformat(proof.noted[SERVER]) - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize("careless", ["create", "replace"])
def test_who_ignores_either_condition_is_named_with_the_store(careless: str) -> None:
    with pytest.raises(StoreError) as refused:
        prove_conditions(SERVER, URI, Memory(careless=careless))
    assert str(refused.value).startswith(f"{URI}: {SERVER} ignores the conditions of conditional writes: ")


def test_proofs_of_other_servers_stay_as_long_as_they_hold() -> None:
    fresh = (NOW - timedelta(days=1)).isoformat()
    proof = Memory({"schema": 1, "proved": {"http://other": fresh, "http://gone": (NOW - timedelta(days=8)).isoformat()}})
    prove_conditions(SERVER, URI, proof)
    assert proof.noted.keys() == {SERVER, "http://other"}
    assert proof.noted["http://other"] == fresh


def test_a_proof_in_a_form_that_is_not_known_is_none() -> None:
    proof = Memory({"schema": 2, "proved": {SERVER: NOW.isoformat()}}, careless="create")
    with pytest.raises(StoreError, match="ignores"):
        prove_conditions(SERVER, URI, proof)


def test_a_server_that_takes_none_is_named_with_the_store() -> None:
    proof = Memory()
    proof.create = proof.replace = lambda *_: (_ for _ in ()).throw(Conflict("no"))  # type: ignore[method-assign]
    with pytest.raises(StoreError) as refused:
        prove_conditions(SERVER, URI, proof)
    assert str(refused.value).startswith(f"{URI}: {SERVER} refuses conditional writes that it should take; ")


def test_what_is_proved_waits_for_nobody() -> None:
    proof = Memory()
    prove_conditions(SERVER, URI, proof)
    with _proving:  # somebody tries another store
        again = threading.Thread(target=prove_conditions, args=(SERVER, URI, proof), daemon=True)
        again.start()
        again.join(20)
        assert not again.is_alive()
    assert proof.looks == 1


def test_who_had_to_wait_finds_what_was_proved_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def monotonic() -> float:
        calls.append(None)
        if len(calls) == 2:  # behind the lock: another thread was there before
            _proved[SERVER, URI] = 200.0
        return 100.0

    monkeypatch.setattr(s3_conditions.time, "monotonic", monotonic)
    proof = Memory()
    prove_conditions(SERVER, URI, proof)
    assert proof.looks == 0
