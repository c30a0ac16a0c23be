"""Endpoints of an organization in the ledger table: where its events go, and how that has gone so far.

What if this dies on any line, runs twice, or two of it run at once? An endpoint is replaced on the condition that it is
still of the version that was read; whoever was slower reads it again.
"""

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.errors import Busy, Rejected
from gratis.table import keys
from gratis.table.dynamo import MAX_ATTEMPTS, Pause, pause, translated
from gratis.table.keys import Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_ENDPOINTS = 10
"""Of one organization."""
GIVE_UP = timedelta(days=3)
"""From an event's first attempt; and after so long without a success an endpoint is disabled."""
MANY_FAILURES = 5
"""In a row, after which an endpoint is left alone for a while, whatever falls due."""
PAUSES = tuple(timedelta(minutes=each) for each in (5, 30, 120, 300, 600, 840, 1200, 1440))
"""How long, and longer with each further failure."""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint. `types`: what it gets; `failures`: in a row; `quiet_until`: it is not called before that moment.

    `notice`: why it was disabled, for its owner; None while it is enabled.
    """

    organization: str
    id: str
    url: str
    types: tuple[str, ...]
    secret: str
    created_at: str
    created_by: str
    notice: str | None = None
    failures: int = 0
    failing_since: str | None = None
    quiet_until: str | None = None
    last_success_at: str | None = None
    version: int = 0

    @property
    def is_enabled(self) -> bool:
        """Whether anything is sent there."""
        return self.notice is None

    def shown(self) -> dict[str, Any]:
        """As the API shows it, without the secret."""
        return {
            "object": "webhook",
            "id": self.id,
            "url": self.url,
            "types": list(self.types),
            "status": "enabled" if self.is_enabled else "disabled",
            "notice": self.notice,
            "created_at": self.created_at,
            "created_by": self.created_by,
            "failing_since": self.failing_since,
            "last_success_at": self.last_success_at,
        }

    def succeeded(self, now: datetime) -> "Endpoint":
        """It took an event."""
        fresh = {"failures": 0, "failing_since": None, "quiet_until": None}
        return replace(self, **fresh, last_success_at=moment.text(now))  # type: ignore[arg-type]

    def failed(self, now: datetime) -> "Endpoint":
        """It did not take an event. After many failures in a row it is left alone, longer each time."""
        failures = self.failures + 1
        quiet = None
        if failures >= MANY_FAILURES:
            quiet = moment.text(now + PAUSES[min(failures - MANY_FAILURES, len(PAUSES) - 1)])
        since = self.failing_since or moment.text(now)
        return replace(self, failures=failures, failing_since=since, quiet_until=quiet)

    def disabled(self, why: str) -> "Endpoint":
        """Nothing is sent there until its owner enables it again."""
        return replace(self, notice=why, quiet_until=None)

    def enabled(self) -> "Endpoint":
        """Begins anew."""
        return replace(self, notice=None, failures=0, failing_since=None, quiet_until=None)


class Endpoints:
    """Reads and writes them."""

    def __init__(self, client: "DynamoDBClient", table: str, *, pause: Pause = pause) -> None:
        self.client = client
        self.table = table
        self.pause = pause

    def create(self, organization: str, url: str, types: tuple[str, ...], actor: str, now: datetime) -> Endpoint:
        """A new endpoint with a secret of its own (Standard Webhooks, 256 random bits). Raises Rejected; Busy."""
        if len(self.of(organization)) >= MAX_ENDPOINTS:
            raise Rejected("too_many", f"url: an organization has {MAX_ENDPOINTS} webhooks at most; delete one first")
        secret = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        name = f"wh_{secrets.token_hex(10)}"
        made = Endpoint(organization, name, url, types, secret, moment.text(now), actor, version=1)
        self._put(made, 0)
        return made

    def of(self, organization: str) -> list[Endpoint]:
        """All endpoints of an organization, consistently. Raises Busy."""
        values = {
            ":pk": keys.endpoint_key(organization, "")["pk"],
            ":endpoints": {"S": keys.ENDPOINT},
        }
        try:
            items = self.client.query(
                TableName=self.table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :endpoints)",
                ExpressionAttributeValues=values,
                ConsistentRead=True,
            )["Items"]
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return [_endpoint(organization, item) for item in items]

    def get(self, organization: str, name: str) -> Endpoint | None:
        """One endpoint; None if there is none of this name. Raises Busy."""
        key = keys.endpoint_key(organization, name)
        try:
            item = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item")
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return _endpoint(organization, item) if item else None

    def change(self, organization: str, name: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint | None:
        """Apply `change` to the endpoint as it is now; None if it is gone. Raises Busy."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            read = self.get(organization, name)
            if read is None:
                return None
            changed = change(read)
            if changed == read or self._put(replace(changed, version=read.version + 1), read.version):
                return changed
            self.pause(attempt)
        raise Busy(f"the webhook {name} is being changed by others")

    def delete(self, organization: str, name: str) -> None:
        """Nothing is sent there any more. Raises Busy."""
        try:
            self.client.delete_item(TableName=self.table, Key=keys.endpoint_key(organization, name))
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def _put(self, endpoint: Endpoint, version_read: int) -> bool:
        try:
            self.client.put_item(TableName=self.table, Item=_item(endpoint), **keys.unchanged(version_read))
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return True


_TEXTS = ("url", "secret", "created_at", "created_by", "notice", "failing_since", "quiet_until", "last_success_at")


def _item(endpoint: Endpoint) -> Item:
    stored = asdict(endpoint)
    texts = {name: {"S": stored[name]} for name in _TEXTS if stored[name] is not None}
    numbers = {name: {"N": str(stored[name])} for name in ("failures", "version")}
    types = {"types": {"S": " ".join(endpoint.types)}}
    return keys.endpoint_key(endpoint.organization, endpoint.id) | texts | numbers | types


def _endpoint(organization: str, item: Mapping[str, Any]) -> Endpoint:
    texts: dict[str, Any] = {name: item[name]["S"] for name in _TEXTS if name in item}
    numbers: dict[str, Any] = {name: int(item[name]["N"]) for name in ("failures", "version")}
    types = tuple(item["types"]["S"].split())
    return Endpoint(organization, keys.endpoint_of_key(dict(item)), types=types, **texts, **numbers)
