"""The usage queue: nothing is swallowed that is not the very same again, and every call stays within SQS's limits."""

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st

from gratis.errors import Busy, Rejected
from gratis.intake.events import MAX_EVENT_BYTES, compact
from gratis.intake.messages import MAX_MESSAGE_EVENTS
from gratis.intake.queue import MAX_ATTEMPTS, UsageQueue
from tests.builders.aws import FIFO, Faulty, aws, aws_error, fails, leaves
from tests.builders.events import at, usage_event

RECEIVED = at("2025-03-11T09:15:01")
SQS_BYTES = 256 * 1024
"""What SQS takes in one call, bodies and attributes together."""


@dataclass
class Sink:
    """A client that takes everything, and remembers the entries of each call."""

    calls: list[list[dict[str, Any]]] = field(default_factory=list)

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:  # noqa: N803 - as boto3 does
        self.calls.append(Entries)
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}


@dataclass
class Moto:
    """A FIFO queue that moto plays."""

    client: Faulty
    queue: UsageQueue

    def bodies(self) -> list[str]:
        """Takes every message out, in order."""
        taken = []
        while found := self._receive():
            for message in found:
                self.client.client.delete_message(QueueUrl=self.queue.url, ReceiptHandle=message["ReceiptHandle"])
                taken.append(message["Body"])
        return taken

    def ids(self) -> list[str]:
        return [event["id"] for body in self.bodies() for event in json.loads(body)]

    def _receive(self) -> list[Any]:
        answer = self.client.client.receive_message(QueueUrl=self.queue.url, MaxNumberOfMessages=10)
        found: list[Any] = answer.get("Messages", [])
        return found


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    with aws() as clients:
        yield clients


@pytest.fixture
def fifo(clients: dict[str, Any]) -> Iterator[Moto]:
    url = clients["sqs"].create_queue(QueueName="usage.fifo", Attributes=FIFO)["QueueUrl"]
    flaky: Any = Faulty(clients["sqs"])
    yield Moto(flaky, UsageQueue(flaky, url))
    clients["sqs"].delete_queue(QueueUrl=url)


def sent(events: dict[str, Sequence[Any]], nonce: str = "", received_at: Any = RECEIVED) -> list[list[dict[str, Any]]]:
    """The entries of each call that sending these events makes."""
    sink: Any = Sink()
    UsageQueue(sink, "https://queue").send(texts(events), received_at, nonce)
    calls: list[list[dict[str, Any]]] = sink.calls
    return calls


def texts(events: dict[str, Sequence[Any]]) -> dict[str, list[str]]:
    return {organization: [*map(compact, of_one)] for organization, of_one in events.items()}


def deduplication_ids(events: dict[str, Sequence[Any]], nonce: str = "") -> list[str]:
    return [entry["MessageDeduplicationId"] for call in sent(events, nonce) for entry in call]


def named(*request_ids: str, **fields: Any) -> list[dict[str, Any]]:
    return [usage_event(id=request_id, **fields) for request_id in request_ids]


# --- what a message says -------------------------------------------------------------------------------------------


def test_a_message_holds_the_events_their_group_and_when_they_arrived() -> None:
    ((entry,),) = sent({"org_demo": named("r1", "r2")})
    assert json.loads(entry["MessageBody"]) == named("r1", "r2")
    assert entry["MessageGroupId"] == "org_demo"
    assert entry["MessageAttributes"] == {
        "received_at": {"DataType": "String", "StringValue": "2025-03-11T09:15:01Z"},
    }


def test_the_deduplication_id_is_that_of_the_exact_bytes() -> None:
    ((entry,),) = sent({"org_demo": named("r1")})
    assert entry["MessageDeduplicationId"] == hashlib.sha256(entry["MessageBody"].encode()).hexdigest()


def test_the_same_events_at_another_time_are_the_same_message() -> None:
    later = sent({"org_demo": named("r1")}, received_at=RECEIVED + timedelta(minutes=3))
    assert later[0][0]["MessageDeduplicationId"] == deduplication_ids({"org_demo": named("r1")})[0]
    assert later[0][0]["MessageAttributes"]["received_at"]["StringValue"] == "2025-03-11T09:18:01Z"


