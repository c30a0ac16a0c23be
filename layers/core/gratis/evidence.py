"""What a day's proof keeps of the decisions it has read: little, and of one size however many there were. Pure.

It is all that is needed to say whether totals are sums of decisions, free decisions tile their counters, and every
decision taken again from its receipt is the same. So a proof can be put down after any decision and taken up again.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from gratis import pricing
from gratis.account import Account
from gratis.decision import NO_GROUP, Case, case_under, price_of
from gratis.eligibility import terms_of_versions
from gratis.figures import parsed, written
from gratis.formats import FIRST
from gratis.moment import parse
from gratis.offer import Group, Offer, Version
from gratis.offer_file import ending, in_first_form
from gratis.proof import Difference, Differences, Free, Statement
from gratis.receipt import Decision
from gratis.request import Request, Tokens
from gratis.totals import OTHER, RowKey, Sums, Totals
from gratis.window import Calendar

OfferOf = Callable[[str], Offer]
"""The offer of an id, as receipts name it. Raises LookupError for one that nobody knows."""
CounterName = tuple[str, str]
"""Group and window."""


@dataclass
class Tiles:
    """Whether the free decisions of a counter tile [0, used], without sorting or keeping them.

    Think of each as an arrow from `used_before` forward to `used_after`. If every point is left as often as it is
    reached, but 0 is left once more and `used` reached once more, then the arrows are one path from 0 to `used`, and
    that is what tiling means. The points are counted by a sum of their hashes, which is 0 if they cancel out.
    """

    balance: int = 0

    def add(self, before: int, after: int) -> None:
        """One free decision, in any order."""
        self.balance = (self.balance + _point(before) - _point(after)) % _MODULUS

    def reach(self, used: int) -> bool:
        """Whether they tile [0, used]."""
        return self.balance == (_point(0) - _point(used)) % _MODULUS


_MODULUS = 2**256


def _point(tokens: int) -> int:
    return int.from_bytes(hashlib.sha256(b"%d" % tokens).digest())


class Recount(Totals):
    """The totals of a group, counted again from its decisions into the rows that `stored` has, or into `(other)`."""

    def __init__(self, stored: Totals, counted: Totals | None = None) -> None:
        super().__init__(counted.rows if counted else None)
        self.stored = stored

    def _row(self, key: RowKey, _: int) -> Sums:
        if key not in self.stored.rows:
            key = key._replace(project=OTHER, model=OTHER, service_tier=OTHER)
        return self.rows.setdefault(key, Sums())


@dataclass
class Closing:
    """Of a counter under the policy `close`: whether a request that did not fit closed it, and who relies on that."""

    witnessed: bool = False
    relying: Differences = field(default_factory=Differences)


class Evidence:
    """What the decisions of a day, added by request id, say together."""

    def __init__(
        self,
        organization: str,
        day: date,
        stored: Mapping[str, Totals],
        account: Account | None,
        offer_of: OfferOf,
    ) -> None:
        self.day = day.isoformat()
        self.account = account
        self.offer_of = offer_of
        self.statement = Statement(organization, day)
        self.found = Differences()
        self.recounts = {group: Recount(totals) for group, totals in stored.items()}
        self.tiles: dict[CounterName, Tiles] = {}
        self.closings: dict[CounterName, Closing] = {}

    # Adding ---------------------------------------------------------------------------------------------------------

    def add(self, decision: Decision) -> None:
        """A decision of the day."""
        record, request = decision.record(), request_of(decision)
        self.statement.add(record)
        group = decision.group or NO_GROUP
        listed = Decimal(decision.list_amount_usd) if decision.list_amount_usd is not None else None
        recount = self.recounts.setdefault(group, Recount(Totals()))
        recount.add(request, decision.verdict, listed)
        if why := self._decided_differently(decision, request):
            self.found.add("decided_differently", why, decision.record_id)
        if decision.window is not None:
            self.tiles.setdefault(counter_of(decision), Tiles())
        self._count(decision)

    def add_beyond(self, decision: Decision) -> None:
        """A decision of another day, which counts if it lies in a window that a decision of this day is in."""
        if counter_of(decision) in self.tiles:
            self._count(decision)

    def _count(self, decision: Decision) -> None:
        counter, free = counter_of(decision), place_of(decision)
        if free is not None:
            self.tiles[counter].add(free.before, free.after)
            if free.after > free.quota:
                self.found.add("over_granted", f"{_named(counter)}: more was free than the quota", free.id)
        elif decision.reason == "over_quota" and (decision.running_total or 0) > (decision.quota or 0):
            self.closings.setdefault(counter, Closing()).witnessed = True

    # What it comes to -----------------------------------------------------------------------------------------------

    def beyond(self) -> list[CounterName]:
        """The counters whose windows reach beyond the UTC day."""
        return sorted(counter for counter in self.tiles if counter[0] == "evals" or "T" in counter[1])

    def torn(self, used: Mapping[CounterName, int]) -> set[CounterName]:
        """The counters that are not tiled by what was added. `used`: what they hold."""
        counters = self.tiles.keys() | used.keys()
        return {each for each in counters if not self.tiles.get(each, Tiles()).reach(used.get(each, 0))}

    def differences(self) -> Differences:
        """What does not hold, but for torn counters, of which the decisions have to be looked at once more."""
        found = Differences(self.found.listed(), self.found.count)
        for group, recount in sorted(self.recounts.items()):
            if recount.rows != recount.stored.rows:
                found.add("totals", f"group {group}: the totals are not the sums over the decisions")
        for counter, closing in self.closings.items():
            if closing.relying.count and not closing.witnessed:
                for each in closing.relying.listed():
                    found.add(each.kind, f"{each.message}; {_named(counter)} was never closed", *each.ids)
        return found

    # Decided again --------------------------------------------------------------------------------------------------

    def _decided_differently(self, decision: Decision, request: Request) -> str | None:
        """Why the decision, taken again from its receipt, would be another one; None if it is the same."""
        try:
            case = self._case(decision, request)
        except LookupError as error:
            return f"names an offer, a price, or a version of profile or settings, that is not there: {error}"
        listed = None if case.list_amount is None else pricing.usd(case.list_amount)
        again = {
            "tier": case.terms.profile.tier,
            "offer": case.terms.version.name,
            "list_amount_usd": listed,
            "amount_usd": "0" if decision.verdict == "free" else listed,
            **self._figures(decision, case),
        }
        stands = {name: getattr(decision, name) for name in again}
        changed = [f"{name} is {stands[name]}, not {each}" for name, each in again.items() if stands[name] != each]
        return f"from its receipt {'; '.join(changed)}" if changed else None

    def _case(self, decision: Decision, request: Request) -> Case:
        """The case as it was when it was decided. Raises LookupError for what the receipt names and is not there."""
        offer = self.offer_of(decision.offer.partition("@")[0])
        if decision.format == FIRST:
            version = in_first_form(offer.version_named(decision.offer))
        else:
            version = offer.version_at(request.occurred_at)
        numbers = decision.profile_version, decision.settings_version
        terms = terms_of_versions(request, _with_end(version, decision), self.account, numbers)
        price = price_of(request, decision.price_version, decision.format) if decision.price_version else None
        return case_under(request, terms, price, decision.format)

    def _figures(self, decision: Decision, case: Case) -> dict[str, Any]:
        """Rule 7 from the receipt's own `used_before`; what rules 1 to 6 bill has no figures."""
        name = None if case.group == NO_GROUP else case.group
        reason, group, quota, units = case.ruling
        if reason is not None or group is None or quota is None:
            none = dict.fromkeys(("quota", "window", "used_before", "used_after", "running_total"))
            return none | {"verdict": "billed", "reason": reason, "group": name}
        before = type(quota)(parsed(decision.used_before or 0))
        has_room = before + units <= quota
        fits = units == 0 or (has_room and not self._relies_on_closing(decision, case))
        return {
            "verdict": "free" if fits else "billed",
            "reason": "within_quota" if fits else "over_quota",
            "group": name,
            "unit": group.unit,
            "quota": written(quota),
            "window": self._window(decision, group),
            "used_after": written(before + units if fits else before),
            "running_total": written(before + units),
        }

    def _window(self, decision: Decision, group: Group) -> str | None:
        """How the request's window is named; a rolling one is taken as it stands, since only the ledger knows it."""
        if isinstance(group.window, Calendar):
            return group.window.name(parse(decision.occurred_at))
        return decision.window

    def _relies_on_closing(self, decision: Decision, case: Case) -> bool:
        """Whether what would fit is billed since its counter was closed: then something must have closed it."""
        if decision.verdict == "free" or case.terms.version.overflow != "close":
            return False
        closing = self.closings.setdefault(counter_of(decision), Closing())
        closing.relying.add("decided_differently", "would fit, but is billed", decision.record_id)
        return True

    # Put down and taken up ------------------------------------------------------------------------------------------

    def content(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        statement = {name: str(value) for name, value in vars(self.statement).items() if isinstance(value, Decimal)}
        counts = {name: value for name, value in vars(self.statement).items() if isinstance(value, int | list)}
        return {
            "statement": counts | statement | {"hash": self.statement.hash.hex()},
            "found": _differences(self.found),
            "recounts": {group: recount.to_json() for group, recount in self.recounts.items()},
            "tiles": [[*counter, hex(tiles.balance)] for counter, tiles in self.tiles.items()],
            "closings": [
                [*counter, closing.witnessed, _differences(closing.relying)]
                for counter, closing in self.closings.items()
            ],
        }

    def take_up(self, content: Mapping[str, Any]) -> None:
        """Go on from what `content` gave."""
        for name, value in content["statement"].items():
            kind = type(getattr(self.statement, name))
            setattr(self.statement, name, bytes.fromhex(value) if kind is bytes else kind(value))
        self.found = _taken_up(content["found"])
        for group, counted in content["recounts"].items():
            stored = self.recounts[group].stored if group in self.recounts else Totals()
            self.recounts[group] = Recount(stored, Totals.from_json(counted))
        self.tiles = {(group, window): Tiles(int(balance, 16)) for group, window, balance in content["tiles"]}
        self.closings = {
            (group, window): Closing(witnessed, _taken_up(relying))
            for group, window, witnessed, relying in content["closings"]
        }


def counter_of(decision: Decision) -> CounterName:
    """The group and the window that a decision was taken in; dashes where rules 1 to 6 billed it."""
    return decision.group or NO_GROUP, decision.window or "-"


def place_of(decision: Decision) -> Free | None:
    """Which part of its counter a decision took; None if it took nothing."""
    before, after = decision.used_before or 0, decision.used_after or 0
    if decision.verdict != "free" or before == after:
        return None
    return Free(*counter_of(decision), before, after, decision.quota or 0, decision.record_id)


def request_of(decision: Decision) -> Request:
    """The request, as far as it mattered to its decision."""
    return Request(
        kind=decision.kind,
        organization=decision.organization,
        id=decision.request_id,
        project=decision.project,
        model=decision.model,
        endpoint=decision.endpoint,
        service_tier=decision.service_tier,
        batch=decision.batch,
        tools=tuple(filter(None, (decision.hosted_tool or "").split(", "))),
        shared=decision.shared,
        tokens=Tokens(decision.input, decision.cached, decision.output, decision.cache_write, decision.audio),
        occurred_at=parse(decision.occurred_at),
        received_at=parse(decision.received_at),
        payload_hash=decision.payload_hash,
    )


def _with_end(version: Version, decision: Decision) -> Version:
    """The version with the last day that its offer had when the decision was taken."""
    return ending(version, date.fromisoformat(decision.offer_ends) if decision.offer_ends else None)


def _named(counter: CounterName) -> str:
    return f"counter {counter[0]} {counter[1]}"


def _differences(found: Differences) -> list[Any]:
    return [found.count, [asdict(each) for each in found.listed()]]


def _taken_up(content: list[Any]) -> Differences:
    count, found = content
    return Differences([Difference(**each) for each in found], count)
