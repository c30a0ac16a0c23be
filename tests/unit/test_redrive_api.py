"""The platform sends refused events through again over the API: sent once it can be decided, gone once it is."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest

from gratis.errors import Rejected
from gratis.table.quarantine import Quarantine, entry
from tests.builders.account_api import NOW, Answer, Api, Clock, Loaded, deployed
from tests.builders.events import used
from tests.unit.test_permissions import recorded, refused

REDRIVE = "/v1/quarantine/redrive"
TODAY = "2025-03-12"


@pytest.fixture
def api(shared: Loaded) -> Iterator[Api]:
    with deployed(shared, USAGE_QUEUE="usage.fifo") as found:
        yield found


def queued() -> list[Any]:
    """The events that wait in the usage queue, with their organization and when they were received; taken out."""
    client, found = boto3.client("sqs"), []
    url = client.get_queue_url(QueueName="usage.fifo")["QueueUrl"]
    asked: Any = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"], "MessageAttributeNames": ["All"]}
    while messages := client.receive_message(QueueUrl=url, **asked).get("Messages", []):
        for each in messages:
            received = each["MessageAttributes"]["received_at"]["StringValue"]
            found += [(each["Attributes"]["MessageGroupId"], sent, received) for sent in json.loads(each["Body"])]
            client.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
    return found


def redrive(api: Api, **which: Any) -> Answer:
    return api.call("POST", REDRIVE, key=api.platform, body=json.dumps({"day": TODAY} | which))


def states(answer: Answer) -> dict[str, str]:
    assert answer.status == 200, answer.text
    return {each["id"]: each["state"] for each in answer.content["data"]}


def left(api: Api) -> list[str]:
    return [each["id"] for each in api.get("/v1/quarantine", api.platform, limit=100).content["data"]]


def test_an_event_is_sent_as_it_was_received_and_its_entry_goes_once_it_is_decided(api: Api) -> None:
    sent = used(5, id="r1")
    api.refuse(sent, "internal_error")
    api.set_clock(NOW + timedelta(hours=2))
    answer = redrive(api)
    assert answer.content["data"] == [
        {
            "object": "redriven",
            "organization": "org_a",
            "id": "r1",
            "received_at": "2025-03-12T10:30:00Z",
            "error": {"code": "internal_error", "message": "time: is long ago"},
            "state": "sent",
            "why": "it is not decided yet; ask again, and the entry goes once it is",
        }
    ]
    assert queued() == [("org_a", sent, "2025-03-12T10:30:00Z")]
    assert left(api) == ["r1"]
    api.decide(sent)
    assert states(redrive(api)) == {"r1": "decided"}
    assert (queued(), left(api)) == ([], [])
    assert states(redrive(api)) == {}


def test_an_event_that_is_sent_twice_before_its_decision_is_in_the_queue_twice(api: Api) -> None:
    api.refuse(used(5, id="r1"), "internal_error")
    assert [states(redrive(api)) for _ in range(2)] == [{"r1": "sent"}] * 2
    assert len(queued()) == 2


def test_what_is_still_wrong_stays_and_says_why(api: Api) -> None:
    api.refuse(used(5, id="r1", at="2024-01-01T00:00:00Z"))
    api.refuse({"id": "r2", "subject": "org_a"}, "invalid_event")
    answer = redrive(api)
    assert states(answer) == {"r1": "refused", "r2": "refused"}
    assert all(each["why"] for each in answer.content["data"])
    assert (queued(), left(api)) == ([], ["r1", "r2"])


def test_an_event_refused_for_another_reason_has_an_entry_for_each_and_both_go_once_it_is_decided(api: Api) -> None:
    sent = used(5, id="r1")
    api.refuse(sent, "internal_error")
    assert states(redrive(api)) == {"r1": "sent"}
    api.refuse(sent, "unknown_request")
    assert left(api) == ["r1", "r1"]
    api.decide(sent)
    assert [each["state"] for each in redrive(api).content["data"]] == ["decided", "decided"]
    assert left(api) == []


def test_an_entry_that_a_slower_worker_puts_after_the_decision_goes_with_the_next_redrive(api: Api) -> None:
    sent = used(5, id="r1")
    api.refuse(sent, "internal_error")
    api.decide(sent)
    assert states(redrive(api)) == {"r1": "decided"}
    api.refuse(sent, "internal_error")
    assert states(redrive(api)) == {"r1": "decided"}
    assert (queued(), left(api)) == ([], [])


def test_a_conflict_stays(api: Api) -> None:
    api.decide(used(5, id="r1"))
    api.refuse(used(6, id="r1"), "conflict")
    assert states(redrive(api)) == {"r1": "refused"}
    assert (queued(), left(api)) == ([], ["r1"])


def test_what_came_too_early_is_received_now(api: Api) -> None:
    api.refuse(used(5, id="r1", at="2025-03-12T10:50:00Z"), "in_the_future")
    assert states(redrive(api)) == {"r1": "refused"}
    api.set_clock(NOW + timedelta(minutes=30))
    assert states(redrive(api)) == {"r1": "sent"}
    assert [received for _, _, received in queued()] == ["2025-03-12T11:00:00Z"]


@pytest.mark.parametrize(
    ("which", "sent"),
    [
        ({}, {"r1", "r2", "r3"}),
        ({"organization": "org_b"}, {"r3"}),
        ({"id": "r2"}, {"r2"}),
        ({"code": "internal_error"}, {"r2", "r3"}),
        ({"day": "2025-03-11"}, set()),
    ],
)
def test_only_what_is_asked_for_is_sent(api: Api, which: Any, sent: set[str]) -> None:
    for name, code, organization in (
        ("r1", "unknown_request", "org_a"),
        ("r2", "internal_error", "org_a"),
        ("r3", "internal_error", "org_b"),
    ):
        api.refuse(used(5, id=name) | {"subject": organization}, code)
    assert set(states(redrive(api, **which))) == sent
    assert {event["id"] for _, event, _ in queued()} == sent


def test_a_day_is_sent_page_by_page_with_events_of_many_parts_each_once(api: Api) -> None:
    quarantine = Quarantine(api.client, api.table, max_bytes=60)
    for number in range(5):
        kept = entry(used(number, id=f"r{number}"), Rejected("internal_error", "x"), Clock.moment, "classify_usage")
        quarantine.put([kept])
    page, rounds = {}, 0
    while rounds < 100:
        answer = redrive(api, limit=2, **page).content
        rounds += 1
        if not answer["has_more"]:
            break
        page = {"page": answer["next_page"]}
    assert rounds > 5
    assert sorted(event["id"] for _, event, _ in queued()) == [f"r{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("which", "parameter"),
    [({"day": "2025-02-30"}, "day"), ({"limit": 101}, "limit"), ({"page": "a b"}, "page"), ({"all": True}, "all")],
)
def test_what_cannot_be_asked_is_named(api: Api, which: Any, parameter: str) -> None:
    assert redrive(api, **which).refused() == (400, "invalid_value", parameter)


@pytest.mark.parametrize("role", ["owner", "gateway", "reader"])
def test_only_the_platform_redrives(api: Api, role: str) -> None:
    api.refuse(used(5, id="r1"), "internal_error")
    answer = api.call("POST", REDRIVE, key=api.key(role), body=json.dumps({"day": TODAY}))
    assert answer.refused() == (403, "insufficient_permissions", None)
    assert queued() == []


def test_the_role_may_send_and_take_out_of_quarantine(api: Api) -> None:
    sent = used(5, id="r1")
    api.refuse(sent, "internal_error")
    assert api.platform
    with recorded() as calls:
        assert states(redrive(api)) == {"r1": "sent"}
    assert refused("account_api", calls) == set()
    assert queued()
    api.decide(sent)
    with recorded() as calls:
        assert states(redrive(api)) == {"r1": "decided"}
    assert refused("account_api", calls) == set()
    assert "dynamodb:DeleteItem" in {operation for operation, _ in calls}
