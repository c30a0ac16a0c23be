"""Many workers on one counter, on an engine whose transactions are atomic: SPEC section 3, promises 1 to 4."""

import itertools
import json
import random
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gratis.classify import Classifier
from gratis.intake.events import parse_event
from gratis.intake.messages import Message
from gratis.rules.decision import Books, Case, case_of, settle
from gratis.rules.offer import Offer
from gratis.rules.receipt import Decision
from gratis.rules.request import Request, Void
from gratis.rules.void import VoidCase, void_case
from gratis.rules.window import Counter, CounterId
from gratis.table.accounts import Accounts
from gratis.table.ledger import Document, Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.engine import create_table
from gratis_local.stack import client_for
from tests.builders.aws import Crash, Fault, Faulty, aws_error, cancelled, dies_after, fails, loses_response
from tests.builders.events import RECEIVED, message, usage, void_of
from tests.builders.ledger import Stored, classifier, plain, prove, stored
from tests.builders.offers import DAILY, rolling, with_versions
from tests.builders.organizations import account

WORKERS = 16
REQUESTS = 400
OFFERED_BY = 3
"""Workers that are given the same request."""
ROUNDS = 60
"""Most times a worker is handed again what it could not finish."""
COUNTER = CounterId("org_a", "1m", "2025-03-11")
WINDOWS = COUNTER._replace(slot="ROLLING")


@dataclass
class Attempt:
    """A commit that was tried: the version it would give the counter's document, and its decisions."""

    version: int
    decisions: Sequence[Decision]


class WitnessedLedger(Ledger):
    """A ledger that keeps every commit it tries, so that the order of those that took effect can be told."""

    def __init__(self, client: Any, table: str, attempts: list[Attempt]) -> None:
        super().__init__(client, table)
        self.attempts = attempts

    def commit(
        self,
        read: Mapping[CounterId, Document],
        counter: CounterId,
        books: Books,
        decisions: Sequence[Decision],
        *voided: Any,
        **more: Any,
    ) -> dict[CounterId, Document]:
        version = read.get(counter, Document()).version + 1
        self.attempts.append(Attempt(version, [plain(decision) for decision in decisions]))
        return super().commit(read, counter, books, decisions, *voided, **more)


@dataclass
class Race:
    """Workers that compete for one counter, each with a client of its own and its share of the requests."""

    client: Any
    table: str
    offer: Offer
    events: Sequence[dict[str, Any]]
    attempts: list[Attempt] = field(default_factory=list)
    decided: list[Decision] = field(default_factory=list)
    crashes: int = 0
    ticks: Iterator[int] = field(default_factory=itertools.count)

    def clock(self, _: Sequence[Any]) -> datetime:
        """A moment of its own for every attempt, so that no two attempts give the same decisions."""
        return datetime(2025, 3, 12, tzinfo=UTC) + timedelta(microseconds=next(self.ticks))

    def classifier(self, client: Any) -> Classifier:
        ledger = WitnessedLedger(client, self.table, self.attempts)
        return Classifier(ledger, Quarantine(client, self.table), self.offer, self.clock)

    def run(self, clients: Sequence[Any], shares: Sequence[Sequence[Message]]) -> None:
        together = threading.Barrier(len(clients))

        def work(client: Any, share: Sequence[Message]) -> None:
            together.wait()
            for _ in range(ROUNDS):
                share = self.hand_in(client, share)
                if not share:
                    return
            raise AssertionError(f"{len(share)} messages were not finished in {ROUNDS} rounds")

        with ThreadPoolExecutor(len(clients)) as pool:
            for done in [pool.submit(work, *each) for each in zip(clients, shares, strict=True)]:
                done.result()

    def hand_in(self, client: Any, share: Sequence[Message]) -> list[Message]:
        """Classify what is left, some messages at a time; what has to come again comes again."""
        again: list[Message] = []
        for start in range(0, len(share), 5):
            batch = share[start : start + 5]
            try:
                outcome = self.classifier(client).classify(batch)
            except Crash:
                self.crashes += 1
                again += batch
            else:
                self.decided += outcome.decisions
                again += [each for each in batch if each.id in outcome.unfinished]
        return again

    def effective(self, found: Stored) -> list[Attempt]:
        """The attempts that took effect, in the order of the versions they made."""
        took_effect = [
            attempt
            for attempt in self.attempts
            if attempt.decisions and found.decisions.get(attempt.decisions[0].key) == attempt.decisions[0]
        ]
        return sorted(took_effect, key=lambda attempt: attempt.version)


