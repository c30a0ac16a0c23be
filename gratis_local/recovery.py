"""Puts right by hand what was missed: records on the bus again, days closed again, a restored table taken over."""

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from gratis import moment
from gratis.closing.days import send_days
from gratis.errors import Busy
from gratis.outbox import Emitted, Unreadable, billing_records, bus_entries, send
from gratis.rules.receipt import Decision
from gratis.table.accounts import Accounts
from gratis.table.day_list import list_decisions
from gratis.table.decision_items import KEEP_DECISIONS
from gratis.table.dynamo import Item
from gratis.table.ledger import Ledger
from gratis_local.engine import TABLE_SCHEMA
from gratis_local.sources import Unusable
from gratis_local.stack import Stack, client_for

RECORDS_AN_EVENT = 100
SQS_SECONDS = 1
"""How long an empty queue is listened to."""


class NotOnTheBus(Busy):
    """The bus did not take everything. Trying again is safe: what it took comes again under the same ids."""


def require_kept(day: date, now: datetime) -> None:
    """Raises Unusable for a day whose decisions are gone, or some of them."""
    if day < moment.day_of(now - KEEP_DECISIONS):
        raise Unusable(
            f"DAY: decisions are kept for {KEEP_DECISIONS.days} days: those of {day} are no longer all there"
        )


def ledger_of(stack: Stack) -> Ledger:
    """The ledger that the stack writes."""
    return Ledger(stack.client("dynamodb"), stack.outputs["LedgerTableName"])


def is_known(ledger: Ledger, organization: str) -> bool:
    """Whether an organization has an account. Raises Busy."""
    return Accounts(ledger.client, ledger.table).get(organization) is not None


def unknown(organization: str) -> str:
    """What is said of an organization that has no account."""
    return f"{organization} is unknown here: it has no account"


def if_unknown(ledger: Ledger, organization: str) -> str:
    """What a message adds if the organization that was asked for has no account; else nothing. Raises Busy."""
    return "" if is_known(ledger, organization) else f" ({unknown(organization)})"


def emit_again(stack: Stack, organization: str, day: date, progress: Callable[[int], None]) -> int:
    """Put every record of an organization's UTC day on the bus again, and on the day's list.

    Returns how many. Raises NotOnTheBus, Busy.
    """
    decisions = ledger_of(stack).decisions_of_day(organization, day)
    emitted = 0
    for page in _pages(decisions):
        _put(stack, list(billing_records(organization, list(enumerate(page)))))
        emitted += len(page)
        progress(len(page))
    return emitted


def close_again(stack: Stack, day: date, organization: str | None = None) -> list[str]:
    """Queue a UTC day to be closed, of one organization or of all; returns who had decisions. Raises Busy."""
    found = sorted({each for each, _ in ledger_of(stack).marked(day, organization or "")})
    send_days(stack.client("sqs"), stack.outputs["CloseQueueUrl"], {(each, day.isoformat()) for each in found})
    return found


# What could not be put on the bus ------------------------------------------------------------------------------------


