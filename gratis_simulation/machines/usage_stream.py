"""The usage stream, in this process: order by partition key, at least once, and read again from the record that failed.

Shards split and merge. A record goes to the shard that its key belongs to by then; a new shard is read when those that
it comes from are read to their end. One batch of a shard is out at a time; with a parallelization factor, one of each
of so many parts of it, and all records of a key are in one part. A batch that fails comes again in halves, and after
one that succeeded the shard may be read again from some records before its end.
"""

import base64
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from gratis import moment
from gratis_simulation.machines.queue import Sent, stated
from gratis_simulation.machines.table import Unknown, error

MAX_RECORDS = 500
AFTER_A_FAILURE = timedelta(minutes=1)
"""Until a batch that failed comes again: others go on meanwhile."""


@dataclass(eq=False)
class Put(Sent):
    """A record. Its `place` among all of them gives its sequence number."""

    @property
    def id(self) -> str:
        return f"4966{self.place:017}"

    def record(self) -> dict[str, Any]:
        """As Lambda hands it to the function."""
        head = f"{moment.text(self.received_at)}\n" if self.attributes else ""
        put = {
            "partitionKey": self.group,
            "sequenceNumber": self.id,
            "data": base64.b64encode(f"{head}{self.body}".encode()).decode(),
            "approximateArrivalTimestamp": int(self.sent_at.timestamp() * 1000) / 1000,
        }
        return {"kinesis": put, "eventSource": "aws:kinesis"}


@dataclass(eq=False)
class Part:
    """Of a shard, or all of it.

    `position`: how far it was read; `batch_size`: of the next batch, after one that failed; 0: as usual.
    """

    parents: Sequence["Part"] = ()
    records: list[Put] = field(default_factory=list)
    position: int = 0
    batch_size: int = 0
    is_out: bool = False
    ready_at: datetime | None = None

    @property
    def is_read(self) -> bool:
        return self.position == len(self.records) and not self.is_out

    @property
    def waits(self) -> bool:
        """It has something to read, and may be read: nothing that came before lies in another."""
        return self.position < len(self.records) and not self.is_out and all(each.is_ended for each in self.parents)

    @property
    def is_ended(self) -> bool:
        return self.is_read and all(each.is_ended for each in self.parents)


@dataclass
class UsageShards:
    """`sent`: whatever came by any way, in order; `shards`: those that take records now, by their parts."""

    now: Callable[[], datetime]
    parallel: int = 1
    sent: list[Sent] = field(default_factory=list)
    shards: list[list[Part]] = field(default_factory=list)
    _all: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shards = [self._shard()]

    def put_records(self, *, refuse: Collection[int] = (), **request: Any) -> dict[str, Any]:
        """Stores records, each by itself. `refuse`: the places of those that it does not take this time."""
        if request.keys() != {"StreamName", "Records"}:
            raise Unknown(f"parameters {sorted(request)}")
        entries = request["Records"]
        if not 1 <= len(entries) <= MAX_RECORDS:
            raise error("InvalidArgumentException", str(len(entries)), "PutRecords")
        answers: list[dict[str, Any]] = []
        for place, entry in enumerate(entries):
            if place in refuse:
                answers.append({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "injected"})
            else:
                head, _, body = entry["Data"].decode().partition("\n")
                record = self.put(entry["PartitionKey"], body, stated(moment.parse(head)))
                answers.append({"SequenceNumber": record.id, "ShardId": "shardId-000000000000"})
        return {"FailedRecordCount": len(refuse), "Records": answers}

    def put(self, group: str, body: str, attributes: dict[str, Any]) -> Put:
        """A record at the end of the shard that its key belongs to."""
        record = Put(len(self.sent), group, body, attributes, self.now(), self.now())
        self.sent.append(record)
        shard = self.shards[zlib.crc32(group.encode()) % len(self.shards)]
        shard[zlib.adler32(group.encode()) % self.parallel].records.append(record)
        return record

    def reshard(self) -> None:
        """Every shard is split in two; or, if they are many, two are merged into one."""
        old = self.shards
        if len(old) < 4:
            self.shards = [self._shard(old[number % len(old)]) for number in range(2 * len(old))]
        else:
            half = len(old) // 2
            self.shards = [self._shard(old[number] + old[number + half]) for number in range(half)]

    def _shard(self, parents: Sequence[Part] = ()) -> list[Part]:
        parts = [Part(parents) for _ in range(self.parallel)]
        self._all += parts
        return parts

    def has_visible(self) -> bool:
        """Whether there is something to read."""
        return self._next() is not None

    def next_visible_at(self) -> datetime | None:
        """When the next shard is read again whose batch failed."""
        return min((each.ready_at for each in self._all if each.waits and each.ready_at), default=None)

    def receive(self, max_records: int) -> list[Put]:
        """The next batch of a shard that waits to be read; after one that failed, the first half of it."""
        shard = self._next()
        if shard is None:
            return []
        shard.is_out = True
        return shard.records[shard.position : shard.position + (shard.batch_size or max_records)]

    def _next(self) -> Part | None:
        now = self.now()
        return next((each for each in self._all if each.waits and (each.ready_at or now) <= now), None)

    def read_to(self, batch: Sequence[Sent], retry_from: str | None, back: int) -> None:
        """Go on after the batch, or at the record that is named; `back`: that many records before that."""
        shard, ids = self._of(batch), [record.id for record in batch]
        done = len(batch) if retry_from is None else ids.index(retry_from)
        shard.position = max(0, shard.position + done - back)
        shard.ready_at = None if retry_from is None else self.now() + AFTER_A_FAILURE
        shard.batch_size, shard.is_out = 0, False

    def failed(self, batch: Sequence[Sent]) -> None:
        """The function died: the first half comes again alone."""
        shard = self._of(batch)
        shard.batch_size, shard.is_out = max(1, len(batch) // 2), False
        shard.ready_at = self.now() + AFTER_A_FAILURE

    def _of(self, batch: Sequence[Sent]) -> Part:
        return next(shard for shard in self._all if batch[0] in shard.records)
