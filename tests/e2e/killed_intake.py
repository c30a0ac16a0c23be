"""The two ways in, as the workers of a killed day meet them: they hand out batches, and are told what was finished.

Both hand out again what somebody still works on: every third batch while it is being decided, and what a worker holds
for longer than a second. Of each way there are two: one sender's keeps the order of an organization; the other's does
not, so that several workers decide different requests of an organization at the same time.
"""

import base64
import json
import os
import random
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

if TYPE_CHECKING:  # a worker needs none of it
    from tests.e2e.system import System

BATCH = 10
"""Messages that Lambda takes from a FIFO queue at once, at most."""
RECORDS = 20
"""Of a shard at once, at most."""
KEYS = (1, 3)
"""Partition keys of an organization, by sender."""
SHARDS = 4
HELD_SECONDS = 1
"""How long what is in work is not handed out again: less than the time for which a worker may be stopped."""
IN_WORK = 1 / 3
"""The chance that a batch is handed out again at once."""
PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Batch:
    """`records`: as Lambda hands them to the function; `again`: how many of them were handed out before.

    `finish` is called with the ids that the function names as failed.
    """

    records: list[dict[str, Any]]
    again: int
    finish: Callable[[Collection[str]], None]


@dataclass(frozen=True)
class Queues:
    """The deployed queue, which keeps the order, and one that does not."""

    urls: tuple[str, str]

    def way_in(self, share: int) -> dict[str, str]:
        """What receive_usage is told of where a sender's events go."""
        return {"USAGE_STREAM": "", "USAGE_QUEUE": self.urls[share % len(self.urls)]}

    def is_read(self, system: "System") -> bool:
        """Whether nothing waits any more, or is in work."""
        return not system.waiting_messages(*self.urls)

    def batches(self, dice: random.Random) -> Iterator[Batch]:
        """Messages of one queue or the other, without end."""
        sqs = boto3.client("sqs")
        while True:
            queue = dice.choice(self.urls)
            received = sqs.receive_message(
                QueueUrl=queue,
                MaxNumberOfMessages=dice.randint(1, BATCH),
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            if not received:
                time.sleep(PAUSE_SECONDS)
                continue
            if dice.random() < IN_WORK:
                _quietly(sqs.change_message_visibility_batch, queue, received, VisibilityTimeout=0)
            again = sum(each["Attributes"]["ApproximateReceiveCount"] != "1" for each in received)

            def finish(failed: Collection[str], queue: str = queue, received: Any = received) -> None:
                finished = [each for each in received if each["MessageId"] not in failed]
                if finished:
                    _quietly(sqs.delete_message_batch, queue, finished)

            yield Batch([_message(each) for each in received], again, finish)


@dataclass(frozen=True)
class Shards:
    """The deployed stream, read from where the last batch of each shard was decided; the second sender's has more keys.

    What is known of a shard lies in files: `read-<shard>` up to where it was decided, `held-<shard>` since when
    somebody has it, `given-<shard>` the last record that was handed out. A worker that was stopped and goes on puts the
    first one back: its shard is then read again from there.
    """

    name: str
    folder: Path

    def way_in(self, share: int) -> dict[str, str]:
        """What receive_usage is told of where a sender's events go."""
        return {"USAGE_STREAM": self.name, "STREAM_KEYS": str(KEYS[share % len(KEYS)])}

    def is_read(self, system: "System") -> bool:
        """Whether every shard is decided to its end, and none of it took the queue."""
        kinesis = system.client("kinesis")
        unread = any(self._after(kinesis, shard, self._known("read", shard), 1) for shard in self._shards(kinesis))
        return not unread and not system.waiting_messages()

    def batches(self, dice: random.Random) -> Iterator[Batch]:
        """What follows in one shard or another, without end."""
        kinesis = boto3.client("kinesis")
        shards = self._shards(kinesis)
        while True:
            shard = dice.choice(shards)
            if self._is_held(shard):
                time.sleep(PAUSE_SECONDS)
                continue
            self._file("held", shard).touch()
            found = self._after(kinesis, shard, self._known("read", shard), dice.randint(1, RECORDS))
            if not found or dice.random() < IN_WORK:
                self._file("held", shard).unlink(missing_ok=True)
            if not found:
                time.sleep(PAUSE_SECONDS)
                continue
            given = self._known("given", shard)
            again = sum(each["SequenceNumber"] <= given for each in found)
            self._note("given", shard, max(given, found[-1]["SequenceNumber"]))

            def finish(failed: Collection[str], shard: str = shard, found: Any = found) -> None:
                numbers = [each["SequenceNumber"] for each in found]
                done = [each for each in numbers if each < min(failed, default=f"{numbers[-1]}~")]
                if done:
                    self._note("read", shard, done[-1])
                self._file("held", shard).unlink(missing_ok=True)

            yield Batch([_put(each) for each in found], again, finish)

    def _shards(self, kinesis: Any) -> list[str]:
        return [each["ShardId"] for each in kinesis.list_shards(StreamName=self.name)["Shards"]]

    def _after(self, kinesis: Any, shard: str, number: str, most: int) -> list[Any]:
        since = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": number}
        where = since if number else {"ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(StreamName=self.name, ShardId=shard, **where)["ShardIterator"]
        found: list[Any] = kinesis.get_records(ShardIterator=iterator, Limit=most)["Records"]
        return found

    def _is_held(self, shard: str) -> bool:
        try:
            return time.time() - self._file("held", shard).stat().st_mtime < HELD_SECONDS
        except FileNotFoundError:
            return False

    def _known(self, what: str, shard: str) -> str:
        file = self._file(what, shard)
        return file.read_text() if file.exists() else ""

    def _note(self, what: str, shard: str, number: str) -> None:
        """Whoever is killed on the way leaves what was there."""
        unfinished = self._file(what, f"{shard}-{os.getpid()}")
        unfinished.write_text(number)
        unfinished.replace(self._file(what, shard))

    def _file(self, what: str, shard: str) -> Path:
        return self.folder / f"{what}-{shard}"


Intake = Queues | Shards


def say(**counts: int) -> None:
    """A line for the figures of the day."""
    sys.stdout.write(json.dumps({"counts": counts}) + "\n")


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A received message as Lambda hands it on."""
    attributes = {
        name: {"dataType": each["DataType"], "stringValue": each["StringValue"]}
        for name, each in message.get("MessageAttributes", {}).items()
    }
    return {
        "messageId": message["MessageId"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": attributes,
    }


def _put(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as Lambda hands it on."""
    put = {
        "partitionKey": record["PartitionKey"],
        "sequenceNumber": record["SequenceNumber"],
        "data": base64.b64encode(record["Data"]).decode(),
        "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"].timestamp(),
    }
    return {"kinesis": put, "eventSource": "aws:kinesis"}


def _quietly(batch: Callable[..., Any], queue: str, messages: list[Any], **more: Any) -> None:
    """A call for each of these messages; a receipt that a later delivery has replaced is refused, as it must be."""
    entries = [
        {"Id": str(number), "ReceiptHandle": each["ReceiptHandle"], **more} for number, each in enumerate(messages)
    ]
    try:
        refused = batch(QueueUrl=queue, Entries=entries).get("Failed", [])
    except ClientError:
        refused = entries
    say(StaleReceipts=len(refused))
