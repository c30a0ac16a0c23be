"""What anybody can check who holds a day's billing records. SPEC section 3, promise 6. Pure.

Counts, sums, the hash, and that the free decisions of each counter tile it. What only the ledger can tell (totals,
counters, receipts, the neighbouring days) is in `evidence`.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from gratis import pricing

Record = Mapping[str, Any]
MOST_IDS, MOST_DIFFERENCES = 100, 100
"""What a statement lists: it has to fit an event of the bus. The counts are those of all."""


@dataclass(frozen=True)
class Difference:
    """Something that does not hold. `ids`: of the billing records that show it, as far as a proof lists any."""

    kind: str
    message: str
    ids: Sequence[str] = ()


class Differences:
    """All that does not hold: the first hundred, with a hundred ids between them, and the count of all."""

    def __init__(self, found: Iterable[Difference] = (), count: int = 0) -> None:
        self.count = count
        self._found = {(each.kind, each.message): list(each.ids) for each in found}
        self._room = MOST_IDS - sum(map(len, self._found.values()))

    def add(self, kind: str, message: str, *ids: str) -> None:
        """One more occurrence; ids of the same kind and message go together."""
        self.count += 1
        known = self._found.get((kind, message))
        if known is None and len(self._found) < MOST_DIFFERENCES:
            known = self._found[kind, message] = []
        if known is not None:
            listed = ids[: self._room]
            known += listed
            self._room -= len(listed)

    def listed(self) -> list[Difference]:
        """In the order in which they were found."""
        return [Difference(kind, message, tuple(ids)) for (kind, message), ids in self._found.items()]


@dataclass(frozen=True)
class Proof:
    """A day's statement, and what does not hold: `difference_count` times, of which `differences` are listed."""

    statement: dict[str, Any]
    differences: Sequence[Difference] = ()
    difference_count: int = 0

    @classmethod
    def of(cls, statement: "Statement", found: Differences) -> "Proof":
        """What was stated, and what was found to differ."""
        return cls(statement.content(), found.listed(), found.count)

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.difference_count

    def content(self) -> dict[str, Any]:
        """As the bus and the statement item carry it."""
        return self.statement | {
            "holds": self.holds,
            "difference_count": self.difference_count,
            "differences": [asdict(each) | {"ids": list(each.ids)} for each in self.differences],
        }


@dataclass
class Statement:
    """Counts, sums and hash of a day's billing records, which are added in order of their ids.

    `hash` begins as 32 zero bytes; each record makes it SHA-256 over the hash so far and the record as JSON with
    sorted keys and without spaces. So a proof can be put down after any record and taken up again.
    """

    organization: str
    day: date
    free: int = 0
    billed: int = 0
    free_tokens: int = 0
    billed_tokens: int = 0
    list_amount: Decimal = Decimal(0)
    amount: Decimal = Decimal(0)
    unpriced: list[str] = field(default_factory=list)
    """The first hundred ids without a price."""
    unpriced_count: int = 0
    hash: bytes = bytes(32)

    def add(self, record: Record) -> None:
        """Count one record."""
        tokens = record["tokens"]["total"]
        if record["verdict"] == "free":
            self.free, self.free_tokens = self.free + 1, self.free_tokens + tokens
        else:
            self.billed, self.billed_tokens = self.billed + 1, self.billed_tokens + tokens
        self.list_amount += Decimal(record["list_amount_usd"] or 0)
        self.amount += Decimal(record["amount_usd"] or 0)
        if record["list_amount_usd"] is None:
            self.unpriced_count += 1
            self.unpriced += [record["id"]][: MOST_IDS - len(self.unpriced)]
        written = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        self.hash = hashlib.sha256(self.hash + written).digest()

    def content(self) -> dict[str, Any]:
        """As statements carry it."""
        return {
            "organization": self.organization,
            "day": self.day.isoformat(),
            "decisions": self.free + self.billed,
            "free": self.free,
            "billed": self.billed,
            "free_tokens": self.free_tokens,
            "billed_tokens": self.billed_tokens,
            "list_amount_usd": pricing.usd(self.list_amount),
            "amount_usd": pricing.usd(self.amount),
            "unpriced": self.unpriced,
            "unpriced_count": self.unpriced_count,
            "hash": self.hash.hex(),
        }


def statement_of(organization: str, day: date, records: Iterable[Record]) -> Statement:
    """The statement of a day's records, which come sorted by id."""
    statement = Statement(organization, day)
    for record in records:
        statement.add(record)
    return statement


def by_id(records: Iterable[Record], found: Differences) -> list[Record]:
    """Records sorted by id, repeats dropped; the same id with another content is a difference."""
    kept: dict[str, Record] = {}
    for record in records:
        if kept.setdefault(record["id"], record) != record:
            found.add("repeat", "emitted twice with another content", record["id"])
    return sorted(kept.values(), key=lambda record: record["id"])


class Free(NamedTuple):
    """A free decision's place in its counter."""

    group: str
    window: str
    before: int
    after: int
    quota: int
    id: str


def free_of(record: Record) -> Free | None:
    """Which part of its counter a record took; None if it took nothing."""
    if record["verdict"] != "free" or record["used_after"] == record["used_before"]:
        return None
    names = ("group", "window", "used_before", "used_after", "quota", "id")
    return Free(*(record[name] for name in names))


def tiling(decisions: Iterable[Free], found: Differences, used: Mapping[tuple[str, str], int] | None = None) -> None:
    """Free decisions of a counter, sorted by `used_before`, tile [0, used] without gap or overlap.

    `used`: what the counters hold, by group and window. Without it only the decisions are held against each other,
    and a window that reaches into other days may begin or end anywhere.
    """
    counters: dict[tuple[str, str], list[Free]] = defaultdict(list)
    for decision in decisions:
        counters[decision.group, decision.window].append(decision)
    for counter in sorted(counters.keys() | (used or {}).keys()):
        free = sorted(counters[counter], key=lambda decision: decision.before)
        where = f"counter {counter[0]} {counter[1]}"
        for decision in free:
            if decision.after > decision.quota:
                found.add("over_granted", f"{where}: more was free than the quota", decision.id)
        for one, next_one in pairwise(free):
            if next_one.before < one.after:
                found.add("overlap", f"{where}: two decisions on the same tokens", one.id, next_one.id)
        if used is not None:
            for message, ids in _gaps(free, used.get(counter, 0)):
                found.add("gap", f"{where}: {message}", *ids)


def _gaps(free: Sequence[Free], used: int) -> Iterator[tuple[str, Sequence[str]]]:
    reached = 0
    for decision in free:
        if decision.before > reached:
            yield f"no decision on {reached} to {decision.before}", [decision.id]
        reached = max(reached, decision.after)
    if reached != used:
        last = [free[-1].id] if free else []
        yield f"the decisions reach {reached}, the counter holds {used}", last
