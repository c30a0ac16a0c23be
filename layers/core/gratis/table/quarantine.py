"""Quarantine: events that could not be decided, each with the reason, until somebody sends them through again.

Two at once, or twice? An entry's key is derived from the event and the reason, and an entry that is there is left as it
is: what came first stays, with its moment of arrival and with fields that only a later release knows. Its further parts
hold nothing but the event, so they are written again as they were. Only the first put of an entry is an INSERT, which
the stream announces. An event that was sent through again and is refused for another reason has an entry for each; both
go once it is decided. One that is decided while a slower worker still refuses it keeps an entry as well: the next
redrive finds the decision, and takes the entry out.
"""

import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pydantic_core
from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.errors import Busy, Rejected
from gratis.rules.formats import FORMAT
from gratis.table import keys
from gratis.table.dynamo import Pause, Spread, pause, put_all, spread_out, translated
from gratis.table.keys import Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_RAW_BYTES = 350_000
"""Of a compressed raw event in one item, which DynamoDB caps at 400 KB."""
MAX_ID_CHARACTERS, MAX_MESSAGE_CHARACTERS = 100, 1000
"""Characters that are kept of an invalid id, and of a message. The raw event is kept whole."""
MAX_COUNTED_PAGES = 5
"""Pages of 1 MB that are read to count entries."""
_KEYABLE = re.compile(r"[A-Za-z0-9._:/-]{1,256}")


class Refusal(NamedTuple):
    """An entry as its organization sees it: without the event, and without where we refused it."""

    organization: str | None
    id: str | None
    code: str
    message: str
    received_at: str
    decided: str | None


class Refusals(NamedTuple):
    """A page of a day's entries. `following`: after which the next page begins, if there is one."""

    found: list[Refusal]
    following: str | None


class Entry(NamedTuple):
    """One event that was refused.

    `raw`: the event as it came, as JSON text; `whence`: the function that refused it; `decided`: for a conflict the
    billing record of the same request that stands, as JSON text.
    """

    organization: str | None
    id: str | None
    code: str
    message: str
    raw: str
    received_at: str
    whence: str
    decided: str | None = None
    source: str | None = None
    """Whose entry `raw` is, where it was not yet an event of ours: a redrive maps it anew."""

    @property
    def key(self) -> Item:
        """Derived from the content, so the same event refused again is the same entry.

        The same bytes from another source are another event: a redrive maps them by their source.
        """
        code = self.code if self.source is None else f"{self.code}:{self.source}"
        digest = hashlib.sha256(f"{code}:{self.raw}".encode()).hexdigest()[:32]
        return keys.quarantine_key(self.received_at[:10], self.organization, self.id, digest)

    def error(self) -> dict[str, str]:
        """As answers and replay show it. Shape: SPEC section 5."""
        return {"code": self.code, "message": self.message}


def entry(
    raw: Any, rejected: Rejected, received_at: datetime, whence: str, decided: Mapping[str, Any] | None = None
) -> Entry:
    """The entry for an event that was refused. What it names itself by is taken over only where it is text."""
    named = raw if isinstance(raw, dict) else {}
    organization, request_id = named.get("subject"), named.get("id")
    return Entry(
        organization=_named(organization),
        id=_named(request_id),
        code=rejected.code,
        message=rejected.message[:MAX_MESSAGE_CHARACTERS],
        raw=text_of(raw),
        received_at=moment.text(received_at),
        whence=whence,
        decided=json.dumps(decided) if decided is not None else None,
    )


def entry_of(source: str, kept: Any, refused: Entry) -> Entry:
    """The entry of an event that a source's entry was mapped to: what is kept is the source's, to be mapped anew."""
    return refused._replace(raw=text_of(kept), source=source)


def text_of(raw: Any) -> str:
    """An event as an entry keeps it. A number too large for a float is kept as one, to be refused again."""
    return pydantic_core.to_json(raw, inf_nan_mode="constants").decode()


class EntryPage(NamedTuple):
    """A page of a day's entries with their events. `following`: after which the next page begins, if there is one."""

    found: list[Entry]
    following: str | None


