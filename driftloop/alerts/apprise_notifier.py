"""Mail, chats and webhooks by `apprise`, whose addresses name service and secret in one: `pip install driftloop[alerts]`."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from driftloop.alerts.notifying import Message, NotDelivered
from driftloop.errors import InputError

try:
    import apprise
except ImportError:
    raise InputError("apprise is not installed here; pip install 'driftloop[alerts]'") from None

TYPES = {"info": apprise.NotifyType.INFO, "warning": apprise.NotifyType.WARNING, "critical": apprise.NotifyType.FAILURE}
#: What apprise says in its log could hold parts of an address; only the status is taken from it.
_STATUS = re.compile(r"error[=:]\s*(\d{3})")


class AppriseReceiver:
    """One address."""

    forgets = False

    def __init__(self, name: str, address: "apprise.NotifyBase") -> None:
        self.name, self._address = name, address

    def send(self, message: Message) -> None:
        """Tell it; a file goes along where the service takes files. Raises NotDelivered."""
        kind = TYPES[message.alert.severity] if message.alert.firing else apprise.NotifyType.SUCCESS
        logger = logging.getLogger("apprise")
        propagated, logger.propagate = logger.propagate, False
        try:
            with TemporaryDirectory(prefix="driftloop-alert-") as folder, apprise.LogCapture(level=logging.WARNING) as log:
                client, attached = apprise.Apprise(), None
                client.add(self._address)
                if message.attachment and self._address.attachment_support:
                    attached = Path(folder, message.attachment[0])
                    attached.write_bytes(message.attachment[1])
                taken = client.notify(body=message.body, title=message.title, notify_type=kind, attach=str(attached) if attached else None)
                status = _STATUS.search(log.getvalue())
        finally:
            logger.propagate = propagated
        if not taken:
            raise NotDelivered(f"HTTP status {status[1]}" if status else "it could not be reached, or refused")


def apprise_receivers(addresses: Sequence[str], variable: str) -> list[AppriseReceiver]:
    """A receiver for each address, named by its service and, from the second of a kind on, its number.

    Raises:
        InputError: apprise knows no such address; the line says which one, not what it holds.
    """
    found: list[AppriseReceiver] = []
    kinds: Counter[str] = Counter()
    logger = logging.getLogger("apprise")
    for number, address in enumerate(addresses, start=1):
        disabled, logger.disabled = logger.disabled, True
        try:
            service = apprise.Apprise.instantiate(address, suppress_exceptions=True)
        finally:
            logger.disabled = disabled
        if service is None:
            raise InputError(
                f"{variable}: address {number} of {len(addresses)} is none that apprise knows, or lacks a part; its documentation has a "
                "page for each service"
            )
        kind = address.split(":", 1)[0].lower()
        kinds[kind] += 1
        found.append(AppriseReceiver(kind if kinds[kind] == 1 else f"{kind}-{kinds[kind]}", service))
    return found