OTHERS: dict[str, list[Any]] = {
    "with an event more": named("r1", "r2", "r3"),
    "with an event less": named("r1"),
    "in another order": named("r2", "r1"),
    "with another payload": [*named("r1"), usage_event(id="r2", time="2025-03-11T09:16:00Z")],
    "with another note": named("r1", "r2", note="x"),
    "with the fields in another order": [dict(reversed(event.items())) for event in named("r1", "r2")],
    "with an event twice": named("r1", "r2", "r2"),
}


@pytest.mark.parametrize("events", OTHERS.values(), ids=OTHERS)
def test_anything_but_the_very_same_events_has_another_deduplication_id(events: list[Any]) -> None:
    assert deduplication_ids({"org_demo": events}) != deduplication_ids({"org_demo": named("r1", "r2")})


def test_a_nonce_changes_the_deduplication_id_and_nothing_else() -> None:
    ((plain,),), ((again,),) = sent({"org_demo": named("r1")}), sent({"org_demo": named("r1")}, nonce="once more")
    assert plain.pop("MessageDeduplicationId") != again.pop("MessageDeduplicationId")
    assert plain == again


def test_two_nonces_give_two_deduplication_ids() -> None:
    assert len({deduplication_ids({"org_demo": named("r1")}, nonce)[0] for nonce in ("", "a", "b")}) == 3


def test_organizations_that_use_the_same_request_id_have_messages_of_their_own() -> None:
    (call,) = sent({name: named("r1", subject=name) for name in ("org_a", "org_b")})
    assert [entry["MessageGroupId"] for entry in call] == ["org_a", "org_b"]
    assert len({entry["MessageDeduplicationId"] for entry in call}) == 2


# --- what comes out of a real queue --------------------------------------------------------------------------------


def test_the_very_same_again_is_dropped_by_the_queue(fifo: Moto) -> None:
    for _ in range(2):
        fifo.queue.send(texts({"org_demo": named("r1", "r2")}), RECEIVED)
    assert fifo.ids() == ["r1", "r2"]


def test_a_retry_that_holds_more_events_than_the_first_try_is_not_swallowed(fifo: Moto) -> None:
    fifo.queue.send(texts({"org_demo": named("r1")}), RECEIVED)
    fifo.queue.send(texts({"org_demo": named("r1", "r2")}), RECEIVED)
    assert fifo.ids() == ["r1", "r1", "r2"]


def test_a_conflict_is_not_swallowed(fifo: Moto) -> None:
    fifo.queue.send(texts({"org_demo": named("r1")}), RECEIVED)
    fifo.queue.send(texts({"org_demo": named("r1", project="other")}), RECEIVED)
    assert fifo.ids() == ["r1", "r1"]


def test_the_same_request_id_of_two_organizations_is_not_swallowed(fifo: Moto) -> None:
    fifo.queue.send(texts({name: named("r1", subject=name) for name in ("org_a", "org_b")}), RECEIVED)
    assert len(fifo.ids()) == 2


def test_a_redrive_within_five_minutes_is_not_swallowed(fifo: Moto) -> None:
    for nonce in ("", "redrive"):
        fifo.queue.send(texts({"org_demo": named("r1")}), RECEIVED, nonce)
    assert fifo.ids() == ["r1", "r1"]


def test_events_of_an_organization_come_out_in_the_order_they_went_in(fifo: Moto) -> None:
    ids = [f"r{number}" for number in range(1005)]
    fifo.queue.send(texts({"org_demo": named(*ids)}), RECEIVED)
    assert fifo.ids() == ids


# --- limits --------------------------------------------------------------------------------------------------------


def in_one_call(entries: Sequence[dict[str, Any]]) -> int:
    """The bytes of a call as SQS counts them: bodies, and names, types and values of attributes."""
    attributes = [pair for entry in entries for pair in entry["MessageAttributes"].items()]
    counted = sum(len(name) + len(value["DataType"]) + len(value["StringValue"]) for name, value in attributes)
    return counted + sum(len(entry["MessageBody"].encode()) for entry in entries)


