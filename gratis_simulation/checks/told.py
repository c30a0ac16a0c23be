"""Reads the ledger's log again, commit by commit. It judges nothing: that is what the checks do.

It puts beside each decision what the reference expects of it, and beside each document what the decisions so far add
up to, right or wrong.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, cast

from gratis import moment
from gratis.errors import Busy
from gratis.rules.account import Account
from gratis.rules.offer import NO_GROUP
from gratis.rules.receipt import Decision
from gratis.rules.window import CounterId, kind_of, kind_of_slot
from gratis.table.decision_items import decision_of
from gratis.table.keys import counter_of_key
from gratis.table.ledger import RECENT, Document, Ledger, is_day
from gratis_simulation.broken import Broken
from gratis_simulation.checks.arrivals import Arrivals
from gratis_simulation.checks.histories import whole_of
from gratis_simulation.checks.reference import Expected, Place, Reference, Room, Span
from gratis_simulation.machines.releases import LAST
from gratis_simulation.machines.run import TABLE, Run
from gratis_simulation.machines.seen import Actor, Asking
from gratis_simulation.machines.table import Change, Table
from gratis_simulation.worlds.payload import Payload, Voiding
from gratis_simulation.worlds.world import Reserve

Key = tuple[str, str, str]
LATE = timedelta(days=45)
"""A window that ended so long before the newest one opened need not be held any longer."""
Window = tuple[Any, bool, frozenset[Any]]
"""What it holds, whether a request did not fit, and the quotas of which it was announced that they are used up."""


@dataclass(frozen=True)
class Taken:
    """A decision that was committed. `expected`: what it must say; None, like `payload`, if nobody sent it."""

    decision: Decision
    payload: Payload | Voiding | None
    expected: Expected | None
    change: Change
    number: int

    @property
    def actor(self) -> Actor:
        """Who committed it, and when."""
        return cast("Actor", self.change.actor)

    @property
    def name(self) -> str:
        """For people."""
        return ":".join(name_of(self.decision))


@dataclass(frozen=True)
class Sum:
    """What the decisions on a document add up to. `windows`: by their first moment."""

    windows: dict[datetime, Window]
    rows: dict[Any, list[Any]]
    recent: list[str]
    rooms: tuple[Room, ...] = ()


@dataclass
class Held:
    """Room that was set aside in a document, from write number `since` to `until`; None if it never came to an end."""

    identity: CounterId
    room: Room
    since: int
    until: int | None = None


@dataclass
class Commit:
    """One transaction: its decisions, and each document that it has to agree with, as it stands and as it must be."""

    taken: list[Taken] = field(default_factory=list)
    documents: dict[CounterId, tuple[Document, Sum]] = field(default_factory=dict)


class Told:
    """`commits`: in their order; `taken`: the decisions, likewise, by key; `overwritten`: those that were replaced."""

    def __init__(self, run: Run, arrivals: Arrivals) -> None:
        self.commits: list[Commit] = []
        self.taken: dict[Key, Taken] = {}
        self.overwritten: list[Change] = []
        self.held: list[Held] = []
        """All room that was ever set aside."""
        self._asking = {id(each.work): each for each in run.seen.asking}
        self._shelves: dict[CounterId, tuple[Any, ...]] = {}
        """Where the reference keeps what is set aside in a document."""
        self._run = run
        self._arrivals = arrivals
        self._past = Table()
        self._ledger = Ledger(self._past, TABLE, pause=lambda _: None)  # type: ignore[arg-type]  # a client by its looks
        self._reference = Reference(run.world.stated)
        self._places: dict[CounterId, set[Any]] = defaultdict(set)
        """The reference's counters in a document: several if rolling windows gave way to another kind and came back."""
        self._recent: dict[CounterId, list[str]] = defaultdict(list)
        self._accounts: dict[str, list[tuple[int, Account]]] = defaultdict(list)
        self._tell()

    def _tell(self) -> None:
        numbered = enumerate(self._run.table.log)
        for _, transaction in groupby(numbered, key=lambda each: each[1].transaction):
            changes = list(transaction)
            for _, change in changes:
                self._past.items.pop(change.key, None)
                if change.new is not None:
                    self._past.items[change.key] = change.new
            self._commit(changes)

    def _commit(self, changes: Sequence[tuple[int, Change]]) -> None:
        commit = Commit()
        touched: set[CounterId] = set()
        for number, change in changes:
            if change.key[1] == "ACCOUNT" and change.new is not None:
                account = whole_of(change.new, self._past)
                self._accounts[account.id].append((number, account))
            elif change.key[1].startswith("REQ#"):
                self._decision(number, change, commit, touched)
            elif change.key[0].startswith("COUNTER#"):
                identity = _document_at(change.key)
                touched.add(identity)
                is_page = change.key[1].startswith("PAGE#")  # its document is in the same commit
                if change.actor and not is_page and (asking := self._asking.get(id(change.actor.work))):
                    self._asked(identity, number, change, asking)
        self._note_ends(changes[-1][0], touched)
        if touched:
            documents = self._whole(self._ledger.documents(touched))
            commit.documents = {
                identity: (documents.get(identity, Document()), self._sum(identity)) for identity in touched
            }
            self.commits.append(commit)

    def _whole(self, documents: dict[CounterId, Document]) -> dict[CounterId, Document]:
        """The documents with all pages of their totals."""
        for identity in filter(is_day, list(documents)):
            day = date.fromisoformat(identity.slot)
            try:
                documents |= self._ledger.days(identity.organization, [identity.group], day, day)
            except Busy as busy:
                raise Broken("totals are sums of decisions", f"a page is newer than its document: {busy}") from busy
        return documents

    # Decisions ------------------------------------------------------------------------------------------------------

    def _decision(self, number: int, change: Change, commit: Commit, touched: set[CounterId]) -> None:
        if change.new is None or change.old is not None:
            self.overwritten.append(change)
            return
        decision, actor = decision_of(change.new), cast("Actor", change.actor)
        payload = self._void(decision) if decision.kind == "usage.void" else self._payload(decision)
        voided = self.taken.get(payload.voided) if isinstance(payload, Voiding) else None
        if isinstance(payload, Voiding):
            stood = _as_it_stands(voided.expected, voided.decision) if voided and voided.expected else None
            expected = self._reference.void(stood, moment.parse(decision.decided_at)) if stood else None
        else:
            stood, expected = None, self._expected(decision, payload, number, actor) if payload else None
        taken = Taken(decision, payload, expected, change, number)
        commit.taken.append(taken)
        self.taken[name_of(decision)] = taken
        totals = CounterId(decision.organization, decision.group or NO_GROUP, decision.day)
        self._recent[totals].insert(0, name_of(decision)[2])
        touched.add(totals)
        if stood and voided and isinstance(voided.payload, Payload):
            self._reference.take_back(voided.payload, stood)
            if stood.place is not None:
                touched.add(_document_of(stood.place, voided.payload))
        elif isinstance(payload, Payload) and expected:
            self._reference.take(payload, _as_it_stands(expected, decision), moment.parse(decision.decided_at))
            if expected.place is not None:
                counter = _document_of(expected.place, payload)
                self._places[counter].add(expected.place.counter)
                self._shelves[counter] = expected.place.shelf
                touched.add(counter)

    def _void(self, decision: Decision) -> Voiding | None:
        """The event that is decided here; None if nobody sent it."""
        sent = self._arrivals.payloads[name_of(decision)]
        return next(
            (
                each
                for each in sent
                if isinstance(each, Voiding) and self._arrivals.hash_of(each) == decision.payload_hash
            ),
            None,
        )

    def _payload(self, decision: Decision) -> Payload | None:
        """What was sent and is decided here; None if nobody sent it."""
        said = {name: getattr(decision, name) for name in SAME}
        meant = [
            payload
            for payload in self._arrivals.payloads[decision.organization, decision.day, decision.request_id]
            if isinstance(payload, Payload)
            and said == {name: getattr(payload, name) for name in SAME}
            and moment.parse(decision.occurred_at) == payload.occurred_at
        ]
        if len(meant) > 1:
            meant.sort(key=lambda payload: self._arrivals.hash_of(payload) != decision.payload_hash)
        return meant[0] if meant else None

    def _expected(self, decision: Decision, payload: Payload, number: int, actor: Actor) -> Expected:
        """What the decision must say, judged by what its worker can have read of the account."""
        latest: Expected | None = None
        for account in self._accounts_read(payload.organization, number, actor):
            expected = self._reference.expected(payload, account, moment.parse(decision.decided_at))
            if not differing(decision, expected):
                return expected
            latest = latest or expected
        if latest is None:
            raise AssertionError("an account was read, or found missing")
        return latest

    def _accounts_read(self, organization: str, number: int, actor: Actor) -> Iterator[Account | None]:
        """The account as it was when the decision was committed: no commit succeeds on one that has changed by then.

        The last release did not check that. Where it runs: also the earlier states that the worker can have read.
        """
        states = [(written, account) for written, account in self._accounts[organization] if written < number]
        for written, account in reversed(states):
            yield account
            if written < actor.work.log_start or not self._run.world.runs(LAST):
                return
        yield None

    # Reservations ---------------------------------------------------------------------------------------------------

    def _asked(self, identity: CounterId, number: int, change: Change, asking: Asking) -> None:
        """What a client was given, or gave back, by a commit of the API."""
        if not isinstance(asking.step, Reserve):
            if shelf := self._shelves.get(identity):
                self._reference.give_back(shelf, asking.step.name, asking.now)
            return
        wanted, stands = asking.step.wanted, rooms_in(self._ledger.documents([identity])[identity])
        accounts = self._accounts_read(wanted.asked.organization, number, cast("Actor", change.actor))
        rooms = [self._reference.room(wanted, account, asking.now) for account in accounts]
        meant = [each for each in rooms if each and _counter_at(each[0], asking.now) == identity]
        if meant:
            place, room = next((each for each in meant if each[1] in stands), meant[0])
            self._reference.set_aside(place, room, asking.now)
            self._shelves[identity] = place.shelf
            self.held.append(Held(identity, room, number))

    def _note_ends(self, number: int, touched: set[CounterId]) -> None:
        for each in (each for each in self.held if each.until is None and each.identity in touched):
            if each.room not in self._reference.rooms[self._shelves[each.identity]]:
                each.until = number

    # Documents ------------------------------------------------------------------------------------------------------

    def _sum(self, identity: CounterId) -> Sum:
        rows: dict[Any, list[Any]] = {}
        if identity.pool is None:
            rows = self._reference.totals.get((identity.organization, identity.group, identity.slot), {})
        return Sum(
            windows={span.start: (span.used, span.missed, frozenset(span.announced)) for span in self._spans(identity)},
            rows={key: list(row) for key, row in rows.items()},
            recent=self._recent[identity][:RECENT],
            rooms=self._reference.rooms[self._shelves[identity]] if identity in self._shelves else (),
        )

    def _spans(self, identity: CounterId) -> list[Span]:
        """The windows that a document has to hold: of a calendar's, one; of those that roll, the later ones."""
        kind = kind_of_slot(identity.slot)
        spans = [span for counter in self._places[identity] for span in self._reference.spans[counter]]
        held = [span for span in spans if kind.slot(span.start) == identity.slot]
        newest = max((span.start for span in held), default=None)
        return [span for span in held if newest and newest - kind.end(span.start) <= LATE]


