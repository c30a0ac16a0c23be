"""Rule 7 of SPEC section 2, and the pure fold that decides requests against a counter. No AWS here."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from gratis import moment
from gratis.rules import pricing
from gratis.rules.account import Standing
from gratis.rules.eligibility import Ruling, Terms, group_of, judge, terms_of
from gratis.rules.figures import Figure, written
from gratis.rules.formats import FIRST, FORMAT
from gratis.rules.offer import EVALS, NO_GROUP, Group, Offer, Version
from gratis.rules.receipt import Decision, Verdict, Written, request_of, usual_unit
from gratis.rules.request import Request
from gratis.rules.reservation import Binding, Reservation, open_at, reserved, settled_by
from gratis.rules.totals import Totals
from gratis.rules.void import VoidCase, take_back
from gratis.rules.window import UTC_DAY, Counter, CounterId, Window


class Case(NamedTuple):
    """A request with everything that is settled before its counter is looked at."""

    request: Request
    terms: Terms
    ruling: Ruling
    group: str
    """The group whose totals the request belongs to."""
    counter: CounterId
    """The counter that decides; where rules 1 to 6 do, the document of the day's totals."""
    price: pricing.Price | None
    list_amount: Decimal | None
    day: date
    """The UTC day whose totals the request belongs to."""
    form: int = FORMAT

    @property
    def counts(self) -> int:
        """How many requests are added to the totals."""
        return 1


def likely_counter(request: Request, version: Version) -> CounterId:
    """The counter that decides on a request if rules 1 to 6 do not bill it."""
    group = group_of(request, version)
    return counter_of(request, group) if group else totals_of(request, NO_GROUP)


def counter_of(request: Request, group: Group) -> CounterId:
    """The counter of a group in which a request counts."""
    slot = group.window.slot(request.occurred_at)
    return CounterId(request.organization, group.name, slot, group.pool(request.project))


def totals_of(request: Request, group: str) -> CounterId:
    """The document with the totals of a request's UTC day."""
    return CounterId(request.organization, group, UTC_DAY.slot(request.occurred_at))


def case_of(request: Request, offer: Offer, account: Standing | None) -> Case:
    """Rules 1 to 6 and the price, for one request."""
    return case_under(request, terms_of(request, offer, account), price_of(request))


def price_of(request: Request, version: str | None = None, form: int = FORMAT) -> pricing.Price | None:
    """The price in force at `occurred_at`, or the one that a receipt names. Raises LookupError if that is not there.

    Decisions of the first format took every service tier but flex for the normal one.
    """
    flex = request.service_tier == "flex"
    return pricing.price(
        request.model,
        request.occurred_at,
        endpoint=request.endpoint,
        service_tier=request.service_tier if form != FIRST or flex else "default",
        batch=request.batch,
        version=version,
    )


def case_under(request: Request, terms: Terms, price: pricing.Price | None, form: int = FORMAT) -> Case:
    """Rules 1 to 6 and the amount, under given terms and at a given price, as decisions of a format are taken."""
    amount = price.amount(request.tokens) if price else None
    ruling = judge(request, terms, amount, form)
    name = EVALS if request.is_run else ruling.group.name if ruling.group else NO_GROUP
    decides = ruling.group is not None and ruling.reason is None
    counter = counter_of(request, ruling.group) if ruling.group and decides else totals_of(request, name)
    return Case(request, terms, ruling, name, counter, price, amount, request.day, form)


class Books(NamedTuple):
    """All that decisions of one counter change: the counter itself, and the totals of each day they fall on."""

    counter: Counter
    totals: Mapping[date, Totals]


def settle(books: Books, cases: Sequence[Case | VoidCase], decided_at: datetime) -> tuple[Books, list[Decision]]:
    """Decide `cases` of one counter in arrival order. `books` stay as they are; the new ones come back."""
    counter = books.counter
    totals = {day: each.copy() for day, each in books.totals.items()}
    decisions = []
    for case in cases:
        if isinstance(case, VoidCase):
            counter, decision = take_back(counter, case, decided_at)
        else:
            counter, decision = decide(counter, case, decided_at)
        added = case.request, decision.verdict, case.list_amount
        totals.setdefault(case.day, Totals()).add(*added, case.counts, is_long=_is_long(case))
        decisions.append(decision)
    return Books(counter, totals), decisions


def _is_long(case: Case | VoidCase) -> bool:
    """Whether a request cost the rates of long context; of a void, the voided one."""
    if isinstance(case, Case):
        return case.price is not None and case.price.is_long(case.request.tokens)
    voided = request_of(case.voided)
    try:
        price = price_of(voided, case.voided.price_version, case.voided.format)
    except LookupError:
        return False  # of a release with further prices: the row keeps one line item
    return price is not None and price.is_long(voided.tokens)


