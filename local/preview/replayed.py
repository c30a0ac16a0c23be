"""The report of a replay: the dashboards as CloudWatch would draw them, the decisions, and what was refused."""

from local import report
from local.preview import emf, page
from local.preview.dashboard import dashboards
from local.preview.widgets import Printed, drawn
from local.replay import Replayed

OF_THE_CLOCK = {"DecisionLatency"}
"""Metrics that a replay cannot have: its clock follows the events, so nothing takes any time."""


def replay_page(replayed: Replayed, offer: str) -> str:
    """The page. `replayed` has what the function printed."""
    printed = Printed(
        [
            sample
            for when, text in replayed.printed
            for sample in emf.samples(text, when)
            if sample.name not in OF_THE_CLOCK
        ],
        [line for _, text in replayed.printed for line in emf.printed(text)],
        replayed.period,
    )
    refused = [report.refused_cells(entry) for entry in replayed.quarantined]
    rows = [report.decision_cells(decision) for decision in replayed.decisions]
    return page.document(
        "Gratis: a replay",
        f"{replayed.events:,} events under {offer}, decided by the real function on an embedded engine. "
        "Its metrics are shown as CloudWatch would show them, at the time of the events; a batch is all of a period.",
        page.tiles(report.totals_of(replayed)),
        page.section(report.REFUSED, page.table(report.REFUSED_COLUMNS, refused, ["#"])),
        *(drawn(dashboard, printed) for dashboard in reversed(dashboards())),
        page.section("Decisions", page.table(report.DECISION_COLUMNS, rows, report.FIGURES)),
    )
