"""The usage queue: FIFO, one message group per organization."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.errors import Busy
from gratis.intake.messages import MAX_MESSAGE_EVENTS, pack
from gratis.table.dynamo import Pause, Spread, pause, spread_out

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_ENTRIES = 10
MAX_CALL_BYTES = 250_000
"""Of one call that sends several messages."""
MAX_ATTEMPTS = 4


class UsageQueue:
    """Sends usage events, at most `max_events` in a message; `spread`: calls of different organizations."""

    def __init__(
        self,
        client: "SQSClient",
        url: str,
        *,
        pause: Pause = pause,
        spread: Spread = map,
        max_events: int = MAX_MESSAGE_EVENTS,
    ) -> None:
        self.client = client
        self.url = url
        self.pause = pause
        self.spread = spread
        self.max_events = max_events

    def send(self, events: Mapping[str, Sequence[str]], received_at: datetime, nonce: str = "") -> None:
        """Queue events (each as JSON text) by organization, in order. Raises Busy unless every one of them is stored.

        The deduplication id is that of the exact bytes: SQS drops the second of two silently, so nothing less may
        share one. `nonce` lets a message through that was sent in the last five minutes.

        A call holds one message of an organization at most, since SQS may store a later one of a call and not an
        earlier one: the next goes out when the one before is stored.
        """
        by_organization = [
            [_message(organization, body, received_at, nonce) for body in pack(of_one, max_events=self.max_events)]
            for organization, of_one in events.items()
        ]
        for turn in zip_longest(*by_organization):
            spread_out(self.spread, self._send, _batches(filter(None, turn)))  # no two share an organization

    def _send(self, messages: Sequence[Any]) -> None:
        waiting: dict[str, Any] = {str(index): {"Id": str(index), **message} for index, message in enumerate(messages)}
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                self.pause(attempt)
            try:
                answer = self.client.send_message_batch(QueueUrl=self.url, Entries=[*waiting.values()])
            except (ClientError, BotoCoreError) as error:
                raise Busy(f"the queue does not answer: {error}") from error
            stored = {entry["Id"] for entry in answer.get("Successful", [])}
            waiting = {key: message for key, message in waiting.items() if key not in stored}
            if not waiting:
                return
        raise Busy(f"the queue did not take {len(waiting)} of {len(messages)} messages")


def _message(organization: str, body: str, received_at: datetime, nonce: str) -> Any:
    return {
        "MessageBody": body,
        "MessageGroupId": organization,
        "MessageDeduplicationId": hashlib.sha256((nonce + body).encode()).hexdigest(),
        "MessageAttributes": {"received_at": {"DataType": "String", "StringValue": moment.text(received_at)}},
    }


def _batches(messages: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    size = 0
    for message in messages:
        length = len(message["MessageBody"])
        if batch and (len(batch) == MAX_ENTRIES or size + length > MAX_CALL_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        yield batch
