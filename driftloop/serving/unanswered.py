"""How many bytes of requests a process holds until they are answered: over HTTP and gRPC together, at most so many."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from starlette.exceptions import HTTPException

from driftloop.serving.refusals import CLOSE, RETRY_AFTER
from driftloop.serving.settings import ServingSettings


class NoRoom(HTTPException):
    """More is being sent at once than this process may hold."""

    def __init__(self) -> None:
        super().__init__(503, "more is being sent than this replica can hold; try again in a moment", {**RETRY_AFTER, **CLOSE})


class Unanswered:
    """The bytes of all requests that are not answered yet; for one event loop."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0

    @classmethod
    def of(cls, settings: ServingSettings) -> Self:
        """The part of one process. At least one of the largest requests fits."""
        return cls(max(settings.most_waiting_mib // settings.processes, settings.most_request_mib) << 20)

    def check(self, more: int = 0) -> None:
        """Raise NoRoom where `more` bytes beside those that are held are too many."""
        if self._held + more > self._most:
            raise NoRoom

    def add(self, size: int) -> None:
        """Hold so many bytes more, or less."""
        self._held += size

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Hold so many bytes. Raises NoRoom where there are too many."""
        self.check(size)
        self.add(size)
        try:
            yield
        finally:
            self.add(-size)