def name_of(decision: Decision) -> Key:
    """Organization, day, and the id of the request, or of its void."""
    mark = "~void" if decision.kind == "usage.void" else ""
    return decision.organization, decision.day, f"{decision.request_id}{mark}"


def _document_at(key: tuple[str, str]) -> CounterId:
    """The document under a key, or the one that the page under it belongs to."""
    pk, sk = key
    slot = sk.split("#")[1] if sk.startswith("PAGE#") else sk
    return counter_of_key({"pk": {"S": pk}, "sk": {"S": slot}})


SAME = ("kind", "project", "model", "endpoint", "service_tier", "batch", "shared", "input", "cached", "output")
"""What a decision and what was sent have in common, word for word."""


def differing(decision: Decision, expected: Expected) -> dict[str, tuple[Any, Any]]:
    """What the decision says and what it should say, where that is not the same."""
    said = {name: getattr(decision, name) for name in expected.figures}
    differing = {name: (said[name], meant) for name, meant in expected.figures.items() if said[name] != meant}
    announced = set(decision.thresholds)
    if announced != expected.announces:
        differing["thresholds"] = (sorted(announced), sorted(expected.announces))
    return differing


def _as_it_stands(expected: Expected, decision: Decision) -> Expected:
    """`expected` with the figures of the decision, to be counted as it was taken."""
    figures = {name: getattr(decision, name) for name in expected.figures}
    return replace(expected, figures=figures, announces=frozenset(decision.thresholds))


def rooms_in(document: Document) -> tuple[Room, ...]:
    """What a document says is set aside."""
    return tuple(
        Room(
            each.id,
            each.units,
            each.made_at,
            each.expires_at,
            each.window,
            each.project,
            (each.binding.offer, each.binding.profile_version, each.binding.settings_version),
        )
        for each in document.counter.reservations
    )


def _document_of(place: Place, payload: Payload) -> CounterId:
    return _counter_at(place, payload.occurred_at)


def _counter_at(place: Place, when: datetime) -> CounterId:
    organization, group, pool, window, _ = place.counter
    return CounterId(organization, group, kind_of(dict(window)).slot(when), pool)
