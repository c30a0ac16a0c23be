"""Decides a batch of queue messages: validates, judges, settles each counter, and commits. SPEC sections 2 and 3.

What if this dies on any line, runs twice, or two of it run at once? A commit is one transaction that holds only on
the documents it was decided on, and only if no request in it was decided before. So whatever else happened, the next
run meets either nothing or its own decisions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gratis.decision import Case, CounterId, Decision, case_of, counter_of, likely_group, settle
from gratis.dynamo import MOST_ATTEMPTS, pause
from gratis.errors import Busy, Rejected
from gratis.events import check_age, parse_event
from gratis.ledger import (
    LATEST_DECISION,
    MOST_ITEMS,
    CommitRefused,
    Document,
    Ledger,
    books_of,
    is_day,
    totals_of,
)
from gratis.messages import Message
from gratis.offer import Offer
from gratis.quarantine import Entry, Quarantine, entry
from gratis.request import Request, RequestKey

WHENCE = "classify_usage"
Clock = Callable[[Sequence[Request]], datetime]


def wall_clock(_: Sequence[Request]) -> datetime:
    """Now."""
    return datetime.now(UTC)


def event_clock(requests: Sequence[Request]) -> datetime:
    """The moment at which the last of `requests` was received: replay's clock follows the events."""
    return max(request.received_at for request in requests)


@dataclass
class Outcome:
    """What became of a batch. `unfinished`: ids of the messages that have to come again, in order; `causes`: why."""

    events: int = 0
    decisions: list[Decision] = field(default_factory=list)
    repeats: int = 0
    quarantined: list[Entry] = field(default_factory=list)
    contended: int = 0
    unfinished: list[str] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Arrival:
    """One event of the batch. `copies`: the same one again, later in the batch (its bytes may be others)."""

    message: Message
    raw: Any
    request: Request
    copies: "list[Arrival]" = field(default_factory=list)


Pending = tuple[Arrival, Case]


class Classifier:
    """Decides batches of messages; holds what all of them share."""

    def __init__(self, ledger: Ledger, quarantine: Quarantine, offer: Offer, clock: Clock = wall_clock) -> None:
        self.ledger = ledger
        self.quarantine = quarantine
        self.offer = offer
        self.clock = clock

    def classify(self, messages: Sequence[Message]) -> Outcome:
        """Decide every event once, in arrival order per organization."""
        return _Batch(self, messages).run()


