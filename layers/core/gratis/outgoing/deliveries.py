"""Deliveries in the ledger table: the log of attempts, and what is due again.

What if this dies on any line, runs twice, or two of it run at once? An attempt is logged under its own moment. What is
due again is queued before its item is deleted: it may come twice, under one id that the receiver knows it by.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.table import keys
from gratis.table.dynamo import Item, translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEEP_LOG = timedelta(days=30)
KEEP_DUE = timedelta(days=14)


@dataclass(frozen=True)
class Delivery:
    """An event on its way to an endpoint. `attempts`: so far; `first_at`: when the first was made."""

    organization: str
    endpoint: str
    event_id: str
    type: str
    timestamp: str
    data: Any
    attempts: int = 0
    first_at: str | None = None

    def body(self) -> bytes:
        """What is posted. Shape: Standard Webhooks."""
        content = {"type": self.type, "timestamp": self.timestamp, "data": self.data}
        return json.dumps(content, separators=(",", ":")).encode()

    def text(self) -> str:
        """As a message of the queue."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def of(cls, text: str) -> "Delivery":
        """The delivery of a message."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Attempt:
    """One line of the log. `outcome`: delivered, retry, given_up; `error` never holds what the endpoint answered."""

    at: str
    event_id: str
    type: str
    attempt: int
    outcome: str
    status: int | None
    error: str | None
    milliseconds: int
    next_at: str | None = None

    def shown(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"object": "webhook.delivery", **asdict(self)}


class Deliveries:
    """Reads and writes them."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self.client = client
        self.table = table

    def log(self, delivery: Delivery, attempt: Attempt, now: datetime) -> None:
        """Keep what came of an attempt, for thirty days. Raises Busy."""
        key = keys.delivery_key(delivery.organization, delivery.endpoint, attempt.at, delivery.event_id)
        expires = {"N": str(int((now + KEEP_LOG).timestamp()))}
        self._put(key | {"attempt": {"S": json.dumps(asdict(attempt))}, "expires": expires})

    def logged(
        self, organization: str, endpoint: str, limit: int, before: str | None
    ) -> tuple[list[Attempt], str | None]:
        """Attempts, newest first, and where the next page begins. Raises Busy."""
        key = keys.delivery_key(organization, endpoint, "", "")
        beginning = keys.deliveries_of(endpoint)
        until = beginning + before if before else beginning + "~"
        values = {":pk": key["pk"], ":first": {"S": beginning}, ":last": {"S": until}}
        try:
            items = self.client.query(
                TableName=self.table,
                KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                ScanIndexForward=False,
                Limit=limit + 1,
            )["Items"]
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        found = [Attempt(**json.loads(item["attempt"]["S"])) for item in items]
        more = items[limit]["sk"]["S"].removeprefix(beginning) if len(items) > limit else None
        return found[:limit], more

    def wait(self, delivery: Delivery, due: datetime, now: datetime) -> None:
        """Keep a delivery until it is due. Raises Busy."""
        key = keys.due_key(moment.text(due), delivery.endpoint, delivery.event_id)
        expires = {"N": str(int((now + KEEP_DUE).timestamp()))}
        self._put(key | {"delivery": {"B": zlib.compress(delivery.text().encode())}, "expires": expires})

    def due(self, now: datetime) -> Iterator[tuple[Item, Delivery]]:
        """What is due, the longest waiting first in each partition, with its key. Raises Busy."""
        for partition in keys.due_partitions():
            values = {":pk": {"S": partition}, ":now": {"S": f"{moment.text(now)}~"}}
            pages = self.client.get_paginator("query").paginate(
                TableName=self.table,
                KeyConditionExpression="pk = :pk AND sk <= :now",
                ExpressionAttributeValues=values,
            )
            try:
                for page in pages:
                    for item in page["Items"]:
                        yield {name: item[name] for name in ("pk", "sk")}, _delivery(item)
            except (ClientError, BotoCoreError) as error:
                raise translated(error) from error

    def forget(self, key: Item) -> None:
        """It is queued again. Raises Busy."""
        try:
            self.client.delete_item(TableName=self.table, Key=key)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def _put(self, item: Item) -> None:
        try:
            self.client.put_item(TableName=self.table, Item=item)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error


def _delivery(item: Mapping[str, Any]) -> Delivery:
    packed = item["delivery"]["B"]
    return Delivery.of(zlib.decompress(packed if isinstance(packed, bytes) else bytes(packed)).decode())
