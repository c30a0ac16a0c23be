"""The ledger told again, commit by commit: each decision against the rules, each document against the decisions."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, cast

from gratis import moment
from gratis.account import Account, Profile
from gratis.decision import Books, Case, case_of, settle
from gratis.ledger import RECENT, Document, Ledger, account_of, decision_of, totals_of
from gratis.receipt import Decision
from gratis.request import Request, Tokens
from gratis.table.keys import counter_of_key
from gratis.window import Counter, CounterId
from local.simulation.arrivals import Arrivals
from local.simulation.payload import Payload
from local.simulation.reference import Expected, Reference
from local.simulation.run import TABLE, Actor, Broken, Run
from local.simulation.table import Change, Item, Table
from local.simulation.traffic import KEPT

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Taken:
    """A decision that was committed: by whom, as which write of the log, on what."""

    decision: Decision
    payload: Payload
    change: Change
    number: int

    @property
    def actor(self) -> Actor:
        """Who committed it, and when."""
        return cast("Actor", self.change.actor)


class History:
    """What the table's log says. `taken`: the decisions in the order in which they were committed, by key."""

    def __init__(self, run: Run, arrivals: Arrivals) -> None:
        self.taken: dict[Key, Taken] = {}
        self._run = run
        self._arrivals = arrivals
        self._past = Table()
        self._ledger = Ledger(self._past, TABLE)  # type: ignore[arg-type]  # a client by its looks
        self._reference = Reference(run.world.stated, run.knobs.limits.rows)
        self._books: dict[CounterId, Counter] = defaultdict(Counter)
        self._places: dict[CounterId, set[Any]] = defaultdict(set)
        """The counters that the rules know for a document: before and after something else came, if it rolls."""
        self._recent: dict[CounterId, list[str]] = defaultdict(list)
        self._accounts: dict[str, list[tuple[int, Account]]] = defaultdict(list)

    def tell(self) -> None:
        """Follow the log from its beginning. Raises Broken at the first commit that does not fit."""
        numbered = enumerate(self._run.table.log)
        for _, transaction in groupby(numbered, key=lambda each: each[1].transaction):
            changes = list(transaction)
            for _, change in changes:
                self._apply(change)
            self._commit(changes)

    def _apply(self, change: Change) -> None:
        self._past.items.pop(change.key, None)
        if change.new is not None:
            self._past.items[change.key] = change.new

    def _commit(self, changes: Sequence[tuple[int, Change]]) -> None:
        """Check one transaction: all that it decided, then the documents that it has to agree with."""
        touched: dict[CounterId, None] = {}
        for number, change in changes:
            if change.key[1] == "ACCOUNT" and change.new is not None:
                self._account(number, change)
            elif change.key[1].startswith("REQ#"):
                case = self._decision(number, change)
                touched |= dict.fromkeys((case.counter, totals_of(case.counter, case.day)))
            elif change.key[0].startswith("COUNTER#"):
                touched[counter_of_key({"pk": {"S": change.key[0]}, "sk": {"S": change.key[1]}})] = None
            elif change.key[0].startswith("QUARANTINE#") and change.new is not None:
                self._entry(change.key, change.new)
        if touched:
            self._agree(list(touched))

    def _entry(self, key: tuple[str, str], item: Item) -> None:
        """Whoever finds an entry in quarantine finds all of it."""
        parts = {(key[0], f"{key[1]}#{number}") for number in range(2, int(item.get("parts", {"N": "0"})["N"]) + 1)}
        if key[1].count("#") != (2 if "code" in item else 3):
            raise Broken("explained", f"what an event calls itself was taken for a part of the key: {key}")
        if len(item["raw"]["B"]) > self._run.knobs.limits.quarantined_bytes:
            raise Broken("known to the services", f"a part of {key} holds {len(item['raw']['B'])} bytes")
        if not parts <= self._past.items.keys():
            raise Broken("nothing lost", f"{key} is in quarantine, but not all of its parts")

    # Accounts -------------------------------------------------------------------------------------------------------

    def _account(self, number: int, change: Change) -> None:
        after = account_of(change.new or {})
        before = account_of(change.old) if change.old is not None else Account(id=after.id)
        if change.actor is not None:
            _appended(before, after, created=change.old is None)
            _takes_effect_at_once(before, after, change.actor)
        self._accounts[after.id].append((number, after))

    def _accounts_read(self, organization: str, number: int, actor: Actor) -> Iterator[Account | None]:
        """The states of an account that the worker can have read between its start and its commit, latest first."""
        states = [(written, account) for written, account in self._accounts[organization] if written < number]
        for written, account in reversed(states):
            yield account
            if written < actor.work.log_start:
                return
        yield None

    # Decisions ------------------------------------------------------------------------------------------------------

    def _decision(self, number: int, change: Change) -> Case:
        if change.new is None or change.old is not None:
            raise Broken("exactly once", f"the decision {change.key} was written over")
        decision, actor = decision_of(change.new), cast("Actor", change.actor)
        payload = self._payload(decision)
        account, expected = self._expected(decision, payload, number, actor)
        _says(decision, expected)
        self._dated(decision, payload, actor)
        case = self._fold(decision, payload, account)
        self._reference.take(payload, expected)
        if expected.place is not None:
            self._places[case.counter].add(expected.place.counter)
        self._recent[totals_of(case.counter, case.day)].insert(0, payload.id)
        self.taken[payload.key] = Taken(decision, payload, change, number)
        return case

    def _payload(self, decision: Decision) -> Payload:
        key = (decision.organization, decision.day, decision.request_id)
        said = {name: getattr(decision, name) for name in SAME}
        meant = [
            payload
            for payload in self._arrivals.payloads[key]
            if said == {name: getattr(payload, name) for name in SAME}
            and moment.parse(decision.occurred_at) == payload.occurred_at
        ]
        if not meant:
            raise Broken("explained", f"nobody sent what was decided: {decision}")
        if len(meant) > 1:
            meant.sort(key=lambda payload: self._arrivals.hash_of(payload) != decision.payload_hash)
        return meant[0]

    def _expected(
        self, decision: Decision, payload: Payload, number: int, actor: Actor
    ) -> tuple[Account | None, Expected]:
        """What the decision must say, judged by what its worker can have read of the account."""
        first: tuple[Account | None, Expected] | None = None
        for account in self._accounts_read(payload.organization, number, actor):
            expected = self._reference.expected(payload, account)
            if not _differing(decision, expected):
                return account, expected
            first = first or (account, expected)
        if first is None:
            raise AssertionError("an account was read, or found missing")
        return first

    def _dated(self, decision: Decision, payload: Payload, actor: Actor) -> None:
        """When it arrived and when it was decided."""
        skew, decided_at = actor.work.skew, moment.parse(decision.decided_at)
        if not actor.work.started_at + skew <= decided_at <= actor.at + skew:
            raise Broken("explained", f"{_name(decision)} was not decided at {decision.decided_at}")
        if actor.work.started_at + skew - payload.occurred_at > KEPT:
            raise Broken("exactly once", f"{_name(decision)} was decided so late that a repeat would not be recognized")
        if decision.received_at not in self._arrivals.received[payload]:
            raise Broken("explained", f"{_name(decision)} was not received at {decision.received_at}")

    def _fold(self, decision: Decision, payload: Payload, account: Account | None) -> Case:
        """The core's own fold, one request after the other, must give the very same receipt."""
        case = case_of(_request(decision, payload), self._run.world.offer, account)
        books = Books(self._books[case.counter], {})
        books, [folded] = settle(books, [case], moment.parse(decision.decided_at))
        self._books[case.counter] = books.counter
        if folded._replace(thresholds=tuple(folded.thresholds)) != decision._replace(
            thresholds=tuple(decision.thresholds)
        ):
            raise Broken("equal to the serial fold", f"the fold gives {folded}, committed was {decision}")
        return case

    # Documents ------------------------------------------------------------------------------------------------------

    def _agree(self, touched: Sequence[CounterId]) -> None:
        """Counters and totals hold what the decisions so far add up to: not even for a second do they disagree."""
        documents = self._ledger.read((), touched)[1]
        for identity in touched:
            document = documents.get(identity, Document())
            self._counter_agrees(identity, document)
            self._totals_agree(identity, document)

    def _counter_agrees(self, identity: CounterId, document: Document) -> None:
        held = document.counter
        if held != self._books[identity]:
            message = f"{identity} holds {held}, its decisions make {self._books[identity]}"
            raise Broken("counters and decisions agree", message)
        told: dict[datetime, Any] = {}
        for counter in self._places[identity]:
            told |= self._reference.used(counter)
        if any(told.get(window.start) != window.used for window in held.windows):
            raise Broken("windows right", f"{identity} holds {held}, but the rules make {told}")

    def _totals_agree(self, identity: CounterId, document: Document) -> None:
        counted = {}
        if identity.pool is None:
            counted = self._reference.totals.get((identity.organization, identity.group, identity.slot), {})
        held = {
            tuple(key): [row.requests, row.input, row.cached, row.output, row.list_amount, row.amount, row.unpriced]
            for key, row in document.totals.rows.items()
        }
        if held != counted:
            raise Broken("totals are sums of decisions", f"{identity} holds {held}, its decisions make {counted}")
        if list(document.recent) != self._recent[identity][:RECENT]:
            raise Broken("explained", f"{identity} remembers {document.recent}, decided were {self._recent[identity]}")


