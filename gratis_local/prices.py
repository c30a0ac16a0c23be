"""Generates the price data of the layer from genai-prices: `make prices`."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import rich
from genai_prices import types as genai
from genai_prices.data import providers

PRICES = Path(__file__).parent.parent / "layers/core/gratis/data/prices.json"
DATED = r"-\d{4}-\d{2}-\d{2}$"
NOT_TEXT = re.compile(r"audio|image|realtime|transcribe|tts|whisper|live|moderation")
CORRECTIONS: dict[str, dict[str, str]] = {
    # genai-prices gives the launch span of o3 the cached price of today; OpenAI's launch price was 2.5.
    "o3": {"cached": "2.5"},
}


def generate() -> dict[str, Any]:
    """The price table as JSON: every OpenAI text model that genai-prices knows."""
    table: dict[str, dict[str, Any]] = {"ids": {}, "dated": {}, "prefixes": {}}
    for model in openai().models:
        priced = model_prices(model)
        if priced is None:
            continue
        for clause in _leaves(model.match):
            place, key = _place(clause)
            table[place].setdefault(key, priced)
    # the longest beginning is tried first, whatever the order of the source
    table["prefixes"] = dict(sorted(table["prefixes"].items(), key=lambda item: (-len(item[0]), item[0])))
    return table


def openai() -> genai.Provider:
    """OpenAI as genai-prices knows it."""
    return next(provider for provider in providers if provider.id == "openai")


def model_prices(model: genai.ModelInfo) -> dict[str, Any] | None:
    """The rows of one model; None if it is not priced by text tokens."""
    spans = model.prices if isinstance(model.prices, list) else [genai.ConditionalPrice(prices=model.prices)]
    rows = [_row(span) for span in spans]
    if NOT_TEXT.search(model.id) or any(row is None for row in rows):
        return None
    listed = [cast("dict[str, Any]", row) for row in rows]
    listed[0]["rates"].update(CORRECTIONS.get(model.id, {}))
    if tiers := _dearer(model):
        listed[-1]["tiers"] = tiers  # genai-prices does not date them: they are those of the latest prices
    halves = {name: _is_half(model, key, value) for name, key, value in _CHEAPER}
    return {"rows": listed, **{name: True for name, half in halves.items() if half}}


_CHEAPER = (("batch", "processing", "batch"), ("flex", "service_tier", "flex"))


DEARER = ("priority", "fast")
"""Service tiers that cost more than the normal rate."""


def _dearer(model: genai.ModelInfo) -> dict[str, Any]:
    """The rates of the service tiers that cost more."""
    found = {}
    for variant in model.price_variants or ():
        tier = variant.when.get("service_tier")
        prices = {name: price for name, price in variant.prices.__dict__.items() if price is not None}
        if tier in DEARER and "input_mtok" in prices:
            found[tier] = {"rates": _rates(prices, _base)}
            if isinstance(prices["input_mtok"], genai.TieredPrices):
                found[tier]["long_context"] = _rates(prices, _above)
    return found


def _is_half(model: genai.ModelInfo, key: str, value: str) -> bool:
    """Whether genai-prices lists the variant at half the input price."""
    latest = model.get_prices(_LATEST)
    for variant in model.price_variants or ():
        if variant.when == {key: value} and variant.prices.__dict__.get("input_mtok"):
            return bool(_base(variant.prices.__dict__["input_mtok"]) * 2 == _base(latest.__dict__["input_mtok"]))
    return False


_LATEST = datetime.max  # noqa: DTZ901 - genai-prices reads naive moments as UTC


def _row(span: genai.ConditionalPrice) -> dict[str, Any] | None:
    prices = {name: price for name, price in span.prices.__dict__.items() if price is not None}
    if "input_mtok" not in prices:
        return None
    row: dict[str, Any] = {"rates": _rates(prices, _base)}
    if span.constraint is not None:
        if not isinstance(span.constraint, genai.StartDateConstraint):
            raise TypeError(f"a price that depends on more than its date: {span.constraint}")
        row = {"effective_at": span.constraint.start_date.isoformat(), **row}
    tiered = prices["input_mtok"]
    if isinstance(tiered, genai.TieredPrices):
        (tier,) = tiered.tiers
        row |= {"long_context_over": tier.start, "long_context": _rates(prices, _above)}
    return row


def _rates(prices: dict[str, Any], part: Any) -> dict[str, str]:
    names = {
        "input": "input_mtok",
        "cached": "cache_read_mtok",
        "cache_write": "cache_write_mtok",
        "output": "output_mtok",
    }
    return {name: str(part(prices[key])) for name, key in names.items() if key in prices}


def _base(price: Any) -> Any:
    return price.base if isinstance(price, genai.TieredPrices) else price


def _above(price: Any) -> Any:
    return price.tiers[0].price if isinstance(price, genai.TieredPrices) else price


def _leaves(clause: Any) -> list[Any]:
    return [leaf for part in clause.or_ for leaf in _leaves(part)] if isinstance(clause, genai.ClauseOr) else [clause]


def _place(clause: Any) -> tuple[str, str]:
    """Where the table lists what a clause matches."""
    if isinstance(clause, genai.ClauseEquals):
        return "ids", clause.equals
    if isinstance(clause, genai.ClauseStartsWith):
        return "prefixes", clause.starts_with
    if isinstance(clause, genai.ClauseRegex) and clause.regex.endswith(DATED):
        return "dated", clause.regex.removeprefix("^").removesuffix(DATED).replace("\\", "")
    raise TypeError(f"a model is matched in a way the table cannot hold: {clause}")


if __name__ == "__main__":
    PRICES.write_text(json.dumps(generate(), indent=1) + "\n", encoding="utf-8")
    rich.print(f"wrote {PRICES.relative_to(Path.cwd())}")
