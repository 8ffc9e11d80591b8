"""Following the champion: a promotion or rollback becomes what users get, without a restart and without a request that notices."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from driftloop import registry
from driftloop.errors import DriftloopError, InputError, IntegrityError, StoreAway
from driftloop.serving.live_model import LiveModel
from driftloop.serving.metrics import Metrics
from driftloop.store import Store

LOG = logging.getLogger("driftloop.serving")
#: Between two tries of a version that was refused.
REFUSED_SECONDS = 60.0


class ChampionFollower:
    """Looks at `champion.json` every few seconds, and loads what it names beside the model that answers.

    `live` is replaced as a whole: a batch that has begun ends with the model that it began with. A version that cannot be loaded is
    refused and said, and the one before it goes on; now and then it is tried again, for it may have been mended.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        *,
        poll_seconds: float,
        provider: str = "",
        threads: int = 0,
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        turn: is entered to load a version beside the one that answers; others that share the machine wait.
        first: what else is read from the store; called before a version is loaded.
        """
        self.store, self.metrics, self.poll_seconds = store, metrics, poll_seconds
        self.provider, self.threads, self._turn, self._first = provider, threads, turn, first
        #: What answers; None before the first champion.
        self.live: LiveModel | None = None
        #: Changes of what answers so far.
        self.swaps = 0
        #: The pointer that was followed last.
        self._tag = ""
        #: Number and content of the version that answers: where a store is made anew, its numbers begin anew.
        self._answering: tuple[str, str] | None = None
        #: A pointer to a version that was refused, and when it is tried again (monotonic seconds): each try fetches all of its files.
        self._refused, self._again = "", 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="driftloop-follow", daemon=True)

    def start(self, *, patient: bool = False) -> None:
        """Load the champion, where there is one, and follow it from now on.

        Args:
            patient: while the store is away there is no model yet; else that is an error, too.

        Raises:
            DriftloopError: the store cannot be read, or its champion cannot be loaded: a service that starts says so at once.
        """
        try:
            self._look()
        except StoreAway as away:
            if not patient:
                raise
            LOG.error("no model answers before the store does: %s", away)
        else:
            self.metrics.watches.look(self.store)
        self._thread.start()

    def stop(self) -> None:
        """End; a follower whose start failed has nothing to end."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _follow(self) -> None:
        failed = ""
        while not self._stop.wait(self.poll_seconds):
            try:
                self._look()
                failed = ""
            except DriftloopError as error:
                if str(error) != failed:
                    LOG.error("version %s goes on answering: %s", self.live.version if self.live else "(none)", error)
                failed = str(error)
                self.metrics.refusals.inc()
            except Exception:
                LOG.exception("following the champion failed")
                self.metrics.refusals.inc()
            self.metrics.watches.look(self.store)

    def _look(self) -> None:
        champion, tag = registry.read_pointer(self.store)
        if champion is None or tag == self._tag or (tag == self._refused and time.monotonic() < self._again):
            return
        try:
            content = registry.content_digest(self.store, champion.version)
            if (champion.version, content) == self._answering:
                self._tag = tag
                return
            self._first()
            with self._turn() if self.live else nullcontext():
                live = LiveModel.load(self.store, champion.version, provider=self.provider, threads=self.threads)
        except (InputError, IntegrityError):
            self._refused, self._again = tag, time.monotonic() + REFUSED_SECONDS
            raise
        before, self.live = self.live, live
        self._answering, self._tag = (champion.version, content), tag
        if before is not None:
            self.swaps += 1
            self.metrics.swaps.inc()
        self.metrics.answering(live)
        LOG.info("version %s answers (%s on %s)", live.version, live.model.variant, live.model.provider)
