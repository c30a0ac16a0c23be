"""Holds what was decided against the platform's word, by day, model and project. Pure."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from gratis import moment
from gratis.rules import pricing
from gratis.rules.offer import Offer
from gratis_local.reconcile.pages import Pages, Row, Verdict

SMALLEST_USD = Decimal("0.0001")
"""Amounts that differ by less are the same: the platform rounds its own."""
DATED = re.compile(r"(.+)-\d{4}-\d{2}-\d{2}")
VERDICTS: tuple[Verdict, ...] = ("free", "billed")


class Key(NamedTuple):
    """What a line of the comparison is about. `project`: None where one side does not tell them apart."""

    day: date
    model: str
    project: str | None


@dataclass
class Side:
    """What one side says. Tokens are input and output; `cached` input is part of them, None where it is not said.

    `is_told`: whether it says tokens at all; a line item without a quantity does not.
    """

    tokens: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    cached: int | None = 0
    is_told: bool = True
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """One row more."""
        self.is_told = self.is_told and row.tokens is not None
        self.tokens[row.verdict] += row.tokens or 0
        self.cached = None if self.cached is None or row.cached is None else self.cached + row.cached
        self.rows.append(row)

    @property
    def amount(self) -> Decimal:
        """What is billed, in USD, as far as it is known."""
        return sum((row.amount or Decimal(0) for row in self.rows), Decimal(0))

    @property
    def unpriced(self) -> int:
        """Rows whose amount is not known."""
        return sum(row.amount is None for row in self.rows)

    @property
    def total(self) -> int:
        """Free and billed tokens."""
        return sum(self.tokens.values())


@dataclass(frozen=True)
class Line:
    """One line: a day, a model, a project."""

    key: Key
    ours: Side
    theirs: Side

    def difference(self, verdict: Verdict) -> int:
        """Our tokens minus theirs; 0 where they state none."""
        return 0 if not self.theirs.is_told else self.ours.tokens[verdict] - self.theirs.tokens[verdict]

    @property
    def cached(self) -> int:
        """Our cached input tokens minus theirs; 0 where one side states none."""
        ours, theirs = self.ours.cached, self.theirs.cached
        return 0 if ours is None or theirs is None else ours - theirs

    @property
    def agrees(self) -> bool:
        """Whether both sides say the same."""
        return not any(map(self.difference, VERDICTS)) and not self.cached


class Cost(NamedTuple):
    """What is billed for a model on a day, in USD."""

    key: Key
    ours: Decimal
    theirs: Decimal
    unpriced: int
    """Requests without a price here."""
    unpriced_there: int
    """Line items whose amount the other side does not know."""

    @property
    def agrees(self) -> bool:
        """Whether both sides say the same."""
        return abs(self.ours - self.theirs) < SMALLEST_USD


@dataclass(frozen=True)
class Compared:
    """All lines, what the platform's own verdicts say, and what was left aside."""

    organization: str
    lines: Sequence[Line]
    costs: Sequence[Cost]
    verdicts: Sequence[Mapping[str, Any]]
    """Records whose `platform_verdict` is another than ours."""
    notes: Sequence[str]
    taken_back: Mapping[Key, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Records of requests that voids took back: they count on neither side, unless the platform counts them."""

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return all(each.agrees for each in self.lines) and all(each.agrees for each in self.costs) and not self.verdicts


@dataclass(frozen=True)
class Word:
    """The platform's word: pages of its Usage API, of its Costs API, or both; at least one."""

    usage: Pages | None = None
    costs: Pages | None = None

    @property
    def tokens(self) -> Pages:
        """The pages that tokens are compared with."""
        pages = self.usage or self.costs
        if pages is None:
            raise ValueError("neither usage nor costs")
        return pages

    @property
    def days(self) -> frozenset[date]:
        """The days that the pages cover."""
        return frozenset().union(*(each.days for each in (self.usage, self.costs) if each))

    @property
    def notes(self) -> list[str]:
        """What has to be said of the pages."""
        pages = [each for each in (self.usage, self.costs) if each]
        others = sorted({line for each in pages for line in each.not_metered})
        not_metered = [f"not metered here: {', '.join(others)}"] if others else []
        return [*(note for each in pages for note in each.notes), *not_metered]


def compare(
    organization: str, ours: Iterable[Row], word: Word, offer: Offer, as_of: datetime | None = None
) -> Compared:
    """Compare our rows with the platform's word, on the days that it is about. `as_of`: leave our later traffic out."""
    if word.costs:
        word = replace(
            word, costs=replace(word.costs, rows=[_unpriced_is_not_free(row, offer) for row in word.costs.rows])
        )
    tokens = word.tokens
    kept, notes = _on(word.days, ours, as_of)
    rows, voided = _standing(kept)
    named = _Names(offer, [*kept, *tokens.rows], costs_only=word.usage is None)
    has_projects = tokens.has_projects and all(row.project is not None for row in kept)

    def key_of(row: Row) -> Key:
        return Key(row.day, named.of(row), row.project if has_projects else None)

    taken_back: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
    for row in voided:
        taken_back[key_of(row)].append(row.record)
    return Compared(
        organization,
        _lines(rows, tokens.rows, key_of),
        _costs(rows, word.costs, offer) if word.costs else (),
        [row.record for row in rows if _differs(row.record)],
        notes + word.notes,
        taken_back,
    )


class _Names:
    """One name for a model, whether a side dates it or not. `costs_only`: names as line items of costs have them."""

    def __init__(self, offer: Offer, rows: Iterable[Row], *, costs_only: bool) -> None:
        self._offer = offer
        self._costs_only = costs_only
        self._dated: dict[tuple[date, str], set[str]] = defaultdict(set)
        """The dated names that are used on a day, by what is before the date."""
        for row in rows:
            if dated := DATED.fullmatch(self._resolved(row)):
                self._dated[row.day, dated[1]].add(dated[0])

    def of(self, row: Row) -> str:
        """The model's dated name: by the offer's aliases, else the only one that either side uses on that day."""
        name = self._resolved(row)
        dated = self._dated.get((row.day, name), set())
        return next(iter(dated)) if len(dated) == 1 else name

    def _resolved(self, row: Row) -> str:
        model = row.model
        if self._costs_only and model.startswith("ft:"):
            model = f"ft-{model.split(':')[1]}"
        return self._offer.version_at(moment.midnight(row.day)).resolve(model)


def _on(days: frozenset[date], ours: Iterable[Row], as_of: datetime | None) -> tuple[list[Row], list[str]]:
    """Our rows that the platform could know of, and what was left aside."""
    kept, other_days, elsewhere = [], set(), 0
    for row in ours:
        if row.record is not None and as_of is not None and moment.parse(row.record["occurred_at"]) >= as_of:
            continue
        if "/" in row.model:
            elsewhere += 1
        elif row.day in days:
            kept.append(row)
        else:
            other_days.add(row.day)
    notes = []
    if other_days:
        span = f"{min(other_days)}" if len(other_days) == 1 else f"{min(other_days)} to {max(other_days)}"
        notes.append(
            f"left aside: our traffic of {len(other_days)} days ({span}) that the platform's pages are not about"
        )
    if elsewhere:
        notes.append(f"left aside: {elsewhere} of our rows of other providers' models")
    return kept, notes


def _unpriced_is_not_free(row: Row, offer: Offer) -> Row:
    """A line item of amount 0 is free, unless its model has no known price and is in no group: then it is billed."""
    day = moment.midnight(row.day)
    model = re.sub(r"^ft-(.+)", r"ft:\1:", row.model)
    version = offer.version_at(day)
    is_known = pricing.price(model, day, endpoint="responses", service_tier="default", batch=False) is not None
    if row.verdict == "billed" or is_known or version.group_of(version.resolve(model)):
        return row
    return row._replace(verdict="billed")


def _standing(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows that count, and the requests that a void took back.

    A request and its void add up to nothing and have one day, so both are left out. A void without its request counts.
    """
    voids = {row.record["voids"] for row in rows if _is_void(row)}
    voided = [row for row in rows if row.record is not None and row.record["id"] in voids]
    gone = {row.record["id"] for row in voided}
    standing = [row for row in rows if row.record is None or not {row.record["id"], row.record.get("voids")} & gone]
    return standing, voided


def _is_void(row: Row) -> bool:
    return row.record is not None and row.record.get("voids") is not None


def _lines(ours: Iterable[Row], theirs: Iterable[Row], key_of: Callable[[Row], Key]) -> list[Line]:
    sides: dict[Key, tuple[Side, Side]] = defaultdict(lambda: (Side(), Side()))
    for place, rows in enumerate((ours, theirs)):
        for row in rows:
            sides[key_of(row)][place].add(row)
    ordered = sorted(sides, key=lambda key: (key.day, key.model, key.project or ""))
    return [Line(key, *sides[key]) for key in ordered]


def _costs(ours: Sequence[Row], costs: Pages, offer: Offer) -> list[Cost]:
    """What is billed, by day and model, as line items name it."""
    named = _Names(offer, [*ours, *costs.rows], costs_only=True)
    if ours and not any(row.record for row in ours):
        return []  # our side is the account API's usage, which has no amounts
    lines = _lines(ours, costs.rows, lambda row: Key(row.day, named.of(row), None))
    return [
        Cost(line.key, line.ours.amount, line.theirs.amount, line.ours.unpriced, line.theirs.unpriced) for line in lines
    ]


def _differs(record: Any) -> bool:
    said = record.get("platform_verdict") if record is not None else None
    return said is not None and said != record["verdict"]