class _Figures(NamedTuple):
    """What rule 7 decides on; nothing where rules 1 to 6 do."""

    quota: Written = None
    window: str | None = None
    used_before: Written = None
    used_after: Written = None
    running_total: Written = None
    thresholds: Sequence[int] = ()
    reserved_before: Written = 0
    reservation: str | None = None


class _Claim(NamedTuple):
    """The reservations a request finds. `rest`: the counter with those that stay; `kept`: its own, if it is kept."""

    rest: Counter
    by_others: Figure = 0
    kept: Reservation | None = None


def decide(counter: Counter, case: Case, decided_at: datetime) -> tuple[Counter, Decision]:
    """Rule 7: `used + reserved by others + units > quota` is billed whole and consumes nothing; else it is free.

    A request whose reservation is kept is free even where others have reserved all the rest, or the window is closed.
    It still has to fit in the quota, which may have become smaller since the reservation was made.
    """
    reason, group, quota, units = case.ruling
    if reason is not None or group is None or quota is None:
        return counter, _decision(case, "billed", reason or "", decided_at, _Figures())
    when = case.request.occurred_at
    window = group.window.window_at(counter, when, group.span)
    used = type(quota)(window.used if window else 0)
    counter, others, kept = _claimed(counter, case, group, window.start if window else when, decided_at)
    closed = window is not None and window.overflowed and case.terms.version.overflow == "close"
    has_room = used + others + units <= quota and not closed
    fits = units == 0 or has_room or (kept is not None and used + units <= quota)
    if fits and units and not window:
        window = Window(when, used)
    only_reserved = not fits and not closed and used + units <= quota
    reached = () if only_reserved else _reached(window, units, quota, fits=fits)
    after = used + units if fits else used
    if window and units:
        announced = window.announced | {quota} if 100 in reached else window.announced
        crossed = window.crossed | {quota} if 80 in reached else window.crossed
        overflowed = window.overflowed or not fits
        changed = Window(window.start, after, overflowed, announced, crossed)
        counter = counter.having(changed, group.window)
    figures = _Figures(
        quota=written(quota),
        window=group.window.name(window.start) if window else None,
        used_before=written(used),
        used_after=written(after),
        running_total=written(used + units),
        thresholds=reached,
        reserved_before=written(type(quota)(others)),
        reservation=kept.id if kept and fits else None,
    )
    if fits:
        return counter, _decision(case, "free", "within_quota", decided_at, figures)
    return counter, _decision(case, "billed", "over_quota", decided_at, figures)


def _claimed(counter: Counter, case: Case, group: Group, start: datetime, now: datetime) -> _Claim:
    """Settle the reservation of a request in the window that starts at `start`; drop what has expired."""
    if not counter.reservations:
        return _Claim(counter)
    _, _, _, units = case.ruling
    request, end = case.request, group.window.end(start)
    there = open_at(counter.reservations, now)
    own = settled_by(there, request.reservation or request.id, request.project, start, end)
    rest = tuple(each for each in there if each is not own)
    kept = own if own and own.binding == binding_of(case.terms) and units <= own.units else None
    return _Claim(counter._replace(reservations=rest), reserved(rest, start, end), kept)


def binding_of(terms: Terms) -> Binding:
    """What is in force, as a reservation names it."""
    return Binding(terms.version.name, terms.profile_version, terms.settings_version)


def _reached(window: Window | None, units: Figure, quota: Figure, *, fits: bool) -> tuple[int, ...]:
    """Thresholds to announce of the quota in force. 80 %: the first free decision that crosses it.

    100 %, once for each quota: exact fill, or the first miss of a request that an unused quota would hold.
    """
    if window is None or not units:
        return ()
    used = window.used
    crosses_80 = fits and quota not in window.crossed and used * 100 < quota * 80 <= (used + units) * 100
    full = not window.has_announced(quota) and (used + units == quota if fits else units <= quota)
    return (80,) * crosses_80 + (100,) * full


def _decision(case: Case, verdict: Verdict, reason: str, decided_at: datetime, figures: _Figures) -> Decision:
    request, terms, amount = case.request, case.terms, case.list_amount
    listed = None if amount is None else pricing.usd(amount)
    group, ends = case.ruling.group, terms.version.dates.ends
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
        offer=terms.version.name,
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
        hosted_tool=", ".join(terms.version.hosted(request.tools)) or None,
        shared=request.shared,
        thresholds=figures.thresholds,
        offer_ends=ends.isoformat() if ends else None,
        format=FORMAT,
        unit=group.unit if group else usual_unit(None if case.group == NO_GROUP else case.group),
        cache_write=request.tokens.cache_write,
        audio=request.tokens.audio,
        platform_verdict=request.platform_verdict,
        pool=case.counter.pool,
        reserved_before=figures.reserved_before,
        reservation=figures.reservation,
    )
