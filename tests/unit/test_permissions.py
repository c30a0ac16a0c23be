"""What the functions really call, recorded while they work, is what their roles allow, conditions included."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

from gratis import config
from gratis.table.accounts import Accounts
from gratis_local.functions import Context, handler_of
from gratis_simulation.machines.table import key_in
from tests.builders import webhook
from tests.builders.account_api import Api
from tests.builders.aws import TABLE, aws, moto_table
from tests.builders.events import incompressible, record, usage
from tests.builders.organizations import account
from tests.unit.test_template import ACTIONS, role_of
from tests.unit.transformed import ACCOUNT, REGION, Deployed, allowed

Call = tuple[str, dict[str, Any]]
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@contextmanager
def recorded() -> Iterator[list[Call]]:
    """The operation and the arguments of every call of an AWS client meanwhile."""
    calls: list[Call] = []
    real = BaseClient._make_api_call

    def call(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        calls.append((f"{client.meta.service_model.endpoint_prefix}:{operation}", arguments))
        return real(client, operation, arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", call)
        yield calls


def parts(call: Call) -> Iterator[tuple[str, list[str]]]:
    """The actions that IAM checks for a call, each with its leading keys: a transaction is checked item by item."""
    operation, arguments = call
    if operation == "dynamodb:TransactWriteItems":
        for each in arguments["TransactItems"]:
            (kind,) = each
            yield OF_KIND[kind], [key_in(each)[0]]
    else:
        yield NEEDED.get(operation, operation), keys_in(operation, arguments)


OF_KIND = {"Put": "dynamodb:PutItem", "Update": "dynamodb:UpdateItem", "ConditionCheck": "dynamodb:ConditionCheckItem"}
NEEDED = {"sqs:SendMessageBatch": "sqs:SendMessage"}


def keys_in(operation: str, arguments: Any) -> list[str]:
    """The partition keys that a call of DynamoDB names."""
    if operation == "dynamodb:Query":
        (name,) = [
            each
            for each in arguments["ExpressionAttributeValues"]
            if f"pk = {each}" in arguments["KeyConditionExpression"]
        ]
        return [arguments["ExpressionAttributeValues"][name]["S"]]
    found = []
    for name, value in arguments.items() if isinstance(arguments, dict) else ():
        if name == "pk":
            found.append(value["S"])
        found += keys_in("", value)
    for value in arguments if isinstance(arguments, list) else ():
        found += keys_in("", value)
    return found


RESOURCES = {
    "dynamodb": ["table/LedgerTable"],
    "events": ["event-bus/BillingBus"],
    "secretsmanager": ["secret:WebhookSecret", "secret:LitellmSecret"],
    "sqs": ["UsageQueue", "CloseQueue", "StreamDeadLetters"],
}
"""What each service's calls may be on, by the logical ids; tests elsewhere hold each call to the one it is on."""


def refused(folder: str, calls: list[Call]) -> set[tuple[str, tuple[str, ...]]]:
    """Of these calls those that the function's role would not allow, with their leading keys."""
    statements = Deployed().statements(role_of(folder))
    found = set()
    for action, keys in (part for call in calls for part in parts(call)):
        service = action.partition(":")[0]
        named = {"dynamodb:LeadingKeys": keys} if keys else {}
        arns = [f"arn:aws:{service}:{REGION}:{ACCOUNT}:{each}" for each in RESOURCES[service]]
        if not any(allowed(statements, action, arn, named) for arn in arns):
            found.add((action, tuple(keys)))
    return found


