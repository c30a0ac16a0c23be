"""Reads a day's decisions and has every check look at them.

It only reads, so it may die anywhere and run any number of times. What it has read so far is small, and JSON.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby, islice
from typing import Any

from gratis import moment
from gratis.closing.again import DecidedAgain
from gratis.closing.check import Check, Entry, Held
from gratis.closing.duplicates import Duplicates
from gratis.closing.proof import Differences, Proof
from gratis.closing.sums import Sums
from gratis.closing.tiling import Tiling
from gratis.closing.totals import StoredTotals
from gratis.closing.windows import Counters, CounterWindow, OfferOf, used_of, utc_days
from gratis.errors import Busy
from gratis.rules.figures import Figure, parsed, written
from gratis.rules.formats import RESERVING
from gratis.rules.receipt import Decision
from gratis.rules.request import RequestKey, void_of, voided_by
from gratis.rules.window import CounterId
from gratis.table.decision_items import KEEP_DECISIONS
from gratis.table.ledger import MAX_ITEMS, Document, Ledger

BLOCK = 50_000
"""Decisions that are read between two looks at the clock."""
FORMAT = 4
"""Of what an unfinished proof keeps. What another release kept in another format is not taken up."""


@dataclass(frozen=True)
class NoLongerKept:
    """The day cannot be proved any more: decisions are gone, which the ledger keeps no longer than that."""


def prove(ledger: Ledger, organization: str, day: date, offer_of: OfferOf, now: datetime) -> Proof | NoLongerKept:
    """Prove a day from what the ledger holds now. Raises Busy while the day is being written to."""
    proving = Proving(ledger, organization, day, offer_of)
    while not proving.go_on(BLOCK):
        pass
    return proving.proof(now)


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
        if any(document.format > RESERVING for document in documents.values()):
            raise Busy(f"{organization} {day}: a later release has written to it, and has to prove it")
        self.own = documents.keys()
        self.versions = _versions(documents)
        account = ledger.accounts([organization]).get(organization)
        stored = {identity.group: document.totals for identity, document in documents.items()}
        self.counters = Counters(offer_of)
        self.sums = Sums(organization, day)
        self.tiling = Tiling()
        self.checks: Mapping[str, Check] = {
            "sums": self.sums,
            "totals": StoredTotals(stored, [each.group for each, document in documents.items() if document.is_damaged]),
            "again": DecidedAgain(account, offer_of),
            "tiling": self.tiling,
            "duplicates": Duplicates(),
        }
        self.found = Differences()
        self.own_read = False
        self.others: list[date] = []
        """Days still to be read, after the day itself, since windows of this day reach into them."""
        self.beyond: dict[CounterWindow, Figure] = {}
        """What those windows held when the day had been read. If a decision or a void changes them meanwhile, `proof`
        sees that they moved. If only one of a decision and its void was read, the path is torn and is read again."""
        self.after = ""
        """The request id up to which all was read of the day that is being read."""
        if kept and (kept["format"], kept["versions"]) == (FORMAT, self.versions):
            self._take_up(kept)
        self._reading = self._read()

    def go_on(self, most: int) -> bool:
        """Read at most so many more request ids; whether all were read. Raises Busy."""
        return sum(1 for _ in islice(self._reading, most)) < most

    def proof(self, now: datetime) -> Proof | NoLongerKept:
        """What it comes to. Raises Busy if the day was written to meanwhile."""
        documents = self._documents()
        if _versions(documents) != self.versions:
            raise Busy(f"{self.organization} {self.day}: decisions are still being added")
        used = self._used_beyond()
        moving = {
            counter for counter in used.keys() | self.beyond.keys() if used.get(counter) != self.beyond.get(counter)
        }
        kept_since = moment.day_of(now - KEEP_DECISIONS) if self.ledger.expire else date.min
        if self.day < kept_since and not self._has_read_all(documents):
            return NoLongerKept()
        partial = {counter for counter in self.tiling.paths if min(utc_days(counter), default=self.day) < kept_since}
        held = Held(used_of(documents) | self.beyond, partial, moving, self._entries_in)
        found = Differences.of(self.found.content())
        for check in self.checks.values():
            check.differences(found, held)
        return Proof.of(self.sums.statement(), found)

    def content(self) -> dict[str, Any]:
        """What has been read so far, as JSON values."""
        return {
            "format": FORMAT,
            "versions": self.versions,
            "own_read": self.own_read,
            "others": [other.isoformat() for other in self.others],
            "beyond": [[counter, written(used)] for counter, used in self.beyond.items()],
            "after": self.after,
            "found": self.found.content(),
            "checks": {name: check.content() for name, check in self.checks.items()},
        }

    def _take_up(self, kept: Mapping[str, Any]) -> None:
        self.own_read, self.after = kept["own_read"], kept["after"]
        self.others = [date.fromisoformat(other) for other in kept["others"]]
        self.beyond = {CounterWindow.of(counter): parsed(used) for counter, used in kept["beyond"]}
        self.found = Differences.of(kept["found"])
        for name, check in self.checks.items():
            check.take_up(kept["checks"][name])

    # Reading --------------------------------------------------------------------------------------------------------

    def _read(self) -> Iterator[None]:
        """Looks at one request id a step, so that it can be put down after any."""
        if not self.own_read:
            by_request = self._by_request()
            while several := list(islice(by_request, MAX_ITEMS)):
                voided = self._voided(several)
                for request_id, decisions in several:
                    self._add(decisions, voided)
                    self.after = request_id
                    yield
            self.others = sorted({day for counter in self._reaching() for day in utc_days(counter)} - {self.day})
            self.beyond = self._used_beyond()
            self.own_read, self.after = True, ""
        while self.others:
            for decision in self.ledger.decisions_of_day(self.organization, self.others[0], self.after):
                self._add_beyond(decision)
                self.after = decision.key.request_id
                yield
            self.others, self.after = self.others[1:], ""

    def _by_request(self) -> Iterator[tuple[str, list[Decision]]]:
        """The decisions of the day and of its neighbours, by request id, that of a void being one of its own."""
        days = (self.day - moment.DAY, self.day, self.day + moment.DAY)
        streams = [self.ledger.decisions_of_day(self.organization, each, self.after) for each in days]
        merged = heapq.merge(*streams, key=lambda decision: decision.key.request_id)
        grouped = groupby(merged, key=lambda decision: decision.key.request_id)
        return ((request_id, list(decisions)) for request_id, decisions in grouped)

    def _voided(self, several: Sequence[tuple[str, Sequence[Decision]]]) -> Mapping[RequestKey, Decision]:
        """What the voids among these decisions take back, and the voids of requests that were decided twice."""
        voids = [each for _, decisions in several for each in decisions if each.is_void and self._is_of_day(each)]
        twice = [each for _, decisions in several if len(decisions) > 1 for each in decisions if not each.is_void]
        wanted = {voided_by(each.key) for each in voids} | {void_of(each.key) for each in twice}
        return self.ledger.decisions(wanted) if wanted else {}

    def _is_of_day(self, decision: Decision) -> bool:
        return decision.day == self.day.isoformat()

    def _add(self, decisions: Sequence[Decision], voided: Mapping[RequestKey, Decision]) -> None:
        """All decisions on one request id. What was voided is no duplicate any more."""
        stand = [each for each in decisions if not each.is_void and void_of(each.key) not in voided]
        for decision in decisions:
            if self._is_of_day(decision):
                also_on = [other.day for other in stand if other is not decision] if decision in stand else ()
                taken_back = voided.get(voided_by(decision.key)) if decision.is_void else None
                entry = Entry.of(decision, self._counter_of(decision), also_on, taken_back)
                for check in self.checks.values():
                    check.add(entry, self.found)

    def _add_beyond(self, decision: Decision) -> None:
        counter = self._counter_of(decision)
        if counter in self.tiling.paths:
            entry = Entry.of(decision, counter)
            for check in self.checks.values():
                check.add_beyond(entry, self.found)

    def _entries_in(self, counters: Set[CounterWindow]) -> Iterator[Entry]:
        for day in sorted({self.day}.union(*map(utc_days, counters))):
            for decision in self.ledger.decisions_of_day(self.organization, day):
                if (counter := self._counter_of(decision)) in counters:
                    yield Entry.of(decision, counter)

    def _counter_of(self, decision: Decision) -> CounterWindow | None:
        return self.counters.of(decision.organization, decision.offer, decision.group, decision.window, decision.pool)

    # What the ledger holds ------------------------------------------------------------------------------------------

    def _documents(self) -> dict[CounterId, Document]:
        groups = {group for _, group in self.ledger.marked(self.day, self.organization)}
        return self.ledger.days(self.organization, sorted(groups), self.day, self.day)

    def _has_read_all(self, documents: Mapping[CounterId, Document]) -> bool:
        """Whether every decision was read that the totals count. No totals and no decisions: both have expired."""
        counted = (row.requests for document in documents.values() for row in document.totals.rows.values())
        return sum(counted) == self.sums.decisions and self.sums.records > 0

    def _reaching(self) -> list[CounterWindow]:
        """The counters that no document of the day holds: their windows reach beyond it."""
        return [counter for counter in self.tiling.paths if counter.document not in self.own]

    def _used_beyond(self) -> dict[CounterWindow, Figure]:
        """What the windows of this day hold that reach beyond it."""
        reaching = self._reaching()
        documents = self.ledger.documents({counter.document for counter in reaching})
        return {counter: used for counter, used in used_of(documents).items() if counter in reaching}


def _versions(documents: Mapping[CounterId, Document]) -> list[list[Any]]:
    """The versions of the documents, as JSON values."""
    return [[*identity, document.version] for identity, document in sorted(documents.items())]