class StreamLetters:
    """Dead letters of the ledger's stream: each names an unreadable item's key, or (Lambda's) a batch's positions."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.sqs = stack.client("sqs")
        self.url = stack.outputs["StreamDeadLettersUrl"]
        self.table = stack.outputs["LedgerTableName"]

    def redrive(self) -> tuple[int, list[str]]:
        """Put on the bus what the letters name; returns how many are done, and why the others wait on."""
        done, left, seen = 0, [], set()
        while messages := [each for each in self._receive() if each["MessageId"] not in seen]:
            for message in messages:
                seen.add(message["MessageId"])
                if why := self._why_not(json.loads(message["Body"])):
                    left.append(why)
                else:
                    self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
                    done += 1
        return done, left

    def _why_not(self, letter: Any) -> str | None:
        """Put on the bus what a letter names; why that cannot be done now, or None."""
        try:
            changes = self._item(letter["keys"]) if "keys" in letter else self._changes(letter["DDBStreamBatchInfo"])
            unreadable: list[Unreadable] = []
            _put(self.stack, list(bus_entries(changes, unreadable=unreadable)))
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("TrimmedDataAccessException", "ResourceNotFoundException"):
                raise
            return f"the stream holds it no more: gratis emit ORGANIZATION DAY ({error})"
        if unreadable and "keys" in letter:
            return f"{letter['keys']} can still not be read: {unreadable[0].error}"
        for each in unreadable:  # the rest of the batch is on the bus; each of these gets a letter of its own
            self.sqs.send_message(QueueUrl=self.url, MessageBody=each.letter())
        return None

    def _item(self, key: Item) -> list[Any]:
        """The stream's record of an item's insertion, as the item is now; none if it expired."""
        found = self.stack.client("dynamodb").get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item")
        return [_change(found)] if found else []

    def _changes(self, batch: Any) -> list[Any]:
        """The stream's records from a batch's first to its last position."""
        streams = self.stack.client("dynamodbstreams")
        iterator = streams.get_shard_iterator(
            StreamArn=batch["streamArn"],
            ShardId=batch["shardId"],
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=batch["startSequenceNumber"],
        )["ShardIterator"]
        found: list[Any] = []
        last = int(batch["endSequenceNumber"])
        while iterator:
            page = streams.get_records(ShardIterator=iterator)
            numbers = [int(each["dynamodb"]["SequenceNumber"]) for each in page["Records"]]
            found += [each for each, number in zip(page["Records"], numbers, strict=True) if number <= last]
            if not numbers or numbers[-1] >= last:
                break
            iterator = page.get("NextShardIterator")
        return found

    def _receive(self) -> list[Any]:
        answer = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=SQS_SECONDS)
        messages: list[Any] = answer.get("Messages", [])
        return messages


# A table that was restored from a backup ------------------------------------------------------------------------------


def take_over(endpoint_url: str | None, table: str) -> str:
    """Give a restored table what a restore leaves out, and return its stream's ARN. Raises Unusable.

    A restore is a new table without stream, time to live, backups and deletion protection.
    """
    client = client_for(endpoint_url, "dynamodb")
    described = _described(client, table)
    if described["KeySchema"] != TABLE_SCHEMA["KeySchema"]:
        raise Unusable(f"{table} is no ledger table: its key is {described['KeySchema']}")
    if not described.get("StreamSpecification", {}).get("StreamEnabled"):
        stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        client.update_table(TableName=table, StreamSpecification=stream)
        client.get_waiter("table_exists").wait(TableName=table)
    lifetimes = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    if lifetimes["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
        wanted = {"AttributeName": "expires", "Enabled": True}
        client.update_time_to_live(TableName=table, TimeToLiveSpecification=wanted)
    backups = {"PointInTimeRecoveryEnabled": True}
    client.update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=backups)
    client.update_table(TableName=table, DeletionProtectionEnabled=True)
    arn: str = _described(client, table)["LatestStreamArn"]
    return arn


def _described(client: Any, table: str) -> Any:
    try:
        return client.describe_table(TableName=table)["Table"]
    except client.exceptions.ResourceNotFoundException:
        raise Unusable(f"there is no table {table!r}") from None


# The bus --------------------------------------------------------------------------------------------------------------


def _put(stack: Stack, entries: list[Any]) -> Emitted:
    emitted = send(entries, stack.client("events"), stack.outputs["BusName"])
    list_decisions(stack.client("dynamodb"), stack.outputs["LedgerTableName"], emitted.billing)
    if emitted.failed:
        raise NotOnTheBus(f"the bus did not take {emitted.failed} of {len(entries)} events: {emitted.causes[0]}")
    return emitted


def _change(item: Item) -> Any:
    """The stream's record of an item's insertion."""
    return {"dynamodb": {"NewImage": item, "Keys": {name: item[name] for name in ("pk", "sk")}}}


def _pages(decisions: Iterator[Decision]) -> Iterator[list[Decision]]:
    while page := list(islice(decisions, RECORDS_AN_EVENT)):
        yield page
