"""Who is told, as the environment says. Addresses are secrets (a webhook's is its password): state, logs and errors never hold one."""

import os
from collections.abc import Mapping

from driftloop.alerts.notifying import Notifier
from driftloop.errors import InputError

ADDRESSES, ALERTMANAGER = "DRIFTLOOP_NOTIFY_URLS", "DRIFTLOOP_ALERTMANAGER_URL"


def receivers(environment: Mapping[str, str] = os.environ) -> list[Notifier]:
    """Those that are named: apprise's addresses, parted by spaces or new lines, and an Alertmanager's.

    Raises:
        InputError: none is named, one cannot be understood, or the package is missing.
    """
    found: list[Notifier] = []
    if addresses := environment.get(ADDRESSES, "").split():
        from driftloop.alerts.apprise_notifier import apprise_receivers

        found += apprise_receivers(addresses, ADDRESSES)
    if address := environment.get(ALERTMANAGER, "").strip():
        from driftloop.alerts.alertmanager import Alertmanager

        found.append(Alertmanager(address, ALERTMANAGER))
    if not found:
        raise InputError(
            f"nobody to notify: set {ADDRESSES} (addresses as apprise has them: mailto://, slack://, msteams://, json://) or {ALERTMANAGER}"
        )
    return found