def shares_of(events: Sequence[dict[str, Any]], seed: int) -> list[list[Message]]:
    """Each event in the shares of several workers, in messages of a few, each share in an order of its own."""
    dice = random.Random(seed)
    shares: list[list[dict[str, Any]]] = [[] for _ in range(WORKERS)]
    for event in events:
        for worker in dice.sample(range(WORKERS), OFFERED_BY):
            shares[worker].append(event)
    for share in shares:
        dice.shuffle(share)
    return [
        [message(f"w{worker}-{start}", *share[start : start + 4]) for start in range(0, len(share), 4)]
        for worker, share in enumerate(shares)
    ]


def assert_serial(race: Race, counter: CounterId, refused: Collection[str] = ()) -> Stored:
    """What the workers did together equals what one would have done in the order in which the commits took effect.

    `refused`: the codes of what may be in quarantine.
    """
    found = stored(race.client, race.table)
    history = race.effective(found)
    assert [attempt.version for attempt in history] == list(range(1, len(history) + 1))
    committed = [decision for attempt in history for decision in attempt.decisions]
    assert {decision.key: decision for decision in committed} == found.decisions

    requests = {(sent.key, sent.payload_hash): sent for sent in (parse_event(event, RECEIVED) for event in race.events)}
    assert len(committed) == len(found.decisions) == len({key for key, _ in requests})
    books = Books(Counter(), {})
    for attempt in history:
        sent = [requests[decision.key, decision.payload_hash] for decision in attempt.decisions]
        cases = [case_again(race, each, found) for each in sent]
        books, decisions = settle(books, cases, datetime.fromisoformat(attempt.decisions[0].decided_at))
        assert [plain(decision) for decision in decisions] == attempt.decisions
    assert found.documents[counter].version == len(history)
    assert found.documents[counter].counter == books.counter
    for day, totals in books.totals.items():
        assert found.documents[counter._replace(slot=day.isoformat())].totals == totals
    assert {entry.code for entry in found.quarantine} <= set(refused)
    assert len(race.attempts) > 2 * len(history)  # it was a race at all
    return found


def case_again(race: Race, sent: Request | Void, found: Stored) -> Case | VoidCase:
    """What was decided of what was sent."""
    if isinstance(sent, Void):
        return void_case(sent, found.decisions[sent.voided], race.offer)
    return case_of(sent, race.offer, account())


@pytest.fixture
def clients(engine_url: str) -> list[Any]:
    return [client_for(engine_url, "dynamodb") for _ in range(WORKERS)]


@pytest.fixture
def race(clients: list[Any], request: pytest.FixtureRequest) -> Callable[..., Race]:
    """A race on a table of its own in which org_a shares its traffic at tier 4: 1,000,000 tokens a window."""

    def prepared(offer: Offer, events: Sequence[dict[str, Any]]) -> Race:
        table = "".join(character if character.isalnum() else "-" for character in request.node.name)
        create_table(clients[0], table)
        Accounts(clients[0], table).put(account())
        return Race(clients[0], table, offer, events)

    return prepared


def sizes(seed: int, largest: int) -> list[int]:
    """Token counts that together are far more than a quota holds; some are 0."""
    dice = random.Random(seed)
    return [dice.choice((0, 1, dice.randrange(largest), dice.randrange(largest))) for _ in range(REQUESTS)]


