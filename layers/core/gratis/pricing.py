"""What a request costs at the normal rate: dated rows of data, exact decimals. Pure.

Source of the rows: data/prices.json, generated from genai-prices by `make prices`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from gratis import moment

MILLION = Decimal(1_000_000)
HALF = Decimal("0.5")
_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2})$")

Usd = Annotated[Decimal, BeforeValidator(Decimal)]


class _Data(BaseModel):
    """Built when the table is first read: `account_api` seldom does."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Rates(_Data):
    """USD per million tokens. Without `cached`, cached input costs `input`; without `output`, output has no price."""

    input: Usd
    cached: Usd | None = None
    output: Usd | None = None


class Row(_Data):
    """The prices of a model from 00:00 UTC of `effective_at` on; the first row has none and holds from ever."""

    effective_at: str | None = None
    rates: Rates
    long_context_over: int | None = None
    """Above this many input tokens the whole request costs `long_context`."""
    long_context: Rates | None = None


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


@dataclass(frozen=True, slots=True)
class Price:
    """The rates that hold for a model at a moment, half price included where it applies."""

    version: str
    rates: Rates
    long_context_over: int | None
    long_context: Rates | None
    factor: Decimal

    def amount(self, input_tokens: int, cached: int, output: int) -> Decimal | None:
        """Exact USD of a request. `input_tokens` includes `cached`. None if an output is without a price."""
        is_long = self.long_context_over is not None and input_tokens > self.long_context_over
        rates = self.long_context if is_long and self.long_context else self.rates
        if output and rates.output is None:
            return None
        cached_rate = rates.input if rates.cached is None else rates.cached
        total = (input_tokens - cached) * rates.input + cached * cached_rate + output * (rates.output or 0)
        return total * self.factor / MILLION


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
    if endpoint == "fine_tuning":
        return None
    return _price(model, moment.day_of(when).isoformat(), version, service_tier == "flex", batch)


@lru_cache(maxsize=4096)
def _price(model: str, day: str, version: str | None, flex: bool, batch: bool) -> Price | None:
    priced = table().find(model)
    if priced is None:
        return None
    row = _row_at(priced.rows, day) if version is None else _row_named(priced.rows, model, version)
    half = (batch and priced.batch) or (flex and priced.flex)
    return Price(
        version=_named(row, model),
        rates=row.rates,
        long_context_over=row.long_context_over,
        long_context=row.long_context,
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
    """An exact amount as a plain string without trailing zeros: `0.525`, `0`."""
    return format(amount.normalize(), "f") if amount else "0"
