"""Voids: decisions that take an earlier one back, once. SPEC section 2, "Voids". Pure."""

from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from gratis import moment
from gratis.errors import Busy
from gratis.rules.figures import Figure, written
from gratis.rules.formats import FORMAT
from gratis.rules.offer import NO_GROUP, Offer
from gratis.rules.receipt import Decision, Written, request_of
from gratis.rules.request import Request, Void
from gratis.rules.reservation import open_at, reserved
from gratis.rules.window import UTC_DAY, Counter, CounterId, kind_of_slot

OWN = ("format", "received_at", "decided_at", "payload_hash", "reserved_before", "later")
"""Fields that are a void's own, beside the figures of the counter; all others are those of the voided decision."""


class VoidCase(NamedTuple):
    """A void with everything that is settled before the counter is looked at.

    `counter`: the one that the voided decision was taken in; where none was, the document of the day's totals;
    `start`: of the window in it, None where no window was open.
    """

    void: Void
    voided: Decision
    counter: CounterId
    start: datetime | None
    request: Request
    """What is added to the totals: the request with negative tokens."""

    @property
    def day(self) -> date:
        """The UTC day whose totals the voided request belongs to."""
        return self.void.day

    @property
    def list_amount(self) -> Decimal | None:
        """What is added to the totals: a negative amount."""
        listed = self.voided.list_amount_usd
        return None if listed is None else -Decimal(listed)

    @property
    def counts(self) -> int:
        """How many requests are added to the totals."""
        return -1


def void_case(void: Void, voided: Decision, offer: Offer) -> VoidCase:
    """Where the voided decision was counted. Raises LookupError for an offer's version that is not known any more."""
    group, window = voided.group, voided.window
    totals = CounterId(void.organization, group or NO_GROUP, UTC_DAY.slot(void.occurred_at))
    request = request_of(turned(voided))
    if group is None or window is None:
        return VoidCase(void, voided, totals, None, request)
    groups = offer.version_named(voided.offer).all_groups()
    kind = next((each.window for each in groups if each.name == group), None)
    if kind is None:
        raise LookupError(f"the offer {voided.offer} has no group {group}")
    start = kind.named(window)
    return VoidCase(void, voided, CounterId(void.organization, group, kind.slot(start), voided.pool), start, request)


def take_back(counter: Counter, case: VoidCase, decided_at: datetime) -> tuple[Counter, Decision]:
    """Give the units of a free request back to its counter.

    The window stays open at 0; it stays closed, and what was announced of it stays announced. Reservations stay as they
    are: that of the voided request was settled by it. Raises Busy if the counter does not hold what the voided decision
    took: somebody else has voided it meanwhile.
    """
    taken = units_of(case.voided)
    window = next((each for each in counter.windows if each.start == case.start), None)
    used = None if taken is None else type(taken)(window.used if window else 0)
    if taken and used is not None:
        if window is None or used < taken:
            raise Busy(f"{case.counter} holds {used}, which is less than the {taken} of {case.voided.record_id}")
        counter = counter.having(window._replace(used=used - taken), kind_of_slot(case.counter.slot))
    decision = turned(case.voided, used)._replace(
        format=FORMAT,
        reserved_before=0 if taken is None else written(type(taken)(_aside(counter, case, decided_at))),
        received_at=moment.text(case.void.received_at),
        decided_at=moment.text(decided_at),
        payload_hash=case.void.payload_hash,
    )
    return counter, decision


def _aside(counter: Counter, case: VoidCase, now: datetime) -> Figure:
    """What is reserved of the window of the voided decision, where it has one."""
    if case.start is None or not counter.reservations:
        return 0
    return reserved(open_at(counter.reservations, now), case.start, kind_of_slot(case.counter.slot).end(case.start))


def units_of(voided: Decision) -> Figure | None:
    """What a decision took of its counter; None if there was no counter."""
    before, after = voided.figure("used_before"), voided.figure("used_after")
    return None if before is None or after is None else after - before


def turned(voided: Decision, used: Figure | None = None) -> Decision:
    """The void of a decision, all but what is its own (`OWN`). `used`: what the counter holds before it."""
    taken = units_of(voided)
    after: Written = None if used is None or taken is None else written(used - taken)
    return voided._replace(
        kind="usage.void",
        reason="void",
        input=-voided.input,
        cached=-voided.cached,
        output=-voided.output,
        cache_write=-voided.cache_write,
        audio=-voided.audio,
        list_amount_usd=_turned(voided.list_amount_usd),
        amount_usd=_turned(voided.amount_usd),
        used_before=None if used is None else written(used),
        used_after=after,
        running_total=after,
        reserved_before=0,
        thresholds=(),
        later={},
    )


def _turned(amount: str | None) -> str | None:
    return None if amount is None else str(written(-Decimal(amount)))
