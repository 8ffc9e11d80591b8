"""The journal of an Optuna study in a store: what `optuna.storages.JournalStorage` writes, for any number of processes side by side.

Every append is one new object with the next number, made by a conditional write: whoever comes second reads the other's and takes the
number after it, so that all processes see one order. Only what is new is ever read. What a process says of its own running trial waits
until the trial ends, or until `flush`, and goes with that into one object: two or three a trial, instead of one a value.
"""

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal._storage import JournalOperation

from driftloop.errors import Conflict, NotFound, StoreError
from driftloop.store import Store, open_store

#: What is said of a trial that only its own process changes: the order among other processes' entries plays no part.
OF_ITS_OWN_TRIAL = {
    JournalOperation.SET_TRIAL_PARAM,
    JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE,
    JournalOperation.SET_TRIAL_USER_ATTR,
    JournalOperation.SET_TRIAL_SYSTEM_ATTR,
}
#: The object that names the journal; the first to be written and the first to go.
_NAME = "name.json"


class StoreJournal(BaseJournalBackend):
    """Objects `<prefix>/00000000.json`, `<prefix>/00000001.json`, ... of a store, for one thread of one process.

    Each carries the journal's random name. A process that writes on after the journal was cleared, and another begun in its place,
    leaves entries that the new one passes over.

    Args:
        store: where they lie.
        prefix: of their keys, without a slash behind it.

    Raises:
        StoreError: the store cannot be used.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store, self._prefix = store, prefix
        self._known: list[dict[str, Any]] = []
        self._waiting: list[dict[str, Any]] = []
        self._next = 0
        self._up_to_date = False
        name = secrets.token_hex(8)
        try:
            store.create(f"{prefix}/{_NAME}", json.dumps(name).encode())
            self._name = name
        except Conflict:
            self._name = self._parsed(_NAME)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Entries from that number on, in the order in which this process came to know of them."""
        if not self._up_to_date:
            self._pull()
        self._up_to_date = False
        return self._known[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, those of this process's running trial with the next that others must know of."""
        if all(entry["op_code"] in OF_ITS_OWN_TRIAL for entry in logs):
            self._waiting += logs
        else:
            self._append([*self._waiting, *logs])
            self._waiting = []
        self._known += logs
        self._up_to_date = True  # Optuna reads after each write

    def flush(self) -> None:
        """Let others know what this process has said of its running trial."""
        if self._waiting:
            self._append(self._waiting)
            self._waiting = []

    def _append(self, logs: list[dict[str, Any]]) -> None:
        data = json.dumps({"journal": self._name, "entry": secrets.token_hex(8), "logs": logs}).encode()
        while True:
            try:
                self._store.create(self._key(), data)
            except Conflict:
                if not self._stands(data):  # else it is this one, whose answer was lost
                    self._pull()
                    continue
            self._next += 1
            return

    def _stands(self, data: bytes) -> bool:
        try:
            return self._store.read(self._key()) == data
        except NotFound:  # cleared meanwhile
            return False

    def _pull(self) -> None:
        """Read what others have appended."""
        while True:
            try:
                content = self._parsed(f"{self._next:08d}.json")
            except NotFound:
                return
            self._next += 1
            if content["journal"] == self._name:
                self._known += content["logs"]

    def _key(self) -> str:
        return f"{self._prefix}/{self._next:08d}.json"

    def _parsed(self, name: str) -> Any:
        key = f"{self._prefix}/{name}"
        try:
            return json.loads(self._store.read(key))
        except ValueError:
            wrong = f"{self._store.uri}/{key}: not an entry of a search; delete {self._prefix}/, and the search begins anew"
            raise StoreError(wrong) from None


@dataclass(frozen=True)
class StudyPlace:
    """Where the journal of a study lies."""

    store: str
    """URI of the store."""
    prefix: str
    """Of the keys, without a slash behind it."""

    def open(self) -> StoreJournal:
        """The journal, begun where there is none."""
        return StoreJournal(open_store(self.store), self.prefix)

    def clear(self) -> None:
        """Remove the journal, its name first: one that is killed on the way leaves entries that nobody takes for a journal's."""
        store = open_store(self.store)
        store.delete(f"{self.prefix}/{_NAME}")
        store.delete_many([entry.key for entry in store.list(f"{self.prefix}/")])
