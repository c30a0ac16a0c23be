"""The account API's routes for outgoing webhooks."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from gratis.outgoing.deliveries import Attempt, Deliveries, Delivery
from tests.builders.account_api import NOW, Answer, Api, Loaded, deployed

WEBHOOKS = "/v1/organization/webhooks"
URL = "https://hooks.example/gratis"


@pytest.fixture
def api(shared: Loaded) -> Iterator[Api]:
    with deployed(shared, DELIVERY_QUEUE="deliveries.fifo") as found:
        yield found


def send(api: Api, method: str, path: str = "", body: Any = None, key: str | None = None) -> Answer:
    return api.call(method, f"{WEBHOOKS}{path}", "", key, body=json.dumps(body) if body is not None else "")


def registered(api: Api, **more: Any) -> Any:
    answer = send(api, "POST", "", {"url": URL, **more})
    assert answer.status == 201, answer.text
    return answer.content


def test_the_secret_is_shown_once(api: Api) -> None:
    made = registered(api, types=["DayClosed"])
    assert made["secret"].startswith("whsec_")
    assert (made["url"], made["types"], made["status"], made["notice"]) == (URL, ["DayClosed"], "enabled", None)
    (listed,) = send(api, "GET").content["data"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}


def test_all_types_are_sent_if_none_is_named(api: Api) -> None:
    assert "QuotaThresholdReached" in registered(api)["types"]


REFUSED: dict[str, tuple[Any, str]] = {
    "no URL": ({}, "url"),
    "plain http": ({"url": "http://hooks.example/"}, "url"),
    "a private address": ({"url": "https://169.254.169.254/latest"}, "url"),
    "an unknown type": ({"url": URL, "types": ["Everything"]}, "types"),
    "no types": ({"url": URL, "types": []}, "types"),
    "another field": ({"url": URL, "secret": "mine"}, "secret"),
}


@pytest.mark.parametrize(("body", "param"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_named(api: Api, body: Any, param: str) -> None:
    answer = send(api, "POST", "", body)
    assert answer.refused() == (400, "invalid_value", param)


@pytest.mark.parametrize("role", ["reader"])
def test_only_an_owner_sees_and_changes_webhooks(api: Api, role: str) -> None:
    key = api.key(role)
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/wh_" + "0" * 20)):
        assert send(api, method, path, {"url": URL}, key).status == 403


def test_nobody_sees_or_touches_another_organizations_webhook(api: Api) -> None:
    path = f"/{registered(api)['id']}"
    stranger = api.key("owner", "org_b")
    assert send(api, "GET", "", None, stranger).content["data"] == []
    assert send(api, "GET", f"{path}/deliveries", None, stranger).status == 404
    assert send(api, "POST", f"{path}/test", None, stranger).status == 404
    assert send(api, "DELETE", path, None, stranger).status == 204
    assert len(send(api, "GET").content["data"]) == 1


def test_a_deleted_webhook_is_gone_and_deleting_again_does_no_harm(api: Api) -> None:
    path = f"/{registered(api)['id']}"
    assert send(api, "DELETE", path).status == 204
    assert send(api, "DELETE", path).status == 204
    assert send(api, "GET").content["data"] == []


def test_a_test_event_is_queued_for_that_endpoint_alone(api: Api) -> None:
    made = registered(api)
    answer = send(api, "POST", f"/{made['id']}/test")
    assert answer.status == 202
    client = boto3.client("sqs")
    url = client.get_queue_url(QueueName="deliveries.fifo")["QueueUrl"]
    (message,) = client.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"]
    delivery = Delivery.of(message["Body"])
    assert (delivery.endpoint, delivery.type, delivery.event_id) == (made["id"], "test", answer.content["event_id"])
    assert message["Attributes"]["MessageGroupId"] == f"org_a/{made['id']}"


def test_a_disabled_webhook_says_why_and_can_be_enabled(api: Api) -> None:
    from gratis.outgoing.endpoints import Endpoints

    made = registered(api)
    Endpoints(api.client, api.table).change("org_a", made["id"], lambda each: each.failed(NOW).disabled("it is broken"))
    (listed,) = send(api, "GET").content["data"]
    assert (listed["status"], listed["notice"]) == ("disabled", "it is broken")
    assert send(api, "POST", f"/{made['id']}/test").refused() == (409, "disabled", "webhook")
    enabled = send(api, "POST", f"/{made['id']}/enable").content
    assert (enabled["status"], enabled["notice"], enabled["failing_since"]) == ("enabled", None, None)


def test_deliveries_are_paged(api: Api) -> None:
    made = registered(api)
    delivery = Delivery("org_a", made["id"], "evt_1", "DayClosed", "now", {})
    for number in range(5):
        at = f"2025-03-11T09:00:0{number}Z"
        attempt = Attempt(at, "evt_1", "DayClosed", number + 1, "retry", 500, None, 3)
        Deliveries(api.client, api.table).log(delivery, attempt, NOW)
    found, page = [], None
    for _ in range(3):
        parameters = {"limit": 2} | ({"page": page} if page else {})
        content = api.get(f"{WEBHOOKS}/{made['id']}/deliveries", **parameters).content
        found += [each["attempt"] for each in content["data"]]
        page = content["next_page"]
        assert content["has_more"] == (page is not None)
    assert found == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("path", ["/wh_nothing/deliveries", f"/wh_{'0' * 20}/deliveries"])
def test_a_webhook_that_is_not_there_is_named(api: Api, path: str) -> None:
    assert send(api, "GET", path).status in (400, 404)
