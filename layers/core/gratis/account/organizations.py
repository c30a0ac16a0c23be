"""The operator's list: the organizations of a UTC day, with what is left, given away and refused.

There is no list of organizations. A day's markers name those that had a decision on it, and its quarantine those of
which an event was refused, so a day is asked for. What one answer reads is bounded: a block of names in their order,
sorted only within itself.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import groupby, islice
from typing import Any, Literal, NamedTuple

from gratis import moment
from gratis.account.allowance import counter_of, group_row, quotas, status_of
from gratis.rules.eligibility import Terms, terms_at
from gratis.rules.figures import parsed
from gratis.rules.names import IDENTIFIER
from gratis.rules.offer import Offer
from gratis.rules.pricing import usd
from gratis.rules.totals import Sums
from gratis.rules.window import CounterId
from gratis.table.account_items import StoredAccount
from gratis.table.ledger import Document, Ledger
from gratis.table.quarantine import RefusalCounts, refusal_counts

MAX_BLOCK = 1000
"""Organizations in one answer."""
READ_AT_ONCE = 50
"""Organizations whose documents are read together."""
MAX_ROWS_READ = 20_000
"""Rows of totals, past which a block ends early."""
Sort = Literal["organization", "remaining", "saved_usd", "quarantined", "proof"]
PROOFS = ("fails", "missing", "open", "holds", "nothing")
"""Of a day's proof, the most urgent first: it does not hold; there is none; the day is not over; it holds; nothing was
decided."""
GROUP_FIELDS = ("group", "unit", "quota", "used", "reserved", "remaining")
Row = dict[str, Any]
Named = tuple[str, Sequence[str]]
"""An organization, and its groups that have a document of the day."""


class Block(NamedTuple):
    """Its rows, sorted. `following`: after which name the next one begins, if there is one.

    There may be one after a block without rows: the entries of a name that is no organization's were more than one
    answer reads.
    """

    rows: list[Row]
    following: str | None


class Read(NamedTuple):
    """A row, without what is not read from accounts and documents; and how many rows of totals it took."""

    row: Row
    cost: int


@dataclass(frozen=True)
class Organizations:
    """The organizations of a day, as of now; of another day than today, as of its moment nearest to now."""

    ledger: Ledger
    offer: Offer
    day: date
    now: datetime

    def block(self, prefix: str, after: str, sort: Sort, limit: int) -> Block:
        """At most `limit` organizations whose names begin with `prefix`, past the name `after`. Raises Busy."""
        marks = groupby(self.ledger.marked_from(self.day, prefix, after, limit), key=lambda mark: mark[0])
        decided = {name: [group for _, group in marked] for name, marked in islice(marks, limit + 1)}
        last = list(decided)[limit - 1] if len(decided) > limit else ""
        refused = refusal_counts(self.ledger.client, self.ledger.table, self.day, prefix=prefix, after=after, last=last)
        named = [(name, decided.get(name, ())) for name in _named(decided, refused)]
        rows, cost = [], 0
        for read in self._each(named[:limit]):
            rows.append(read.row)
            cost += read.cost
            if cost > MAX_ROWS_READ:
                break
        names: list[str] = [row["organization"] for row in rows]
        proofs = self._proofs([name for name in names if name in decided])
        for row in rows:
            name = row["organization"]
            row |= {"quarantined": refused.of(name), "proof": proofs.get(name, self._unproved)}
        is_whole = len(rows) == len(named) and refused.uncounted is None
        following = None if is_whole else names[-1] if names else refused.passed or refused.uncounted
        return Block(sorted(rows, key=_ORDERS[sort]), following)

    @property
    def when(self) -> datetime:
        """The moment of the day that is shown."""
        first = moment.midnight(self.day)
        return min(max(self.now, first), first + (moment.DAY - datetime.resolution))

    def _each(self, named: Sequence[Named]) -> Iterator[Read]:
        groups = [group for group in self.offer.version_at(self.when).groups if group.scope == "organization"]
        for some in (named[start : start + READ_AT_ONCE] for start in range(0, len(named), READ_AT_ONCE)):
            of_day = [CounterId(name, group, self.day.isoformat()) for name, marked in some for group in marked]
            counters = [counter_of(name, group, self.when) for name, _ in some for group in groups]
            accounts, documents = self.ledger.read([name for name, _ in some], dict.fromkeys([*of_day, *counters]))
            for each in some:
                yield self._read(each, accounts.get(each[0]), documents)

    def _read(self, named: Named, account: StoredAccount | None, documents: Mapping[CounterId, Document]) -> Read:
        name, _ = named
        terms = terms_at(self.when, self.offer, account)
        of_day = self._of_day(named, documents)
        known = {"organization": name, "is_known": account is not None, "status": status_of(terms, self.when)}
        groups = {"groups": list(self._groups(name, terms, documents))}
        row = {"object": "organization.day", **known, **groups, **_sums(of_day)}
        return Read(row, sum(len(document.totals.rows) for document in of_day))

    def _of_day(self, named: Named, documents: Mapping[CounterId, Document]) -> list[Document]:
        """The documents of the day, whole."""
        name, marked = named
        wanted = [CounterId(name, group, self.day.isoformat()) for group in marked]
        found = [documents[each] for each in wanted if each in documents]
        if any(document.may_have_pages for document in found):
            return list(self.ledger.days(name, marked, self.day, self.day).values())
        return found

    def _groups(self, name: str, terms: Terms, documents: Mapping[CounterId, Document]) -> Iterator[Row]:
        """What is left of each quota of the organization. A quota of each project would take a query a group."""
        if status_of(terms, self.when) not in ("eligible", "enrolled"):
            return
        for group, quota in quotas(terms):
            if group.scope == "organization":
                document = documents.get(counter_of(name, group, self.when), Document())
                row = group_row(group, quota, document, self.when)
                yield {field: row[field] for field in GROUP_FIELDS}

    @property
    def _unproved(self) -> str:
        """What is said of the proof of an organization without a decision."""
        return "open" if self.day >= moment.day_of(self.now) else "nothing"

    def _proofs(self, names: Sequence[str]) -> dict[str, str]:
        """Of organizations that had a decision."""
        if self.day >= moment.day_of(self.now):
            return dict.fromkeys(names, "open")
        from gratis.closing.statements import newest_hold  # noqa: PLC0415 - hashes and trees that few calls ask for

        holding = newest_hold(self.ledger, names, self.day)
        said = {None: "missing", True: "holds", False: "fails"}
        return {name: said[holding.get(name)] for name in names}


def _named(decided: Iterable[str], refused: RefusalCounts) -> list[str]:
    """Who is listed, in the order of names, as far as their refused events were counted. Who alone has too many is
    listed alone. An event may name what is no organization.
    """
    names = sorted({*decided, *(name for name in refused.counts if re.fullmatch(IDENTIFIER, name))})
    if (uncounted := refused.uncounted) is None:
        return names
    before = [name for name in names if name < uncounted]
    return before if before or refused.passed else [name for name in names if name == uncounted]


def _sums(documents: Sequence[Document]) -> Row:
    """The day's requests and amounts; null where the pages of totals are not those that their documents name."""
    if any(document.is_damaged for document in documents):
        return dict.fromkeys(("free_requests", "billed_requests", "saved_usd", "amount_usd", "unpriced_requests"))
    rows = [row for document in documents for row in document.totals.rows.items()]
    counts = {
        f"{verdict}_requests": sum(sums.requests for key, sums in rows if key.verdict == verdict)
        for verdict in ("free", "billed")
    }
    return counts | _amounts([sums for _, sums in rows])


