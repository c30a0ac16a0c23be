"""Statements of closed days in the ledger table, one item a revision; and what unfinished proofs have read so far.

What if this dies on any line, runs twice, or two of it run at once? A statement is written in one transaction with the
head of its organization's chain, on the condition that the head is still what was read: so the chain never forks, and
has no gap. What was read so far is one item that any proof of the day may replace: each is whole by itself.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.closing.chain import Head, digest_of
from gratis.closing.merkle import MerkleTree
from gratis.closing.proof import Proof
from gratis.errors import Busy
from gratis.table import keys
from gratis.table.decision_items import KEEP_DECISIONS
from gratis.table.dynamo import MAX_ATTEMPTS, Item, Pause, pause, translated
from gratis.table.ledger import Ledger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from gratis.closing.signing import Signer

KEEP_PROGRESS = timedelta(days=2)
REVISIONS_TOGETHER = 3
"""Revisions of a day that are read of many organizations at once."""


class Statements:
    """Reads and writes them. `signer`: signs them; None where the deployment has no key."""

    def __init__(
        self, client: "DynamoDBClient", table: str, signer: "Signer | None" = None, pause: Pause = pause
    ) -> None:
        self.client = client
        self.table = table
        self.signer = signer
        self.pause = pause
        self._published = False

    def write(
        self, proof: Proof, tree: MerkleTree, proved_at: datetime, versions: Sequence[Any] = ()
    ) -> dict[str, Any] | None:
        """Store the proof as the next statement, and return it; None if the day's latest says the same. Raises Busy.

        `tree`: of the records. `versions`: of the documents that it was taken on.
        """
        content = proof.content()
        for attempt in range(1, MAX_ATTEMPTS):
            latest = self.latest(content["organization"], date.fromisoformat(content["day"]))
            if latest and {name: latest.get(name) for name in content} == content:
                return None
            head = self.head(content["organization"])
            stated = self._signed(_next(content, latest, head, proved_at))
            if self._put(stated, head, tree, versions):
                return stated
            self.pause(attempt)  # another day of the organization was closed meanwhile
        raise Busy(f"{content['organization']} {content['day']}: other days are being closed all the time")

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

    def head(self, organization: str) -> Head:
        """The newest statement of an organization's chain. Raises Busy."""
        item = self._get(keys.head_key(organization))
        return Head(int(item["version"]["N"]), item["hash"]["S"]) if item else Head()

    def tree(self, organization: str, day: date) -> MerkleTree | None:
        """The tree of the day's newest statement; None if there is none, or it is no longer kept. Raises Busy."""
        item = self._get(keys.tree_key(organization, day.isoformat()))
        if item is None:
            return None
        tree = MerkleTree()
        tree.take_up(json.loads(zlib.decompress(item["tree"]["B"])))
        return tree

    def public_keys(self) -> Iterator[str]:
        """The keys, as PEM, that have signed statements of this table. Raises Busy."""
        values = {":pk": {"S": keys.STATEMENT_KEYS}}
        query = {"TableName": self.table, "KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": values}
        try:
            for page in self.client.get_paginator("query").paginate(**query):  # type: ignore[arg-type]
                yield from (item["pem"]["S"] for item in page["Items"])
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def keep(self, organization: str, day: date, content: Mapping[str, Any], now: datetime) -> None:
        """Keep what a proof has read so far, in place of what was kept before. Raises Busy."""
        expires = {"N": str(int((now + KEEP_PROGRESS).timestamp()))}
        self._put_item(keys.progress_key(organization, day) | {"read": _packed(content), "expires": expires})

    def kept(self, organization: str, day: date) -> dict[str, Any] | None:
        """What an unfinished proof has read so far; None if there is none. Raises Busy."""
        item = self._get(keys.progress_key(organization, day))
        return json.loads(zlib.decompress(item["read"]["B"])) if item else None

    def forget(self, organization: str, day: date) -> None:
        """The proof is finished. Raises Busy."""
        try:
            self.client.delete_item(TableName=self.table, Key=keys.progress_key(organization, day))
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    # Writing --------------------------------------------------------------------------------------------------------

    def _signed(self, stated: dict[str, Any]) -> dict[str, Any]:
        """The statement with its signature beside it. The public key is stored before anything is signed with it."""
        if self.signer is None:
            return stated
        key = self.signer.public_key
        if not self._published:
            self._put_item(keys.statement_public_key(key.fingerprint) | {"pem": {"S": key.pem}})
            self._published = True
        return stated | {"signature": self.signer.sign(digest_of(stated)), "key": key.fingerprint}

    def _put(self, stated: dict[str, Any], read: Head, tree: MerkleTree, versions: Sequence[Any]) -> bool:
        """Write statement, head and tree, if the head is still as it was read; whether it was."""
        organization, day = stated["organization"], stated["day"]
        head = Head.of(stated)
        expires = moment.midnight(date.fromisoformat(day) + KEEP_DECISIONS)
        puts = [
            {
                "Item": keys.statement_key(organization, day, stated["revision"])
                | {
                    "statement": {"S": json.dumps(stated, separators=(",", ":"))},
                    "versions": {"S": json.dumps(versions)},
                },
                "ConditionExpression": keys.NEW,
            },
            {
                "Item": keys.head_key(organization) | {"version": {"N": str(head.number)}, "hash": {"S": head.hash}},
                **keys.unchanged(read.number),
            },
            {
                "Item": keys.tree_key(organization, day)
                | {"tree": _packed(tree.content()), "expires": {"N": str(int(expires.timestamp()))}},
            },
        ]
        transaction: Any = [{"Put": {"TableName": self.table, **put}} for put in puts]
        try:
            self.client.transact_write_items(TransactItems=transaction)
        except self.client.exceptions.TransactionCanceledException:
            return False
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return True

    def _put_item(self, item: Item) -> None:
        try:
            self.client.put_item(TableName=self.table, Item=item)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    # Reading --------------------------------------------------------------------------------------------------------

    def _latest(self, organization: str, day: date) -> Item | None:
        beginning = keys.statement_key(organization, day.isoformat(), 0)
        values = {":pk": beginning["pk"], ":day": {"S": keys.statements_of(day.isoformat())}}
        try:
            items = self.client.query(
                TableName=self.table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :day)",
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                ScanIndexForward=False,
                Limit=1,
            )["Items"]
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return items[0] if items else None

    def _get(self, key: Item) -> Item | None:
        try:
            return self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item")
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error


