"""Quarantine: events that could not be decided, each with the reason, until somebody sends them through again."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pydantic_core
from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.errors import Rejected
from gratis.ledger import NEW, Item, translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEYABLE = re.compile(r"[A-Za-z0-9._:/-]{1,256}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One event that was refused. `raw`: the event as it came, as JSON text; `whence`: the function that refused it."""

    organization: str | None
    id: str | None
    code: str
    message: str
    raw: str
    received_at: str
    whence: str

    @property
    def key(self) -> Item:
        """Derived from the content, so the same event refused again is the same entry."""
        digest = hashlib.sha256(f"{self.code}:{self.raw}".encode()).hexdigest()[:32]
        named = "#".join(_keyable(part) for part in (self.organization, self.id))
        return {"pk": {"S": f"QUARANTINE#{self.received_at[:10]}"}, "sk": {"S": f"{named}#{digest}"}}

    def error(self) -> dict[str, str]:
        """As answers and replay show it. Shape: SPEC section 5."""
        return {"code": self.code, "message": self.message}


def entry(raw: Any, rejected: Rejected, received_at: datetime, whence: str) -> Entry:
    """The entry for an event that was refused. What it names itself by is taken over only where it is text."""
    named = raw if isinstance(raw, dict) else {}
    organization, request_id = named.get("subject"), named.get("id")
    return Entry(
        organization=organization if isinstance(organization, str) else None,
        id=request_id if isinstance(request_id, str) else None,
        code=rejected.code,
        message=rejected.message,
        raw=pydantic_core.to_json(raw).decode(),
        received_at=moment.text(received_at),
        whence=whence,
    )


class Quarantine:
    """Stores entries in the ledger table."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self.client = client
        self.table = table

    def put(self, entry: Entry) -> None:
        """Keep the entry; the same one again changes nothing. Raises Busy."""
        fields = ("organization", "id", "code", "message", "raw", "received_at", "whence")
        values = {name: {"S": value} for name in fields if (value := getattr(entry, name)) is not None}
        try:
            self.client.put_item(TableName=self.table, Item=values | entry.key, ConditionExpression=NEW)
        except self.client.exceptions.ConditionalCheckFailedException:
            return
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def of_day(self, day: date) -> Iterator[Entry]:
        """The entries of events received on a UTC day, oldest key first. Raises Busy."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :day",
            ExpressionAttributeValues={":day": {"S": f"QUARANTINE#{day.isoformat()}"}},
            ConsistentRead=True,
        )
        try:
            for page in pages:
                yield from (_entry(item) for item in page["Items"])
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error


def _entry(item: Item) -> Entry:
    text = {name: value["S"] for name, value in item.items() if "S" in value}
    return Entry(
        organization=text.get("organization"),
        id=text.get("id"),
        code=text["code"],
        message=text["message"],
        raw=text["raw"],
        received_at=text["received_at"],
        whence=text["whence"],
    )


def _keyable(part: str | None) -> str:
    """A part of the key: no separator can be smuggled in, the digest keeps entries apart all the same."""
    return part if part is not None and _KEYABLE.fullmatch(part) else "-"