class _Batch:
    """One batch while it is decided."""

    def __init__(self, shared: Classifier, messages: Sequence[Message]) -> None:
        self.ledger = shared.ledger
        self.quarantine = shared.quarantine
        self.offer = shared.offer
        self.clock = shared.clock
        self.messages = messages
        self.outcome = Outcome()
        self.shelf: dict[CounterId, Document] = {}
        self.waiting: dict[str, int] = {}
        """Events of each message that have neither a decision nor a quarantine entry."""

    def run(self) -> Outcome:
        arrivals = [arrival for message in self.messages for arrival in self._arrivals(message)]
        for wave in waves(arrivals):
            try:
                self._decide(wave)
            except Busy as busy:
                self.outcome.causes.append(str(busy))
                break
        self.outcome.unfinished = unfinished(self.messages, self.waiting)
        return self.outcome

    def _arrivals(self, message: Message) -> Iterator[Arrival]:
        """The valid events of a message; the others go to quarantine, each alone."""
        try:
            events = message.events()
        except Rejected as poison:
            self._receive(message, 1)
            self._refuse(message, message.body, poison)
            return
        self._receive(message, len(events))
        for raw in events:
            try:
                request = parse_event(raw, message.received_at)
                check_age(request.occurred_at, self.clock([request]), LATEST_DECISION)
            except Rejected as rejected:
                self._refuse(message, raw, rejected)
            else:
                yield Arrival(message, raw, request)

    def _receive(self, message: Message, events: int) -> None:
        self.outcome.events += events
        self.waiting[message.id] = self.waiting.get(message.id, 0) + events

    def _decide(self, wave: Sequence[Arrival]) -> None:
        likely = {counter for each in wave for counter in likely_documents(each.request, self.offer)}
        accounts, self_read = self.ledger.read({each.request.organization for each in wave}, likely)
        self.shelf = {counter: Document() for counter in likely} | self_read
        counters: dict[CounterId, list[Pending]] = {}
        for arrival in wave:
            try:
                case = case_of(arrival.request, self.offer, accounts.get(arrival.request.organization))
            except Exception as error:  # noqa: BLE001 - one event must not stop the others; it is kept and alarmed
                self._refuse_all(arrival, unforeseen(error))
            else:
                counters.setdefault(case.counter, []).append((arrival, case))
        self._read_the_rest(case for pending in counters.values() for _, case in pending)
        stopped: set[str] = set()
        for counter, pending in counters.items():
            if counter.organization in stopped:
                continue
            try:
                self._settle_counter(counter, pending)
            except Busy as busy:
                stopped.add(counter.organization)
                self.outcome.causes.append(f"{counter.organization}: {busy}")

    def _read_the_rest(self, cases: Iterable[Case]) -> None:
        """Documents that the models did not lead to: of requests that rules 1 to 6 billed."""
        needed = {document for case in cases for document in (case.counter, totals_of(case.counter, case.day))}
        missing = needed - self.shelf.keys()
        if missing:
            self.shelf |= {counter: Document() for counter in missing} | self.ledger.read((), missing)[1]

    def _settle_counter(self, counter: CounterId, pending: Sequence[Pending]) -> None:
        while pending:
            size = chunk_size(counter, [case.day for _, case in pending], self.shelf)
            self._commit_or_isolate(counter, pending[:size])
            pending = pending[size:]

    def _commit_or_isolate(self, counter: CounterId, chunk: Sequence[Pending]) -> None:
        """Commit a chunk; if it fails in a way that trying again cannot mend, find the event it is because of."""
        try:
            self._commit(counter, chunk)
        except Busy:
            raise
        except Exception as error:  # noqa: BLE001 - one event must not stop the others; it is kept and alarmed
            if len(chunk) > 1:
                for each in chunk:
                    self._commit_or_isolate(counter, [each])
            else:
                self._refuse_all(chunk[0][0], unforeseen(error))

    def _commit(self, counter: CounterId, chunk: Sequence[Pending]) -> None:
        """Decide the chunk from what the counter holds, and commit; from what came back if it was refused."""
        attempts = 0
        while chunk:
            books = books_of(self.shelf, counter, {case.day for _, case in chunk})
            now = self.clock([arrival.request for arrival, _ in chunk])
            books, decisions = settle(books, [case for _, case in chunk], now)
            try:
                self.shelf |= self.ledger.commit(self.shelf, counter, books, decisions)
            except CommitRefused as refused:
                self.shelf |= refused.documents
                left = self._without_decided(chunk, refused.decided)
                attempts = attempts + 1 if len(left) == len(chunk) else 0
                chunk = left
            except Busy:
                attempts += 1
                if attempts > MOST_ATTEMPTS:
                    raise
            else:
                self._finish(chunk, decisions)
                return
            self.outcome.contended += 1
            if attempts > MOST_ATTEMPTS:
                raise Busy(f"other writers were faster {attempts} times")
            if attempts:
                pause(attempts)

    def _finish(self, chunk: Sequence[Pending], decisions: Sequence[Decision]) -> None:
        self.outcome.decisions += decisions
        for arrival, _ in chunk:
            self.waiting[arrival.message.id] -= 1
            self._count_repeats(arrival.copies)

    def _without_decided(self, chunk: Sequence[Pending], decided: Sequence[Decision]) -> list[Pending]:
        """The chunk without what was decided before: a repeat if the payload is the same, else a conflict."""
        earlier = {decision.key: decision for decision in decided}
        left = []
        for arrival, case in chunk:
            decision = earlier.get(arrival.request.key)
            if decision is None:
                left.append((arrival, case))
            elif decision.payload_hash == arrival.request.payload_hash:
                self._count_repeats([arrival, *arrival.copies])
            else:
                self._refuse_all(arrival, conflict(arrival.request, decision), decision)
        return left

    def _count_repeats(self, arrivals: Sequence[Arrival]) -> None:
        self.outcome.repeats += len(arrivals)
        for arrival in arrivals:
            self.waiting[arrival.message.id] -= 1

    def _refuse_all(self, arrival: Arrival, rejected: Rejected, decided: Decision | None = None) -> None:
        for each in (arrival, *arrival.copies):
            self._refuse(each.message, each.raw, rejected, decided)

    def _refuse(self, message: Message, raw: Any, rejected: Rejected, decided: Decision | None = None) -> None:
        """Put an event into quarantine; if that does not work now, its message comes again."""
        kept = entry(raw, rejected, message.received_at, WHENCE, decided.record() if decided else None)
        try:
            self.quarantine.put([kept])
        except Busy as busy:
            self.outcome.causes.append(str(busy))
            return
        self.outcome.quarantined.append(kept)
        self.waiting[message.id] -= 1


