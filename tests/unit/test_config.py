"""What is set about the SDK changes what a call costs, never where it goes."""

from collections.abc import Iterator
from typing import Any

import boto3
import botocore.regions
import pytest

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
