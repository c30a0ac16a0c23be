"""The usage stream: Kinesis, one partition key per organization. A template parameter puts it in the queue's place.

A record is the moment at which the webhook received its events, a line break, and what a message of the queue holds. A
producer of one's own may leave the first line out.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, NamedTuple
from zlib import crc32

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.errors import Busy
from gratis.intake.events import moment_of
from gratis.intake.messages import MAX_MESSAGE_EVENTS, Message, pack
from gratis.table.dynamo import Pause, Spread, pause, spread_out

MAX_RECORDS = 500
"""Of one call."""
MAX_CALL_BYTES = 4_500_000
"""Of one call, partition keys included: Kinesis takes 5 MB."""
MAX_ATTEMPTS = 6
"""A shard takes 1,000 records a second: what is over is refused, and goes in a moment later."""


class Record(NamedTuple):
    """As `PutRecords` takes it. `organization`: whose record this is, whatever its key."""

    organization: str
    key: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.key) + len(self.data)


class UsageStream:
    """Puts usage events on a Kinesis stream, at most `max_events` a record; `spread`: calls of different organizations.

    `keys`: partition keys of one organization. More than one spread it over shards, and its order is then kept within
    each key only.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        *,
        pause: Pause = pause,
        spread: Spread = map,
        keys: int = 1,
        max_events: int = MAX_MESSAGE_EVENTS,
    ) -> None:
        self.client = client
        self.name = name
        self.pause = pause
        self.spread = spread
        self.keys = keys
        self.max_events = max_events

    def send(self, events: Mapping[str, Sequence[str]], received_at: datetime) -> None:
        """Store events (each as JSON text) by organization, in order. Raises Busy unless every one of them is stored.

        A call holds one record of an organization at most, since Kinesis may store a later one of a call and not an
        earlier one: the next goes out when the one before is stored.
        """
        by_organization = [self._records(organization, of_one, received_at) for organization, of_one in events.items()]
        for turn in zip_longest(*by_organization):
            spread_out(self.spread, self._put, _calls(filter(None, turn)))

    def _records(self, organization: str, events: Iterable[str], received_at: datetime) -> Iterator[Record]:
        for body in pack(events, max_events=self.max_events):
            yield Record(organization, self._key(organization, body), data_of(body, received_at))

    def _key(self, organization: str, body: str) -> str:
        return organization if self.keys == 1 else f"{organization}#{crc32(body.encode()) % self.keys}"

    def _put(self, records: Sequence[Record]) -> None:
        waiting = records
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                self.pause(attempt)
            try:
                answer = self.client.put_records(
                    StreamName=self.name, Records=[{"Data": each.data, "PartitionKey": each.key} for each in waiting]
                )
            except (ClientError, BotoCoreError) as error:
                raise Busy(f"the stream does not answer: {error}") from error
            results = zip(waiting, answer["Records"], strict=True)
            waiting = [record for record, result in results if "SequenceNumber" not in result]
            if not waiting:
                return
        raise Busy(f"the stream did not take {len(waiting)} of {len(records)} records")


def _calls(records: Iterable[Record]) -> Iterator[list[Record]]:
    call: list[Record] = []
    size = 0
    for record in records:
        if call and (len(call) == MAX_RECORDS or size + record.size > MAX_CALL_BYTES):
            yield call
            call, size = [], 0
        call.append(record)
        size += record.size
    if call:
        yield call


def data_of(body: str, received_at: datetime) -> bytes:
    """The data of a record: when its events were received, and these."""
    return f"{moment.text(received_at)}\n{body}".encode()


def message_of(record: Mapping[str, Any]) -> Message:
    """A record of Lambda's Kinesis event. Where it does not say when it was received, Kinesis does.

    What is no UTF-8 becomes no JSON, and so a quarantine entry: an error here would stop the shard.
    """
    put = record["kinesis"]
    data = base64.b64decode(put["data"]).decode(errors="replace")
    head, _, body = data.partition("\n")
    received_at = moment_of({"time": head})
    arrived = datetime.fromtimestamp(put["approximateArrivalTimestamp"], UTC)
    return Message(
        id=put["sequenceNumber"],
        group=put["partitionKey"],
        body=body if received_at else data,
        received_at=received_at or arrived,
    )


def first_unfinished(unfinished: Sequence[str]) -> Sequence[str]:
    """Where a shard has to be read again from: all that follows comes again, and what was decided of it is a repeat."""
    return unfinished[:1]
