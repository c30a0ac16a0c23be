"""What a row of a day's totals costs by kind of token: the line items of OpenAI's Costs API, in its spelling. Pure.

Nothing is stored for this. The amounts are the row's tokens at the normal rates of its day, and they stand only if
their sum is the row's own list amount, to the last digit. A price has no rate below its normal ones (a test says so).
So if the sums agree, no request of the row had another rate. Where cache writes have no price of their own, no rate is
above those of long context: so likewise, if the amounts at those agree, all requests of the row were of long context.
A row that does not agree keeps one line item, its model, with the whole amount: its requests wrote to the cache, some
were of long context and others not, have no price, or were decided by other prices. What a row does not store cannot
be told from its sums: how many tokens were written to the cache, or were of long context.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from gratis.rules import pricing
from gratis.rules.request import Tokens
from gratis.rules.spelling import normal
from gratis.rules.totals import RowKey, Sums

NAMED_TIERS = ("flex", "priority")
"""Service tiers that stand before the model. What OpenAI writes for batches is not known: they have no line items of
their own."""


class LineItem(NamedTuple):
    """`gpt-4o-2024-08-06, cached input`: how many tokens, and USD. `unpriced`: requests whose amount is not in it."""

    name: str
    quantity: int
    amount: Decimal
    unpriced: int = 0


def line_items(key: RowKey, sums: Sums, day: datetime) -> Iterator[LineItem]:
    """The line items of a row, of which none is empty. What was free costs 0. `day`: its midnight (UTC)."""
    tier = normal(key.service_tier)
    name = f"{tier} | {key.model}" if tier in NAMED_TIERS else key.model
    is_billed = key.verdict == "billed"
    for item in _by_kind(name, key, sums, day) or (_whole(name, sums),):
        if item.quantity or item.amount or item.unpriced:
            yield item if is_billed else item._replace(amount=Decimal(0), unpriced=0)


def _by_kind(name: str, key: RowKey, sums: Sums, day: datetime) -> list[LineItem]:
    """Nothing, if the tokens of the row do not tell what each kind of them costs."""
    price = pricing.price(key.model, day, endpoint="responses", service_tier=key.service_tier, batch=key.batch)
    if price is None or sums.unpriced:
        return []
    if items := _agreeing(name, price.rates, "", price.factor, sums):
        return items
    long = price.long_context
    if long is None or long.cache_write is not None:
        return []
    return _agreeing(name, long, ", long context", price.factor, sums)


def _agreeing(name: str, rates: pricing.Rates, ending: str, factor: Decimal, sums: Sums) -> list[LineItem]:
    """What all tokens of the row cost at these rates; nothing, if that is not what the row says."""
    parts = rates.parts(Tokens(sums.input, sums.cached, sums.output))
    items = [
        LineItem(f"{name}, {kind}{ending}", count, count * (rate or 0) * factor / pricing.MILLION)
        for kind, count, rate in parts
    ]
    return items if sum(item.amount for item in items) == sums.list_amount else []


def _whole(name: str, sums: Sums) -> LineItem:
    return LineItem(name, sums.input + sums.output, sums.list_amount, sums.unpriced)