def assert_within_limits(calls: Sequence[Sequence[dict[str, Any]]]) -> None:
    for entries in calls:
        assert 1 <= len(entries) <= 10
        assert sum(len(entry["MessageBody"]) for entry in entries) <= 250_000
        assert in_one_call(entries) <= SQS_BYTES
        assert len({entry["Id"] for entry in entries}) == len(entries)


@pytest.mark.parametrize(("organizations", "calls"), [(0, []), (1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])])
def test_a_call_holds_at_most_ten_messages(organizations: int, calls: list[int]) -> None:
    events = {f"org_{number}": named("r1") for number in range(organizations)}
    assert [len(call) for call in sent(events)] == calls


def test_a_call_stays_below_250_000_bytes() -> None:
    calls = sent({f"org_{number}": [usage_event(note="x" * 59_000)] for number in range(9)})
    assert [len(call) for call in calls] == [4, 4, 1]
    assert_within_limits(calls)


@pytest.mark.parametrize("character", ["x", "é", "漢", "🎉", "\x00", '"', "\\", "\u2028", "\x7f"])
def test_the_largest_event_that_is_accepted_fits_a_call_however_it_is_escaped(character: str) -> None:
    note, size = "", MAX_EVENT_BYTES
    while size > 1:  # the longest note that is still accepted, by halving
        size //= 2
        while accepted(usage_event(note=note + character * size)):
            note += character * size
    assert not accepted(usage_event(note=note + character))
    calls = sent({f"org_{number}": [usage_event(note=note)] for number in range(3)})
    assert_within_limits(calls)


def accepted(event: dict[str, Any]) -> bool:
    try:
        compact(event)
    except Rejected:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f"org_{number}" for number in range(12)]),
        st.lists(st.sampled_from([0, 10, 400, 2_000, 30_000, 70_000]) | st.integers(0, 3_000), min_size=1, max_size=40),
    )
)
def test_whatever_is_sent_stays_within_limits_and_comes_whole_and_in_order(sizes: dict[str, list[int]]) -> None:
    events = {
        organization: [{"id": f"{number}", "note": "x" * size} for number, size in enumerate(of_one)]
        for organization, of_one in sizes.items()
    }
    calls = sent(events)
    assert_within_limits(calls)
    arrived: dict[str, list[Any]] = {}
    for entry in (entry for call in calls for entry in call):
        of_message = json.loads(entry["MessageBody"])
        assert len(of_message) <= MAX_MESSAGE_EVENTS
        arrived.setdefault(entry["MessageGroupId"], []).extend(of_message)
    assert arrived == events


# --- when the queue does not take it -------------------------------------------------------------------------------


def test_only_what_was_not_taken_is_sent_again_with_the_same_deduplication_id(fifo: Moto) -> None:
    fifo.client.on("send_message_batch", leaves(0, 2))
    fifo.queue.send(texts({f"org_{number}": named(f"r{number}") for number in range(3)}), RECEIVED)
    first, second = (arguments["Entries"] for arguments in fifo.client.asked("send_message_batch"))
    assert second == [first[0], first[2]]
    assert sorted(fifo.ids()) == ["r0", "r1", "r2"]


def test_a_message_that_is_not_taken_at_first_is_not_overtaken_by_the_next_of_its_organization(fifo: Moto) -> None:
    ids = [f"r{number}" for number in range(250)]
    fifo.client.on("send_message_batch", leaves(0), 2)
    fifo.queue.send(texts({"org_demo": named(*ids), "org_other": named("o1")}), RECEIVED)
    calls = [arguments["Entries"] for arguments in fifo.client.asked("send_message_batch")]
    assert [[entry["MessageGroupId"] for entry in call] for call in calls] == [
        ["org_demo", "org_other"],
        ["org_demo"],
        ["org_demo"],
        ["org_demo"],
        ["org_demo"],
    ]
    assert [each for each in fifo.ids() if each != "o1"] == ids