SAME = ("kind", "project", "model", "endpoint", "service_tier", "batch", "shared", "input", "cached", "output")
"""What a decision and what was sent have in common, word for word."""


def _request(decision: Decision, payload: Payload) -> Request:
    return Request(
        kind=decision.kind,
        organization=payload.organization,
        id=payload.id,
        project=payload.project,
        model=payload.model,
        endpoint=payload.endpoint,
        service_tier=payload.service_tier,
        batch=payload.batch,
        tools=payload.tools,
        shared=payload.shared,
        tokens=Tokens(payload.input, payload.cached, payload.output),
        occurred_at=payload.occurred_at,
        received_at=moment.parse(decision.received_at),
        payload_hash=decision.payload_hash,
    )


def _name(decision: Decision) -> str:
    return f"{decision.organization}:{decision.day}:{decision.request_id}"


def _differing(decision: Decision, expected: Expected) -> dict[str, tuple[Any, Any]]:
    """What the decision says and what it should say, where that is not the same."""
    said = {name: getattr(decision, name) for name in expected.figures}
    differing = {name: (said[name], meant) for name, meant in expected.figures.items() if said[name] != meant}
    announced = set(decision.thresholds)
    if announced != expected.announces:
        differing["thresholds"] = (sorted(announced), sorted(expected.announces))
    return differing


