"""What the account API, the schedule and the proof read is what there is."""

from collections import defaultdict
from datetime import date
from typing import Any

from gratis.rules.receipt import Decision
from gratis.table.ledger import Ledger
from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.machines.clock import Serially
from gratis_simulation.machines.run import TABLE


def check(ended: Ended) -> None:
    """Decisions by their keys and by their days, and the days that are marked."""
    table: Any = ended.run.table
    ledger = Ledger(table, TABLE, readers=Serially())
    decisions = {decision.key: decision for decision in ended.decisions}
    if ledger.decisions(decisions) != decisions:
        raise Broken("explained", "decisions are not found by their keys")
    of_days: dict[tuple[str, str], list[Decision]] = defaultdict(list)
    for decision in ended.decisions:
        of_days[decision.organization, decision.day].append(decision)
    marked = {day: set(ledger.marked(date.fromisoformat(day))) for _, day in of_days}
    for (organization, day), wanted in of_days.items():
        if not {(organization, decision.group or "-") for decision in wanted} <= marked[day]:
            raise Broken("proved", f"nobody closes {day} of {organization}: marked are {sorted(marked[day])}")
        _day_is_complete(ended, ledger, organization, date.fromisoformat(day), wanted)


def _day_is_complete(ended: Ended, ledger: Ledger, organization: str, day: date, wanted: list[Decision]) -> None:
    found = sorted(ledger.decisions_of_day(organization, day), key=lambda each: each.key.request_id)
    if found != sorted(wanted, key=lambda each: each.key.request_id):
        raise Broken("proved", f"the day {day} of {organization} is read as {found}")
    groups = {decision.group or "-" for decision in wanted}
    reserved = {each.identity.group for each in ended.told.held if each.identity.organization == organization}
    if not groups <= {group for _, group in ledger.marked(day, organization)} <= groups | reserved:
        raise Broken("proved", f"{organization} has decisions on {day} in {groups}, and others are marked")
    documents = ledger.days(organization, sorted(groups), day, day)
    requests = sum(row.requests for each in documents.values() for row in each.totals.rows.values())
    stand = sum(-1 if decision.reason == "void" else 1 for decision in wanted)
    if requests != stand:
        raise Broken("totals are sums of decisions", f"{day} of {organization} counts {requests}, not {stand}")