def waves(arrivals: Iterable[Arrival]) -> Iterator[list[Arrival]]:
    """Split so that no wave holds a request twice: what comes again with another payload meets the first's decision.

    The same event again shares the fate of the first, as its copy.
    """
    rest = list(arrivals)
    while rest:
        wave: dict[RequestKey, Arrival] = {}
        later = []
        for arrival in rest:
            first = wave.setdefault(arrival.request.key, arrival)
            if first is not arrival and first.request.payload_hash == arrival.request.payload_hash:
                first.copies.append(arrival)
            elif first is not arrival:
                later.append(arrival)
        yield list(wave.values())
        rest = later


def unfinished(messages: Sequence[Message], waiting: Mapping[str, int]) -> list[str]:
    """The messages that have to come again: with events waiting, and all later ones of the same group."""
    groups: set[str] = set()
    again = []
    for message in messages:
        if waiting.get(message.id) or message.group in groups:
            groups.add(message.group)
            again.append(message.id)
    return again


def likely_documents(request: Request, offer: Offer) -> set[CounterId]:
    """The documents that a request needs if rules 1 to 6 do not bill it; read together with the accounts."""
    version = offer.version_at(request.occurred_at)
    counter = counter_of(request, likely_group(request, version), version)
    return {counter, totals_of(counter, request.key.day)}


def chunk_size(counter: CounterId, days: Sequence[Any], shelf: Mapping[CounterId, Document]) -> int:
    """How many of the next decisions fit one transaction beside their documents and first-of-the-day markers."""
    documents = {counter}
    for count, day in enumerate(days):
        documents.add(totals_of(counter, day))
        markers = sum(is_day(document) and shelf[document].version == 0 for document in documents)
        if count + 1 + len(documents) + markers > MOST_ITEMS:
            return count
    return len(days)


def conflict(request: Request, decision: Decision) -> Rejected:
    """The same request id on the same day with another payload."""
    return Rejected(
        "conflict",
        f"id: {request.id!r} of {request.organization} on {decision.day} was decided with another payload "
        f"({decision.model}, {decision.input + decision.output} tokens at {decision.occurred_at}, "
        f"hash {decision.payload_hash[:12]}); this one is {request.model}, {request.tokens.total} tokens, "
        f"hash {request.payload_hash[:12]}",
    )


def unforeseen(error: Exception) -> Rejected:
    """An event that fails in a way nobody foresaw, or that the table will never take."""
    return error if isinstance(error, Rejected) else Rejected("internal_error", f"{type(error).__name__}: {error}")
