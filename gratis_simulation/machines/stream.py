"""The table's stream: every change in order per item, in shards, filtered as template.yaml filters it."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gratis_simulation.machines.table import Change, Table


def passes(change: Change) -> bool:
    """Whether emit_billing is given this change. The same filters stand in template.yaml."""
    if change.new is None or change.new == change.old:
        return False
    pk, sk = change.key
    if sk == "ACCOUNT":
        return True
    return change.old is None and (sk.startswith(("REQ#", "STATEMENT#")) or pk.startswith("QUARANTINE#"))


def record_of(change: Change, number: int) -> dict[str, Any]:
    """A record as Lambda hands it to the function."""
    pk, sk = change.key
    images: dict[str, Any] = {"Keys": {"pk": {"S": pk}, "sk": {"S": sk}}, "SequenceNumber": f"{number:021}"}
    if change.new is not None:
        images["NewImage"] = change.new
    if change.old is not None:
        images["OldImage"] = change.old
    name = "REMOVE" if change.new is None else "MODIFY" if change.old is not None else "INSERT"
    return {"eventName": name, "dynamodb": images}


@dataclass
class Shard:
    """One shard: its records, and how far they were delivered. `max_records`: in the next batch; 0: as usual."""

    records: list[dict[str, Any]] = field(default_factory=list)
    position: int = 0
    max_records: int = 0

    def batch(self, size: int) -> Sequence[dict[str, Any]]:
        """The records to deliver next; fewer after a batch that failed."""
        return self.records[self.position : self.position + (self.max_records or size)]

    def delivered(self, batch: Sequence[dict[str, Any]], retry_from: str | None) -> None:
        """Go on after the batch, or at the record that the function named."""
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        if retry_from is None:
            self.position += len(batch)
        elif retry_from in numbers:
            self.position += numbers.index(retry_from)
        self.max_records = 0

    def failed(self, batch: Sequence[dict[str, Any]]) -> None:
        """The function died: the first half comes again alone."""
        self.max_records = max(1, len(batch) // 2)


class Stream:
    """Reads the table's log. An item's changes are always in the same shard, in order."""

    def __init__(self, table: Table, shards: int) -> None:
        self.shards = [Shard() for _ in range(shards)]
        self._table = table
        self._read = 0

    def advance(self) -> None:
        """Take over what was written since."""
        for number in range(self._read, len(self._table.log)):
            change = self._table.log[number]
            if passes(change):
                shard = self.shards[zlib.crc32(change.key[0].encode()) % len(self.shards)]
                shard.records.append(record_of(change, number))
        self._read = len(self._table.log)