def test_a_body_of_which_half_was_stored_comes_out_once_and_in_order_when_it_is_sent_again(fifo: Moto) -> None:
    ids = [f"r{number}" for number in range(250)]
    fifo.client.on("send_message_batch", lambda real, arguments: real(**arguments))
    fifo.client.on("send_message_batch", fails(aws_error("ServiceUnavailable")))
    with pytest.raises(Busy):
        fifo.queue.send(texts({"org_demo": named(*ids)}), RECEIVED)
    fifo.queue.send(texts({"org_demo": named(*ids)}), RECEIVED)
    assert fifo.ids() == ids


def test_a_message_that_is_never_taken_is_busy_after_some_attempts(fifo: Moto) -> None:
    fifo.client.on("send_message_batch", leaves(0), MAX_ATTEMPTS)
    with pytest.raises(Busy, match="1 of 2 messages"):
        fifo.queue.send(texts({"org_a": named("r1"), "org_b": named("r2")}), RECEIVED)
    assert len(fifo.client.asked("send_message_batch")) == MAX_ATTEMPTS


@pytest.mark.parametrize("error", [aws_error("ServiceUnavailable"), ReadTimeoutError(endpoint_url="https://queue")])
def test_a_queue_that_does_not_answer_is_busy(fifo: Moto, error: Exception) -> None:
    fifo.client.on("send_message_batch", fails(error))
    with pytest.raises(Busy):
        fifo.queue.send(texts({"org_demo": named("r1")}), RECEIVED)


def test_a_lost_answer_is_no_second_message_when_the_sender_tries_again(fifo: Moto) -> None:
    def loses_answer(real: Any, arguments: dict[str, Any]) -> Any:
        real(**arguments)
        raise ReadTimeoutError(endpoint_url="https://queue")

    fifo.client.on("send_message_batch", loses_answer)
    with pytest.raises(Busy):
        fifo.queue.send(texts({"org_demo": named("r1")}), RECEIVED)
    fifo.queue.send(texts({"org_demo": named("r1")}), RECEIVED)
    assert fifo.ids() == ["r1"]


def test_between_two_attempts_it_waits(fifo: Moto) -> None:
    waited: list[int] = []
    fifo.client.on("send_message_batch", leaves(0), 2)
    client: Any = fifo.client
    UsageQueue(client, fifo.queue.url, pause=waited.append).send(texts({"org_demo": named("r1")}), RECEIVED)
    assert waited == [1, 2]


class Meeting(Sink):
    """A client whose calls wait until `count` of them are there at one time."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.barrier = threading.Barrier(count, timeout=60)

    def send_message_batch(self, **call: Any) -> Any:
        self.barrier.wait()
        return super().send_message_batch(**call)


def test_calls_of_different_organizations_are_made_side_by_side() -> None:
    client: Any = Meeting(8)
    with ThreadPoolExecutor(8) as pool:
        queue = UsageQueue(client, "https://queue", spread=pool.map)
        queue.send(texts({f"org_{number}": named("r1") for number in range(80)}), RECEIVED)
    assert len(client.calls) == 8
    assert len({entry["MessageGroupId"] for call in client.calls for entry in call}) == 80


def test_side_by_side_an_organizations_messages_still_go_one_after_the_other() -> None:
    sink: Any = Sink()
    many = named(*(f"r{number}" for number in range(2 * MAX_MESSAGE_EVENTS)))
    with ThreadPoolExecutor(8) as pool:
        queue = UsageQueue(sink, "https://queue", spread=pool.map)
        queue.send(texts({f"org_{number}": many for number in range(30)}), RECEIVED)
    turns = [{json.loads(entry["MessageBody"])[0]["id"] for entry in call} for call in sink.calls]
    assert turns == sorted(turns, key=lambda ids: ids != {"r0"})
    assert {frozenset(ids) for ids in turns} == {frozenset({"r0"}), frozenset({f"r{MAX_MESSAGE_EVENTS}"})}


def test_once_a_call_fails_no_other_is_begun(fifo: Moto) -> None:
    fifo.client.on("send_message_batch", fails(aws_error("InternalFailure")))
    with pytest.raises(Busy):
        fifo.queue.send(texts({f"org_{number}": named("r1") for number in range(30)}), RECEIVED)
    assert len(fifo.client.asked("send_message_batch")) == 1
