"""Usage and costs in the shapes of OpenAI's API (its SDK 3.54 reads them): buckets of sums, filtered and grouped."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from gratis import moment
from gratis.http import Refused
from gratis.rules.line_items import LineItem, line_items
from gratis.rules.offer import NO_GROUP, Offer
from gratis.rules.pricing import usd
from gratis.rules.receipt import Decision
from gratis.rules.totals import RowKey, Sums
from gratis.table.ledger import Ledger

Width = Literal["1h", "1d"]
WIDTHS: Mapping[str, timedelta] = {"1h": timedelta(hours=1), "1d": timedelta(days=1)}
FREE_TIER = "incentivized-tier"
"""The service tier of free traffic, as in OpenAI's own API."""
MAX_UNIX_SECONDS = 253_370_764_800
"""9999-01-01T00:00Z: a bucket that begins by then ends before Python's years do."""
MAX_DECISIONS_READ = 200_000
"""For usage by the hour one call reads at most this many: it has no time for more, and whoever has a key may cost us no
more."""
MAX_ROWS_READ = 60_000
"""Of all days of one call by the day: two thousand a day for a month. For the same two reasons."""
Rows = Iterable[tuple[RowKey, Sums]]
"""What was used, before it is filtered and grouped; a key may come more than once."""
NO_COST = LineItem("", 0, Decimal(0))
_CURSOR = re.compile(r"page_([0-9]{1,12})")


class Span(NamedTuple):
    """The buckets that a call asks for: from the one that holds `start` up to, not including, `end`."""

    start: datetime
    end: datetime
    width: timedelta

    @classmethod
    def of(cls, start_time: int, end_time: int | None, width: str, now: datetime) -> "Span":
        """From unix seconds; without an end up to now, the current bucket included. Raises Refused: 400."""
        if end_time is not None and end_time <= start_time:
            raise Refused(400, "invalid_value", f"end_time {end_time} is not after start_time {start_time}", "end_time")
        start = _floor(datetime.fromtimestamp(start_time, UTC), WIDTHS[width])
        return cls(start, now if end_time is None else datetime.fromtimestamp(end_time, UTC), WIDTHS[width])

    def page(self, cursor: str | None, limit: int) -> tuple[list[datetime], str | None]:
        """The bucket starts of one page, and the cursor of the next. Raises Refused: 400."""
        first = self.start if cursor is None else self._start_of(cursor)
        starts: list[datetime] = []
        while first < self.end and len(starts) < limit:
            starts.append(first)
            first += self.width
        return starts, f"page_{int(first.timestamp())}" if first < self.end else None

    def _start_of(self, cursor: str) -> datetime:
        found = _CURSOR.fullmatch(cursor)
        if found and int(found[1]) <= MAX_UNIX_SECONDS:
            first = datetime.fromtimestamp(int(found[1]), UTC)
            if self.start <= first < self.end and first == _floor(first, self.width):
                return first
        raise Refused(400, "invalid_value", f"page {cursor!r} is no page of this query", "page")


class Filters(NamedTuple):
    """Which rows count. None: no matter which project, model, or whether of a batch."""

    projects: frozenset[str] | None = None
    models: frozenset[str] | None = None
    batch: bool | None = None

    def keep(self, key: RowKey) -> bool:
        """Whether a row counts."""
        return (
            (self.projects is None or key.project in self.projects)
            and (self.models is None or key.model in self.models)
            and (self.batch is None or key.batch == self.batch)
        )


def groups_of(offer: Offer) -> list[str]:
    """Every group that the offer has had, and where traffic without one is totalled."""
    return sorted([*offer.groups(), NO_GROUP])


