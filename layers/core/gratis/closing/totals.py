"""Whether the stored totals of a day are the sums over its decisions. Pure."""

from collections.abc import Collection, Mapping
from decimal import Decimal

from gratis.closing.check import Check, Entry, Held
from gratis.closing.proof import Differences
from gratis.rules.offer import NO_GROUP
from gratis.rules.totals import RowKey, Sums, Totals, other_of


class StoredTotals(Check):
    """Counts the decisions again, group by group. `stored`: the totals by group; `damaged`: of these, not all pages."""

    def __init__(self, stored: Mapping[str, Totals], damaged: Collection[str] = ()) -> None:
        self._recounts = {group: Recount(totals) for group, totals in stored.items()}
        self._damaged = damaged

    def add(self, entry: Entry, found: Differences) -> None:  # noqa: ARG002 - it shows when all are counted
        """Count a decision of the day."""
        decision = entry.decision
        listed = None if decision.list_amount_usd is None else Decimal(decision.list_amount_usd)
        self._of(decision.group or NO_GROUP).add(entry.request, decision.verdict, listed, count=decision.counts)

    def differences(self, found: Differences, held: Held) -> None:  # noqa: ARG002 - the totals are known from the start
        """Name the groups whose totals are other sums."""
        for group in sorted(self._damaged):
            found.add("totals", f"group {group}: the pages of the totals are not those that their document names")
        for group, recount in sorted(self._recounts.items()):
            if _figures(recount) != _figures(recount.stored):
                found.add("totals", f"group {group}: the totals are not the sums over the decisions")

    def content(self) -> dict[str, str]:
        """The rows counted so far, by group."""
        return {group: recount.to_json() for group, recount in self._recounts.items()}

    def take_up(self, content: Mapping[str, str]) -> None:
        """Go on from what `content` gave."""
        for group, counted in content.items():
            self._of(group).rows = Totals.from_json(counted).rows

    def _of(self, group: str) -> "Recount":
        return self._recounts.setdefault(group, Recount(Totals()))


def _figures(totals: Totals) -> dict[RowKey, tuple[int | Decimal, ...]]:
    """What must agree: the first release drops from a document which tokens cost more than the normal rate."""
    return {key: sums.figures for key, sums in totals.rows.items()}


class Recount(Totals):
    """The totals of a group, counted again from its decisions into the rows that `stored` has, or into `(other)`."""

    def __init__(self, stored: Totals) -> None:
        super().__init__()
        self.stored = stored

    def _row(self, key: RowKey) -> Sums:
        if key not in self.stored.rows and other_of(key) in self.stored.rows:
            key = other_of(key)
        return self.rows.setdefault(key, Sums())