def test_workers_that_compete_for_a_day_never_over_grant_and_never_bill_what_fits(
    race: Callable[..., Race], clients: list[Any]
) -> None:
    events = [usage(f"r{number}", tokens) for number, tokens in enumerate(sizes(1, 20_000))]
    competition = race(DAILY, events)
    competition.run(clients, shares_of(events, 1))

    found = assert_serial(competition, COUNTER)
    prove(found)
    assert {decision.key for decision in competition.decided} == found.decisions.keys()
    assert len(competition.decided) == REQUESTS  # every one was some worker's, and no one's twice
    billed = [decision for decision in found.decisions.values() if decision.verdict == "billed"]
    left = 1_000_000 - found.used()
    assert billed
    assert left < min(decision.input for decision in billed)  # even now none of them would fit


def test_under_close_the_first_miss_closes_the_window_for_every_worker(
    race: Callable[..., Race], clients: list[Any]
) -> None:
    events = [usage(f"r{number}", tokens) for number, tokens in enumerate(sizes(2, 20_000))]
    competition = race(with_versions(DAILY, overflow="close"), events)
    competition.run(clients, shares_of(events, 2))

    found = assert_serial(competition, COUNTER)
    prove(found, overflow="close")
    history = [decision for attempt in competition.effective(found) for decision in attempt.decisions]
    closed_at = next(place for place, decision in enumerate(history) if decision.reason == "over_quota")
    assert history[closed_at].running_total > 1_000_000
    assert {decision.reason for decision in history[closed_at:] if decision.input} == {"over_quota"}
    assert {decision.reason for decision in history if not decision.input} == {"within_quota"}


def test_workers_that_compete_for_rolling_windows_open_each_of_them_once(
    race: Callable[..., Race], clients: list[Any]
) -> None:
    dice = random.Random(3)
    start = datetime(2025, 3, 8, 6, tzinfo=UTC)
    events = [
        usage(f"r{number}", tokens, at=(start + timedelta(seconds=dice.randrange(3 * 86_400))).isoformat())
        for number, tokens in enumerate(sizes(3, 60_000))
    ]
    competition = race(rolling(DAILY), events)
    competition.run(clients, shares_of(events, 3))

    found = assert_serial(competition, WINDOWS)
    prove(found)
    starts = [window.start for window in found.documents[WINDOWS].counter.windows]
    assert len(starts) >= 2  # how many depends on who came first: a window takes in late events of a day before it
    assert all(later - earlier >= timedelta(hours=24) for earlier, later in itertools.pairwise(starts))


def test_workers_that_crash_and_lose_responses_still_decide_everything_once(
    race: Callable[..., Race], clients: list[Any]
) -> None:
    sized = enumerate(sizes(4, 20_000))
    events = [usage(f"r{number}", tokens, project=f"proj_{number % 60}") for number, tokens in sized]
    competition = race(DAILY, events)
    unlucky = [unreliable(client, seed) for seed, client in enumerate(clients)]
    competition.run(unlucky, shares_of(events, 4))

    found = assert_serial(competition, COUNTER)
    prove(found)
    assert found.documents[COUNTER].pages  # the day is a wide one
    assert competition.crashes > 0
    assert sum(plan.times == 0 for client in unlucky for plan in client.plans) > WORKERS


@pytest.mark.parametrize("offer", [DAILY, rolling(DAILY)], ids=["day", "rolling"])
def test_voids_before_after_and_among_their_requests_take_each_back_once(
    race: Callable[..., Race], clients: list[Any], offer: Offer
) -> None:
    requests = [usage(f"r{number}", tokens) for number, tokens in enumerate(sizes(5, 20_000)[:80])]
    voids = [void_of(each, f"{name}-{each['id']}") for each in requests[::2] for name in ("void", "again")]
    competition = race(offer, requests + voids)
    competition.run([unreliable(client, seed) for seed, client in enumerate(clients)], shares_of(competition.events, 5))
    competition.run(clients, shares_of(voids, 6))  # those that came before their requests are in quarantine

    found = assert_serial(competition, COUNTER if offer is DAILY else WINDOWS, {"unknown_request"})
    assert_voided(found, requests[::2], requests[1::2])
    assert {json.loads(entry.raw)["type"] for entry in found.quarantine} <= {"usage.void"}


