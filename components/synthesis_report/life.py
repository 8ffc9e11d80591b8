"""A model's life, told from its store: which version served when and why, what the watches found, and what labels were spent.

Everything is read from what the watches and the registry have written anyway: the pointer's history, the rolled-up records, the newest
table of labels. Tables hold the newest `MOST_ROWS`, figures at most `MOST_BINS` spans of time, however long the life was.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import driftloop
from driftloop import registry
from driftloop.accepted_drifts import AcceptedDrift, accepted_drifts
from driftloop.contracts import ENGLISH, PROMOTE, RETRAIN
from driftloop.durations import say_duration
from driftloop.errors import InputError, NotFound
from driftloop.evaluation.intervals import Proportion, wilson
from driftloop.inference.labels import read_labels
from driftloop.inference.watch_tables import read_label_table
from driftloop.plurals import counted
from driftloop.registry import Champion, VersionInfo
from driftloop.registry.champion import Change
from driftloop.registry.versions import complete_versions
from driftloop.reporting import PALETTE, Page, axes
from driftloop.reporting.chapter import Chapter
from driftloop.reporting.document import write_html
from driftloop.reporting.layout import Document, Part
from driftloop.reporting.pdf import write_pdf
from driftloop.reporting.plot_style import MUTED
from driftloop.reporting.translation import translate
from driftloop.reporting.wording import interval, percent
from driftloop.store import Store
from driftloop.watch_record import FAILED, WatchRecord, WindowLabels
from driftloop.watch_store import read_records

MOST_ROWS, MOST_BINS = 60, 48
VERDICT_COLOURS = {"stable": PALETTE[2], "alert": PALETTE[1], "needs_labels": PALETTE[4], "retrain": PALETTE[3]}


@dataclass(frozen=True)
class Service:
    """A span of time in which one version served."""

    version: str
    began: datetime
    ended: datetime
    """now, for the last one"""
    change: Change
    """that began it"""


@dataclass(frozen=True)
class ModelLife:
    """What a store knows of its model."""

    store: str
    champion: Champion
    versions: list[VersionInfo]
    """the newest, oldest first"""
    registered: int
    """how many there are"""
    records: list[WatchRecord]
    """of the watches of the last 400 days, oldest first"""
    accepted: list[AcceptedDrift]
    labels: pd.DataFrame
    """every label: request_id, label, origin, labelled_at"""
    now: datetime

    @property
    def services(self) -> list[Service]:
        """Who served when, oldest first."""
        moves = [change for change in self.champion.history if change.action != "release"]
        ends = [_time(change.at) for change in moves[1:]] + [self.now]
        return [Service(change.version, _time(change.at), end, change) for change, end in zip(moves, ends, strict=True)]


def read_life(store: Store, now: datetime | None = None) -> ModelLife:
    """All that the store knows.

    Raises:
        InputError: nothing was promoted in it yet.
        IntegrityError: a record, a version or the pointer is damaged.
    """
    champion = registry.current(store)
    if champion is None:
        raise InputError(f"{store.uri}: no version has ever served, so there is no life to tell; see `driftloop run training --help`")
    records, numbers = read_records(store), complete_versions(store)
    known, through = None, ""
    if records and records[-1].label_table:
        with suppress(NotFound):
            known, through = read_label_table(store, records[-1].label_table), records[-1].labels_through
    labels, _ = read_labels(store, known, through)
    versions = [registry.version_info(store, number) for number in numbers[-MOST_ROWS:]]
    return ModelLife(store.uri, champion, versions, len(numbers), records, accepted_drifts(store), labels, now or datetime.now(UTC))


def write_life(life: ModelLife, html: Path, pdf: Path, lang: str = ENGLISH) -> None:
    """Write both forms of the report; what has no translation into `lang` stands in English and is counted there.

    Raises:
        InputError: there is no catalogue of the language.
    """
    document, _ = translate(build_life(life), lang, given_words(life))
    write_html(document, html)
    write_pdf(document, pdf)


def given_words(life: ModelLife) -> set[str]:
    """What people wrote, and what steps gave as reasons at the time: told as it was said."""
    reasons = {change.reason for change in life.champion.history} | {known.reason for known in life.accepted}
    reasons |= {text for record in life.records for text in (record.reason, record.failure) if text}
    return {"driftloop", *reasons}


def build_life(life: ModelLife) -> Document:
    """The document."""
    chapters = [_in_short(life), _in_production(life), _watches(life), _accuracy(life), _labels(life), _decisions(life)]
    records = life.records
    provenance = {
        "store": life.store,
        "date": f"{life.now:%Y-%m-%d %H:%M} UTC",
        "serving": f"version {life.champion.version}",
        "watches": f"{records[0].sequence:,} to {records[-1].sequence:,}" if records else "none",
        "driftloop": driftloop.__version__,
    }
    return Document(
        title="A model's life",
        subtitle=life_sentence(life),
        provenance=provenance,
        date=life.now.isoformat(timespec="seconds"),
        parts=[Part(chapter, str(number), f"chapter-{number}") for number, chapter in enumerate(chapters, 1)],
        short=True,
    )


def life_sentence(life: ModelLife) -> str:
    """The life in two sentences."""
    services, records = life.services, life.records
    backs = sum(service.change.action == "rollback" for service in services)
    served = len({service.version for service in services})
    text = (
        f"Since {services[0].began:%Y-%m-%d} {counted(served, 'version')} served, with {counted(backs, 'rollback')}; "
        f"version {life.champion.version} serves now."
    )
    if not records:
        return text + " It was never watched."
    drifts, tries = drifts_of(records), [record for record in records if record.tried_to_retrain]
    return (
        f"{text} {counted(len(records), 'watch', 'watches')} looked at {sum(record.rows for record in records):,} requests and confirmed "
        f"{counted(len(drifts), 'drift')}; {counted(len(tries), 'retraining')} began, "
        f"{sum(record.decision == PROMOTE for record in tries)} of them ended in a promotion. "
        f"{counted(len(life.labels), 'label')} were given."
    )


def drifts_of(records: Sequence[WatchRecord]) -> list[list[WatchRecord]]:
    """Watches of the same version that confirmed drift one after the other, without a stable one or a promotion between them."""
    drifts: list[list[WatchRecord]] = []
    goes_on = False
    for record in records:
        if record.confirmed and goes_on and drifts[-1][-1].champion_version == record.champion_version:
            drifts[-1].append(record)
        elif record.confirmed:
            drifts.append([record])
        goes_on = record.confirmed and record.decision != PROMOTE
    return drifts


def _in_short(life: ModelLife) -> Chapter:
    page = Page("In short", question="What has become of this model since it was first put into production?")
    records, serving = life.records, next((info for info in life.versions if info.version == life.champion.version), None)
    page.tiles(
        {
            "serves now": f"version {life.champion.version}",
            "its accuracy when accepted": percent(serving.accuracy.value) if serving and serving.accuracy else None,
            "versions registered": life.registered,
            "watches": len(records),
            "confirmed drifts": len(drifts_of(records)),
            "failed watches": sum(record.state == FAILED for record in records),
            "labels": len(life.labels),
            "accepted drifts": len(life.accepted),
        }
    )
    page.conclude(
        f"Version {life.champion.version} serves since {life.champion.promoted_at[:10]}: {life.champion.reason}.",
        limits=[
            "Watches of more than 400 days before the newest one are not told: the store's history leaves them out.",
            "A drift is counted by the watches that confirmed it; one that came and went between two watches is not known.",
        ],
    )
    return page.chapter


def _in_production(life: ModelLife) -> Chapter:
    page = Page("Which version was in production when", question="Which version answered at a given time, and why that one?")
    services = life.services[-MOST_ROWS:]
    page.figure(
        services_plot(services, drifts_of(life.records)),
        f"Which version served when (the last {len(services)} spans); orange: a confirmed drift of it.",
        key="life-services",
    )
    spans = [service.ended - service.began for service in services]
    longest = spans.index(max(spans))
    page.text(
        f"[[life-services]]: the longest span is that of version {services[longest].version}, {say_duration(spans[longest])} from "
        f"{services[longest].began:%Y-%m-%d}; the shortest lasted {say_duration(min(spans))}."
    )
    infos = {info.version: info for info in life.versions}
    rows = [
        {
            "version": service.version,
            "from (UTC)": _minute(service.began),
            "until": _minute(service.ended) if service.ended < life.now else "now",
            "by": _by(service.change),
            "accuracy": _share(infos[service.version].accuracy) if service.version in infos else None,
            "why": service.change.reason,
        }
        for service in services
    ]
    page.table(rows, "Who served when, oldest first. Accuracy: as accepted, on the clean test split.", key="life-spans")
    table = [
        {
            "version": info.version,
            "registered": info.registered_at[:10],
            "from": f"version {info.parent}" if info.parent else "scratch",
            "clean accuracy": _share(info.accuracy),
            "on its drift": _share(info.drifted_accuracy),
            "p95, ms": info.p95_ms,
        }
        for info in life.versions
    ]
    page.table(table, f"The last {len(table)} of {life.registered:,} versions registered, whether they served or not.", key="life-versions")
    page.conclude(f"{counted(len(life.services), 'span')} of service; [[life-spans]] has each with its reason.")
    return page.chapter


def _watches(life: ModelLife) -> Chapter:
    page = Page("Watches and drifts", question="What did the watches find, and how often?")
    if not life.records:
        page.text("There was no watch yet.")
        return page.chapter
    spans = _spans([_time(record.until) for record in life.records])
    bins = [[record for record, span in zip(life.records, spans, strict=True) if span == index] for index in range(max(spans) + 1)]
    page.figure(verdicts_plot(bins), f"Verdicts over {len(bins)} equal spans of time.", key="life-verdicts")
    counts = {verdict: sum(record.verdict == verdict for record in life.records) for verdict in VERDICT_COLOURS}
    said = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items())
    windows = [window for record in life.records for window in record.windows]
    drifted = sum(window.drifted for window in windows)
    page.text(
        f"[[life-verdicts]]: of {counted(len(life.records), 'watch', 'watches')} {said}. "
        f"{drifted:,} of {counted(len(windows), 'window')} drifted."
    )
    drifts = drifts_of(life.records)
    rows = [_drift_row(drift) for drift in drifts[-MOST_ROWS:]]
    page.table(
        rows,
        f"The last {len(rows)} of {counted(len(drifts), 'confirmed drift')}; the drop is that of its last look, below what was accepted.",
        key="life-drifts",
    )
    page.conclude(f"{counted(len(drifts), 'drift')} confirmed in {counted(len(life.records), 'watch', 'watches')}.")
    return page.chapter


def _drift_row(drift: Sequence[WatchRecord]) -> dict[str, object]:
    first, last = drift[0], drift[-1]
    drop = last.drop
    return {
        "watches": f"{first.sequence}" if first is last else f"{first.sequence} to {last.sequence}",
        "confirmed": first.until[:10],
        "version": first.champion_version,
        "last verdict": last.verdict,
        "drop": f"{100 * drop['value']:.1f} points" if drop else None,
        "bounds": f"{100 * drop['low']:.1f} to {100 * drop['high']:.1f}" if drop else None,
        "labels": last.labels,
        "gate": last.decision,
    }


def _accuracy(life: ModelLife) -> Chapter:
    page = Page("Accuracy over time", question="How often was the model right in production, as far as random labels say?")
    tallies = newest_tallies(life.records)
    if not tallies:
        page.text("No random label of a window has come, so nobody knows: a watch lists images for it (`label_requests.csv`).")
        return page.chapter
    spans = _spans([tally.time for tally in tallies])
    bins = [[tally for tally, span in zip(tallies, spans, strict=True) if span == index] for index in sorted(set(spans))]
    shares = [wilson(sum(tally.right for tally in part), sum(tally.labels for tally in part)) for part in bins]
    times = [part[len(part) // 2].time for part in bins]
    page.figure(
        accuracy_plot(times, shares, life), "Accuracy of random labels with 95 % intervals; dashed: a promotion.", key="life-accuracy"
    )
    lowest, newest = min(zip(shares, times, strict=True), key=lambda pair: pair[0].value), shares[-1]
    page.text(
        f"[[life-accuracy]] shows {counted(sum(share.n for share in shares), 'random label')}. The lowest point is {_share(lowest[0])} "
        f"around {lowest[1]:%Y-%m-%d}, the last one {_share(newest)}."
    )
    page.conclude(
        f"Over all {counted(sum(share.n for share in shares), 'random label')}: "
        f"{percent(sum(tally.right for tally in tallies) / sum(tally.labels for tally in tallies))}.",
        limits=["Labels kept for the gate are not among these, and windows are labelled more densely where a drift was confirmed."],
    )
    return page.chapter


def newest_tallies(records: Sequence[WatchRecord]) -> list[WindowLabels]:
    """Labels by window as the newest record that names the window has them, in time order; windows without any are left out."""
    newest = {(tally.watch, tally.window, tally.tag): tally for record in records for tally in record.labels_by_window}
    return sorted((tally for tally in newest.values() if tally.labels and not tally.tag), key=lambda tally: tally.last)


def _labels(life: ModelLife) -> Chapter:
    page = Page("Labels spent", question="How many labels were given, and what did they bring?")
    if not len(life.labels):
        page.text("No label was ever imported.")
        return page.chapter
    months = life.labels.assign(month=life.labels["labelled_at"].dt.strftime("%Y-%m"))
    table = months.groupby(["month", "origin"]).size().unstack(fill_value=0)
    rows: list[dict[str, object]] = [
        {"month": month, **{str(name): int(count) for name, count in row.items()}, "all": int(row.sum())}
        for month, row in table.iloc[-MOST_ROWS:].iterrows()
    ]
    page.table(rows, "Labels by month and origin: drawn at random, ranked as most shifted, or a person's own import.", key="life-labels")
    tries = [record for record in life.records if record.tried_to_retrain]
    promoted = sum(record.decision == PROMOTE for record in tries)
    cost = f", {len(life.labels) / promoted:,.0f} labels for each promotion" if promoted else ""
    page.conclude(
        f"{counted(len(life.labels), 'label')} in all stand beside {counted(len(tries), 'retraining')}, "
        f"of which {promoted} ended in a promotion{cost}. "
        "Labels also show drifts to be harmless, which no promotion counts."
    )
    return page.chapter


def _decisions(life: ModelLife) -> Chapter:
    page = Page("Decisions and why", question="Who decided what, and on which grounds?")
    events: list[tuple[str, str, str]] = [
        (change.at, f"{change.action}: version {change.version} ({_by(change)})", change.reason) for change in life.champion.history
    ]
    events += [(known.at, f"drift of watch {known.drift} accepted by {known.by}", known.reason) for known in life.accepted]
    for record in life.records:
        if record.state == FAILED:
            events.append((record.until, f"watch {record.sequence} failed ({record.verdict})", record.failure))
        elif record.decision and record.decision != PROMOTE:
            events.append((record.until, f"watch {record.sequence}: candidate refused ({record.decision})", record.reason))
        elif record.verdict == RETRAIN:
            events.append((record.until, f"watch {record.sequence}: retraining", record.reason))
    events.sort(key=lambda event: _time(event[0]))
    rows = [{"when (UTC)": _minute(_time(at)), "what": what, "why": why} for at, what, why in events[-MOST_ROWS:]]
    page.table(rows, f"The last {len(rows)} of {counted(len(events), 'decision')}, oldest first.", key="life-decisions")
    refused = sum(record.decision not in (None, PROMOTE) for record in life.records)
    by_hand = sum(service.change.by_person for service in life.services)
    page.conclude(
        f"The pointer was moved {counted(len(life.services), 'time')}, {by_hand} of these by a person; the gate refused "
        f"{counted(refused, 'retrained candidate')}."
    )
    return page.chapter


def services_plot(services: Sequence[Service], drifts: Sequence[Sequence[WatchRecord]]) -> Figure:
    """Bars of time, a line a version, with the confirmed drifts on them."""
    names = list(dict.fromkeys(service.version for service in services))
    figure, (plot,) = axes(7.4, 0.9 + 0.28 * len(names))
    for service in services:
        width = max(service.ended - service.began, (services[-1].ended - services[0].began) / 400)
        plot.barh(
            names.index(service.version),
            mdates.date2num(service.began + width) - mdates.date2num(service.began),
            left=mdates.date2num(service.began),
            height=0.6,
            color=PALETTE[0],
        )
    for drift in drifts:
        if drift[0].champion_version in names and _time(drift[-1].until) >= services[0].began:
            ends = [mdates.date2num(_time(record.until)) for record in (drift[0], drift[-1])]
            plot.plot(ends, [names.index(drift[0].champion_version)] * 2, color=PALETTE[3], linewidth=4, marker="|", solid_capstyle="butt")
    plot.set_yticks(range(len(names)), [f"version {name}" for name in names])
    plot.grid(False, axis="y")
    _dates(plot)
    return figure


def verdicts_plot(bins: Sequence[Sequence[WatchRecord]]) -> Figure:
    """Watches of each span of time by verdict, stacked."""
    figure, (plot,) = axes(7.4, 2.4)
    at, below = np.arange(len(bins)), np.zeros(len(bins))
    for verdict, colour in VERDICT_COLOURS.items():
        counts = np.array([sum(record.verdict == verdict for record in part) for part in bins])
        plot.bar(at, counts, bottom=below, color=colour, width=0.9, label=verdict)
        below = below + counts
    full = [index for index, part in enumerate(bins) if part]
    shown = sorted({full[round(place)] for place in np.linspace(0, len(full) - 1, min(len(full), 7))})
    plot.set_xticks(shown, [bins[index][0].until[:10] for index in shown])
    plot.set_ylabel("watches")
    plot.legend(ncols=len(VERDICT_COLOURS), loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def accuracy_plot(times: Sequence[datetime], shares: Sequence[Proportion], life: ModelLife) -> Figure:
    """Shares with their intervals over time, and the promotions."""
    figure, (plot,) = axes(7.4, 2.6)
    values = np.array([share.value for share in shares])
    bars = np.maximum([values - [share.low for share in shares], np.array([share.high for share in shares]) - values], 0)
    at = mdates.date2num(times)
    plot.errorbar(at, values, bars, color=PALETTE[0], marker="o", markersize=4, elinewidth=0.9, linewidth=1)
    low, high = plot.get_xlim()
    for service in life.services:
        if low <= mdates.date2num(service.began) <= high:
            plot.axvline(mdates.date2num(service.began), color=MUTED, linestyle="--", linewidth=0.9)
    plot.set_ylabel("accuracy")
    _dates(plot)
    return figure


def _spans(times: Sequence[datetime]) -> list[int]:
    """Into which of at most `MOST_BINS` equal spans of time each falls."""
    first = min(times)
    length = max((max(times) - first) / min(MOST_BINS, len(times)), timedelta(seconds=1))
    return [min(int((time - first) / length), MOST_BINS - 1) for time in times]


def _dates(plot: Axes) -> None:
    locator = mdates.AutoDateLocator(minticks=3, maxticks=8)
    plot.xaxis.set_major_locator(locator)
    plot.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}".replace("-", "\u2011").replace(" ", "\u00a0")


def _by(change: Change) -> str:
    return "a person" if change.by_person else "the gate"


def _share(share: Proportion | None) -> str | None:
    return None if share is None else f"{percent(share.value)} ({interval(share.low, share.high)})"
