"""Closes a day: reads its decisions, proves them, and writes the statement. SPEC section 3, promise 6.

What if this dies on any line, runs twice, or two of it run at once? It only reads, until it writes one statement under
a condition. The same proof again writes nothing; a late decision changes the hash, and that is a new revision. What a
large day's proof has read so far is kept now and then, and whoever comes next goes on from there.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from itertools import groupby, islice
from typing import Any, Literal

from gratis import moment
from gratis.errors import Busy
from gratis.evidence import CounterName, Evidence, OfferOf, counter_of, place_of
from gratis.ledger import Document, Ledger
from gratis.proof import Proof, tiling
from gratis.receipt import Decision
from gratis.statements import Statements
from gratis.window import ROLLING_24H, UTC_DAY, UTC_WEEK, CounterId, kind_of_slot

BLOCK = 50_000
"""Decisions that are read between two looks at the clock."""
FORMAT = 1
"""Of what is kept of a proof: another release may keep something else."""
Versions = Mapping[CounterId, int]


def prove(ledger: Ledger, organization: str, day: date, offer_of: OfferOf) -> Proof:
    """Prove a day from what the ledger holds now. Raises Busy while the day is being written to."""
    proving = Proving(ledger, organization, day, offer_of)
    while not proving.go_on(BLOCK):
        pass
    return proving.proof()


def close(
    ledger: Ledger,
    statements: Statements,
    organization: str,
    day: date,
    *,
    offer_of: OfferOf,
    now: Callable[[], datetime],
    hurry: Callable[[], bool],
    block: int = BLOCK,
) -> tuple[Proof, dict[str, Any] | None] | Literal["unchanged", "put down"]:
    """Prove a day and write its statement, unless that says what the last one said. Raises Busy.

    Put down: time ran out (`hurry`, asked after each `block` of decisions), and what was read is kept; the next call
    goes on from there. Unchanged: nothing was written since a statement that holds, as after a second late decision
    that the first one's proof has seen.
    """
    kept = statements.kept(organization, day)
    proving = Proving(ledger, organization, day, offer_of, kept)
    versions = _listed(proving.versions)
    if kept is None and statements.holds_on(organization, day, versions):
        return "unchanged"
    is_kept = kept is not None
    while not proving.go_on(block):
        statements.keep(organization, day, proving.content(), now())
        is_kept = True
        if hurry():
            return "put down"
    try:
        proof = proving.proof()
    except Busy:
        statements.forget(organization, day)  # the day, or a window of it, was written to: the next call begins anew
        raise
    stated = statements.write(proof, now(), versions)
    if is_kept:
        statements.forget(organization, day)
    return proof, stated


class Proving:
    """The proof of a day on its way: reads the decisions by request id, and then those of other days that count.

    `kept`: what an earlier one had read, from `content`. If the day was written to since, it begins anew.
    """

    def __init__(
        self, ledger: Ledger, organization: str, day: date, offer_of: OfferOf, kept: Mapping[str, Any] | None = None
    ) -> None:
        self.ledger = ledger
        self.organization = organization
        self.day = day
        documents = self._documents()
        self.versions = _versions(documents)
        account = ledger.read([organization], [])[0].get(organization)
        stored = {identity.group: document.totals for identity, document in documents.items()}
        self.evidence = Evidence(organization, day, stored, account, offer_of)
        self.own_read = False
        self.others: list[date] = []
        """Days still to be read, after the day itself, since windows of this day reach into them."""
        self.beyond: dict[CounterName, int] = {}
        """What those windows held when the day had been read. A free decision always raises it."""
        self.after = ""
        """The request id up to which all was read of the day that is being read."""
        if kept and (kept["format"], kept["versions"]) == (FORMAT, _listed(self.versions)):
            self._take_up(kept)
        self._reading = self._read()

    def go_on(self, most: int) -> bool:
        """Read at most so many more request ids; whether all were read. Raises Busy."""
        return sum(1 for _ in islice(self._reading, most)) < most

    def proof(self) -> Proof:
        """What it comes to. Raises Busy if the day was written to meanwhile."""
        documents = self._documents()
        if (_versions(documents), self._used_beyond()) != (self.versions, self.beyond):
            raise Busy(f"{self.organization} {self.day}: decisions are still being added")
        used = {
            (identity.group, UTC_DAY.name(window.start)): window.used
            for identity, document in documents.items()
            for window in document.counter.windows
        }
        used |= self.beyond
        found = self.evidence.differences()
        if torn := self.evidence.torn(used):
            places = (place for each in self._decisions_in(torn) if (place := place_of(each)))
            tiling(places, found, {counter: used.get(counter, 0) for counter in torn})
        return Proof.of(self.evidence.statement, found)

    def content(self) -> dict[str, Any]:
        """What has been read so far, as JSON values."""
        return {
            "format": FORMAT,
            "versions": _listed(self.versions),
            "own_read": self.own_read,
            "others": [other.isoformat() for other in self.others],
            "beyond": [[*counter, used] for counter, used in self.beyond.items()],
            "after": self.after,
            "evidence": self.evidence.content(),
        }

    def _take_up(self, kept: Mapping[str, Any]) -> None:
        self.own_read, self.after = kept["own_read"], kept["after"]
        self.others = [date.fromisoformat(other) for other in kept["others"]]
        self.beyond = {(group, window): used for group, window, used in kept["beyond"]}
        self.evidence.take_up(kept["evidence"])

    # Reading --------------------------------------------------------------------------------------------------------

    def _read(self) -> Iterator[None]:
        """Looks at one request id a step, so that it can be put down after any."""
        if not self.own_read:
            for request_id, decisions in self._by_request():
                self._add(list(decisions))
                self.after = request_id
                yield
            self.others = sorted({other for _, window in self.evidence.beyond() for other in _days(window)})
            self.others = [other for other in self.others if other != self.day]
            self.beyond = self._used_beyond()
            self.own_read, self.after = True, ""
        while self.others:
            for decision in self.ledger.decisions_of_day(self.organization, self.others[0], self.after):
                self.evidence.add_beyond(decision)
                self.after = decision.request_id
                yield
            self.others, self.after = self.others[1:], ""

    def _by_request(self) -> Iterator[tuple[str, Iterator[Decision]]]:
        """The decisions of the day and of its neighbours, by request id."""
        days = (self.day - moment.DAY, self.day, self.day + moment.DAY)
        streams = [self.ledger.decisions_of_day(self.organization, each, self.after) for each in days]
        merged = heapq.merge(*streams, key=lambda decision: decision.request_id)
        return groupby(merged, key=lambda decision: decision.request_id)

    def _add(self, decisions: list[Decision]) -> None:
        """All decisions on one request id. On neighbouring days it is most likely one request, sent with two times."""
        own = [decision for decision in decisions if decision.day == self.day.isoformat()]
        for decision in own:
            self.evidence.add(decision)
        if own and len(decisions) > 1:
            elsewhere = sorted({decision.day for decision in decisions if decision not in own})
            message = f"also decided on {' and '.join(elsewhere)}" if elsewhere else "decided twice on this day"
            self.evidence.found.add("duplicate", message, own[0].record_id)

    def _decisions_in(self, counters: set[CounterName]) -> Iterator[Decision]:
        days = {self.day} | {other for counter in self.evidence.beyond() for other in _days(counter[1])}
        for day in sorted(days):
            for decision in self.ledger.decisions_of_day(self.organization, day):
                if counter_of(decision) in counters:
                    yield decision

    def _documents(self) -> dict[CounterId, Document]:
        groups = {group for _, group in self.ledger.marked(self.day, self.organization)}
        return self.ledger.days(self.organization, sorted(groups), self.day, self.day)

    def _used_beyond(self) -> dict[CounterName, int]:
        """What the windows of this day hold that reach beyond it."""
        reaching = self.evidence.beyond()
        counters = {_counter_id(self.organization, *counter) for counter in reaching}
        return {
            counter: window.used
            for identity, document in self.ledger.read([], counters)[1].items()
            for window in document.counter.windows
            if (counter := (identity.group, kind_of_slot(identity.slot).name(window.start))) in reaching
        }


def _versions(documents: Mapping[CounterId, Document]) -> dict[CounterId, int]:
    return {identity: document.version for identity, document in documents.items()}


def _listed(versions: Versions) -> list[list[Any]]:
    return [[*identity, version] for identity, version in sorted(versions.items())]


def _counter_id(organization: str, group: str, window: str) -> CounterId:
    return CounterId(organization, group, "ROLLING" if "T" in window else f"WEEK#{window}")


def _days(window: str) -> Iterator[date]:
    kind = ROLLING_24H if "T" in window else UTC_WEEK
    yield from kind.utc_days(kind.named(window))
