"""The rehearsal as one page for people."""

from collections.abc import Sequence

from driftloop.rehearsal.plot import plot_history
from driftloop.rehearsal.result import Rehearsal, WindowRecord
from driftloop.reporting.page import Page


def build_page(result: Rehearsal) -> Page:
    """Figures, picture and table; for a rehearsal with at least one window."""
    page = Page(f"Rehearsal: {result.drift}", lead=lead(result))
    if result.error:
        page.notice(f"The rehearsal ended early: {result.error}", "bad")
    for note in result.notes:
        page.notice(note, "warning")
    page.tiles(
        {
            "accuracy before": result.accuracy_before,
            "in the drift, old champion": result.accuracy_in_drift,
            "after the last promotion": result.accuracy_after,
            "windows to confirmation": result.detection_delay,
            "retrainings": result.retrainings,
            "promotions": result.promotions,
            "false alarms": result.false_alarms,
            "labels": result.labels,
        }
    )
    page.section("What happened", "True accuracy comes from the known classes of the images played; in production nobody knows it.")
    page.figure(plot_history(result.windows), "True accuracy by window. Shaded: drift. Dashed: the next version serves from here on.")
    page.section("Window by window")
    page.table(table(result.windows))
    return page


def lead(result: Rehearsal) -> str:
    """The result in two sentences."""
    count = len(result.windows)
    said = f"{count} windows of {result.windows[0].requests} images from {result.source}, seed {result.seed}, a day each."
    if result.first_drift is None:
        return f"{said} Nothing drifted; {result.false_alarms} false alarms."
    if result.detection_delay is None:
        return f"{said} The drift set in at window {result.first_drift} and was not confirmed."
    found = f"The drift set in at window {result.first_drift} and was confirmed with its window {result.detection_delay}"
    return f"{said} {found}; {result.retrainings} retrainings, {result.promotions} promotions, {result.false_alarms} false alarms."


def table(windows: Sequence[WindowRecord]) -> list[dict[str, object]]:
    """A row a window."""
    return [
        {
            "window": one.window,
            "drift": one.drift,
            "p": one.p_value,
            "verdict": one.verdict,
            "decision": one.decision,
            "version": f"v{one.version}",
            "true accuracy": one.accuracy,
            "events": "; ".join(one.events),
        }
        for one in windows
    ]
