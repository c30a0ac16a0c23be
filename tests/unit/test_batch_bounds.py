"""What a batch may cost at most: calls for a reused id, time before the deadline, and organizations side by side."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gratis.classify import Classifier
from gratis.table.accounts import Accounts
from gratis.table.dynamo import MAX_ATTEMPTS
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.replay import event_clock
from tests.builders.aws import TABLE, Faulty, aws_error, fails, moto_table, of_organization
from tests.builders.events import message, usage
from tests.builders.ledger import prove, stored
from tests.builders.offers import DAILY
from tests.builders.organizations import account

ORGANIZATIONS = [f"org_{number}" for number in range(10)]


class OneAtATime:
    """A client whose calls are made one at a time: moto's tables are not made for threads."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.client, name)
        return self._locked(real) if callable(real) and name != "exceptions" else real

    def _locked(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*positional: Any, **named: Any) -> Any:
            with self.lock:
                return real(*positional, **named)

        return call


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """A ledger table with ten organizations."""
    with moto_table() as client:
        for organization in ["org_a", *ORGANIZATIONS]:
            Accounts(client, TABLE).put(account(organization))
        yield Faulty(OneAtATime(client))


def classifier(client: Faulty, **chosen: Any) -> Classifier:
    table: Any = client
    return Classifier(Ledger(table, TABLE), Quarantine(table, TABLE), DAILY, event_clock, **chosen)


def of_each(count: int = 1) -> list[Any]:
    """A message of each organization with so many events."""
    return [
        message(f"m_{each}", *(usage(f"r{number}", organization=each) for number in range(count)), group=each)
        for each in ORGANIZATIONS
    ]


# --- one id, used again --------------------------------------------------------------------------------------------


def test_an_id_that_a_whole_batch_reuses_costs_few_calls(client: Faulty) -> None:
    """900 payloads of one id: the first is decided, the rest is compared with it at once, and put away one by one."""
    events = [usage("reused", tokens) for tokens in range(1, 901)]
    messages = [message(f"m{start}", *events[start : start + 100]) for start in range(0, 900, 100)]
    outcome = classifier(client).classify(messages)
    assert (len(outcome.decisions), len(outcome.quarantined), outcome.unfinished) == (1, 899, [])
    assert {entry.code for entry in outcome.quarantined} == {"conflict"}
    assert len(client.asked("put_item")) == 899
    assert len(client.calls) <= 899 + 5
    assert outcome.decisions[0].input == 1


def test_a_rival_of_a_request_that_was_decided_before_is_a_repeat_if_it_is_what_was_decided(client: Faulty) -> None:
    decide = classifier(client)
    decide.classify([message("m1", usage("r1", 5))])
    outcome = decide.classify([message("m2", usage("r1", 6), usage("r1", 5), usage("r1", 7), usage("r1", 5))])
    assert (outcome.decisions, outcome.repeats, len(outcome.quarantined)) == ([], 2, 2)


