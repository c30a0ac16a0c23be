"""A day's totals of one group: what usage and costs are made of. Exact, free and billed apart. Pure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, Self

from gratis.rules import pricing
from gratis.rules.request import Request, Tokens

OTHER = "(other)"
"""Where the first release totalled what came once a day had 1,000 rows. Such a day goes on like that."""


class RowKey(NamedTuple):
    """What a row is a total of. No identifier holds a parenthesis, so `(other)` is never somebody's."""

    project: str | None
    model: str
    service_tier: str
    batch: bool
    verdict: str


def other_of(key: RowKey) -> RowKey:
    """The `(other)` row in which the first release counted what had no row of its own."""
    return key._replace(project=OTHER, model=OTHER, service_tier=OTHER)


@dataclass(slots=True)
class Sums:
    """Requests, tokens (input includes cached), and USD. `unpriced`: requests whose list amount is not known.

    The last five count tokens that cost more than the normal rate: those written to the cache, and all of requests of
    long context. They may be too low: the first release does not know them. `line_items` finds that out.
    """

    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    list_amount: Decimal = Decimal(0)
    amount: Decimal = Decimal(0)
    unpriced: int = 0
    cache_write: int = 0
    """Of requests that are not of long context."""
    long_input: int = 0
    long_cached: int = 0
    long_output: int = 0
    long_cache_write: int = 0

    @property
    def figures(self) -> tuple[int, int, int, int, Decimal, Decimal, int]:
        """What every release counts."""
        return self.requests, self.input, self.cached, self.output, self.list_amount, self.amount, self.unpriced

    @property
    def surcharged(self) -> tuple[int, ...]:
        """The tokens that cost more than the normal rate."""
        return self.cache_write, self.long_input, self.long_cached, self.long_output, self.long_cache_write

    def copy(self) -> "Sums":
        """A copy that can be added to without changing this one."""
        return Sums(*self.figures, *self.surcharged)

    def add_surcharged(self, tokens: Tokens, *, is_long: bool) -> None:
        """Count what costs more. `is_long`: the request is of long context."""
        if is_long:
            self.long_input += tokens.input
            self.long_cached += tokens.cached
            self.long_output += tokens.output
            self.long_cache_write += tokens.cache_write
        else:
            self.cache_write += tokens.cache_write

    def plus(self, other: "Sums") -> "Sums":
        """Both together."""
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


class Totals:
    """Rows of sums. Mutable: the fold that decides works on a copy of its own."""

    def __init__(self, rows: dict[RowKey, Sums] | None = None) -> None:
        self.rows = rows if rows is not None else {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Totals) and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]  # mutable

    def add(
        self, request: Request, verdict: str, list_amount: Decimal | None, count: int = 1, *, is_long: bool = False
    ) -> None:
        """Count one decided request. A free one costs nothing, a billed one its list amount.

        `count`: -1 for a void, whose tokens and amounts are negative. `is_long`: it cost the rates of long context.
        """
        key = RowKey(request.project, request.model, request.service_tier, request.batch, verdict)
        sums = self._row(key)
        sums.requests += count
        sums.input += request.tokens.input
        sums.cached += request.tokens.cached
        sums.output += request.tokens.output
        if list_amount is None:
            sums.unpriced += count
            return
        sums.add_surcharged(request.tokens, is_long=is_long)
        sums.list_amount += list_amount
        if verdict == "billed":
            sums.amount += list_amount

    def _row(self, key: RowKey) -> Sums:
        found = self.rows.get(key) or self.rows.get(other_of(key))
        if found is None:
            found = self.rows[key] = Sums()
        return found

    def copy(self) -> "Totals":
        """A copy that can be added to without changing this one."""
        return Totals({key: sums.copy() for key, sums in self.rows.items()})

    def to_json(self) -> str:
        """Compact: one array a row."""
        return json.dumps(list(self._arrays()), separators=(",", ":"))

    def _arrays(self) -> Iterator[list[object]]:
        for key, sums in self.rows.items():
            counts = (sums.requests, sums.input, sums.cached, sums.output)
            yield [*key, *counts, pricing.usd(sums.list_amount), pricing.usd(sums.amount), sums.unpriced]

    def surcharged_json(self) -> str:
        """One array for each row with tokens that cost more than the normal rate, its place first; nothing without any.

        Apart from `to_json`, whose rows the first release takes with no more figures than it knows.
        """
        rows = [[place, *sums.surcharged] for place, sums in enumerate(self.rows.values()) if any(sums.surcharged)]
        return json.dumps(rows, separators=(",", ":")) if rows else ""

    @classmethod
    def from_json(cls, text: str | bytes, surcharged: str | bytes = "[]") -> Self:
        """What `to_json` and `surcharged_json` wrote."""
        apart = {place: counts for place, *counts in json.loads(surcharged)}
        rows = {}
        for place, row in enumerate(json.loads(text)):
            requests, tokens, cached, output, listed, amount, unpriced = row[5:]
            key, usd = RowKey(*row[:5]), (Decimal(listed), Decimal(amount))
            rows[key] = Sums(requests, tokens, cached, output, *usd, unpriced, *apart.get(place, ()))
        return cls(rows)