def test_voids_at_once_with_their_requests_are_decided_after_them_or_not_at_all(
    race: Callable[..., Race], clients: list[Any]
) -> None:
    requests = [usage(f"r{number}", 10_000) for number in range(160)]
    voids = [void_of(each, f"void-{each['id']}") for each in requests]
    competition = race(DAILY, requests + voids)
    competition.run(clients, [side for start in range(8) for side in beside(requests[start::8], voids[start::8])])
    met = stored(competition.client, competition.table)
    unknown = {json.loads(entry.raw)["id"] for entry in met.quarantine}
    assert {entry.code for entry in met.quarantine} <= {"unknown_request"}
    decided = {decision.request_id for decision in met.decisions.values() if decision.is_void}
    assert {f"void-{name}" for name in decided} == {void["id"] for void in voids} - unknown
    prove(met)

    outcomes = [classifier(client, table=competition.table).classify([message("m", *voids)]) for client in clients[:2]]
    assert [len(outcome.decisions) for outcome in outcomes] == [len(unknown), 0]
    found = stored(competition.client, competition.table)
    prove(found)
    assert_voided(found, requests, [])


def beside(requests: Sequence[Any], voids: Sequence[Any]) -> list[list[Message]]:
    """The shares of two workers: the one has requests, the other their voids in the same order, one a message."""
    return [[message(f"m-{each['id']}", each) for each in events] for events in (requests, voids)]


def assert_voided(found: Stored, taken_back: Sequence[Any], others: Sequence[Any]) -> None:
    """Each of these requests is taken back once, and the counter and the totals are those of the others."""
    voids = [each for each in found.decisions.values() if each.is_void]
    assert sorted(each.request_id for each in voids) == sorted(each["id"] for each in taken_back)
    verdicts = {each.request_id: each for each in found.decisions.values() if not each.is_void}
    for each in voids:
        voided = verdicts[each.request_id]
        assert (each.verdict, each.input, each.amount_usd) == (voided.verdict, -voided.input, turned(voided.amount_usd))
    left = [verdicts[each["id"]] for each in others]
    assert sum(window.used for each in found.documents.values() for window in each.counter.windows) == sum(
        each.input for each in left if each.verdict == "free"
    )
    rows = [row for each in found.documents.values() for row in each.totals.rows.values()]
    assert sum(row.requests for row in rows) == len(left)
    assert sum(row.input for row in rows) == sum(each.input for each in left)


def turned(amount: str | None) -> str | None:
    """The amount that takes one back."""
    return amount if amount in {None, "0"} else f"-{amount}"


def unreliable(client: Any, seed: int) -> Faulty:
    """A client some of whose calls fail, in ways and in an order of its own."""
    dice = random.Random(seed)
    faults: list[Fault] = [
        loses_response,
        dies_after,
        fails(Crash()),
        fails(aws_error("ThrottlingException")),
        cancelled(client, "TransactionConflict"),
        lambda real, arguments: real(**arguments),
    ]
    faulty = Faulty(client)
    for _ in range(8):
        faulty.on("transact_write_items", dice.choice(faults))
    return faulty.on("batch_get_item", fails(aws_error("ThrottlingException")))


@pytest.mark.parametrize("fault", [loses_response, dies_after], ids=["lost response", "crash"])
def test_what_took_effect_unseen_is_recognized_when_it_comes_again(
    race: Callable[..., Race], clients: list[Any], fault: Fault
) -> None:
    events = [usage(f"r{number}", 8_000) for number in range(150)]
    alone = race(DAILY, events)
    batch = [message("m1", *events[:75]), message("m2", *events[75:])]
    faulty = Faulty(clients[0]).on("transact_write_items", fault)
    try:
        classifier(faulty, table=alone.table).classify(batch)
    except Crash:
        first = 100 - len(["document", "marker of the day", "check of the account"])
        assert len(stored(clients[0], alone.table).decisions) == first
    outcome = classifier(clients[1], table=alone.table).classify(batch)
    assert outcome.unfinished == []
    before = stored(clients[0], alone.table)
    assert (len(before.decisions), before.used()) == (150, 1_000_000)
    prove(before)
    assert classifier(clients[2], table=alone.table).classify(batch).repeats == 150
    assert stored(clients[0], alone.table) == before
