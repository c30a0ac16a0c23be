"""Decides a batch of queue messages: validates, judges, settles each counter, and commits. SPEC sections 2 and 3.

It may die on any line, run twice, or run twice at once: a commit is one transaction that succeeds only if its documents
are still as they were read, and no request in it was decided before. So the next run finds either nothing or the
decisions that were taken.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from threading import Lock
from typing import Any

from gratis import moment
from gratis.errors import Busy, Rejected
from gratis.intake.events import MAX_EVENT_BYTES, compact, parse_event
from gratis.intake.messages import Message
from gratis.rules.account import InForce
from gratis.rules.decision import Case, case_of, likely_counter, settle
from gratis.rules.offer import Offer
from gratis.rules.pages import MAX_PAGE_ROWS, Name, Touched, name_of
from gratis.rules.receipt import Decision, is_repeat, request_of
from gratis.rules.request import Request, RequestKey, Void
from gratis.rules.void import VoidCase, void_case
from gratis.rules.window import CounterId
from gratis.table.account_items import StoredAccount
from gratis.table.dynamo import MAX_ATTEMPTS, Pause, Spread, pause
from gratis.table.ledger import (
    LATEST_DECISION,
    MAX_ITEMS,
    AccountMoved,
    CommitRefused,
    Document,
    JudgedBy,
    Ledger,
    books_of,
    is_day,
    totals_of,
)
from gratis.table.quarantine import Entry, Quarantine, entry

WHENCE = "classify_usage"
Clock = Callable[[Sequence[Request | Void]], datetime]


def wall_clock(_: Sequence[Request | Void]) -> datetime:
    """Now."""
    return datetime.now(UTC)


@dataclass
class Outcome:
    """What became of a batch.

    `fates`: for each event that is done the id of its message, and its decision (of a repeat the earlier one) or its
    quarantine entry; `unfinished`: ids of the messages that have to come again, in order; `causes`: why.
    """

    events: int = 0
    decisions: list[Decision] = field(default_factory=list)
    repeats: int = 0
    quarantined: list[Entry] = field(default_factory=list)
    fates: list[tuple[str, Decision | Entry]] = field(default_factory=list)
    contended: int = 0
    unfinished: list[str] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Arrival:
    """One event of the batch.

    `copies`: the same one again, later in the batch (its bytes may be others). `rivals`: later ones with the same
    request id and day but another payload.
    """

    message: Message
    raw: Any
    request: Request | Void
    copies: "list[Arrival]" = field(default_factory=list)
    rivals: "list[Arrival]" = field(default_factory=list)
    done: bool = False
    """It has its decision, or its quarantine entry."""


Pending = tuple[Arrival, Case | VoidCase]
NOBODY = JudgedBy.of(None)
"""For an organization without an account."""


def never() -> bool:
    """There is no deadline."""
    return False


class Classifier:
    """Decides batches of messages; holds what all of them share.

    `spread`: `map`, or one that settles organizations side by side (they share no document). `max_items`: of one
    transaction.
    """

    def __init__(
        self,
        ledger: Ledger,
        quarantine: Quarantine,
        offer: Offer,
        clock: Clock = wall_clock,
        *,
        pause: Pause = pause,
        spread: Spread = map,
        max_items: int = MAX_ITEMS,
    ) -> None:
        self.ledger = ledger
        self.quarantine = quarantine
        self.offer = offer
        self.clock = clock
        self.pause = pause
        self.spread = spread
        self.max_items = max_items

    def classify(self, messages: Sequence[Message], hurry: Callable[[], bool] = never) -> Outcome:
        """Decide every event once, in arrival order per organization.

        `hurry`: whether time is running out, asked before each commit; what is left then is unfinished.
        """
        return _Batch(self, messages, hurry).run()


class _Batch:
    """One batch while it is decided."""

    def __init__(self, shared: Classifier, messages: Sequence[Message], hurry: Callable[[], bool]) -> None:
        self.ledger = shared.ledger
        self.quarantine = shared.quarantine
        self.offer = shared.offer
        self.clock = shared.clock
        self.pause = shared.pause
        self.spread = shared.spread
        self.hurry = hurry
        self.counting = Lock()
        """Guards the counts of the outcome, since organizations may be settled side by side."""
        self.max_items = shared.max_items
        self.messages = messages
        self.outcome = Outcome()
        self.shelf: dict[CounterId, Document] = {}
        self.judged_by: dict[str, JudgedBy] = {}
        """By organization: the account as it was read with what is on the shelf."""
        self.stopped: set[str] = set()
        """Organizations that have to wait: what comes later must not overtake."""
        self.again: set[str] = set()
        """Messages with an event that has neither a decision nor a quarantine entry."""

    def run(self) -> Outcome:
        arrivals = [arrival for message in self.messages for arrival in self._arrivals(message)]
        rest = arrivals
        try:
            while rest:
                wave, later = first_of_each(rest)
                self._decide([each for each in wave if each.request.organization not in self.stopped])
                rivals = [rival for first in wave if first.done for rival in first.rivals if self._is_open(rival)]
                rest = rivals + later
        except Busy as busy:
            self.outcome.causes.append(str(busy))
        self.again |= {arrival.message.id for arrival in arrivals if not arrival.done}
        self.outcome.unfinished = unfinished(self.messages, self.again)
        return self.outcome

    def _is_open(self, rival: Arrival) -> bool:
        """Whether a rival has still to be judged, since the first event of its id was refused."""
        return not rival.done and rival.message.id not in self.again

    def _arrivals(self, message: Message) -> Iterator[Arrival]:
        """The valid events of a message; the others go to quarantine."""
        try:
            events = message.events()
        except Rejected as poison:
            self.outcome.events += 1
            self._refuse([(message, message.body, poison)])
            return
        self.outcome.events += len(events)
        invalid = []
        # No event is longer than the body that it came in; only what is not ASCII grows when it is written as ASCII.
        measure = len(message.body) > MAX_EVENT_BYTES or not message.body.isascii()
        for raw in events:
            try:
                if measure:
                    compact(raw)  # replay and foreign senders bypass the webhook, which refuses what is too large
                request = parse_event(raw, message.received_at)
            except Exception as error:  # noqa: BLE001 - one event must not stop the others; it is kept and alarmed
                invalid.append((message, raw, unforeseen(error)))
            else:
                yield Arrival(message, raw, request)
        self._refuse(invalid)

    def _decide(self, wave: Sequence[Arrival]) -> None:
        """Decide a wave; if an item in the table cannot be read, decide all organizations but that item's."""
        organizations = dict.fromkeys(each.request.organization for each in wave)
        try:
            self._decide_until_accounts_rest(self._without_expired(wave))
        except Busy:
            raise
        except Exception as error:  # noqa: BLE001 - the messages come again, and end as dead letters, with an alarm
            if len(organizations) == 1:
                self.stopped.update(organizations)
                self.outcome.causes.append(f"{next(iter(organizations))}: {type(error).__name__}: {error}")
                return
            for organization in organizations:
                self._decide([each for each in wave if each.request.organization == organization and not each.done])

    def _decide_until_accounts_rest(self, in_time: Sequence[Arrival]) -> None:
        """Decide; requests whose account was changed before their commit are judged again, by the account as it is."""
        attempts = 0
        while in_time:
            moved = self._decide_together(in_time)
            in_time = [each for each in in_time if each.request.organization in moved and not each.done]
            attempts += 1
            if in_time and attempts > MAX_ATTEMPTS:
                self.stopped |= moved
                self.outcome.causes.append(f"{', '.join(sorted(moved))}: the account is being changed")
                return
            if in_time:
                self.pause(attempts)

    def _decide_together(self, in_time: Sequence[Arrival]) -> set[str]:
        """Decide what can be; returns the organizations whose accounts were changed meanwhile."""
        requests = [each.request for each in in_time]
        likely = likely_documents([each for each in requests if isinstance(each, Request)], self.offer)
        decided = self._decided([each for each in requests if isinstance(each, Void)])
        accounts, stored = self.ledger.read({each.request.organization for each in in_time}, likely)
        self.shelf = {counter: Document() for counter in likely} | stored
        self.judged_by = {name: JudgedBy.of(account) for name, account in accounts.items()}
        counters: dict[CounterId, list[Pending]] = {}
        for arrival in in_time:
            held = in_force_at(arrival.request, accounts)  # outside `try`: not the event's fault, see `_decide`
            try:
                if isinstance(arrival.request, Void) and arrival.request.key in decided:
                    self._decided_before(arrival, decided[arrival.request.key])
                    continue
                case = self._case(arrival.request, held, decided)
            except Exception as error:  # noqa: BLE001 - one event must not stop the others; it is kept and alarmed
                self._refuse_all(arrival, unforeseen(error))
            else:
                counters.setdefault(case.counter, []).append((arrival, case))
        self._read_the_rest(case for pending in counters.values() for _, case in pending)
        return self._settle_all(counters)

    def _settle_all(self, counters: Mapping[CounterId, Sequence[Pending]]) -> set[str]:
        """Decide what each counter has to, organizations side by side; returns those whose accounts were changed."""
        moved: set[str] = set()

        def settle_organization(organization: str) -> None:
            try:
                for counter, pending in counters.items():
                    if counter.organization == organization:
                        self._settle_counter(counter, pending)
            except AccountMoved:
                moved.add(organization)
            except Busy as busy:
                self.stopped.add(organization)
                self.outcome.causes.append(f"{organization}: {busy}")

        for _ in self.spread(settle_organization, dict.fromkeys(counter.organization for counter in counters)):
            pass
        self.outcome.contended += len(moved)
        return moved

    def _decided(self, voids: Sequence[Void]) -> Mapping[RequestKey, Decision]:
        """The decisions that voids take back, and the voids that were decided before."""
        return self.ledger.decisions({key for void in voids for key in (void.voided, void.key)}) if voids else {}

    def _case(
        self, request: Request | Void, held: InForce | None, decided: Mapping[RequestKey, Decision]
    ) -> Case | VoidCase:
        """Raises Rejected for a void of what was never decided."""
        if isinstance(request, Request):
            return case_of(request, self.offer, held)
        if decision := decided.get(request.voided):
            return void_case(request, decision, self.offer)
        raise unknown_request(request)

    def _without_expired(self, wave: Sequence[Arrival]) -> list[Arrival]:
        """The arrivals that can still be decided. One that waited too long is a repeat or a conflict, or is refused."""
        in_time: list[Arrival] = []
        expired: list[Arrival] = []
        for arrival in wave:
            age = self.clock([arrival.request]) - arrival.request.occurred_at
            (expired if age > LATEST_DECISION else in_time).append(arrival)
        decided = self.ledger.decisions([arrival.request.key for arrival in expired]) if expired else {}
        for arrival in expired:
            if decision := decided.get(arrival.request.key):
                self._decided_before(arrival, decision)
            else:
                self._refuse_all(arrival, too_late(arrival.request))
        return in_time

    def _read_the_rest(self, cases: Iterable[Case | VoidCase]) -> None:
        """Read the documents that `likely_documents` cannot name: of requests that rules 1 to 6 bill, and of voids."""
        pairs = {(case.counter, case.day) for case in cases}
        needed = {document for counter, day in pairs for document in (counter, totals_of(counter, day))}
        missing = needed - self.shelf.keys()
        if missing:
            self.shelf |= {counter: Document() for counter in missing} | self.ledger.documents(missing)

    def _settle_counter(self, counter: CounterId, pending: Sequence[Pending]) -> None:
        while pending:
            self._read_pages(counter, pending[: self.max_items])
            size = self._chunk_size(counter, pending)
            self._commit_or_isolate(counter, pending[:size])
            pending = pending[size:]

    def _chunk_size(self, counter: CounterId, pending: Sequence[Pending]) -> int:
        cases = [case for _, case in pending[: self.max_items]]
        limits = self.max_items, self.ledger.max_page_rows
        return chunk_size(counter, cases, self.shelf, *limits, judged_by=self._judged_by(counter))

    def _commit_or_isolate(self, counter: CounterId, chunk: Sequence[Pending]) -> None:
        """Commit a chunk; if it can never succeed, commit event by event, and refuse the one at fault."""
        try:
            self._commit(counter, chunk)
        except (Busy, AccountMoved):
            raise
        except Exception as error:  # noqa: BLE001 - one event must not stop the others; it is kept and alarmed
            left = [each for each in chunk if not each[0].done]
            if len(chunk) > 1:
                for each in left:
                    self._commit_or_isolate(counter, [each])
            elif left:
                self._refuse_all(left[0][0], unforeseen(error))

    def _commit(self, counter: CounterId, pending: Sequence[Pending]) -> None:
        """Decide from the documents on the shelf and commit; if that is refused, decide again on those that came back.

        These may have more pages, so that more than one transaction is needed.
        """
        attempts = 0
        while pending:
            if self.hurry():
                raise Busy("time is running out")
            try:
                if attempts:
                    self._read_again(counter, pending)
                self._read_pages(counter, pending)
                chunk = pending[: self._chunk_size(counter, pending)]
                books = books_of(self.shelf, counter, {case.day for _, case in chunk})
                now = self.clock([arrival.request for arrival, _ in chunk])
                books, decisions = settle(books, [case for _, case in chunk], now)
                voided = [case.voided for _, case in chunk if isinstance(case, VoidCase)]
                judged_by = self._judged_by(counter)
                self.shelf |= self.ledger.commit(self.shelf, counter, books, decisions, voided, judged_by=judged_by)
            except CommitRefused as refused:
                self.shelf |= refused.documents
                left = self._without_decided(pending, refused.decided)
                attempts = attempts + 1 if len(left) == len(pending) else 0
                pending = left
            except Busy:
                attempts += 1
                if attempts > MAX_ATTEMPTS:
                    raise
            else:
                self._finish(chunk, decisions)
                pending, attempts = pending[len(chunk) :], 0
                continue
            with self.counting:
                self.outcome.contended += 1
            if attempts > MAX_ATTEMPTS:
                raise Busy(f"other writers were faster {attempts} times")
            if attempts:
                self.pause(attempts)

    def _judged_by(self, counter: CounterId) -> JudgedBy:
        return self.judged_by.get(counter.organization, NOBODY)

    def _read_again(self, counter: CounterId, pending: Sequence[Pending]) -> None:
        """Read after a wait: documents may have changed once more, and a transaction conflict does not return them."""
        documents = {counter} | {totals_of(counter, case.day) for _, case in pending}
        with readable(counter):
            self.shelf |= self.ledger.documents(documents)

    def _read_pages(self, counter: CounterId, pending: Sequence[Pending]) -> None:
        """Read the pages of totals on which these requests are counted, after their documents."""
        names: dict[date, set[Name]] = {}
        for _, case in pending:
            names.setdefault(case.day, set()).add(name_of(case.request))
        with readable(counter):
            for day, wanted in names.items():
                document = totals_of(counter, day)
                self.shelf[document] = self.ledger.with_pages(document, self.shelf[document], wanted)

    def _finish(self, chunk: Sequence[Pending], decisions: Sequence[Decision]) -> None:
        self.outcome.decisions += decisions
        for (arrival, _), decision in zip(chunk, decisions, strict=True):
            self._is_decided(arrival, decision)
            if arrival.copies:
                self._count_repeats(arrival.copies, decision)
            if arrival.rivals:
                self._compare(arrival.rivals, decision)

    def _without_decided(self, chunk: Sequence[Pending], decided: Sequence[Decision]) -> list[Pending]:
        """Those that were not decided before."""
        earlier = {decision.key: decision for decision in decided}
        for arrival, _ in chunk:
            if decision := earlier.get(arrival.request.key):
                self._decided_before(arrival, decision)
        return [each for each in chunk if each[0].request.key not in earlier]

    def _decided_before(self, arrival: Arrival, decision: Decision) -> None:
        self._compare([arrival, *arrival.copies, *arrival.rivals], decision)

    def _compare(self, arrivals: Sequence[Arrival], decision: Decision) -> None:
        """What came of a request that is decided: a repeat if the payload is the same, else a conflict."""
        same = [each for each in arrivals if is_repeat(each.request, decision)]
        others = [each for each in arrivals if each not in same]
        self._count_repeats(same, decision)
        refused = [
            (each.message, each.raw, conflict(each.request, decision))
            for each in others
            if isinstance(each.request, Request)
        ]
        if self._refuse(refused, decision):
            for each in others:
                each.done = True

    def _count_repeats(self, arrivals: Sequence[Arrival], decision: Decision) -> None:
        with self.counting:
            self.outcome.repeats += len(arrivals)
        for arrival in arrivals:
            self._is_decided(arrival, decision)

    def _is_decided(self, arrival: Arrival, decision: Decision) -> None:
        arrival.done = True
        self.outcome.fates.append((arrival.message.id, decision))

    def _refuse_all(self, arrival: Arrival, rejected: Rejected) -> None:
        same = [arrival, *arrival.copies]
        if self._refuse([(each.message, each.raw, rejected) for each in same]):
            for each in same:
                each.done = True

    def _refuse(self, refused: Sequence[tuple[Message, Any, Rejected]], decided: Decision | None = None) -> bool:
        """Put events into quarantine; if that does not work now, their messages come again."""
        if not refused:
            return True
        record = decided.record() if decided else None
        kept = [entry(raw, rejected, message.received_at, WHENCE, record) for message, raw, rejected in refused]
        messages = [message.id for message, _, _ in refused]
        try:
            self.quarantine.put(kept)
        except Busy as busy:
            self.again.update(messages)
            self.outcome.causes.append(str(busy))
            return False
        self.outcome.quarantined += kept
        self.outcome.fates += zip(messages, kept, strict=True)
        return True