class Quarantine:
    """Stores entries in the ledger table, large ones in several items.

    `spread`: makes the calls that put entries. `max_bytes`: of a compressed raw event in one item; entries are removed
    with the same `max_bytes` that they were put with. An entry of several parts holds more than an event that can be
    decided, so no redrive takes it out while somebody else puts it.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        pause: Pause = pause,
        spread: Spread = map,
        max_bytes: int = MAX_RAW_BYTES,
    ) -> None:
        self.client = client
        self.table = table
        self.pause = pause
        self.spread = spread
        self.max_bytes = max_bytes

    def put(self, entries: Iterable[Entry]) -> None:
        """Keep the entries; one that is there already stays as it is. Raises Busy.

        An entry's first item goes last: whoever finds it finds all of its parts.
        """
        items = {(item["pk"]["S"], item["sk"]["S"]): item for each in entries for item in _items(each, self.max_bytes)}
        put_all(self.client, self.table, [item for item in items.values() if "code" not in item], self.pause)
        spread_out(self.spread, self._put_new, [item for item in items.values() if "code" in item])

    def _put_new(self, item: Item) -> None:
        try:
            self.client.put_item(TableName=self.table, Item=item, ConditionExpression=keys.NEW)
        except self.client.exceptions.ConditionalCheckFailedException:
            return
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def remove(self, entry: Entry) -> None:
        """Take an entry out, all its parts: the event has a decision now. Raises Busy."""
        try:
            for item in _items(entry, self.max_bytes):
                self.client.delete_item(TableName=self.table, Key={"pk": item["pk"], "sk": item["sk"]})
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def page(self, day: date, organization: str | None, limit: int, after: str = "") -> "EntryPage":
        """What `refusals` gives, as whole entries. A part that lies past the page is read by itself. Raises Busy."""
        items, following = _page(self.client, self.table, organization, day, limit, after=after)
        parts = {item["sk"]["S"]: item["raw"]["B"] for item in items}
        found = [item for item in items if keys.is_quarantined(item)]
        for item in found:
            for place in _places(item):
                if place not in parts:
                    parts[place] = self._part(item["pk"], place)
        return EntryPage([_entry(item, parts) for item in found], following)

    def _part(self, pk: Any, place: str) -> bytes:
        key = {"pk": pk, "sk": {"S": place}}
        try:
            item = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item")
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        if item is None:
            raise Busy(f"{place}: somebody took the entry out meanwhile")
        return item["raw"]["B"]

    def of_day(self, day: date) -> Iterator[Entry]:
        """The entries of events received on a UTC day, oldest key first. Raises Busy."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :day",
            ExpressionAttributeValues={":day": {"S": keys.quarantine_of(day.isoformat())}},
            ConsistentRead=True,
        )
        try:
            items = [item for page in pages for item in page["Items"]]
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        parts = {item["sk"]["S"]: item["raw"]["B"] for item in items}
        for item in items:
            if keys.is_quarantined(item):
                yield _entry(item, parts)


def refusals(
    client: "DynamoDBClient",
    table: str,
    organization: str | None,
    day: date,
    limit: int,
    *,
    request_id: str = "",
    after: str = "",
) -> Refusals:
    """Entries of events received on a UTC day, in the order of organizations and ids. Raises Busy.

    One query of `limit` items, so a page may be shorter. `organization`: only its own; `request_id`: only those of it.
    """
    items, following = _page(client, table, organization, day, limit, request_id=request_id, after=after)
    return Refusals([_refusal(item) for item in items if keys.is_quarantined(item)], following)


def _page(
    client: "DynamoDBClient",
    table: str,
    organization: str | None,
    day: date,
    limit: int,
    *,
    request_id: str = "",
    after: str = "",
) -> tuple[list[Item], str | None]:
    """The items of one query, and after which place the next one begins."""
    condition, values = "pk = :day", {":day": {"S": keys.quarantine_of(day.isoformat())}}
    if organization is not None:
        condition += " AND begins_with(sk, :whose)"
        values |= {":whose": {"S": keys.refusals_of(organization, request_id)}}
    more: Any = {"ExclusiveStartKey": keys.refusal_key(day, organization, after)} if after else {}
    try:
        page = client.query(
            TableName=table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
            Limit=limit,
            **more,
        )
    except (ClientError, BotoCoreError) as error:
        raise translated(error) from error
    last = page.get("LastEvaluatedKey")
    return page["Items"], keys.refusal_of_key(last, organization) if last else None


