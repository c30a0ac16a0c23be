"""Usage events as they travel in the queue and the stream: up to 100 events of one organization in a message."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gratis.errors import Rejected
from gratis.intake.events import moment_of
from gratis.strict_json import parse_json

MAX_MESSAGE_EVENTS = 100
MAX_MESSAGE_BYTES = 60_000
"""Of a message's body: one billing unit of SQS is 64 KB. A single larger event travels alone."""


class Message(NamedTuple):
    """A message of the queue. `group`: its organization, whose order must be kept."""

    id: str
    group: str
    body: str
    received_at: datetime

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Message":
        """A record of Lambda's SQS event. `received_at`: when the webhook took it, or where that is not said, SQS."""
        attributes = record.get("attributes", {})
        stated = record.get("messageAttributes", {}).get("received_at", {}).get("stringValue")
        sent = datetime.fromtimestamp(int(attributes.get("SentTimestamp", 0)) / 1000, UTC)
        return cls(
            id=record["messageId"],
            group=attributes.get("MessageGroupId", record["messageId"]),
            body=record["body"],
            received_at=moment_of({"time": stated}) or sent,
        )

    def events(self) -> list[Any]:
        """The decoded events. Raises Rejected if the body is no JSON array (or single event)."""
        try:
            decoded = parse_json(self.body)
        except ValueError as error:
            raise Rejected("invalid_event", f"the message is no JSON: {error}") from None
        return decoded if isinstance(decoded, list) else [decoded]


def pack(
    events: Iterable[str], max_bytes: int = MAX_MESSAGE_BYTES, max_events: int = MAX_MESSAGE_EVENTS
) -> Iterator[str]:
    """JSON arrays of the events (each JSON text) in order, each within what a message of the queue should hold."""
    texts: list[str] = []
    size = 2
    for text in events:
        length = len(text) + 1
        if texts and (len(texts) == max_events or size + length > max_bytes):
            yield f"[{','.join(texts)}]"
            texts, size = [], 2
        texts.append(text)
        size += length
    if texts:
        yield f"[{','.join(texts)}]"