def statements_beside(ledger: Ledger) -> Statements:
    """The statements in a ledger's table, to be read."""
    return Statements(ledger.client, ledger.table)


def newest_hold(ledger: Ledger, organizations: Sequence[str], day: date) -> dict[str, bool]:
    """Whether the newest statement of a day holds, of each of these organizations that has one. Raises Busy.

    Revisions are numbered without a gap: few calls read the first ones of all together, a query a later one.
    """
    newest: dict[str, bool] = {}
    asked = list(organizations)
    for revision in range(1, REVISIONS_TOGETHER + 1):
        items = ledger.items([keys.statement_key(each, day.isoformat(), revision) for each in asked])
        stated = [json.loads(item["statement"]["S"]) for item in items]
        newest |= {each["organization"]: each["holds"] for each in stated}
        asked = [each["organization"] for each in stated]
    statements = statements_beside(ledger)
    later = ((each, statements.latest(each, day)) for each in asked)
    return newest | {each: stated["holds"] for each, stated in later if stated}


def _next(content: dict[str, Any], latest: dict[str, Any] | None, head: Head, proved_at: datetime) -> dict[str, Any]:
    """The statement as it is chained."""
    revision = latest["revision"] + 1 if latest else 1
    return content | {
        "id": f"{content['organization']}:{content['day']}:{revision}",
        "revision": revision,
        "number": head.number + 1,
        "previous": head.hash,
        "proved_at": moment.text(proved_at),
    }


def _packed(content: Mapping[str, Any]) -> dict[str, bytes]:
    return {"B": zlib.compress(_written(content).encode())}


def _written(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))
