"""Whether every decision, taken again from its receipt, is the same. SPEC section 3, promises 5 and 6. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from gratis.closing.check import Check, Entry, Held
from gratis.closing.proof import Differences
from gratis.closing.windows import CounterWindow, OfferOf, window_of
from gratis.rules import pricing
from gratis.rules.account import History, InForce
from gratis.rules.decision import Case, case_under, price_of
from gratis.rules.eligibility import terms_under
from gratis.rules.figures import Figure, parsed, written
from gratis.rules.formats import FIRST
from gratis.rules.offer import NO_GROUP, Version
from gratis.rules.receipt import Decision
from gratis.rules.request import Request
from gratis.rules.void import OWN, turned


@dataclass
class Closure:
    """Of a counter under the policy `close`: whether a request that did not fit closed it, and who relies on that."""

    witnessed: bool = False
    relying: Differences = field(default_factory=Differences)


class DecidedAgain(Check):
    """Takes each decision of the day again, by the rules that its receipt names.

    Of a counter that was closed, any decision on any day may be the one that closed it.
    """

    def __init__(self, account: History | None, offer_of: OfferOf) -> None:
        self._account = account
        self._offer_of = offer_of
        self._closures: dict[CounterWindow, Closure] = {}

    def add(self, entry: Entry, found: Differences) -> None:
        """Take a decision of the day again."""
        if why := self._differs(entry):
            found.add("decided_differently", why, entry.decision.record_id)
        self.add_beyond(entry, found)

    def add_beyond(self, entry: Entry, found: Differences) -> None:  # noqa: ARG002 - another day's proof takes it again
        """See whether the decision closed its counter."""
        decision = entry.decision
        if entry.counter is None or decision.reason != "over_quota":
            return
        if _running_total(decision) + _reserved(decision) > parsed(decision.quota or 0):
            self._closures.setdefault(entry.counter, Closure()).witnessed = True

    def differences(self, found: Differences, held: Held) -> None:
        """Name who was billed in a closed counter that nothing closed."""
        for counter, closure in self._closures.items():
            if closure.relying.count and not closure.witnessed and counter not in held.partial:
                for each in closure.relying.listed():
                    found.add(each.kind, f"{each.message}; {counter} was never closed", *each.ids)

    def content(self) -> list[Any]:
        """What is known of each counter that may be closed."""
        return [[counter, each.witnessed, each.relying.content()] for counter, each in self._closures.items()]

    def take_up(self, content: Sequence[Any]) -> None:
        """Go on from what `content` gave."""
        self._closures = {
            CounterWindow.of(counter): Closure(witnessed, Differences.of(relying))
            for counter, witnessed, relying in content
        }

    # A decision, taken again ----------------------------------------------------------------------------------------

    def _differs(self, entry: Entry) -> str | None:
        """Why the decision, taken again from its receipt, would be another one; None if it is the same."""
        decision = entry.decision
        if decision.is_void:
            return _void_differs(decision, entry.voided)
        try:
            case = self._case(decision, entry.request)
        except LookupError as error:
            return f"names an offer, a price, or a version of profile or settings, that is not there: {error}"
        listed = None if case.list_amount is None else pricing.usd(case.list_amount)
        again = {
            "tier": case.terms.profile.tier,
            "offer": case.terms.version.name,
            "list_amount_usd": listed,
            "amount_usd": "0" if decision.verdict == "free" else listed,
            **self._figures(entry, case),
        }
        stands = {name: getattr(decision, name) for name in again}
        changed = [f"{name} is {stands[name]}, not {each}" for name, each in again.items() if stands[name] != each]
        return f"from its receipt {'; '.join(changed)}" if changed else None

    def _case(self, decision: Decision, request: Request) -> Case:
        """The case as it was when it was decided. Raises LookupError for what the receipt names and is not there."""
        offer = self._offer_of(decision.offer.partition("@")[0])
        if decision.format == FIRST:
            from gratis.rules.offer_file import in_first_form  # noqa: PLC0415 - its models are a part of a cold start

            version = in_first_form(offer.version_named(decision.offer))
        else:
            version = offer.version_at(request.occurred_at)
        terms = terms_under(_with_end(version, decision), self._held(decision, request))
        price = price_of(request, decision.price_version, decision.format) if decision.price_version else None
        return case_under(request, terms, price, decision.format)

    def _held(self, decision: Decision, request: Request) -> InForce:
        """The versions that the receipt names. Raises LookupError if there is no such."""
        numbers = decision.profile_version, decision.settings_version
        if self._account is None:
            if any(numbers):
                raise LookupError(f"there is no account of {decision.organization}")
            return InForce()
        return self._account.named(*numbers, request.occurred_at)

    def _figures(self, entry: Entry, case: Case) -> Mapping[str, Any]:
        """Rule 7 from the receipt's own `used_before`, `reserved_before` and `reservation`.

        What rules 1 to 6 bill has no figures.
        """
        decision, name = entry.decision, None if case.group == NO_GROUP else case.group
        reason, group, quota, units = case.ruling
        if reason is not None or group is None or quota is None:
            none = dict.fromkeys(("quota", "window", "used_before", "used_after", "running_total"))
            return none | {"verdict": "billed", "reason": reason, "group": name}
        before = type(quota)(parsed(decision.used_before or 0))
        has_room = before + _reserved(decision) + units <= quota
        is_kept = decision.reservation is not None and before + units <= quota
        fits = units == 0 or is_kept or (has_room and not self._relies_on_closing(entry, case))
        return {
            "verdict": "free" if fits else "billed",
            "reason": "within_quota" if fits else "over_quota",
            "group": name,
            "unit": group.unit,
            "quota": written(quota),
            "window": window_of(group, decision.window, entry.request.occurred_at),
            "used_after": written(before + units if fits else before),
            "running_total": written(before + units),
        }

    def _relies_on_closing(self, entry: Entry, case: Case) -> bool:
        """Whether what would fit is billed since its counter was closed: then something must have closed it."""
        if entry.counter is None or entry.decision.verdict == "free" or case.terms.version.overflow != "close":
            return False
        closure = self._closures.setdefault(entry.counter, Closure())
        closure.relying.add("decided_differently", "would fit, but is billed", entry.decision.record_id)
        return True


def _running_total(decision: Decision) -> Figure:
    return parsed(decision.running_total or 0)


def _reserved(decision: Decision) -> Figure:
    return parsed(decision.reserved_before or 0)


def _void_differs(void: Decision, voided: Decision | None) -> str | None:
    """Why a void is not that of the decision that it names; None if it is."""
    if voided is None:
        return f"takes back {void.voids}, which is not there"
    expected = turned(voided, void.figure("used_before"))
    names = [name for name in void._fields if name not in OWN]
    pairs = {name: (_plain(getattr(void, name)), _plain(getattr(expected, name))) for name in names}
    changed = [f"{name} is {stated}, not {meant}" for name, (stated, meant) in pairs.items() if stated != meant]
    return f"as a void of {void.voids} {'; '.join(changed)}" if changed else None


def _plain(value: Any) -> Any:
    """Lists as tuples: what is stored comes back as a list."""
    return tuple(value) if isinstance(value, list) else value


def _with_end(version: Version, decision: Decision) -> Version:
    """The version with the last day that its offer had when the decision was taken.

    Evaluation runs that have dates of their own keep them.
    """
    ends = date.fromisoformat(decision.offer_ends) if decision.offer_ends else None
    return version if version.dates.ends == ends else replace(version, dates=version.dates._replace(ends=ends))
