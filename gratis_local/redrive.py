"""Sends through again what could not be decided: quarantine entries, dead letters, stream batches that Lambda gave up.

All of it goes to the usage queue, which exists and is read whatever the intake is."""

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from gratis import moment
from gratis.errors import Rejected
from gratis.intake.events import compact, parse_event
from gratis.intake.messages import Message
from gratis.intake.queue import UsageQueue
from gratis.intake.redrive import event_of, received_at, skipped
from gratis.intake.stream import message_of
from gratis.rules.receipt import is_repeat
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Entry, Quarantine
from gratis_local.stack import Stack

DECIDED_SECONDS = 60
"""How long a redriven event may take to its decision before we say that it has none yet."""


@dataclass(frozen=True)
class Redriven:
    """What became of one entry: `decided` or `skipped` (the entry is gone), `refused` again or `waiting`; and why."""

    entry: Entry
    state: str
    why: str


class Desk:
    """Quarantine and dead letters of one deployed stack."""

    def __init__(self, stack: Stack) -> None:
        table = stack.outputs["LedgerTableName"]
        client = stack.client("dynamodb")
        self.quarantine = Quarantine(client, table)
        self.ledger = Ledger(client, table)
        self.sqs = stack.client("sqs")
        self.queue = UsageQueue(self.sqs, stack.outputs["UsageQueueUrl"])
        self.dead_letters = stack.outputs["UsageDeadLettersUrl"]
        self.failed = stack.outputs.get("FailedUsageBucketName")
        self.s3: Any = stack.client("s3") if self.failed else None

    def entries(self, first: date, last: date) -> list[Entry]:
        """What was received on the UTC days from `first` to `last` and put into quarantine, the earliest first."""
        days = (first + timedelta(days=after) for after in range((last - first).days + 1))
        found = (entry for day in days for entry in self.quarantine.of_day(day))
        return sorted(found, key=lambda entry: moment.parse(entry.received_at))

    def redrive(self, entries: Iterable[Entry]) -> Iterator[Redriven]:
        """Send entries through again. One goes out of quarantine only when its decision exists, or it needs none."""
        sent: list[Entry] = []
        for entry in entries:
            when = received_at(entry, datetime.now(UTC))
            if reason := skipped(entry):
                self.quarantine.remove(entry)
                yield Redriven(entry, "skipped", reason)
                continue
            try:
                event = event_of(entry)
                text, request = compact(event), parse_event(event, when)
            except Rejected as rejected:
                yield Redriven(entry, "refused", rejected.message)
            else:
                self.queue.send({request.organization: [text]}, when, nonce=uuid.uuid4().hex)
                sent.append(entry)
        yield from self._settled(sent)

    def _settled(self, sent: Sequence[Entry]) -> Iterator[Redriven]:
        deadline = time.monotonic() + DECIDED_SECONDS
        waiting = {entry: parse_event(event_of(entry), received_at(entry, datetime.now(UTC))) for entry in sent}
        while waiting and time.monotonic() < deadline:
            decided = self.ledger.decisions(dict.fromkeys(request.key for request in waiting.values()))
            for entry, request in list(waiting.items()):
                decision = decided.get(request.key)
                if decision is None:
                    continue
                del waiting[entry]
                if is_repeat(request, decision):
                    self.quarantine.remove(entry)
                    yield Redriven(entry, "decided", f"{decision.verdict}: {decision.reason}")
                else:
                    yield Redriven(entry, "refused", entry.message)
            if waiting:
                time.sleep(0.5)
        for entry in waiting:
            yield Redriven(entry, "waiting", "has no decision yet; look again later")

    def redrive_dead_letters(self) -> int:
        """Move every message of the dead-letter queue back to the usage queue; returns how many."""
        moved = 0
        while messages := self._receive():
            for message in messages:
                attributes = message["Attributes"]
                self._send(message["Body"], attributes["MessageGroupId"], message.get("MessageAttributes", {}))
                self.sqs.delete_message(QueueUrl=self.dead_letters, ReceiptHandle=message["ReceiptHandle"])
                moved += 1
        return moved

    def redrive_failed(self) -> int:
        """Move stream batches that Lambda gave up to the usage queue, each shard's in order; returns how many records.

        An object is deleted once all of it is in the queue. An interruption may send some of it twice: repeats.
        """
        moved = 0
        for key in self._failed_keys():
            stored = self.s3.get_object(Bucket=self.failed, Key=key)["Body"].read()
            for message in failed_messages(json.loads(stored)):
                received_at = {"DataType": "String", "StringValue": moment.text(message.received_at)}
                self._send(message.body, message.group, {"received_at": received_at})
                moved += 1
            self.s3.delete_object(Bucket=self.failed, Key=key)
        return moved

    def _failed_keys(self) -> list[str]:
        """The keys of the failed batches in the order of each shard: a key begins with the shard, then the time."""
        if self.s3 is None:
            return []
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.failed)
        return sorted(each["Key"] for page in pages for each in page.get("Contents", ()))

    def _send(self, body: str, group: str, attributes: Any) -> None:
        self.sqs.send_message(
            QueueUrl=self.queue.url,
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=uuid.uuid4().hex,
            MessageAttributes=attributes,
        )

    def _receive(self) -> list[Any]:
        answer = self.sqs.receive_message(
            QueueUrl=self.dead_letters,
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
            WaitTimeSeconds=1,
        )
        messages: list[Any] = answer.get("Messages", [])
        return messages


def failed_messages(stored: Any) -> list[Message]:
    """The messages of a batch that Lambda gave up. `stored`: its object, the whole invocation under `payload`."""
    return [message_of(record) for record in json.loads(stored["payload"])["Records"]]
