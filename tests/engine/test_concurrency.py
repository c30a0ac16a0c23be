"""Many workers on one counter, on an engine whose transactions are atomic: SPEC section 3, promises 1 to 4."""

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gratis.classify import Classifier
from gratis.intake.messages import Message
from gratis.rules.decision import Books, case_of, settle
from gratis.rules.offer import Offer
from gratis.rules.receipt import Decision
from gratis.rules.window import Counter, CounterId
from gratis.table.accounts import Accounts
from gratis.table.ledger import Document, Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.engine import create_table
from gratis_local.stack import client_for
from tests.ledger_builders import (
    DAILY,
    Crash,
    Fault,
    Faulty,
    Stored,
    account,
    aws_error,
    cancelled,
    classifier,
    dies_after,
    fails,
    loses_response,
    message,
    plain,
    prove,
    request_of,
    rolling,
    stored,
    usage,
    with_versions,
)

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
        voided: Sequence[Decision] = (),
    ) -> dict[CounterId, Document]:
        version = read.get(counter, Document()).version + 1
        self.attempts.append(Attempt(version, [plain(decision) for decision in decisions]))
        return super().commit(read, counter, books, decisions, voided)


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


def assert_serial(race: Race, counter: CounterId) -> Stored:
    """What the workers did together equals what one would have done in the order in which the commits took effect."""
    found = stored(race.client, race.table)
    history = race.effective(found)
    assert [attempt.version for attempt in history] == list(range(1, len(history) + 1))
    committed = [decision for attempt in history for decision in attempt.decisions]
    assert {decision.key: decision for decision in committed} == found.decisions
    assert len(committed) == len(found.decisions) == len(race.events)

    requests = {(request := request_of(event)).key: request for event in race.events}
    books = Books(Counter(), {})
    for attempt in history:
        cases = [case_of(requests[decision.key], race.offer, account()) for decision in attempt.decisions]
        books, decisions = settle(books, cases, datetime.fromisoformat(attempt.decisions[0].decided_at))
        assert [plain(decision) for decision in decisions] == attempt.decisions
    assert found.documents[counter].version == len(history)
    assert found.documents[counter].counter == books.counter
    for day, totals in books.totals.items():
        assert found.documents[counter._replace(slot=day.isoformat())].totals == totals
    assert found.quarantine == []
    assert len(race.attempts) > 2 * len(history)  # it was a race at all
    return found


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
        assert len(stored(clients[0], alone.table).decisions) == 98
    outcome = classifier(clients[1], table=alone.table).classify(batch)
    assert outcome.unfinished == []
    before = stored(clients[0], alone.table)
    assert (len(before.decisions), before.used()) == (150, 1_000_000)
    prove(before)
    assert classifier(clients[2], table=alone.table).classify(batch).repeats == 150
    assert stored(clients[0], alone.table) == before
