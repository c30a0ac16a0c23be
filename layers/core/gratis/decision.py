"""Rule 7 of SPEC section 2, and the pure fold that decides requests against a counter. No AWS here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from gratis import moment, pricing
from gratis.account import Account
from gratis.eligibility import Allowed, Terms, hosted_tool, judge, terms_of
from gratis.offer import EVALS, Offer, Version
from gratis.request import Kind, Request, RequestKey
from gratis.totals import MOST_ROWS, Totals
from gratis.window import (
    Counter,
    Window,
    calendar_window,
    rolling_window,
    start_of_week,
)
from gratis.window import Kind as WindowKind
from gratis.window import name as window_name

Verdict = Literal["free", "billed"]
NO_GROUP = "-"
"""Where traffic is totalled that no group's quota is asked for."""


class CounterId(NamedTuple):
    """One counter. `window`: the UTC day, `WEEK#<Monday>`, or `ROLLING` (one counter holds all rolling windows)."""

    organization: str
    group: str
    window: str


class Decision(NamedTuple):
    """A verdict, its reason and the figures it was taken on; immutable. Plain JSON values.

    Everything up to `decided_at` is the billing record of SPEC section 5; what follows lets the decision be taken
    again from its receipt. New fields go last and have a default, so that older decisions can still be read.
    """

    organization: str
    day: str
    request_id: str
    project: str | None
    model: str
    group: str | None
    window: str | None
    verdict: Verdict
    reason: str
    input: int
    cached: int
    output: int
    quota: int | None
    used_before: int | None
    used_after: int | None
    running_total: int | None
    list_amount_usd: str | None
    amount_usd: str | None
    tier: int | None
    offer: str
    profile_version: int | None
    settings_version: int | None
    price_version: str | None
    payload_hash: str
    occurred_at: str
    received_at: str
    decided_at: str
    kind: Kind = "usage.request"
    endpoint: str = "responses"
    service_tier: str = "default"
    batch: bool = False
    hosted_tool: str | None = None
    shared: bool = True
    thresholds: Sequence[int] = ()
    """Per cent of the quota that this decision was the first to reach: 80, 100."""
    offer_ends: str | None = None
    """The offer's last day when the decision was taken."""

    @property
    def key(self) -> RequestKey:
        """What this is the one decision of."""
        return RequestKey(self.organization, date.fromisoformat(self.day), self.request_id)

    @property
    def record_id(self) -> str:
        """The id of the billing record: derived, so a consumer can drop repeats."""
        return f"{self.organization}:{self.day}:{self.request_id}"

    def record(self) -> dict[str, Any]:
        """The billing record. Shape: SPEC section 5."""
        return {
            "id": self.record_id,
            "organization": self.organization,
            "project": self.project,
            "request_id": self.request_id,
            "model": self.model,
            "group": self.group,
            "window": self.window,
            "verdict": self.verdict,
            "reason": self.reason,
            "tokens": {
                "input": self.input,
                "cached_input": self.cached,
                "output": self.output,
                "total": self.input + self.output,
            },
            "quota": self.quota,
            "used_before": self.used_before,
            "used_after": self.used_after,
            "running_total": self.running_total,
            "list_amount_usd": self.list_amount_usd,
            "amount_usd": self.amount_usd,
            "tier": self.tier,
            "offer": self.offer,
            "profile_version": self.profile_version,
            "settings_version": self.settings_version,
            "price_version": self.price_version,
            "payload_hash": self.payload_hash,
            "occurred_at": self.occurred_at,
            "received_at": self.received_at,
            "decided_at": self.decided_at,
        }


@dataclass(frozen=True, slots=True)
class Case:
    """A request with everything that is settled before its counter is looked at."""

    request: Request
    terms: Terms
    outcome: Allowed | str
    group: str
    """The group whose totals the request belongs to."""
    counter: CounterId
    """The counter that decides; without a group, the day's totals alone."""
    price: pricing.Price | None
    list_amount: Decimal | None

    @property
    def day(self) -> date:
        """The UTC day whose totals the request belongs to."""
        return self.request.key.day

    @property
    def window_kind(self) -> WindowKind:
        """The kind of window that the group's quota counts in."""
        return window_kind(self.group, self.terms.version)


def likely_group(request: Request, version: Version) -> str:
    """The group that a request belongs to if rules 1 to 6 do not bill it."""
    if request.kind == "usage.eval_run":
        return EVALS
    group = version.group_of(request.model)
    return group.name if group else NO_GROUP


def window_kind(group: str, version: Version) -> WindowKind:
    """The kind of window that a group's quota counts in. Without a group there are only days."""
    if group == EVALS:
        return version.evals.window
    return "utc_day" if group == NO_GROUP else version.window


def counter_of(request: Request, group: str, version: Version) -> CounterId:
    """The counter of a group in which a request counts."""
    kind = window_kind(group, version)
    if kind == "rolling_24h":
        return CounterId(request.organization, group, "ROLLING")
    if kind == "utc_week":
        return CounterId(request.organization, group, f"WEEK#{start_of_week(request.occurred_at).date()}")
    return CounterId(request.organization, group, request.key.day.isoformat())


def case_of(request: Request, offer: Offer, account: Account | None) -> Case:
    """Rules 1 to 6 and the price, for one request."""
    return case_under(request, terms_of(request, offer, account), price_of(request))


def price_of(request: Request, version: str | None = None) -> pricing.Price | None:
    """The price in force at `occurred_at`, or the one that a receipt names. Raises LookupError if that is not there."""
    return pricing.price(
        request.model,
        request.occurred_at,
        endpoint=request.endpoint,
        service_tier=request.service_tier,
        batch=request.batch,
        version=version,
    )