@contextmanager
def readable(counter: CounterId) -> Iterator[None]:
    """Turns any failure to read into Busy: the events that wait for it are not at fault."""
    try:
        yield
    except Busy:
        raise
    except Exception as error:
        raise Busy(f"{counter} cannot be read: {type(error).__name__}: {error}") from error


def first_of_each(arrivals: Iterable[Arrival]) -> tuple[list[Arrival], list[Arrival]]:
    """The first arrival of each request, with its copies and rivals; and what has to wait for these.

    The same event again shares the fate of the first. Another payload meets the first's decision; if the first is
    refused, the rivals are judged anew. A request and its void are never decided together: whichever comes later waits
    for what becomes of the other, with all that comes after it of the organization.
    """
    found: dict[RequestKey, Arrival] = {}
    taken_back: set[RequestKey] = set()
    waiting: set[str] = set()
    later: list[Arrival] = []
    for arrival in arrivals:
        request, key = arrival.request, arrival.request.key
        voided = request.voided if isinstance(request, Void) else None
        if voided in found or key in taken_back:
            waiting.add(request.organization)
        if request.organization in waiting:
            later.append(arrival)
            continue
        if voided:
            taken_back.add(voided)
        first = found.setdefault(key, arrival)
        if first is not arrival:
            (first.copies if is_same(first.request, request) else first.rivals).append(arrival)
    return list(found.values()), later


