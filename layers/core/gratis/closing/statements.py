"""Statements of closed days in the ledger table, one item a revision; and what unfinished proofs have read so far.

What if this dies on any line, runs twice, or two of it run at once? A revision is written once, under a condition. What
was read so far is one item that any proof of the day may replace: each is whole by itself.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.closing.proof import Proof
from gratis.errors import Busy
from gratis.table.dynamo import Item, translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEEP_PROGRESS = timedelta(days=2)


class Statements:
    """Reads and writes them."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self.client = client
        self.table = table

    def write(self, proof: Proof, proved_at: datetime, versions: Sequence[Any] = ()) -> dict[str, Any] | None:
        """Store the proof as the next revision, and return it; None if the latest one says the same. Raises Busy.

        `versions`: of the documents that it was taken on.
        """
        content = proof.content()
        latest = self.latest(content["organization"], date.fromisoformat(content["day"]))
        if latest and {name: latest.get(name) for name in content} == content:
            return None
        revision = latest["revision"] + 1 if latest else 1
        stated = content | {"revision": revision, "proved_at": moment.text(proved_at)}
        stated["id"] = f"{content['organization']}:{content['day']}:{revision}"
        item = {
            "pk": {"S": f"ORG#{content['organization']}"},
            "sk": {"S": f"{_prefix(content['day'])}{revision:06}"},
            "statement": {"S": json.dumps(stated, separators=(",", ":"))},
            "versions": {"S": json.dumps(versions)},
        }
        try:
            self.client.put_item(TableName=self.table, Item=item, ConditionExpression="attribute_not_exists(pk)")
        except self.client.exceptions.ConditionalCheckFailedException as error:
            raise Busy(f"{stated['id']} is being closed by another") from error
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return stated

    def latest(self, organization: str, day: date) -> dict[str, Any] | None:
        """The newest revision of a day's statement. Raises Busy."""
        item = self._latest(organization, day)
        return json.loads(item["statement"]["S"]) if item else None

    def holds_on(self, organization: str, day: date, versions: Sequence[Any]) -> bool:
        """Whether the newest statement holds and was taken on these versions of the day's documents. Raises Busy."""
        item = self._latest(organization, day)
        if item is None or not json.loads(item["statement"]["S"])["holds"]:
            return False
        return bool(json.loads(item["versions"]["S"]) == versions)

    def _latest(self, organization: str, day: date) -> Item | None:
        try:
            items = self.client.query(
                TableName=self.table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :day)",
                ExpressionAttributeValues={
                    ":pk": {"S": f"ORG#{organization}"},
                    ":day": {"S": _prefix(day.isoformat())},
                },
                ConsistentRead=True,
                ScanIndexForward=False,
                Limit=1,
            )["Items"]
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return items[0] if items else None

    def keep(self, organization: str, day: date, content: Mapping[str, Any], now: datetime) -> None:
        """Keep what a proof has read so far, in place of what was kept before. Raises Busy."""
        packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode())
        expires = {"N": str(int((now + KEEP_PROGRESS).timestamp()))}
        item: Item = _progress_key(organization, day) | {"read": {"B": packed}, "expires": expires}
        try:
            self.client.put_item(TableName=self.table, Item=item)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def kept(self, organization: str, day: date) -> dict[str, Any] | None:
        """What an unfinished proof has read so far; None if there is none. Raises Busy."""
        try:
            key = _progress_key(organization, day)
            item = self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item")
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return json.loads(zlib.decompress(item["read"]["B"])) if item else None

    def forget(self, organization: str, day: date) -> None:
        """The proof is finished. Raises Busy."""
        try:
            self.client.delete_item(TableName=self.table, Key=_progress_key(organization, day))
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error


def _prefix(day: str) -> str:
    return f"STATEMENT#{day}#"


def _progress_key(organization: str, day: date) -> Item:
    return {"pk": {"S": f"ORG#{organization}"}, "sk": {"S": f"PROGRESS#{day.isoformat()}"}}
