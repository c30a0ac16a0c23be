"""Pages of OpenAI's Usage and Costs API, as JSON: read whole, or refused by name."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gratis import moment
from gratis.strict_json import parse_json
from gratis_local.sources import Unusable, problems

INCENTIVIZED = "incentivized-tier"
"""The service tier under which the platform shows what it gave away."""
USAGE, COSTS = "organization.usage.", "organization.costs.result"
LINE_ITEM = re.compile(r"(?:[^|]+ \| )?(?P<model>[^\s,|]+)(?P<kinds>(?:, [^,]+)*)")
"""Of a model: `gpt-4o-mini-2024-07-18, cached input`, `flex | gpt-5-mini`, `priority | gpt-5.6-sol, cache writes`."""


Verdict = Literal["free", "billed"]
Model = TypeVar("Model", bound=BaseModel)


class Row(NamedTuple):
    """What one side says of some traffic. `tokens`: input and output; None where a cost names no quantity.

    `amount`: USD that are billed; None where it is not said. `record`: ours, where it is one decision.
    """

    day: date
    model: str
    project: str | None
    verdict: Verdict
    tokens: int | None
    cached: int | None = None
    amount: Decimal | None = None
    record: Any = None


@dataclass(frozen=True)
class Pages:
    """What some pages say. `days`: those that they cover; `not_metered`: line items of no model."""

    rows: Sequence[Row]
    days: frozenset[date]
    has_projects: bool
    not_metered: Sequence[str] = ()
    notes: Sequence[str] = ()


def _figure(stated: Any) -> Any:
    """A number as it is written: the platform sends amounts as numbers and as texts."""
    try:
        return Decimal(str(stated)) if isinstance(stated, int | float | str) and stated is not True else stated
    except ArithmeticError:
        raise ValueError("must be a number") from None


Count = Annotated[int, Field(ge=0, strict=True)]
Usd = Annotated[Decimal, BeforeValidator(_figure), Field(allow_inf_nan=False)]


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore")

    object: str
    project_id: str | None = None


class _UsageResult(_Result):
    model: str | None = None
    service_tier: str | None = None
    input_tokens: Count = 0
    output_tokens: Count = 0
    input_cached_tokens: Count | None = None


class _Amount(BaseModel):
    value: Usd
    currency: str = "usd"


class _CostsResult(_Result):
    line_item: str | None = None
    amount: _Amount
    quantity: Annotated[Decimal, BeforeValidator(_figure), Field(ge=0, allow_inf_nan=False)] | None = None
    unpriced_requests: Count = 0
    """Beside OpenAI's fields, in pages of an API like ours: billed requests whose amount is not in `amount`."""


class _Bucket(BaseModel):
    start_time: Count
    end_time: Count
    results: list[dict[str, Any]]


class _Page(BaseModel):
    object: Literal["page"]
    data: list[_Bucket]
    has_more: bool = False


def usage_of(named: Sequence[tuple[str, Any]], as_of: datetime | None = None) -> Pages:
    """The Usage API's pages, each with its name. Raises Unusable for what cannot be compared, by name."""
    buckets = _Buckets.of(named, as_of)
    rows = [_usage_row(where, day, content) for where, day, content in buckets.results(USAGE)]
    return buckets.pages(rows)


def costs_of(named: Sequence[tuple[str, Any]], as_of: datetime | None = None) -> Pages:
    """The Costs API's pages, each with its name; zero amounts are what was free. Raises Unusable."""
    buckets = _Buckets.of(named, as_of)
    read = [_costs_row(where, day, content) for where, day, content in buckets.results(COSTS)]
    return buckets.pages([row for row in read if row.model], sorted({row.record for row in read if not row.model}))


def _usage_row(where: str, day: date, content: dict[str, Any]) -> Row:
    result = _read(_UsageResult, content, where)
    for name in ("model", "service_tier"):
        if getattr(result, name) is None:
            raise Unusable(f"{where}: is not grouped by {name}; ask for group_by=model and group_by=service_tier")
    verdict: Verdict = "free" if result.service_tier == INCENTIVIZED else "billed"
    tokens = result.input_tokens + result.output_tokens
    return Row(day, str(result.model), result.project_id, verdict, tokens, result.input_cached_tokens)


def _costs_row(where: str, day: date, content: dict[str, Any]) -> Row:
    """The row of a line item. One of no model has an empty `model`, and the line item's name as its `record`."""
    result = _read(_CostsResult, content, where)
    if result.line_item is None:
        raise Unusable(f"{where}: is not grouped by line_item; ask for group_by=line_item")
    if result.amount.currency.lower() != "usd":
        raise Unusable(f"{where}: amount.currency: is {result.amount.currency!r}, not 'usd'")
    is_unpriced = result.unpriced_requests > 0
    verdict: Verdict = "billed" if result.amount.value or is_unpriced else "free"
    line = LINE_ITEM.fullmatch(result.line_item)
    if line is None:
        return Row(day, "", result.project_id, verdict, None, record=result.line_item)
    tokens = None if result.quantity is None else int(result.quantity)
    cached = tokens if "cached input" in line["kinds"] else None if tokens is None else 0
    amount = None if is_unpriced and not result.amount.value else result.amount.value
    return Row(day, line["model"], result.project_id, verdict, tokens, cached, amount)