def is_same(first: Request | Void, other: Request | Void) -> bool:
    """Whether two events of one key say the same: all voids of a request do."""
    return isinstance(other, Void) or first.payload_hash == other.payload_hash


def unfinished(messages: Sequence[Message], again: Collection[str]) -> list[str]:
    """The messages that have to come again, and all later ones of the same group."""
    groups: set[str] = set()
    found = []
    for message in messages:
        if message.id in again or message.group in groups:
            groups.add(message.group)
            found.append(message.id)
    return found


def in_force_at(request: Request | Void, accounts: Mapping[str, StoredAccount]) -> InForce | None:
    """What its organization's account said when the request occurred; a void is not judged by it. Raises Busy."""
    account = accounts.get(request.organization)
    return account.at(request.occurred_at) if account and isinstance(request, Request) else None


def likely_documents(requests: Iterable[Request], offer: Offer) -> set[CounterId]:
    """The documents that requests need if rules 1 to 6 do not bill them; read together with the accounts."""
    found: set[CounterId] = set()
    for request in requests:
        counter = likely_counter(request, offer.version_at(request.occurred_at))
        found |= {counter, totals_of(counter, request.day)}
    return found


def chunk_size(
    counter: CounterId,
    cases: Sequence[Case | VoidCase],
    shelf: Mapping[CounterId, Document],
    max_items: int = MAX_ITEMS,
    max_page_rows: int = MAX_PAGE_ROWS,
    *,
    judged_by: JudgedBy = NOBODY,
) -> int:
    """How many of the next decisions fit one transaction beside their documents, pages and first-of-the-day markers.

    And beside the check on the account, where it is needed. A void takes two items: it also checks that the voided
    decision is there.
    """

    def touched(identity: CounterId) -> Touched:
        document = shelf[identity]
        return Touched(document.totals.rows, document.leaves, document.pages, max_page_rows)

    def beside() -> int:
        markers = sum(is_day(each) and shelf[each].version == 0 for each in documents)
        pages = sum(each.most() for each in documents.values())
        check = not judged_by.has_profile or any(shelf[each].account_version is None for each in documents)
        return len(documents) + markers + pages + check

    documents = {counter: touched(counter)}
    counted: set[tuple[date, Name]] = set()
    items = others = 0
    for count, case in enumerate(cases):
        row = case.day, name_of(case.request)
        if row not in counted:
            counted.add(row)
            day = totals_of(counter, case.day)
            if day not in documents:
                documents[day] = touched(day)
            documents[day].add(row[1])
            others = beside()
        items += 2 if isinstance(case, VoidCase) else 1
        if items + others > max_items:
            return max(count, 1)
    return len(cases)