class RefusalCounts(NamedTuple):
    """How many entries name an organization.

    `uncounted`: the first name of which not all were read, None if all were; `passed`: the one before it, if any.
    """

    counts: Mapping[str, int]
    uncounted: str | None = None
    passed: str | None = None

    def of(self, organization: str) -> int | None:
        """How many it has; None if they were not all read."""
        if self.uncounted is not None and organization >= self.uncounted:
            return None
        return self.counts.get(organization, 0)


def refusal_counts(
    client: "DynamoDBClient", table: str, day: date, *, prefix: str = "", after: str = "", last: str = ""
) -> RefusalCounts:
    """Entries of a UTC day, of the organizations that begin with `prefix`, past `after` and up to `last`.

    They are read in the order of names, MAX_COUNTED_PAGES at most. Raises Busy.
    """
    low, high = keys.refusals_between(prefix, after, last)
    values = {":day": {"S": keys.quarantine_of(day.isoformat())}, ":first": {"S": low}, ":last": {"S": high}}
    counts: Counter[str] = Counter()
    names: dict[str, None] = {}
    more: Any = {}
    for _ in range(MAX_COUNTED_PAGES):
        try:
            page = client.query(
                TableName=table,
                KeyConditionExpression="pk = :day AND sk BETWEEN :first AND :last",
                ExpressionAttributeValues=values,
                ProjectionExpression="pk, sk, code, organization",
                ConsistentRead=True,
                **more,
            )
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        names |= dict.fromkeys(keys.refused_name(item) for item in page["Items"])
        entries = [item for item in page["Items"] if keys.is_quarantined(item)]
        counts.update(item["organization"]["S"] for item in entries if "organization" in item)
        if "LastEvaluatedKey" not in page:
            return RefusalCounts(counts)
        more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    uncounted = keys.refused_name(more["ExclusiveStartKey"])
    passed = next((name for name in reversed(names) if name != uncounted), None)
    return RefusalCounts(counts, uncounted, passed)


def _refusal(item: Item) -> Refusal:
    organization, name, decided = (item[each]["S"] if each in item else None for each in _MAYBE)
    code, message, received_at = (item[each]["S"] for each in ("code", "message", "received_at"))
    return Refusal(organization, name, code, message, received_at, decided)


_MAYBE = ("organization", "id", "decided")


def _items(entry: Entry, max_bytes: int) -> Iterator[Item]:
    """The entry's item, and one for each further part of a raw event that a single item could not hold."""
    fields = ("organization", "id", "code", "message", "received_at", "whence", "decided", "source")
    values = {name: {"S": value} for name in fields if (value := getattr(entry, name)) is not None}
    packed = zlib.compress(entry.raw.encode())
    parts = [packed[start : start + max_bytes] for start in range(0, len(packed), max_bytes)]
    counts = {"parts": {"N": str(len(parts))}, "format": {"N": str(FORMAT)}}
    yield entry.key | values | {"raw": {"B": parts[0]}} | counts
    for number, part in enumerate(parts[1:], start=2):
        yield {"pk": entry.key["pk"], "sk": {"S": keys.part_key(entry.key["sk"]["S"], number)}, "raw": {"B": part}}


def _places(item: Item) -> list[str]:
    """The sort keys of an entry's parts, its own first."""
    return [keys.part_key(item["sk"]["S"], number) for number in range(1, int(item["parts"]["N"]) + 1)]


def _entry(item: Item, parts: Mapping[str, bytes]) -> Entry:
    text = {name: value["S"] for name, value in item.items() if "S" in value}
    return Entry(
        organization=text.get("organization"),
        id=text.get("id"),
        code=text["code"],
        message=text["message"],
        raw=zlib.decompress(b"".join(parts[place] for place in _places(item))).decode(),
        received_at=text["received_at"],
        whence=text["whence"],
        decided=text.get("decided"),
        source=text.get("source"),
    )


def _named(stated: Any) -> str | None:
    """What an event calls itself, if that is text; of an invalid name only the beginning."""
    if not isinstance(stated, str):
        return None
    return stated if _KEYABLE.fullmatch(stated) else stated[:MAX_ID_CHARACTERS]
