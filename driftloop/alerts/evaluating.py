"""From the series of a store and its rules to what has fired, what is over, and what receivers are to be told."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from driftloop.alerts.rules import Rule
from driftloop.alerts.series import OF_THE_STORE, Point, Series
from driftloop.alerts.state import Alert, AlertState, Notification

#: What is over, and what a receiver did not take, is forgotten after a while, and the oldest of very much first.
KEPT, UNSENT = timedelta(days=30), timedelta(days=7)
MOST_KEPT, MOST_UNSENT = 500, 500


def evaluate(
    state: AlertState,
    rules: Sequence[Rule],
    series: Series,
    now: datetime,
    *,
    champion: str | None,
    store: str,
    receivers: Sequence[str],
) -> AlertState:
    """The state after one look; the same look again changes nothing.

    Args:
        series: of the present champion (`series.measured`).
        champion: its version; None where nobody serves.
        store: its URI, part of each notification's id.
        receivers: those that this call can tell, by name. Others have their own calls: what they were not told yet waits for these.
    """
    known = {(alert.rule, alert.instance): alert for alert in state.alerts}
    outbox = [entry for entry in state.outbox if _age(entry.at, now) < UNSENT]
    for key, seen in _looks(rules, series, known, champion, now):
        before = known.get(key)
        if before is not None and before.firing:
            seen = seen.model_copy(update={"since": before.since, "told": before.told, "told_to": _told_to(before, receivers)})
        tell = _to_tell(seen, outbox, [] if state.silenced(seen.rule, now) else receivers, now)
        if tell and seen.firing:
            seen = seen.model_copy(update={"told": seen.revision})
        outbox += [Notification(id=_identity(store, seen), alert=seen, at=at, pending=names) for at, names in tell.items()]
        known[key] = seen
    alerts = [alert for alert in known.values() if alert.firing or _age(alert.ended, now) < KEPT]
    ended = sorted((alert for alert in alerts if not alert.firing), key=lambda alert: alert.ended)[-MOST_KEPT:]
    return state.model_copy(
        update={
            "looked": now.isoformat(),
            "alerts": [alert for alert in alerts if alert.firing] + ended,
            "silences": [silence for silence in state.silences if datetime.fromisoformat(silence.until) > now],
            "outbox": outbox[-MOST_UNSENT:],
        }
    )


def _looks(
    rules: Sequence[Rule], series: Series, known: dict[tuple[str, str], Alert], champion: str | None, now: datetime
) -> Iterator[tuple[tuple[str, str], Alert]]:
    """Each alert that fires now, and each that did and is over; one of another champion is over before the same of this one fires."""
    named = {rule.name: rule for rule in rules}
    for key, alert in known.items():
        if alert.firing and alert.rule not in named:
            yield key, _over(alert, "over: there is no such rule any more", now)
        elif alert.firing and _of_another_champion(alert, named[alert.rule], series, champion):
            yield key, _over(alert, "over: another version serves than the one it was said of", now)
    seen: set[tuple[str, str]] = set()
    for rule in rules:
        for instance, points in series.get(rule.metric, {}).items():
            key, fires = (rule.name, instance), rule.fires(points)
            if fires is None:
                continue
            seen.add(key)
            if fires:
                before = known.get(key)
                if before is not None and before.firing and before.severity != rule.severity:
                    # Receivers that know an alert by its severity, too, would never hear that the one before is over.
                    yield key, _over(before, f"over: its severity is {rule.severity} now", now)
                yield key, _fired(rule, instance, rule.comparable(points)[-1], champion, now)
            elif key in known and known[key].firing:
                yield key, _over(known[key], f"over: {known[key].message}", now)
    for key, alert in known.items():
        if alert.firing and key not in seen:
            # Nothing newer is known: whether watches are late can be unknown for a while, and records can be gone.
            yield key, alert


def _of_another_champion(alert: Alert, rule: Rule, series: Series, champion: str | None) -> bool:
    if champion is None or rule.metric in OF_THE_STORE:
        return False
    if alert.version:
        return alert.version != champion
    # A state of before does not say which. It spoke of the newest records, so that some would be there were it this one.
    return rule.fires(series.get(rule.metric, {}).get(alert.instance, [])) is None


def _fired(rule: Rule, instance: str, point: Point, champion: str | None, now: datetime) -> Alert:
    return Alert(
        rule=rule.name,
        instance=instance,
        version="" if rule.metric in OF_THE_STORE else champion or "",
        severity=rule.severity,
        firing=True,
        since=now.isoformat(),
        message=rule.say(point, instance),
        revision=point.revision,
        told_to={},
        attachment=point.attachment,
    )


def _over(alert: Alert, message: str, now: datetime) -> Alert:
    return alert.model_copy(update={"firing": False, "ended": now.isoformat(), "message": message, "attachment": ""})


def _told_to(alert: Alert, receivers: Sequence[str]) -> dict[str, str]:
    """Who took it, and which revision. An earlier release, which did not note that, told everybody who was there."""
    if alert.told_to is None and alert.told is not None:
        return dict.fromkeys(receivers, alert.told)
    return alert.told_to or {}


def _to_tell(alert: Alert, outbox: Sequence[Notification], receivers: Sequence[str], now: datetime) -> dict[str, list[str]]:
    """Who is to be told of it now, beside whom the outbox names, by when that began."""
    told = alert.told_to or {}
    waiting = {name: entry for entry in outbox if entry.alert.firing and entry.alert.incident == alert.incident for name in entry.pending}
    if alert.firing:
        handed = told | {name: entry.alert.revision for name, entry in waiting.items()}
        new = [name for name in receivers if name not in handed or (alert.revision and alert.revision != handed[name])]
        return {now.isoformat(): new} if new else {}
    tell: dict[str, list[str]] = {}
    for name in told | waiting:
        # Who never hears of the beginning hears of no end: for him both are forgotten together.
        tell.setdefault(now.isoformat() if name in told else waiting[name].at, []).append(name)
    return tell


def _identity(store: str, alert: Alert) -> str:
    """Of one message about one incident."""
    said = "\n".join((store, alert.rule, alert.instance, alert.since, alert.revision if alert.firing else "over"))
    return f"{hashlib.sha256(said.encode()).hexdigest()[:16]}-{'fired' if alert.firing else 'resolved'}"


def _age(time: str, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(time)
