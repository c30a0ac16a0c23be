"""What is set about the SDK changes what a call costs, never where it goes."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.regions
import pytest
from botocore.serialize import JSONSerializer

from gratis import config
from gratis.config import QUICK

ITEMS = [{"Put": {"TableName": "ledger", "Item": {"pk": {"S": "a"}, "sk": {"S": "b"}}}}] * 3


class SentTo(Exception):
    """A request that was about to leave, by its URL."""


def destination(client: Any) -> str:
    """Where the client sends a transaction."""

    def stop(request: Any, **_: Any) -> None:
        raise SentTo(request.url)

    client.meta.events.register("before-send.dynamodb", stop)
    with pytest.raises(SentTo) as caught:
        client.transact_write_items(TransactItems=ITEMS)
    return str(caught.value)


@pytest.fixture(params=["", "123456789012"], ids=["no account", "account"])
def account_id(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The account that the credentials name, or do not."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCOUNT_ID": request.param,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    config.dynamodb.cache_clear()
    yield request.param
    config.dynamodb.cache_clear()


def test_a_transaction_goes_where_the_sdk_alone_would_send_it(account_id: str) -> None:
    assert destination(config.dynamodb()) == destination(boto3.client("dynamodb", config=QUICK))
    assert f"//{account_id}{'.ddb' if account_id else 'dynamodb'}." in destination(config.dynamodb())


def test_the_items_of_a_transaction_are_not_searched_for_its_endpoint(
    account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    monkeypatch.setattr(botocore.regions.jmespath, "search", lambda path, _: searched.append(path))
    destination(config.dynamodb())
    assert searched == []
    destination(boto3.client("dynamodb", config=QUICK))
    assert searched, "the SDK searches no longer: config.dynamodb() need not prevent it"


def body(client: Any, operation: str, **parameters: Any) -> Any:
    """The JSON that a call of the client sends."""

    def stop(request: Any, **_: Any) -> None:
        raise SentTo(request.body)

    client.meta.events.register("before-send.dynamodb", stop)
    with pytest.raises(SentTo) as caught:
        getattr(client, operation)(**parameters)
    return json.loads(caught.value.args[0])


ITEM = {
    "pk": {"S": 'Grüße, "Ø", \U0001f600\n'},
    "version": {"N": "12"},
    "totals": {"B": bytes(range(256))},
    "there": {"BOOL": True},
    "nothing": {"NULL": True},
    "list": {"L": [{"M": {"inner": {"B": b"\xfb\xff"}}}, {"SS": ["a", "b"]}, {"BS": [b"\xfb\xff", b""]}]},
}
CALLS: dict[str, dict[str, Any]] = {
    "transact_write_items": {
        "TransactItems": [{"Put": {"TableName": "t", "Item": ITEM}}] * 2,
        "ClientRequestToken": "a",
    },
    "put_item": {"TableName": "t", "Item": ITEM, "ExpressionAttributeValues": {":v": {"B": b"\xfb\xff"}}},
    "batch_write_item": {"RequestItems": {"t": [{"PutRequest": {"Item": ITEM}}]}},
    "batch_get_item": {"RequestItems": {"t": {"Keys": [{"pk": {"S": "a"}}], "ConsistentRead": True}}},
    "query": {"TableName": "t", "KeyConditionExpression": "pk = :pk", "Limit": 3, "ExclusiveStartKey": ITEM},
}


@pytest.mark.parametrize("operation", CALLS)
def test_a_call_says_what_the_sdk_alone_would_say(account_id: str, operation: str) -> None:
    ours, theirs = config.new_dynamodb(), boto3.client("dynamodb", config=QUICK)
    assert body(ours, operation, **CALLS[operation]) == body(theirs, operation, **CALLS[operation])


def test_a_transaction_is_not_looked_up_in_the_sdks_model(account_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[Any] = []
    monkeypatch.setattr(JSONSerializer, "_serialize_type_map", lambda *call: looked_up.append(call))
    body(config.new_dynamodb(), "transact_write_items", TransactItems=ITEMS)
    assert looked_up == []
    body(boto3.client("dynamodb", config=QUICK), "transact_write_items", TransactItems=ITEMS)
    assert looked_up, "the SDK looks up no longer: config.new_dynamodb() need not prevent it"