def _says(decision: Decision, expected: Expected) -> None:
    differing = _differing(decision, expected)
    if not differing:
        return
    told = ", ".join(f"{name} is {said!r}, must be {meant!r}" for name, (said, meant) in differing.items())
    promise = "explained"
    if "verdict" in differing:
        promise = "never over-granted" if decision.verdict == "free" else "never wrongly billed"
    elif "thresholds" in differing:
        promise = "thresholds announced once and right"
    elif "window" in differing:
        promise = "windows right"
    raise Broken(promise, f"{_name(decision)}: {told}")


def _appended(before: Account, after: Account, *, created: bool) -> None:
    """Exactly one version more, and nothing of the past changed."""
    for old, new in ((before.profile, after.profile), (before.sharing, after.sharing)):
        if new[: len(old)] != old:
            raise Broken("settings are append-only", f"{after.id}: {old} became {new}")
    added = len(after.profile) + len(after.sharing) - len(before.profile) - len(before.sharing)
    if added != 1 and not (created and added == 0):
        raise Broken("settings are append-only", f"{after.id}: {added} versions in one write")


def _takes_effect_at_once(before: Account, after: Account, actor: Actor) -> None:
    """What is new holds from now on, or from its predecessor on; an organization's first profile perhaps for long."""
    begun, written = actor.work.started_at + actor.work.skew, actor.at + actor.work.skew
    for old, new in ((before.profile, after.profile), (before.sharing, after.sharing)):
        for version in new[len(old) :]:
            last = old[-1].effective_at if old else begun
            first_profile = not old and isinstance(version, Profile)
            if not max(begun, last) <= version.effective_at <= max(written, last) and not (
                first_profile and version.effective_at <= written
            ):
                raise Broken("settings take effect at once", f"{after.id}: {version} was written at {written}")