def unknown_request(void: Void) -> Rejected:
    """A void of what was never decided: the request may still come, or the void's id or day is wrong."""
    return Rejected(
        "unknown_request",
        f"data.request_id: there is no decision on {void.request_id!r} of {void.organization} on {void.day}, "
        "so there is nothing to void",
    )


def conflict(request: Request, decision: Decision) -> Rejected:
    """The same request id on the same day with another payload; says in what it differs."""
    decided = _stated(request_of(decision))
    differing = [
        f"{name} ({json.dumps(decided[name])} then, {json.dumps(now)} now)"
        for name, now in _stated(request).items()
        if now != decided[name]
    ]
    return Rejected(
        "conflict",
        f"id: {request.id!r} of {request.organization} on {decision.day} was decided with another payload "
        f"({decision.model}, {decision.input + decision.output} tokens at {decision.occurred_at}, "
        f"hash {decision.payload_hash[:12]}); this one is {request.model}, {request.tokens.total} tokens, "
        f"hash {request.payload_hash[:12]}, and differs in "
        + (", ".join(differing) or "what a decision does not keep (tools, user_id, api_key_id)"),
    )


def _stated(request: Request) -> dict[str, Any]:
    """What an event says and a decision keeps, by the event's names."""
    return {
        "time": moment.text(request.occurred_at),
        "type": request.kind,
        "project": request.project,
        "model": request.model,
        "endpoint": request.endpoint,
        "service_tier": request.service_tier,
        "batch": request.batch,
        "shared": request.shared,
        "input_tokens": request.tokens.input,
        "cached_tokens": request.tokens.cached,
        "cache_write_tokens": request.tokens.cache_write,
        "output_tokens": request.tokens.output,
        "audio_tokens": request.tokens.audio,
    }


def too_late(request: Request | Void) -> Rejected:
    """It was in time when it arrived, and waited until its decision could no longer be kept long enough."""
    if isinstance(request, Void):
        return Rejected("too_old", f"data.day: {request.day} is too long ago to be decided now")
    return Rejected("too_old", f"time: {moment.text(request.occurred_at)} is too long ago to be decided now")


def unforeseen(error: Exception) -> Rejected:
    """An event that fails in a way nobody foresaw, or that the table will never take."""
    return error if isinstance(error, Rejected) else Rejected("internal_error", f"{type(error).__name__}: {error}")