def read_pages(files: Sequence[str]) -> list[tuple[str, Any]]:
    """The pages in files: one, an array of them, or one a line. Raises Unusable."""
    return [(name, page) for file in files for name, page in _pages_in(file)]


def _pages_in(file: str) -> Iterator[tuple[str, Any]]:
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror or error}") from None
    try:
        content = parse_json(text)
    except ValueError:
        content = [_line(file, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    pages = content if isinstance(content, list) else [content]
    for number, page in enumerate(pages, start=1):
        yield (file if len(pages) == 1 else f"{file}: page {number}"), page


def _line(file: str, number: int, line: bytes) -> Any:
    try:
        return parse_json(line)
    except ValueError as error:
        raise Unusable(f"{file}:{number}: is no JSON: {error}") from None


# Buckets ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Buckets:
    """The buckets of all pages in order, each once, with how it is called in an error."""

    placed: Sequence[tuple[str, _Bucket]]
    notes: Sequence[str]

    @classmethod
    def of(cls, named: Sequence[tuple[str, Any]], as_of: datetime | None) -> Self:
        pages = [(name, _read(_Page, page, name)) for name, page in named]
        _require_all(pages)
        until = float("inf") if as_of is None else as_of.timestamp()
        kept = [(where, bucket) for where, bucket in _each_once(pages) if bucket.start_time < until]
        spanning = [bucket for _, bucket in kept if until < bucket.end_time and as_of is not None]
        said = "goes on after --as-of, and is counted whole: it may hold later traffic"
        return cls(kept, [f"the platform's bucket {_said(each)} {said}" for each in spanning])

    def results(self, kind: str) -> Iterator[tuple[str, date, dict[str, Any]]]:
        """Name, day and content of each result. Raises Unusable for one of another kind."""
        for where, bucket in self.placed:
            for number, result in enumerate(bucket.results):
                placed = f"{where}: results.{number}"
                if not str(result.get("object")).startswith(kind):
                    raise Unusable(f"{placed}: object: is {result.get('object')!r}, not {kind}*")
                yield placed, _day(bucket), result

    def pages(self, rows: Sequence[Row], not_metered: Sequence[str] = ()) -> Pages:
        """What these buckets say."""
        results = [result for _, bucket in self.placed for result in bucket.results]
        has_projects = bool(results) and all(result.get("project_id") is not None for result in results)
        days = frozenset(_day(bucket) for _, bucket in self.placed)
        return Pages(rows, days, has_projects, not_metered, self.notes)


def _require_all(pages: Sequence[tuple[str, _Page]]) -> None:
    """Each page that has more is followed by the next one. Raises Unusable."""
    begins = {page.data[0].start_time for _, page in pages if page.data}
    for name, page in pages:
        if page.has_more and (not page.data or page.data[-1].end_time not in begins):
            raise Unusable(f"{name}: has_more is true, and the next page is not there")


def _each_once(pages: Sequence[tuple[str, _Page]]) -> Iterator[tuple[str, _Bucket]]:
    """The buckets in order, repeats dropped. Raises Unusable for a repeat with other figures, and for overlaps."""
    known: dict[tuple[int, int], tuple[str, _Bucket]] = {}
    for name, page in pages:
        for bucket in page.data:
            where = f"{name}: bucket {_said(bucket)}"
            if bucket.end_time <= bucket.start_time:
                raise Unusable(f"{where}: ends before it begins")
            before, same = known.setdefault((bucket.start_time, bucket.end_time), (where, bucket))
            if _unordered(same) != _unordered(bucket):
                raise Unusable(f"{where}: is there twice, with other figures (see {before})")
    ordered = [known[span] for span in sorted(known)]
    for (_, one), (where, other) in pairwise(ordered):
        if other.start_time < one.end_time:
            raise Unusable(f"{where}: overlaps the bucket {_said(one)}; name pages of one bucket_width")
    return iter(ordered)


def _unordered(bucket: _Bucket) -> list[str]:
    return sorted(json.dumps(result, sort_keys=True, default=str) for result in bucket.results)


def _day(bucket: _Bucket) -> date:
    return moment.day_of(datetime.fromtimestamp(bucket.start_time, UTC))


def _said(bucket: _Bucket) -> str:
    begins, ends = (datetime.fromtimestamp(each, UTC) for each in (bucket.start_time, bucket.end_time))
    return f"{begins:%Y-%m-%dT%H:%M}Z to {ends:%Y-%m-%dT%H:%M}Z"


def _read(model: type[Model], content: Any, where: str) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise Unusable(f"{where}: {problems(error)}") from None
