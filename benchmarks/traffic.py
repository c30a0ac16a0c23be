"""Usage events as senders post them, and the batches of the queue or the stream that the webhook makes of them."""

import base64
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gratis import moment
from gratis.intake.queue import UsageQueue
from gratis.intake.receive import receive
from gratis.intake.sources import WEBHOOK
from gratis.intake.stream import UsageStream
from gratis.rules.account import Account, Profile, Settings, Sharing
from gratis.table.quarantine import Quarantine

MODELS = {
    "gpt-4o-mini-2024-07-18": 50,
    "gpt-4o-2024-08-06": 25,
    "gpt-4.1-mini-2025-04-14": 15,
    "o4-mini-2025-04-16": 10,
}
"""What is asked how often: models of both groups."""
MODEL_OF_NO_GROUP = "gpt-3.5-turbo-0125"
LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
QUEUE_BATCH = 10
"""Messages that Lambda takes from a FIFO queue at once."""
STREAM_BATCH = 10_000
"""Records that Lambda takes from a shard at once, if they are no more than 6 MB."""


@dataclass(frozen=True)
class Sender:
    """Events of one organization, spread over its projects and models as the weights say."""

    organization: str
    projects: Sequence[str] = ("proj_web", "proj_app", "proj_batch")
    models: Sequence[str] = tuple(MODELS)

    def event(self, number: int, dice: random.Random) -> dict[str, Any]:
        """A request of a few hundred tokens, as a chat makes it."""
        return self.event_of(number, dice.randint(50, 400), dice.randint(10, 200), dice)

    def event_of(self, number: int, tokens_in: int, tokens_out: int, dice: random.Random) -> dict[str, Any]:
        """A request of so many tokens, of which up to half came from the cache."""
        (model,) = dice.choices(self.models, [MODELS.get(each, 1) for each in self.models])
        return {
            "specversion": "1.0",
            "type": "usage.request",
            "source": "https://gateway.example/eu-1",
            "id": f"req_{dice.getrandbits(96):024x}_{number}",
            "time": moment.text(datetime.now(UTC).replace(microsecond=number % 1000 * 1000)),
            "subject": self.organization,
            "data": {
                "project": dice.choice(self.projects),
                "model": model,
                "endpoint": "responses",
                "service_tier": "default",
                "usage": {
                    "input_tokens": tokens_in,
                    "input_tokens_details": {"cached_tokens": dice.randint(0, tokens_in // 2)},
                    "output_tokens": tokens_out,
                    "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": tokens_in + tokens_out,
                },
            },
        }


def account(organization: str) -> Account:
    """An organization of tier 4 that shares its traffic."""
    sharing = Settings(effective_at=LONG_AGO, actor="owner@example.com", traffic=Sharing(mode="enabled"))
    return Account(id=organization, profile=(Profile(effective_at=LONG_AGO, tier=4),), sharing=(sharing,))


def queued(bodies: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """The messages that receive_usage makes of the bodies it is sent, as Lambda would hand them on."""
    sent = _Sent()
    _receive(bodies, UsageQueue(sent, "usage.fifo"))  # type: ignore[arg-type]  # a client by its looks
    return sent.messages


def streamed(bodies: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """The records that receive_usage puts on one shard, as Lambda would hand them on."""
    put = _Put()
    _receive(bodies, UsageStream(put, "usage"))
    return put.records


def _receive(bodies: Iterable[Sequence[Any]], intake: UsageQueue | UsageStream) -> None:
    quarantine = Quarantine(None, "")  # type: ignore[arg-type]  # nothing is put there
    for events in bodies:
        received = receive(WEBHOOK, events, datetime.now(UTC), intake, quarantine)
        if received.quarantined:
            raise AssertionError(f"events of a benchmark must be valid: {received.quarantined[0]}")


def batches(messages: Sequence[dict[str, Any]], size: int = QUEUE_BATCH) -> Iterator[dict[str, Any]]:
    """Lambda's batches of the messages, in order."""
    for start in range(0, len(messages), size):
        yield {"Records": list(messages[start : start + size])}


@dataclass(frozen=True)
class Intake:
    """Where events wait. `messages` of bodies, of which Lambda takes `batch` at once."""

    messages: Callable[[Iterable[Sequence[Any]]], list[dict[str, Any]]]
    batch: int

    def batches(self, bodies: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
        """Lambda's batches of what the webhook makes of the bodies, in order."""
        return list(batches(self.messages(bodies), self.batch))


QUEUE = Intake(queued, QUEUE_BATCH)
STREAM = Intake(streamed, STREAM_BATCH)


class _Sent:
    """A queue's client that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def send_message_batch(self, QueueUrl: str, Entries: Sequence[dict[str, Any]]) -> dict[str, Any]:  # noqa: ARG002, N803
        for entry in Entries:
            attributes = entry["MessageAttributes"]["received_at"]
            self.messages.append(
                {
                    "messageId": f"message-{len(self.messages)}",
                    "body": entry["MessageBody"],
                    "attributes": {"MessageGroupId": entry["MessageGroupId"]},
                    "messageAttributes": {"received_at": {"stringValue": attributes["StringValue"]}},
                }
            )
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}


class _Put:
    """A stream's client that keeps what it is given, as the records of Lambda's event."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def put_records(self, StreamName: str, Records: Sequence[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        answered = []
        for record in Records:
            number = f"4966{len(self.records):052}"
            self.records.append(
                {
                    "kinesis": {
                        "kinesisSchemaVersion": "1.0",
                        "partitionKey": record["PartitionKey"],
                        "sequenceNumber": number,
                        "data": base64.b64encode(record["Data"]).decode(),
                        "approximateArrivalTimestamp": round(datetime.now(UTC).timestamp(), 3),
                    },
                    "eventSource": "aws:kinesis",
                    "eventVersion": "1.0",
                    "eventID": f"shardId-000000000000:{number}",
                    "eventName": "aws:kinesis:record",
                    "invokeIdentityArn": "arn:aws:iam::123456789012:role/gratis-ClassifyUsageRole",
                    "awsRegion": "us-east-1",
                    "eventSourceARN": f"arn:aws:kinesis:us-east-1:123456789012:stream/{StreamName}",
                }
            )
            answered.append({"SequenceNumber": number, "ShardId": "shardId-000000000000"})
        return {"FailedRecordCount": 0, "Records": answered}
