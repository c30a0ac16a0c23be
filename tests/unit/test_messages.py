"""Events as they travel in the queue: packed within what a message should hold, in order, and unpacked the same."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gratis.errors import Rejected
from gratis.intake.events import compact
from gratis.intake.messages import Message, pack
from gratis.strict_json import parse_json
from tests.builders.events import at

MAX_MESSAGE_BYTES = 60_000


def unpacked(body: str) -> list[Any]:
    return Message(id="m1", group="org_demo", body=body, received_at=at("2025-03-11T09:15")).events()


def packed(events: list[Any]) -> list[str]:
    return list(pack(map(compact, events)))


def event_of(size: int, event_id: str = "req_001") -> dict[str, Any]:
    """An event that is `size` bytes of compact JSON."""
    empty = {"id": event_id, "note": ""}
    return empty | {"note": "x" * (size - len(json.dumps(empty, separators=(",", ":"))))}


def sizes(bodies: list[str]) -> list[int]:
    """How many events each body holds."""
    return [len(unpacked(body)) for body in bodies]


def test_no_events_need_no_message() -> None:
    assert list(pack([])) == []


@pytest.mark.parametrize(
    ("events", "expected"), [(1, [1]), (99, [99]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])]
)
def test_a_message_holds_at_most_100_events(events: int, expected: list[int]) -> None:
    assert sizes(packed([{"id": str(number)} for number in range(events)])) == expected


def test_a_message_holds_what_just_fits_and_not_a_byte_more() -> None:
    # two brackets, and a comma for each event
    just = packed([event_of(29_998), event_of(29_998)])
    assert sizes(just) == [2]
    assert MAX_MESSAGE_BYTES - 2 <= len(just[0]) <= MAX_MESSAGE_BYTES
    assert sizes(packed([event_of(29_998), event_of(29_999)])) == [1, 1]


def test_an_event_that_is_larger_than_a_message_should_be_travels_alone() -> None:
    events = [event_of(10, "a"), event_of(70_000, "b"), event_of(10, "c"), event_of(10, "d")]
    bodies = packed(events)
    assert [[event["id"] for event in unpacked(body)] for body in bodies] == [["a"], ["b"], ["c", "d"]]


def test_a_message_is_plain_ascii_so_that_the_queue_takes_every_character() -> None:
    odd = "é漢🎉\ufffe\uffff\u0000\u0085\u2028"
    (body,) = packed([{"id": odd, odd: 1}])
    assert body.isascii()
    assert body.isprintable()
    assert unpacked(body) == [{"id": odd, odd: 1}]


NUMBERED_SIZES = st.lists(st.sampled_from([30, 500, 600, 5_000, 20_000, 59_000, 61_000]), max_size=150)


@settings(deadline=None, max_examples=60)
@given(lengths=NUMBERED_SIZES)
def test_events_keep_their_order_and_every_message_its_limits(lengths: list[int]) -> None:
    events = [event_of(length, f"req_{number}") for number, length in enumerate(lengths)]
    bodies = packed(events)
    assert [event for body in bodies for event in unpacked(body)] == events
    for body in bodies:
        assert 1 <= len(unpacked(body)) <= 100
        assert len(body) <= MAX_MESSAGE_BYTES or len(unpacked(body)) == 1


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


@settings(deadline=None, max_examples=50)
@given(events=st.lists(JSON, min_size=1, max_size=5))
def test_whatever_an_event_holds_comes_out_as_it_went_in(events: list[Any]) -> None:
    assert [event for body in packed(events) for event in unpacked(body)] == events


# What comes out of the queue


@pytest.mark.parametrize(
    ("body", "events"), [("[]", []), ('[{"a":1},{"b":2}]', [{"a": 1}, {"b": 2}]), ("[[1]]", [[1]])]
)
def test_a_body_is_a_list_of_events(body: str, events: list[Any]) -> None:
    assert unpacked(body) == events


@pytest.mark.parametrize(("body", "event"), [('{"a":1}', {"a": 1}), ("null", None), ('"x"', "x")])
def test_anything_else_is_a_single_event(body: str, event: Any) -> None:
    assert unpacked(body) == [event]


@pytest.mark.parametrize("body", ["", "{", "usage", "[1,]", "[NaN]"])
def test_a_body_that_is_no_json_is_rejected(body: str) -> None:
    with pytest.raises(Rejected, match="the message is no JSON: ") as caught:
        unpacked(body)
    assert caught.value.code == "invalid_event"


RECORD = {
    "messageId": "5fea7756-0ea4-451a-a703-a558b933e274",
    "body": '[{"id":"req_001"}]',
    "attributes": {"SentTimestamp": "1741684500250", "MessageGroupId": "org_demo", "ApproximateReceiveCount": "1"},
    "messageAttributes": {"received_at": {"stringValue": "2025-03-11T09:14:59.123456Z", "dataType": "String"}},
    "eventSource": "aws:sqs",
}


def test_a_record_becomes_a_message_received_when_the_webhook_took_it() -> None:
    assert Message.from_record(RECORD) == Message(
        id="5fea7756-0ea4-451a-a703-a558b933e274",
        group="org_demo",
        body='[{"id":"req_001"}]',
        received_at=at("2025-03-11T09:14:59.123456"),
    )


@pytest.mark.parametrize("attributes", [{}, {"other": {"stringValue": "x", "dataType": "String"}}], ids=str)
def test_a_record_that_does_not_say_when_was_received_when_the_queue_took_it(attributes: dict) -> None:
    message = Message.from_record(RECORD | {"messageAttributes": attributes})
    assert message.received_at == at("2025-03-11T09:15:00.250")


def test_a_record_of_a_queue_without_groups_is_a_group_of_its_own() -> None:
    message = Message.from_record(RECORD | {"attributes": {"SentTimestamp": "1741684500250"}})
    assert message.group == message.id == RECORD["messageId"]


# What the webhook reads, the queue must be able to carry


def test_a_number_that_json_cannot_write_never_gets_into_a_message() -> None:
    events = parse_json(b'[{"id": "req_001"}, {"id": "req_002", "note": 1e999}]')
    with pytest.raises(Rejected, match="too large for JSON"):
        packed(events)
