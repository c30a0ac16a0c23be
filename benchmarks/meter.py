"""Counts what a client asks of DynamoDB, and takes the time that the client itself needs for it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

READS = {"GetItem", "BatchGetItem", "Query"}
READ_UNIT = 4096
"""Bytes that one unit reads consistently."""


@dataclass
class Meter:
    """Calls and capacity units of one client, as the engine reports them.

    Where the engine reports nothing AWS's documentation fills in: a batch read takes a unit for every 4 KB of each
    item, and one for an item that is not there; a refused conditional write takes at least one unit. What a cancelled
    transaction takes is not documented, and counts as nothing.
    """

    calls: int = 0
    read_units: float = 0
    write_units: float = 0
    counting: Lock = field(default_factory=Lock)
    """Calls of several organizations are under way at one time."""

    @contextmanager
    def attached(self, client: Any) -> Iterator[None]:
        """Count every call of this client meanwhile."""
        client.meta.events.register("before-parameter-build.dynamodb", _ask_for_capacity)
        client.meta.events.register("after-call.dynamodb", self._count)
        try:
            yield
        finally:
            client.meta.events.unregister("before-parameter-build.dynamodb", _ask_for_capacity)
            client.meta.events.unregister("after-call.dynamodb", self._count)

    def _count(self, parsed: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        units = _reported(parsed)
        if model.name == "BatchGetItem":
            units = _of_batch_read(parsed, context["asked"])
        elif parsed.get("Error", {}).get("Code") == "ConditionalCheckFailedException":
            units = 1
        with self.counting:
            self.calls += 1
            if model.name in READS:
                self.read_units += units
            else:
                self.write_units += units


def _ask_for_capacity(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    params["ReturnConsumedCapacity"] = "TOTAL"
    context["asked"] = sum(len(table["Keys"]) for table in params.get("RequestItems", {}).values() if "Keys" in table)


def _reported(parsed: Any) -> float:
    consumed = parsed.get("ConsumedCapacity", [])
    return sum(float(each["CapacityUnits"]) for each in (consumed if isinstance(consumed, list) else [consumed]))


def _of_batch_read(parsed: Any, asked: int) -> int:
    found = [item for items in parsed["Responses"].values() for item in items]
    return sum(-(-size_of(item) // READ_UNIT) for item in found) + asked - len(found)


def size_of(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Bytes of an item as AWS counts them: names and values; of a number two digits a byte."""
    return sum(
        len(name) + (len(value) // 2 + 2 if kind == "N" else len(value.encode() if kind == "S" else value))
        for name, attribute in item.items()
        for kind, value in attribute.items()
    )


@dataclass(frozen=True)
class Took:
    """Seconds: of the client process's CPU, and on the clock (the engine's work included)."""

    cpu: float
    wall: float


def took(work: Callable[[], None]) -> Took:
    """Do the work and say what it took. The engine is another process: its CPU is not in here."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.process_time() - cpu, time.perf_counter() - wall)
