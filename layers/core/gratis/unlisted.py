"""Models that no group lists: the first request of a UTC day for one is announced on the bus. SPEC section 5.

What if this dies on any line, or two of it run at once? An event is sent first and marked then, so at worst it is sent
twice, under one id that is derived from organization, model and day.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis.errors import Busy
from gratis.outbox import BusEntry, bus_entry, send
from gratis.table import keys
from gratis.table.dynamo import translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient

KEEP = timedelta(days=45)
"""As long as a decision of that day can come."""
MAX_KEYS_READ = 100
MAX_REMEMBERED = 10_000
Name = tuple[str, str, str]
"""Organization, day and model."""


class Unlisted:
    """Announces them. What was announced is marked in the table, and remembered by this process."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str, events: "EventBridgeClient", bus: str) -> None:
        self.dynamodb = dynamodb
        self.table = table
        self.events = events
        self.bus = bus
        self._known: set[Name] = set()

    def announce(self, records: Iterable[Mapping[str, Any]], now: datetime) -> int:
        """Send an event for each model of these billing records that is not announced yet; says for how many.

        Raises Busy unless all are on the bus.
        """
        first: dict[Name, Mapping[str, Any]] = {}
        for record in records:
            if record["reason"] == "model_not_listed":
                first.setdefault((record["organization"], record["occurred_at"][:10], record["model"]), record)
        wanted = sorted(first.keys() - self._known)
        fresh = [name for name in wanted if name not in self._marked(wanted)]
        sent = send([_announcement(name, first[name]) for name in fresh], self.events, self.bus)
        if sent.failed:
            raise Busy(f"the bus did not take {sent.failed} events: {sent.causes}")
        self._mark(fresh, now)
        self._known = (self._known if len(self._known) < MAX_REMEMBERED else set()) | set(wanted)
        return len(fresh)

    def _marked(self, names: list[Name]) -> set[Name]:
        """Which of these are marked. What DynamoDB leaves unread counts as not marked."""
        found: set[Name] = set()
        for start in range(0, len(names), MAX_KEYS_READ):
            wanted: Any = {"Keys": [_key(each) for each in names[start : start + MAX_KEYS_READ]]}
            try:
                answer = self.dynamodb.batch_get_item(RequestItems={self.table: wanted})
            except (ClientError, BotoCoreError) as error:
                raise translated(error) from error
            found |= {keys.unlisted_of_key(item) for item in answer["Responses"].get(self.table, [])}
        return found

    def _mark(self, names: list[Name], now: datetime) -> None:
        expires = {"expires": {"N": str(int((now + KEEP).timestamp()))}}
        try:
            for each in names:
                self.dynamodb.put_item(TableName=self.table, Item=_key(each) | expires)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error


def _key(name: Name) -> keys.Item:
    return keys.unlisted_key(*name)


def _announcement(name: Name, record: Mapping[str, Any]) -> BusEntry:
    organization, day, model = name
    said = {each: record[each] for each in ("project", "request_id", "occurred_at")}
    names = {"organization": organization, "model": model, "day": day}
    return bus_entry(0, "ModelNotListed", {"id": f"{organization}:{day}:not-listed:{model}", **names, **said})
