"""What a request costs at the normal rate: dated rows of data, exact decimals. Pure.

Source of the rows: data/prices.json, generated from genai-prices by `make prices`.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from typing import Annotated, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict

from gratis import moment
from gratis.rules.figures import plain
from gratis.rules.request import Tokens
from gratis.rules.spelling import normal

MILLION = Decimal(1_000_000)
HALF = Decimal("0.5")
NORMAL_TIERS = frozenset({"default", "standard", "auto", "flex", "batch", "incentivized_tier"})
"""Service tiers that cost the normal rate, or half of it where the table says so. Any other may cost more."""
_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2})$")

Usd = Annotated[Decimal, BeforeValidator(Decimal)]


class _Data(BaseModel):
    """Built when the table is first read: `account_api` seldom does."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Rates(_Data):
    """USD per million tokens. Without `cached`, cached input costs `input`.

    Without `output` or `cache_write`, output and what is written to the cache have no price.
    """

    input: Usd
    cached: Usd | None = None
    cache_write: Usd | None = None
    output: Usd | None = None

    def parts(self, tokens: Tokens) -> tuple[tuple[str, int, Decimal | None], ...]:
        """Each kind of token, as OpenAI's costs call it, how many there are, and USD per million; None: no price."""
        return (
            ("input", tokens.input - tokens.cached - tokens.cache_write, self.input),
            ("cached input", tokens.cached, self.input if self.cached is None else self.cached),
            ("cache writes", tokens.cache_write, self.cache_write),
            ("output", tokens.output, self.output),
            ("audio", tokens.audio, None),
        )


class Tier(_Data):
    """The rates of a service tier that costs more than the normal rate."""

    rates: Rates
    long_context: Rates | None = None


class Row(_Data):
    """The prices of a model from 00:00 UTC of `effective_at` on; the first row has none and holds from ever."""

    effective_at: str | None = None
    rates: Rates
    long_context_over: int | None = None
    """Above this many input tokens the whole request costs `long_context`."""
    long_context: Rates | None = None
    tiers: dict[str, Tier] = {}
    """By service tier, in its normal form: `priority`. One that is not here has no price."""


class Model(_Data):
    """A model's rows, oldest first, and whether batch and flex requests are half price."""

    rows: tuple[Row, ...]
    batch: bool = False
    flex: bool = False


class PriceTable(_Data):
    """Every text model with a price: by id, by id without its date, and by how the id begins."""

    ids: dict[str, Model]
    dated: dict[str, Model]
    """`gpt-6-sol` stands for every `gpt-6-sol-YYYY-MM-DD`."""
    prefixes: dict[str, Model]

    def find(self, model: str) -> Model | None:
        """The model's prices; None if it has none."""
        undated = _DATE.sub("", model)
        by_date = self.dated.get(undated) if undated != model else None
        by_prefix = next((priced for prefix, priced in self.prefixes.items() if model.startswith(prefix)), None)
        return self.ids.get(model) or by_date or by_prefix


class Price(NamedTuple):
    """The rates that hold for a model at a moment, half price included where it applies."""

    version: str
    rates: Rates
    long_context_over: int | None
    long_context: Rates | None
    factor: Decimal

    def amount(self, tokens: Tokens) -> Decimal | None:
        """Exact USD of a request. None if it used something that has no price."""
        rates = self.long_context if self.long_context and self.is_long(tokens) else self.rates
        amount = Decimal(0)
        for _, count, rate in rates.parts(tokens):
            if count and rate is None:
                return None
            amount += count * (rate or 0)
        return amount * self.factor / MILLION

    def is_long(self, tokens: Tokens) -> bool:
        """Whether a request costs the rates of long context."""
        return bool(self.long_context) and self.long_context_over is not None and tokens.input > self.long_context_over


@cache
def table() -> PriceTable:
    """The shipped price table."""
    return PriceTable.model_validate_json((files("gratis") / "data" / "prices.json").read_bytes())


def price(
    model: str, when: datetime, *, endpoint: str, service_tier: str, batch: bool, version: str | None = None
) -> Price | None:
    """The price in force for `model` at `when`; None if the table has none.

    `version`: the price that a receipt names, whatever is in force by now. Raises LookupError if it is not there.
    Fine-tuning training has prices of its own and the table lists none, so it is not priced by the model's rows.
    """
    if normal(endpoint) == "fine_tuning":
        return None
    return _price(model, moment.day_of(when).isoformat(), version, normal(service_tier), batch)


@lru_cache(maxsize=4096)
def _price(model: str, day: str, version: str | None, tier: str, batch: bool) -> Price | None:
    priced = table().find(model)
    if priced is None:
        return None
    row = _row_at(priced.rows, day) if version is None else _row_named(priced.rows, model, version)
    rates = row if tier in NORMAL_TIERS else row.tiers.get(tier)
    if rates is None:
        return None
    half = (batch and priced.batch) or (tier == "flex" and priced.flex)
    return Price(
        version=_named(row, model),
        rates=rates.rates,
        long_context_over=row.long_context_over,
        long_context=rates.long_context,
        factor=HALF if half else Decimal(1),
    )


def _row_at(rows: Sequence[Row], day: str) -> Row:
    in_force = [row for row in rows if row.effective_at is not None and row.effective_at <= day]
    return in_force[-1] if in_force else rows[0]


def _row_named(rows: Sequence[Row], model: str, version: str) -> Row:
    for row in rows:
        if _named(row, model) == version:
            return row
    raise LookupError(f"{model} has no price of {version}")


def _named(row: Row, model: str) -> str:
    return row.effective_at or _own_date(model)


def _own_date(model: str) -> str:
    """A first row is named by the model's own date; an undated model's by `initial`."""
    dated = _DATE.search(model)
    return dated.group(1) if dated else "initial"


def usd(amount: Decimal) -> str:
    """An exact amount in USD as text: `0.525`, `0`."""
    return plain(amount)
