"""The list of a day's decisions, by when they were decided: what a reader pages and filters.

An index of the table would cost a write more for each decision. Instead emit_billing keeps, for each batch that it
takes from the stream, a compressed item of rows for each moment of decision. No verdict and no proof rests on the
list: a row only names a decision and says what it is filtered by, and the decision itself is read for the answer.

What if the writer dies on any line, runs twice, or two of it run at once? The stream hands the batch over again. The
same rows are the same item; rows that come again in another batch are equal, and whoever reads them drops one.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.rules.formats import FORMAT
from gratis.rules.request import VOID
from gratis.table import keys
from gratis.table.decision_items import KEEP_DECISIONS
from gratis.table.dynamo import Pause, pause, put_all, translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_ROWS = 100
"""In one item, which then has under 60 KB before it is compressed."""
MAX_ITEMS = 1000
"""That one page of a list is read from, unless more were decided at one moment."""


class Row(NamedTuple):
    """A decision in a list. `name`: its request id, of a void with what a void's key has after it."""

    occurred_at: str
    name: str
    project: str | None
    model: str
    verdict: str
    reason: str


class Place(NamedTuple):
    """Where in a list a page ends: at this row, or, without a name, after all that were decided at the moment."""

    decided_at: str
    occurred_at: str = ""
    name: str = ""


class Page(NamedTuple):
    """Rows of a day, newest decided first. `following`: where the next page begins, None if nothing is left.

    `read`: how many items it was read from.
    """

    rows: list[Row]
    following: Place | None
    read: int


def list_decisions(
    client: "DynamoDBClient", table: str, records: Iterable[Mapping[str, Any]], pause: Pause = pause
) -> None:
    """Put the decisions of these billing records on the lists of their days. Raises Busy."""
    items = {(item["pk"]["S"], item["sk"]["S"]): item for item in _items(records)}
    put_all(client, table, [*items.values()], pause)


class DayList:
    """Reads the lists of a table's days. `max_items`: that one page is read from."""

    def __init__(self, client: "DynamoDBClient", table: str, *, max_items: int = MAX_ITEMS) -> None:
        self.client = client
        self.table = table
        self.max_items = max_items

    def page(
        self, organization: str, day: date, limit: int, wanted: Callable[[Row], bool], after: Place | None = None
    ) -> Page:
        """Up to `limit` of the rows that are wanted, after a place or from the newest on. Raises Busy.

        It is short where `max_items` were read and few of their rows were wanted.
        """
        items, more = self._items(keys.list_of(organization, day.isoformat()), after)
        rows: list[Row] = []
        last = after
        for decided_at, of_moment in groupby(items, keys.listed_at):
            for row in sorted({row for item in of_moment for row in _rows(item)}, reverse=True):
                place = Place(decided_at, row.occurred_at, row.name)
                if (after is not None and place >= after) or not wanted(row):
                    continue
                if len(rows) == limit:
                    return Page(rows, last, len(items))
                rows.append(row)
                last = place
        return Page(rows, Place(keys.listed_at(items[-1])) if more else None, len(items))

    def _items(self, partition: str, after: Place | None) -> tuple[list[keys.Item], bool]:
        """Items from the newest on, all of each moment, and whether there are further ones."""
        items: list[keys.Item] = []
        for found, more in self._pages(partition, after):
            items += found
            whole = [item for item in items if keys.listed_at(item) != keys.listed_at(items[-1])] if more else items
            if not more or (whole and len(items) >= self.max_items):
                return whole, more
        return items, False

    def _pages(self, partition: str, after: Place | None) -> Iterator[tuple[Sequence[keys.Item], bool]]:
        condition, values = "pk = :pk", {":pk": {"S": partition}}
        if after is not None:
            until = keys.listed_until(after.decided_at, included=bool(after.name))
            condition, values = f"{condition} AND sk < :until", values | {":until": {"S": until}}
        following: Any = {}
        while True:
            try:
                answer = self.client.query(
                    TableName=self.table,
                    KeyConditionExpression=condition,
                    ExpressionAttributeValues=values,
                    ScanIndexForward=False,
                    Limit=self.max_items,
                    **following,
                )
            except (ClientError, BotoCoreError) as error:
                raise translated(error) from error
            last = answer.get("LastEvaluatedKey")
            yield answer["Items"], last is not None
            following = {"ExclusiveStartKey": last}


def _items(records: Iterable[Mapping[str, Any]]) -> Iterator[keys.Item]:
    by_moment: dict[tuple[str, str, str], set[Row]] = {}
    for record in records:
        of = (record["organization"], record["occurred_at"][:10], record["decided_at"])
        by_moment.setdefault(of, set()).add(_row(record))
    for (organization, day, decided_at), rows in by_moment.items():
        expires = int((moment.midnight(date.fromisoformat(day)) + moment.DAY + KEEP_DECISIONS).timestamp())
        ordered = sorted(rows)
        for start in range(0, len(ordered), MAX_ROWS):
            packed = zlib.compress(json.dumps(ordered[start : start + MAX_ROWS], separators=(",", ":")).encode())
            digest = hashlib.sha256(packed).hexdigest()[:16]
            values = {"rows": {"B": packed}, "format": {"N": str(FORMAT)}, "expires": {"N": str(expires)}}
            yield keys.list_key(organization, day, decided_at, digest) | values


def _row(record: Mapping[str, Any]) -> Row:
    void = VOID if record.get("voids") else ""
    fields = (record[name] for name in ("project", "model", "verdict", "reason"))
    return Row(record["occurred_at"].removesuffix("Z"), record["request_id"] + void, *fields)


def _rows(item: keys.Item) -> Iterator[Row]:
    for row in json.loads(zlib.decompress(item["rows"]["B"])):
        yield Row(*row[: len(Row._fields)])