def day_rows(ledger: Ledger, offer: Offer, organization: str, starts: Sequence[datetime]) -> dict[datetime, Rows]:
    """The totals of each UTC day, all groups together: one query a group, however many requests there were.

    Raises Refused: 400 for more rows than one call may read.
    """
    if not starts:
        return {}
    first, last = starts[0].date(), starts[-1].date()
    rows: dict[datetime, list[tuple[RowKey, Sums]]] = {start: [] for start in starts}
    held = 0
    for identity, document in ledger.each_day(organization, groups_of(offer), first, last):
        if document.is_damaged:
            raise LookupError(f"{identity}: the pages of the totals are not those that their document names")
        rows[moment.parse(f"{identity.slot}T00:00:00Z")] += document.totals.rows.items()
        held += len(document.totals.rows)
        if held > MAX_ROWS_READ:
            said = f"these {len(starts)} days hold more rows of totals than the {MAX_ROWS_READ:,} that are read"
            raise Refused(400, "too_many_rows", f"{said}; ask for fewer days", "limit")
    return dict(rows)


def hour_rows(ledger: Ledger, offer: Offer, organization: str, starts: Sequence[datetime]) -> dict[datetime, Rows]:
    """The sums of each hour, read from the decisions of its day. Raises Refused: 400 if those are too many to read."""
    rows: dict[datetime, list[tuple[RowKey, Sums]]] = {start: [] for start in starts}
    days = sorted({start.date() for start in starts})
    _require_few_decisions(ledger, offer, organization, days)
    for day in days:
        for decision in ledger.decisions_of_day(organization, day):
            hour = _floor(moment.parse(decision.occurred_at), WIDTHS["1h"])
            if hour in rows:
                rows[hour].append(_row(decision))
    return dict(rows)


def _require_few_decisions(ledger: Ledger, offer: Offer, organization: str, days: Sequence[date]) -> None:
    """Raises Refused: 400 if the totals of these days count too many decisions; not one is read for that."""
    documents = ledger.each_day(organization, groups_of(offer), days[0], days[-1]) if days else ()
    held = sum(row.requests for _, document in documents for row in document.totals.rows.values())
    if held > MAX_DECISIONS_READ:
        said = f"these days hold {held:,} decisions, and hours are read from at most {MAX_DECISIONS_READ:,}"
        raise Refused(400, "too_many_decisions", f"{said}; ask for fewer days, or by the day", "bucket_width")


def usage_page(
    rows: Mapping[datetime, Rows], width: timedelta, next_page: str | None, filters: Filters, group_by: Sequence[str]
) -> dict[str, Any]:
    """A page of completions usage, free tokens included.

    Beside OpenAI's fields: `list_amount`, what all of it costs at the normal rate; `saved_usd`, the part of it that the
    free requests would have cost; and, where requests have no price, `unpriced_requests`, whose amount is in neither.
    """

    def results(_: datetime, kept: Rows) -> Iterator[dict[str, Any]]:
        for names, sums in _grouped(kept, group_by):
            yield {
                "object": "organization.usage.completions.result",
                "input_tokens": sums.input,
                "output_tokens": sums.output,
                "input_cached_tokens": sums.cached,
                "input_audio_tokens": 0,
                "output_audio_tokens": 0,
                "num_model_requests": sums.requests,
                "saved_usd": usd(sums.list_amount - sums.amount),
                **dict.fromkeys(("project_id", "user_id", "api_key_id", "model", "batch", "service_tier")),
                **names,
                "list_amount": {"value": sums.list_amount, "currency": "usd"},
                **({"unpriced_requests": sums.unpriced} if sums.unpriced else {}),
            }

    return _page(rows, width, next_page, filters, results)


