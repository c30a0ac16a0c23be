"""`python -m benchmarks.packing`: the study `packed.py` beside Gratis and `idempotent_update`, by events in a batch.

Single events of one organization, handed over so many at once, as `hot_single` has them; and `single_stream`, as a
shard and its window hand it over. Units as the embedded engine reports them; what it does not report is filled in as
`meter.py` says.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.bench import TABLE, Bench, as_deployed
from benchmarks.designs import Design
from benchmarks.meter import Meter, took
from benchmarks.packed import Packed
from benchmarks.prices import PRICES
from benchmarks.traffic import QUEUE, STREAM, Intake, account, queued
from benchmarks.workloads import Load, hot_single, single_stream
from gratis import config
from gratis.classify import Classifier
from gratis.intake.messages import Message
from gratis.intake.stream import message_of
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.engine import engine

BATCHES = (*(("hot_single", size) for size in (1, 2, 10, 100, 1_000)), ("single_stream", 10_000))
"""Workloads, and how many events are handed over at once."""
BY_EVENT = "idempotent_update"
EVENTS = 100
"""That a design is given at least; whole batches. `idempotent_update` is given no more."""
SIDE_BY_SIDE = 16
"""Claims under way at one time."""
MAX_DECISIONS = 1_000
"""In a pack: it is one item of the transaction, however many it holds. Some 90 bytes each, of at most 400 KB."""
HEAD = "{:<14} {:>6} {:<18} {:>12} {:>11} {:>8} {:>8} {:>10}"
ROW = "{:<14} {:>6} {:<18} {:>12.3f} {:>11.3f} {:>8.3f} {:>8.0f} {:>10.3f}"


class PackedReceipts:
    """The deployed classifier on claims and packs."""

    def __init__(self, client: Any, table: str) -> None:
        self.client = client
        packing = Packed(client, spread=ThreadPoolExecutor(SIDE_BY_SIDE).map)
        quarantine: Any = Quarantine(client, table)
        ledger: Any = Ledger(packing, table)  # type: ignore[arg-type]  # a client by its looks
        self.classifier = Classifier(ledger, quarantine, config.config().offer, max_items=MAX_DECISIONS)

    def handle(self, batch: dict[str, Any]) -> None:
        outcome = self.classifier.classify([_message(record) for record in batch["Records"]])
        if outcome.unfinished or outcome.quarantined:
            raise AssertionError(f"events were not decided: {outcome.causes}")


def _message(record: dict[str, Any]) -> Message:
    return message_of(record) if "kinesis" in record else Message.from_record(record)


def hot(design: str, prefix: str, size: int) -> Load:
    """Whole batches of one organization; the first one begins its day, which is nothing to who writes by event."""
    if design == BY_EVENT:
        return hot_single(prefix, EVENTS, Intake(queued, size))
    load = hot_single(prefix, size + max(EVENTS, 3 * size), Intake(queued, size))
    first, *batches = load.batches
    return Load(load.organizations, batches, [first])


def streamed(design: str, prefix: str, size: int) -> Load:
    """One invocation of a shard; the design that writes event by event is given a few of the same."""
    return single_stream(prefix, *((EVENTS, QUEUE) if design == BY_EVENT else (size, STREAM)))


def figures(bench: Bench, design: Design, load: Load) -> Sequence[float]:
    """Write units, read units, calls, client CPU in microseconds and dollars a million, an event."""
    for organization in load.organizations:
        bench.accounts.put(account(organization))
    for batch in load.before:
        design.handle(batch)

    def handle_all() -> None:
        for batch in load.batches:
            design.handle(batch)

    meter = Meter()
    with meter.attached(design.client):
        time = took(handle_all)
    units = meter.write_units / load.events, meter.read_units / load.events
    return *units, meter.calls / load.events, time.cpu / load.events * 1e6, PRICES.usd_per_million(*units)


def lines(bench: Bench, designs: Mapping[str, Design], name: str, size: int) -> Iterator[str]:
    """What the designs take of batches of this size, and what the first one's units are of the others'."""
    found = {}
    for design, each in designs.items():
        found[design] = figures(bench, each, LOADS[name](design, f"{name}{size}{design}", size))
        yield ROW.format(name, size, design, *found[design])
    ours, *others = (each[0] for each in found.values())
    yield f"    write units: {ours / others[0]:.2f} of gratis', {ours / others[1]:.2f} of {BY_EVENT}'s"


LOADS: Mapping[str, Callable[[str, str, int], Load]] = {"hot_single": hot, "single_stream": streamed}


def main() -> None:
    """A run."""
    said = sys.stdout
    print(HEAD.format("workload", "batch", "design", "write units", "read units", "calls", "CPU us", "USD/M"))
    with engine() as url, as_deployed(url):
        bench = Bench(url)
        designs: dict[str, Design] = {
            "packed": PackedReceipts(config.new_dynamodb(), TABLE),
            "gratis": bench.designs["gratis"],
            BY_EVENT: bench.designs[BY_EVENT],
        }
        for name, size in BATCHES:
            for line in lines(bench, designs, name, size):
                print(line, file=said, flush=True)


if __name__ == "__main__":
    main()