def called(calls: list[Call]) -> set[str]:
    return {action for call in calls for action, _ in parts(call)}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A table with one organization in it; queues and a bus beside it."""
    with moto_table() as client:
        Accounts(client, TABLE).put(account())
        queue = boto3.client("sqs").create_queue(QueueName="days")["QueueUrl"]
        boto3.client("events").create_event_bus(Name="billing")
        for name, value in {
            "LEDGER_TABLE": TABLE,
            "OFFER": "data-sharing",
            "CLOSE_QUEUE": queue,
            "STREAM_DEAD_LETTERS": queue,
            "EVENT_BUS": "billing",
        }.items():
            monkeypatch.setenv(name, value)
        for cached in (config.config, config.dynamodb):
            cached.cache_clear()
        yield client
    for cached in (config.config, config.dynamodb):
        cached.cache_clear()


def decided(*events: Any) -> list[Call]:
    """What classify_usage calls for a batch of these events, received now."""
    sent = record("m1", *events)
    sent["messageAttributes"]["received_at"]["stringValue"] = datetime.now(UTC).isoformat()
    with recorded() as calls:
        assert handler_of("classify_usage")({"Records": [sent]}, Context("c")) == {"batchItemFailures": []}
    return calls


def of_yesterday(request_id: str, **more: Any) -> Any:
    return usage(request_id, at=YESTERDAY.isoformat(), **more)


PUT_INTO_QUARANTINE = {"dynamodb:PutItem", "dynamodb:BatchWriteItem"}
"""Entries, and the further parts of large ones."""


def test_classify_usage_may_decide_and_put_into_quarantine(table: Any) -> None:
    same_id = of_yesterday("r1") | {"type": "usage.eval_run"}
    large = {"id": "large", "note": incompressible(500_000)}
    calls = decided(of_yesterday("r1"), of_yesterday("r2", model="unknown"), same_id, {"id": "bad"}, large)
    assert called(calls) == {"dynamodb:BatchGetItem", "dynamodb:ConditionCheckItem"} | PUT_INTO_QUARANTINE
    assert refused("classify_usage", calls) == set()


def test_receive_usage_may_queue_and_put_into_quarantine() -> None:
    with aws() as clients, webhook.deployed(clients) as deployed, recorded() as calls:
        assert deployed.post_events(webhook.event("r1"), {"id": incompressible(500_000)}).status == 202
        assert deployed.post_litellm(b'[{"id": "bad"}]').status < 500
    assert called(calls) == {"secretsmanager:GetSecretValue", "sqs:SendMessage"} | PUT_INTO_QUARANTINE
    assert refused("receive_usage", calls) == set()


def test_close_day_may_list_prove_and_write_what_it_proved(table: Any) -> None:
    decided(of_yesterday("r1"))
    close_day = handler_of("close_day")
    day = {"organization": "org_a", "day": YESTERDAY.date().isoformat()}
    context: Any = Context("close_day")
    context.get_remaining_time_in_millis = lambda: 0
    with recorded() as calls:
        close_day({}, context)
        close_day({"Records": [{"messageId": "m1", "body": json.dumps(day)}]}, context)
    assert {"dynamodb:Query", "dynamodb:PutItem", "sqs:SendMessage"} <= called(calls)
    assert refused("close_day", calls) == set()


def test_emit_billing_may_put_on_the_bus_and_queue_late_days(table: Any) -> None:
    decided(of_yesterday("r1"))
    items = [each for each in table.scan(TableName=TABLE)["Items"] if each["sk"]["S"].startswith("REQ#")]
    stream = [
        {"eventName": "INSERT", "dynamodb": {"SequenceNumber": "1", "NewImage": as_lambda_gives(each)}}
        for each in items
    ]
    with recorded() as calls:
        assert handler_of("emit_billing")({"Records": stream}, Context("emit_billing")) == {"batchItemFailures": []}
    assert {"events:PutEvents", "sqs:SendMessage"} <= called(calls)
    assert refused("emit_billing", calls) == set()


def as_lambda_gives(item: Any) -> Any:
    return json.loads(json.dumps(item, default=lambda value: base64.b64encode(value).decode()))


def test_account_api_may_read_and_change_accounts(api: Api) -> None:
    api.decide(of_now("r1"))
    body = {"id": "r2", "model": "gpt-4o-2024-08-06", "tokens": 5}
    with recorded() as calls:
        for name in ("allowance/check", "reservations"):
            assert api.call("POST", f"/v1/organization/{name}", body=json.dumps(body)).status < 300
        assert api.call("DELETE", "/v1/organization/reservations/r2").status == 204
        for answer in (
            *(api.usage(), api.costs(), api.get("/v1/organization/allowance"), api.get("/v1/organization/requests")),
            api.get("/v1/organization/requests/r1"),
            api.usage(bucket_width="1h"),
            api.post({"confirmed": True, "traffic": {"mode": "disabled"}}),
            api.put("org_new", tier=1),
        ):
            assert answer.status == 200, answer.text
        assert api.call("DELETE", f"/v1/keys/{revocable(api)}", key=api.platform).status == 204
    ours = [call for call in calls if not is_of_the_test(call)]
    assert {"dynamodb:PutItem", "dynamodb:Query", "dynamodb:GetItem"} <= called(ours)
    assert refused("account_api", ours) == set()


def revocable(api: Api) -> str:
    """The id of a key that nothing else asks with."""
    api.key("reader", "org_revoked")
    (listed,) = api.get("/v1/keys", api.platform, organization="org_revoked").content["data"]
    return str(listed["id"])


def of_now(request_id: str) -> Any:
    return usage(request_id, at="2025-03-12T09:00:00Z")


def is_of_the_test(call: Call) -> bool:
    """The test makes the keys that it asks with."""
    return call[0] == "dynamodb:PutItem" and call[1]["Item"]["pk"]["S"].startswith("KEY")


def test_a_call_that_a_role_does_not_foresee_is_found() -> None:
    """So that the tests above can fail: another action, another partition, and a call that names no partition."""
    put: Callable[[str], Call] = lambda pk: ("dynamodb:PutItem", {"Item": {"pk": {"S": pk}}})  # noqa: E731
    assert refused("account_api", [put("ORG#org_a")]) == set()
    assert refused("account_api", [put("DAY#org_a#2025-03-11#0")]) == {
        ("dynamodb:PutItem", ("DAY#org_a#2025-03-11#0",))
    }
    assert refused("account_api", [("dynamodb:PutItem", {})]) == {("dynamodb:PutItem", ())}
    assert refused("account_api", [("dynamodb:Scan", {})]) == {("dynamodb:Scan", ())}
    assert refused("emit_billing", [("dynamodb:BatchGetItem", {})]) == {("dynamodb:BatchGetItem", ())}
    assert set(ACTIONS.values()) >= {"dynamodb:PutItem"}