def costs_page(
    rows: Mapping[datetime, Rows],
    next_page: str | None,
    filters: Filters,
    group_by: Sequence[str],
    names: frozenset[str] | None = None,
) -> dict[str, Any]:
    """A page of costs: exact sums of what was billed. A line item is a model and a kind of token (rules/line_items.py).

    Grouped by line item, what was free has results of its own: its tokens, and amount 0. `names`: which line items
    count, by their whole name or by their model's; None: all. Where requests have no price, the sum is that of the
    others, and `unpriced_requests` stands beside it.
    """

    def results(start: datetime, kept: Rows) -> Iterator[dict[str, Any]]:
        by_item = "line_item" in group_by
        for named, item in _costs(start, kept, group_by, names):
            yield {
                "object": "organization.costs.result",
                "amount": {"value": item.amount, "currency": "usd"},
                **dict.fromkeys(("line_item", "project_id")),
                **named,
                "quantity": item.quantity if by_item else None,
                "quantity_unit": "tokens" if by_item else None,
                **({"unpriced_requests": item.unpriced} if item.unpriced else {}),
            }

    return _page(rows, WIDTHS["1d"], next_page, filters, results)


def _costs(
    day: datetime, rows: Rows, group_by: Sequence[str], names: frozenset[str] | None
) -> Iterator[tuple[dict[str, Any], LineItem]]:
    """Sums by the names asked for, in order of the names. By line item, what was free stands before what was billed."""
    sums: dict[tuple[tuple[Any, ...], bool], LineItem] = {}
    for key, each in rows:
        is_apart = "line_item" in group_by and key.verdict == "billed"
        for item in line_items(key, each, day):
            if names is not None and not {item.name, key.model} & names:
                continue
            named = {"project_id": key.project, "line_item": item.name}
            group = tuple(named[name] for name in group_by), is_apart
            _, quantity, amount, unpriced = sums.get(group, NO_COST)
            sums[group] = LineItem("", quantity + item.quantity, amount + item.amount, unpriced + item.unpriced)
    for group in sorted(sums, key=str):
        yield dict(zip(group_by, group[0], strict=True)), sums[group]


def _page(
    rows: Mapping[datetime, Rows],
    width: timedelta,
    next_page: str | None,
    filters: Filters,
    results: Callable[[datetime, Rows], Iterator[dict[str, Any]]],
) -> dict[str, Any]:
    buckets = [
        {
            "object": "bucket",
            "start_time": int(start.timestamp()),
            "end_time": int((start + width).timestamp()),
            "results": list(results(start, [row for row in of_bucket if filters.keep(row[0])])),
        }
        for start, of_bucket in rows.items()
    ]
    return {"object": "page", "data": buckets, "has_more": next_page is not None, "next_page": next_page}


def _grouped(rows: Rows, group_by: Sequence[str]) -> Iterator[tuple[dict[str, Any], Sums]]:
    """Sums by the names asked for, in order of the names; without any, one sum of all, if there is any traffic."""
    sums: dict[tuple[Any, ...], Sums] = {}
    for key, each in rows:
        total = sums.setdefault(tuple(_usage_name(key, name) for name in group_by), Sums())
        total.requests += each.requests
        total.input += each.input
        total.cached += each.cached
        total.output += each.output
        total.list_amount += each.list_amount
        total.amount += each.amount
        total.unpriced += each.unpriced
    for names in sorted(sums, key=str):
        yield dict(zip(group_by, names, strict=True)), sums[names]


def _usage_name(key: RowKey, name: str) -> Any:
    if name == "service_tier":
        return FREE_TIER if key.verdict == "free" else key.service_tier
    return {"project_id": key.project, "model": key.model, "batch": key.batch}[name]


def _row(decision: Decision) -> tuple[RowKey, Sums]:
    key = RowKey(decision.project, decision.model, decision.service_tier, decision.batch, decision.verdict)
    list_amount, amount = (Decimal(each or 0) for each in (decision.list_amount_usd, decision.amount_usd))
    unpriced = decision.counts * (decision.list_amount_usd is None)
    tokens = (decision.input, decision.cached, decision.output)
    return key, Sums(decision.counts, *tokens, list_amount, amount, unpriced)


def _floor(when: datetime, width: timedelta) -> datetime:
    seconds = int(width.total_seconds())
    return datetime.fromtimestamp(int(when.timestamp()) // seconds * seconds, UTC)
