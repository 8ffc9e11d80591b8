"""Policies side by side: a table, accuracy against trainings, accuracy by day, and what happened under each."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from driftloop.plurals import counted
from driftloop.rehearsal.report import HISTORY_CAPTION, ORANGE, Days, circumstances, plot_history, table
from driftloop.rehearsal.result import Comparison, PolicyResult, Rehearsal, WindowRecord
from driftloop.reporting.page import Page
from driftloop.reporting.plot_style import INK, PALETTE, axes


def build_comparison(result: Comparison) -> Page:
    """Policies side by side: a table, accuracy against trainings, accuracy by day; then each history."""
    histories = [policy.rehearsal for policy in result.policies]
    first = histories[0]
    page = Page(f"Policies compared: {first.drift}", lead=comparison_lead(result))
    page.text(circumstances(first))
    for policy in result.policies:
        if policy.rehearsal.error:
            page.notice(f"{policy.name} ended early: {policy.rehearsal.error}", "bad")
    for note in dict.fromkeys(note for history in histories for note in history.notes):
        page.notice(note, "warning")
    page.section("Side by side", "Accuracy is that of the known classes of the images played, which nobody knows in production.")
    page.table(comparison_table(result))
    since = "over all windows" if first.first_drift is None else "since the drift set in"
    page.figure(plot_trade(result), f"What each policy reached {since}, and how many trainings it took. One history each.")
    page.figure(
        plot_policies(result), "True accuracy by window under each policy. Stars: a retrained model was promoted; crosses: it was not."
    )
    page.section("What each policy sets")
    page.table([{"policy": policy.name, "sets": _changes(policy)} for policy in result.policies])
    for policy in result.policies:
        if policy.rehearsal.windows:
            page.section(f"{policy.name}: what happened")
            page.figure(plot_history(policy.rehearsal.windows, policy.rehearsal.windows_per_day), HISTORY_CAPTION)
            page.table(eventful(policy.rehearsal.windows))
    return page


def comparison_lead(result: Comparison) -> str:
    """Which policy was right most often, and at what price; one history proves little, and says so."""
    known = [policy for policy in result.policies if policy.accuracy is not None]
    first = result.policies[0].rehearsal
    begin = f"{len(result.policies)} policies on the same {len(first.windows)} windows from {first.source}, seed {first.seed}."
    if not known:
        return begin
    best = max(known, key=lambda policy: (policy.accuracy or 0.0, -policy.rehearsal.retrainings))
    others = [policy for policy in known if policy is not best]
    figures = [f"{policy.name} {policy.accuracy:.3f} with {_trainings(policy)}" for policy in others]
    return (
        f"{begin} The highest accuracy had {best.name}: {best.accuracy:.3f} with {_trainings(best)}; {', '.join(figures)}. "
        "It is one history: other seeds may order them otherwise."
    )


def _trainings(policy: PolicyResult) -> str:
    return counted(policy.rehearsal.retrainings, "training")


def comparison_table(result: Comparison) -> list[dict[str, object]]:
    """A row a policy."""
    return [
        {
            "policy": policy.name,
            "trainings": policy.rehearsal.retrainings,
            "promotions": policy.rehearsal.promotions,
            "labels": policy.rehearsal.labels,
            "false alarms": policy.rehearsal.false_alarms,
            "true accuracy": policy.rehearsal.accuracy,
            "since the drift": policy.rehearsal.accuracy_since_drift,
        }
        for policy in result.policies
    ]


def plot_trade(result: Comparison) -> Figure:
    """Accuracy against trainings, a point a policy, named beside it."""
    figure, (axis,) = axes(7.5, 3.0)
    known = [(policy, policy.accuracy) for policy in result.policies if policy.accuracy is not None]
    for index, (policy, accuracy) in enumerate(known):
        axis.scatter(policy.rehearsal.retrainings, accuracy, s=60, color=PALETTE[index % len(PALETTE)], zorder=3)
        axis.annotate(
            policy.name, (policy.rehearsal.retrainings, accuracy), xytext=(7, 0), textcoords="offset points", fontsize=8, va="center"
        )
    axis.set_xlabel("trainings")
    axis.set_ylabel("true accuracy")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlim(-0.5, 1.35 * max((policy.rehearsal.retrainings for policy, _ in known), default=0) + 1)
    axis.margins(y=0.25)
    axis.set_ylim(top=min(axis.get_ylim()[1], 1.01))
    return figure


def plot_policies(result: Comparison) -> Figure:
    """True accuracy by day, a line a policy; promotions and refusals marked on it."""
    figure, (axis,) = axes(7.5, 3.4)
    for index, policy in enumerate(result.policies):
        history, colour = policy.rehearsal, PALETTE[index % len(PALETTE)]
        if not history.windows:
            continue
        days = Days(history.windows, history.windows_per_day)
        where = [days.at(window.window) for window in history.windows]
        axis.plot(where, [window.accuracy for window in history.windows], color=colour, linewidth=1.3, alpha=0.85, label=policy.name)
        for marker, size, chosen in (("*", 90, _with_decision(history, True)), ("X", 34, _with_decision(history, False))):
            at, heights = [days.at(window.window) for window in chosen], [window.accuracy for window in chosen]
            axis.scatter(at, heights, s=size, marker=marker, facecolors=colour, edgecolors=INK, linewidths=0.5, zorder=3)
        days.label(axis)
    first = result.policies[0].rehearsal
    if first.first_drift is not None:
        axis.axvline(Days(first.windows, first.windows_per_day).at(first.first_drift - 0.5), color=ORANGE, linewidth=1)
    axis.set_ylabel("true accuracy")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    return figure


def _with_decision(history: Rehearsal, promoted: bool) -> list[WindowRecord]:
    return [window for window in history.windows if window.decision and bool(window.promoted) == promoted]


def eventful(windows: Sequence[WindowRecord]) -> list[dict[str, object]]:
    """The windows in which something happened, and what: few columns, which a narrow screen has room for."""
    columns = ("window", "time (UTC)", "verdict", "events")
    return [{name: row[name] for name in columns} for row, window in zip(table(windows), windows, strict=True) if window.events]


def _changes(policy: PolicyResult) -> str:
    settings = [_setting(name, value) for name, value in policy.changes.items()]
    return "; ".join(settings) or "nothing: the defaults"


def _setting(name: str, value: Any) -> str:
    return ", ".join(f"{name}.{key} = {item}" for key, item in value.items()) if isinstance(value, dict) else f"{name} = {value}"