def case_under(request: Request, terms: Terms, price: pricing.Price | None) -> Case:
    """Rules 1 to 6 and the amount, under given terms and at a given price."""
    tokens, outcome = request.tokens, judge(request, terms)
    group = _group_of(request, outcome)
    amount = price.amount(tokens.input, tokens.cached, tokens.output) if price else None
    return Case(request, terms, outcome, group, counter_of(request, group, terms.version), price, amount)


def _group_of(request: Request, outcome: Allowed | str) -> str:
    """Evaluation runs have a group whatever becomes of them."""
    if request.kind == "usage.eval_run":
        return EVALS
    return outcome.group if isinstance(outcome, Allowed) else NO_GROUP


@dataclass(frozen=True, slots=True)
class Books:
    """All that decisions of one counter change: the counter itself, and the totals of each day they fall on."""

    counter: Counter
    totals: Mapping[date, Totals]


def settle(
    books: Books, cases: Sequence[Case], decided_at: datetime, max_rows: int = MOST_ROWS
) -> tuple[Books, list[Decision]]:
    """Decide `cases` of one counter in arrival order. `books` stay as they are; the new ones come back.

    `max_rows`: of a day's totals.
    """
    counter = books.counter
    totals = {day: each.copy() for day, each in books.totals.items()}
    decisions = []
    for case in cases:
        counter, decision = decide(counter, case, decided_at)
        totals.setdefault(case.day, Totals()).add(case.request, decision.verdict, case.list_amount, max_rows)
        decisions.append(decision)
    return Books(counter, totals), decisions


class _Figures(NamedTuple):
    """What rule 7 decides on; nothing where rules 1 to 6 do."""

    quota: int | None = None
    window: str | None = None
    used_before: int | None = None
    used_after: int | None = None
    running_total: int | None = None
    thresholds: Sequence[int] = ()


def decide(counter: Counter, case: Case, decided_at: datetime) -> tuple[Counter, Decision]:
    """Rule 7: `used + tokens > quota` is billed whole and consumes nothing; else it is free."""
    if isinstance(case.outcome, str):
        return counter, _decision(case, "billed", case.outcome, decided_at, _Figures())
    quota, units = case.outcome.quota, units_of(case.request)
    window = _window(counter, case)
    used = window.used if window else 0
    closed = window is not None and window.overflowed and case.terms.version.overflow == "close"
    fits = units == 0 or (used + units <= quota and not closed)
    if fits and units and not window:
        window = Window(case.request.occurred_at)
    reached = _reached(window, units, quota, fits=fits)
    after = used + units if fits else used
    if window and units:
        announced = window.announced or 100 in reached
        counter = counter.having(Window(window.start, after, window.overflowed or not fits, announced))
    figures = _Figures(
        quota=quota,
        window=window_name(case.window_kind, window.start) if window else None,
        used_before=used,
        used_after=after,
        running_total=used + units,
        thresholds=reached,
    )
    if fits:
        return counter, _decision(case, "free", "within_quota", decided_at, figures)
    return counter, _decision(case, "billed", "over_quota", decided_at, figures)


def units_of(request: Request) -> int:
    """What the request asks of the quota: its tokens, or one run (a run of 0 tokens counts)."""
    return 1 if request.kind == "usage.eval_run" else request.tokens.total


def _window(counter: Counter, case: Case) -> Window | None:
    """The window the request counts in; None if it would have to open a rolling one."""
    when = case.request.occurred_at
    if case.window_kind == "rolling_24h":
        return rolling_window(counter.windows, when)
    start = start_of_week(when) if case.window_kind == "utc_week" else moment.midnight(case.day)
    return calendar_window(counter, start)


def _reached(window: Window | None, units: int, quota: int, *, fits: bool) -> tuple[int, ...]:
    """Thresholds to announce. 80 %: the free decision that crosses it. 100 %, once: exact fill, or the first miss."""
    if window is None or not units:
        return ()
    used = window.used
    crosses_80 = fits and used * 100 < quota * 80 <= (used + units) * 100
    full = not window.announced and (not fits or used + units == quota)
    return (80,) * crosses_80 + (100,) * full


def _decision(case: Case, verdict: Verdict, reason: str, decided_at: datetime, figures: _Figures) -> Decision:
    request, terms, amount = case.request, case.terms, case.list_amount
    listed = None if amount is None else pricing.usd(amount)
    return Decision(
        organization=request.organization,
        day=case.day.isoformat(),
        request_id=request.id,
        project=request.project,
        model=request.model,
        group=None if case.group == NO_GROUP else case.group,
        window=figures.window,
        verdict=verdict,
        reason=reason,
        input=request.tokens.input,
        cached=request.tokens.cached,
        output=request.tokens.output,
        quota=figures.quota,
        used_before=figures.used_before,
        used_after=figures.used_after,
        running_total=figures.running_total,
        list_amount_usd=listed,
        amount_usd="0" if verdict == "free" else listed,
        tier=terms.profile.tier,
        offer=terms.offer_name,
        profile_version=terms.profile_version,
        settings_version=terms.settings_version,
        price_version=case.price.version if case.price else None,
        payload_hash=request.payload_hash,
        occurred_at=moment.text(request.occurred_at),
        received_at=moment.text(request.received_at),
        decided_at=moment.text(decided_at),
        kind=request.kind,
        endpoint=request.endpoint,
        service_tier=request.service_tier,
        batch=request.batch,
        hosted_tool=hosted_tool(request, terms.version),
        shared=request.shared,
        thresholds=figures.thresholds,
        offer_ends=terms.offer.ends.isoformat() if terms.offer.ends else None,
    )