def test_a_rival_of_a_request_that_was_refused_is_judged_itself(
    client: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gratis import classify

    real = classify.case_of

    def refuses_the_first(request: Any, *rest: Any) -> Any:
        if request.tokens.total == 6:
            raise ValueError("nobody foresaw this")
        return real(request, *rest)

    monkeypatch.setattr(classify, "case_of", refuses_the_first)
    outcome = classifier(client).classify([message("m1", usage("r1", 6), usage("r1", 7), usage("r1", 8))])
    assert [decision.input for decision in outcome.decisions] == [7]
    assert [(entry.code, json.loads(entry.raw)["data"]["usage"]["total_tokens"]) for entry in outcome.quarantined] == [
        ("internal_error", 6),
        ("conflict", 8),
    ]


def test_rivals_that_cannot_be_put_away_come_again_and_nothing_is_decided_twice(client: Faulty) -> None:
    client.on("put_item", fails(aws_error("InternalServerError", "PutItem")))
    message_of_three = message("m1", usage("r1", 1), usage("r1", 2), usage("r1", 3))
    outcome = classifier(client).classify([message_of_three])
    assert (len(outcome.decisions), outcome.unfinished) == (1, ["m1"])
    again = classifier(client).classify([message_of_three])
    assert (again.decisions, again.repeats, len(again.quarantined), again.unfinished) == ([], 1, 2, [])


# --- the deadline --------------------------------------------------------------------------------------------------


def after(commits: int) -> Callable[[], bool]:
    """Time runs out after so many commits."""
    left = iter([False] * commits)
    return lambda: next(left, True)


@pytest.mark.parametrize("commits", [0, 1, 4, 10])
def test_what_is_not_begun_before_the_deadline_comes_again_and_the_rest_is_decided(
    client: Faulty, commits: int
) -> None:
    outcome = classifier(client).classify(of_each(2), after(commits))
    assert len(outcome.decisions) == 2 * commits
    assert outcome.unfinished == [f"m_{each}" for each in ORGANIZATIONS[commits:]]
    again = classifier(client).classify(of_each(2))
    assert (again.repeats, len(again.decisions)) == (2 * commits, 20 - 2 * commits)
    prove(stored(client.client))


def test_what_comes_later_of_an_organization_does_not_overtake_what_the_deadline_cut_off(client: Faulty) -> None:
    """Two chunks of one counter, then another message: the order stays when the rest comes again."""
    first = message("m1", *(usage(f"r{number:03}", 6_000) for number in range(100)))
    second = message("m2", *(usage(f"r{number:03}", 6_000) for number in range(100, 200)))
    outcome = classifier(client, max_items=50).classify([first, second], after(1))
    assert outcome.unfinished == ["m1", "m2"]
    assert [decision.request_id for decision in outcome.decisions] == [f"r{number:03}" for number in range(47)]
    again = classifier(client).classify([first, second])
    free = [decision.request_id for decision in again.decisions if decision.verdict == "free"]
    assert free == [f"r{number:03}" for number in range(47, 166)]


def test_a_writer_that_is_always_slower_stops_at_the_deadline_and_not_after_its_last_attempt(client: Faulty) -> None:
    client.on("transact_write_items", fails(aws_error("ThrottlingException")), times=MAX_ATTEMPTS + 1)
    outcome = classifier(client).classify([message("m1", usage("r1"))], after(2))
    assert outcome.unfinished == ["m1"]
    assert len(client.transactions) == 2
    assert outcome.causes == ["org_a: time is running out"]


# --- side by side --------------------------------------------------------------------------------------------------


def test_ten_organizations_that_are_throttled_wait_side_by_side_and_each_keeps_its_order(client: Faulty) -> None:
    """Each has two counters, whose commits are throttled three times; nobody waits for another's pause."""
    waiting = threading.Barrier(len(ORGANIZATIONS), timeout=30)
    for organization in ORGANIZATIONS:
        client.on("transact_write_items", fails(aws_error("ThrottlingException")), only=of_organization(organization))
    with ThreadPoolExecutor(len(ORGANIZATIONS)) as threads:
        decide = classifier(client, pause=lambda _: waiting.wait() and None, spread=threads.map)
        outcome = decide.classify(of_each(3))  # one after the other they would wait at the barrier for ever
    assert (len(outcome.decisions), outcome.unfinished, outcome.contended) == (30, [], 10)
    for organization in ORGANIZATIONS:
        own = [each.request_id for each in outcome.decisions if each.organization == organization]
        assert own == ["r0", "r1", "r2"]
    prove(stored(client.client))


def test_an_organization_whose_documents_cannot_be_written_stops_no_other_beside_it(client: Faulty) -> None:
    for _ in range(MAX_ATTEMPTS + 1):
        client.on("transact_write_items", fails(aws_error("ThrottlingException")), only=of_organization("org_3"))
    with ThreadPoolExecutor(4) as threads:
        outcome = classifier(client, spread=threads.map).classify(of_each())
    assert outcome.unfinished == ["m_org_3"]
    assert len(outcome.decisions) == 9
