"""Eight clients that reserve, strangers beside them, and the requests that come: SPEC section 2, "Reservations".

On an engine whose transactions are atomic, with the code of the account's API and of the classifier.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gratis.account.asked import Wanted
from gratis.account.reservations import Reservations
from gratis.closing.proof import Proof
from gratis.closing.proving import Proving
from gratis.rules.explanation import explain
from gratis.rules.offer_file import shipped
from gratis.rules.receipt import Decision
from gratis.table.accounts import Accounts
from gratis.table.ledger import Ledger
from gratis_local.engine import create_table
from gratis_local.stack import client_for
from tests.builders.events import message, usage
from tests.builders.ledger import classifier
from tests.builders.organizations import account

THREADS = 8
MODEL = "gpt-4o-mini-2024-07-18"
"""Of the group whose quota is 10,000,000 tokens."""
EACH = 100_000
NOW = datetime(2025, 3, 11, 10, tzinfo=UTC)
OFFER = shipped("data-sharing-2025")


class Desk:
    """One table, and as many clients of it as there are threads."""

    def __init__(self, url: str, table: str) -> None:
        self.clients = [client_for(url, "dynamodb") for _ in range(THREADS)]
        self.table = table
        create_table(self.clients[0], table)
        Accounts(self.clients[0], table).put(account())

    def side_by_side(self, work: Callable[[Any, Any], Any], items: Sequence[Any]) -> list[Any]:
        """What `work` comes to for each of the items, in their order; every thread takes each eighth of them."""

        def share(number: int) -> list[Any]:
            return [work(self.clients[number], item) for item in items[number::THREADS]]

        with ThreadPoolExecutor(THREADS) as pool:
            shares = list(pool.map(share, range(THREADS)))
        return [shares[place % THREADS][place // THREADS] for place in range(len(items))]

    def reservations(self, client: Any, now: datetime = NOW) -> Reservations:
        return Reservations(Ledger(client, self.table), OFFER, "org_a", now)

    def reserve(self, names: Iterable[str], tokens: int = EACH, now: datetime = NOW) -> list[dict[str, Any]]:
        """The answers to these calls, from eight threads."""

        def call(client: Any, name: str) -> dict[str, Any]:
            wanted = Wanted.model_validate({"id": name, "model": MODEL, "tokens": tokens, "expires_in": 3600})
            return self.reservations(client, now).reserve(wanted)[0]

        return self.side_by_side(call, list(names))

    def decide(self, client: Any, name: str, tokens: int, now: datetime = NOW) -> Decision:
        """The decision on a request in a batch of its own, which comes again while it loses every race."""
        event = usage(name, tokens, model=MODEL, at=now.isoformat())
        batch = [message(f"m-{name}", event, received_at=now)]
        ours = classifier(client, OFFER, lambda _: now, self.table)
        while (outcome := ours.classify(batch)).unfinished:
            pass
        [decision] = outcome.decisions
        return decision

    def come(self, requests: Sequence[tuple[str, int]], now: datetime = NOW) -> list[Decision]:
        """The decisions on requests of so many tokens, from eight threads."""
        return self.side_by_side(lambda client, request: self.decide(client, *request, now), requests)

    def proof(self) -> Proof:
        proving = Proving(Ledger(self.clients[0], self.table), "org_a", NOW.date(), lambda _: OFFER)
        while not proving.go_on(1000):
            pass
        return proving.proof(NOW)


@pytest.fixture
def desk(engine_url: str, request: pytest.FixtureRequest) -> Desk:
    return Desk(engine_url, "".join(each if each.isalnum() else "-" for each in request.node.name))


def test_of_120_reservations_100_are_free_and_kept_beside_strangers_who_are_billed(desk: Desk) -> None:
    answers = desk.reserve(f"r{number}" for number in range(120))
    free = [answer["id"] for answer in answers if answer["verdict"] == "free"]
    assert len(free) == 100
    assert {answer["reserved"] for answer in answers if answer["verdict"] == "billed"} == {10_000_000}
    assert [each["id"] for each in desk.reservations(desk.clients[0]).listed()] == sorted(free)

    strangers = desk.come([(f"s{number}", 1 + EACH * (number % 2)) for number in range(16)])
    assert {(each.verdict, each.reason, each.used_before, each.reserved_before) for each in strangers} == {
        ("billed", "over_quota", 0, 10_000_000)
    }
    assert "beside 10,000,000 reserved by others" in explain(strangers[0], OFFER.version_at(NOW))

    smaller = set(free[:40])
    requests = [(name, EACH // 2 if name in smaller else EACH) for name in free]
    larger = [(f"t{number}", 2_000_001) for number in range(16)]
    decisions = desk.come([each for pair in zip(requests[:16], larger, strict=True) for each in pair] + requests[16:])
    ours = [each for each in decisions if each.request_id in free]
    assert [each for each in ours if (each.verdict, each.reservation) != ("free", each.request_id)] == []
    assert {each.verdict for each in decisions if each.request_id not in free} == {"billed"}

    assert desk.reservations(desk.clients[0]).listed() == []
    [last, one_more] = [desk.come([("last", 2_000_000)]), desk.come([("one-more", 1)])]
    assert (last[0].used_before, last[0].reserved_before, last[0].used_after) == (8_000_000, 0, 10_000_000)
    assert one_more[0].verdict == "billed"
    proof = desk.proof()
    assert (list(proof.differences), proof.holds) == ([], True)


def test_reservations_and_requests_that_race_never_take_the_same_tokens(desk: Desk) -> None:
    def either(client: Any, number: int) -> tuple[str, str | None]:
        if number % 2:
            wanted = Wanted.model_validate({"id": f"r{number}", "model": MODEL, "tokens": EACH, "expires_in": 3600})
            return "reserved", desk.reservations(client).reserve(wanted)[0]["expires_at"]
        decision = desk.decide(client, f"s{number}", EACH)
        return "decided", decision.verdict if decision.verdict == "free" else None

    done = desk.side_by_side(either, range(160))
    assert sum(value is not None for _, value in done) == 100
    kept = [f"r{number}" for number in range(1, 160, 2) if done[number][1]]
    assert {each.verdict for each in desk.come([(name, EACH) for name in kept])} == {"free"}
    assert desk.proof().holds


def test_what_is_released_or_has_expired_is_free_for_others(desk: Desk) -> None:
    free = {answer["id"] for answer in desk.reserve(f"r{number}" for number in range(100))}
    assert desk.come([("s1", 1)])[0].verdict == "billed"
    given_back = sorted(free)[:60]
    desk.side_by_side(lambda client, name: desk.reservations(client).release(name), given_back)
    assert {each.verdict for each in desk.come([(f"t{number}", EACH) for number in range(60)])} == {"free"}
    assert desk.come([("s2", 1)])[0].verdict == "billed"
    later = NOW + timedelta(hours=1)
    assert {each.verdict for each in desk.come([(f"u{number}", EACH) for number in range(40)], later)} == {"free"}
    assert desk.reservations(desk.clients[0], later).listed() == []
    assert desk.proof().holds
