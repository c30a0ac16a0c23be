"""What a row of a day's totals costs by kind of token: the line items of OpenAI's Costs API, in its spelling. Pure.

The amounts are tokens at the rates of their day, and they stand only if their sum is the row's own list amount, to the
last digit. The rows say how many tokens were written to the cache and how many were of long context, as far as that
was counted: the first release does not count it, and drops it from a document that it replaces. Cache writes and long
context cost more than the normal rate (a test says so). If some of these tokens were not counted, the sum is too low;
so if it agrees, all were. Rows are tried as well with all tokens at the normal rates and, where cache writes have no
price of their own, with all at those of long context.

A row that does not agree keeps one line item, its model, with the whole amount: it holds requests that have no price
here or had another one, or dear ones that the first release has counted.
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
    told = (list(_items(name, price, *tokens)) for tokens in _told_apart(price, sums))
    return next((items for items in told if sum(item.amount for item in items) == sums.list_amount), [])


def _told_apart(price: pricing.Price, sums: Sums) -> Iterator[tuple[Tokens, Tokens]]:
    """The row's tokens at the normal rates and at those of long context, as they may be: the first that agrees is."""
    long = Tokens(sums.long_input, sums.long_cached, sums.long_output, sums.long_cache_write)
    rest = sums.input - long.input, sums.cached - long.cached, sums.output - long.output
    yield Tokens(*rest, sums.cache_write), long
    whole, nothing = Tokens(sums.input, sums.cached, sums.output), Tokens(0, 0, 0)
    yield whole, nothing
    if price.long_context is not None and price.long_context.cache_write is None:
        yield nothing, whole


def _items(name: str, price: pricing.Price, normal: Tokens, long: Tokens) -> Iterator[LineItem]:
    """What these tokens cost by kind."""
    for tokens, rates, ending in (normal, price.rates, ""), (long, price.long_context, ", long context"):
        for kind, count, rate in rates.parts(tokens) if rates else ():
            yield LineItem(f"{name}, {kind}{ending}", count, count * (rate or 0) * price.factor / pricing.MILLION)


def _whole(name: str, sums: Sums) -> LineItem:
    return LineItem(name, sums.input + sums.output, sums.list_amount, sums.unpriced)
