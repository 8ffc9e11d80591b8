"""Prometheus' Alertmanager, by its API v2: it groups, mutes and routes further what it is told again and again."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout, make_headers

from driftloop.alerts.notifying import Message, NotDelivered
from driftloop.errors import InputError

#: An alert ends there by itself when nobody has said for so long that it fires: the calls have stopped.
UNTOLD = timedelta(days=1)
TIMEOUT_S = 10.0


class Alertmanager:
    """One Alertmanager."""

    name, forgets = "alertmanager", True

    def __init__(self, address: str, variable: str) -> None:
        """Args:
        address: http://host:9093, with a path where it lies below one, and user:password@ where it asks for them.
        variable: that holds it, for the message.

        Raises:
            InputError: no such address; the line does not repeat it.
        """
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https"):
            raise InputError(f"{variable}: not an address like http://alertmanager:9093")
        at = f"[{host}]" if ":" in host else host
        self._url = f"{parts.scheme}://{at}{f':{port}' if port else ''}{parts.path.rstrip('/')}/api/v2/alerts"
        login = f"{parts.username or ''}:{parts.password or ''}" if parts.username or parts.password else None
        self._headers = make_headers(basic_auth=login) | {"Content-Type": "application/json"}

    def send(self, message: Message) -> None:
        """Tell it. Raises NotDelivered."""
        alert = message.alert
        labels = {"alertname": alert.rule, "severity": alert.severity, "store": message.store, "job": "driftloop"}
        now = datetime.now(UTC)
        ends = now + UNTOLD if alert.firing else datetime.fromisoformat(alert.ended)
        content = {
            "labels": labels | ({"instance": alert.instance} if alert.instance else {}),
            "annotations": {"summary": alert.message} | ({"list": alert.attachment} if alert.attachment else {}),
            # What begins after its end Alertmanager does not take: a clock that was fast has said so.
            "startsAt": min(datetime.fromisoformat(alert.since), ends, now).isoformat(),
            "endsAt": ends.isoformat(),
        }
        try:
            with urllib3.PoolManager(retries=False, timeout=Timeout(TIMEOUT_S)) as http:
                answer = http.request("POST", self._url, body=json.dumps([content]), headers=self._headers)
        except HTTPError as error:
            raise NotDelivered(f"it could not be reached ({type(error).__name__})") from None
        if answer.status != 200:
            raise NotDelivered(f"HTTP status {answer.status}")