def _amounts(all_sums: Sequence[Sums]) -> Row:
    saved = sum((sums.list_amount - sums.amount for sums in all_sums), Decimal())
    amount = sum((sums.amount for sums in all_sums), Decimal())
    unpriced = sum(sums.unpriced for sums in all_sums)
    return {"saved_usd": usd(saved), "amount_usd": usd(amount), "unpriced_requests": unpriced}


def _left(row: Row) -> Fraction:
    """The smallest share that is left of any quota; more than 1 for a row without quotas, so that it comes last."""
    quotas = [(Fraction(parsed(each["remaining"])), Fraction(parsed(each["quota"]))) for each in row["groups"]]
    return min((remaining / quota for remaining, quota in quotas if quota), default=Fraction(2))


_ORDERS: dict[Sort, Callable[[Row], Any]] = {
    "organization": lambda row: row["organization"],
    "remaining": lambda row: (_left(row), row["organization"]),
    "saved_usd": lambda row: (-Decimal(row["saved_usd"] or "Infinity"), row["organization"]),
    "quarantined": lambda row: (-1 * _or_endless(row["quarantined"]), row["organization"]),
    "proof": lambda row: (PROOFS.index(row["proof"]), row["organization"]),
}
"""What needs a look comes first: the least that is left, the most given away or refused, and what is not known."""


def _or_endless(count: int | None) -> float:
    return float("inf") if count is None else count
