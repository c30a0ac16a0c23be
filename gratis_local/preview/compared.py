"""The report of a comparison: bills under two offers, as charts and tables."""

from collections import defaultdict
from itertools import accumulate

from gratis import moment
from gratis_local import report
from gratis_local.preview import charts, page
from gratis_local.preview.periods import period_of, start_of
from gratis_local.preview.series import Drawn
from gratis_local.replay import Replayed
from gratis_local.what_if import Compared

MAX_BARS = 15
STRANDED = (
    '<p class="muted">Stranded: tokens that would have been free if a request could be split. Of each window in which '
    "requests were billed over_quota, what the quota has left in the end, but no more than those requests' tokens.</p>"
)


def compared_page(compared: Compared) -> str:
    """The page."""
    first, second = compared.totals
    changes = [report.change_cells(*pair) for pair in compared.changes()]
    refused = [report.refused_cells(entry) for entry in compared.replays[0].quarantined]
    names = {"A": compared.offers[0], "B": compared.offers[1]}
    return page.document(
        "Gratis: what if",
        f"{compared.replays[0].events:,} events under offer A ({names['A']}) and under offer B ({names['B']}), "
        "each decided on an embedded engine by the code that is deployed.",
        page.tiles(
            {
                "Billed under A": report.amount_of(first.amount),
                "Billed under B": report.amount_of(second.amount),
                "B against A": report.difference_of(first, second),
                "Verdicts that differ": f"{len(changes):,}",
            }
        ),
        f'<section><h2>Bills</h2><div class="grid">{_over_time(compared)}{_largest(compared)}</div></section>',
        page.section(
            "Organizations", page.table(report.BILL_COLUMNS, report.bill_rows(compared), report.BILL_FIGURES), STRANDED
        ),
        page.section("Verdicts that differ", page.table(report.CHANGE_COLUMNS, changes, report.CHANGE_FIGURES)),
        page.section(report.REFUSED, page.table(report.REFUSED_COLUMNS, refused, ["#"])),
    )


def _over_time(compared: Compared) -> str:
    moments = [moment.parse(each.occurred_at) for replayed in compared.replays for each in replayed.decisions]
    if not moments:
        return ""
    period = period_of(moments)
    lines = [_running(replayed, period, label) for replayed, label in zip(compared.replays, "AB", strict=True)]
    drawing = charts.over_time(lines, period, stacked=False)
    return page.card("Billed so far (USD)", drawing + _legend(), 12)


def _running(replayed: Replayed, period: int, label: str) -> Drawn:
    amounts: dict[int, float] = defaultdict(float)
    for each in replayed.decisions:
        amounts[start_of(moment.parse(each.occurred_at), period)] += float(each.amount_usd or 0)
    starts = sorted(amounts)
    return Drawn(label, dict(zip(starts, accumulate(amounts[start] for start in starts), strict=True)))


def _largest(compared: Compared) -> str:
    """The organizations whose bills differ most."""
    bills = compared.organizations()
    most = sorted(bills, key=lambda name: abs(bills[name][1].amount - bills[name][0].amount), reverse=True)[:MAX_BARS]
    if not most:
        return ""
    values = [[float(bills[name][side].amount) for name in most] for side in (0, 1)]
    return page.card("Billed by organization (USD)", charts.side_by_side(most, values) + _legend(), 12)


def _legend() -> str:
    return page.legend((charts.COLORS[number], label, "") for number, label in enumerate("AB"))
