"""Many writers on one counter document, simulated: `python -m benchmarks.contention`.

The document is replaced only on the version that a writer decided on, so writers stand in each other's way. How much,
no emulator can show: it answers one request at a time. So here is a model, not a measurement: a discrete-event
simulation in which every writer is a generator that yields the seconds until its next step. What it assumes of DynamoDB
stands in the constants; how Gratis packs, gives up, and waits is imported from it.
"""

import heapq
import random
import statistics
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from gratis.intake.messages import MAX_MESSAGE_EVENTS
from gratis.table.dynamo import MAX_ATTEMPTS, longest_pause
from gratis.table.keys import DECISION_SHARDS
from gratis.table.ledger import MAX_ITEMS
from gratis_local.deploy import read_template
from gratis_local.places import shipped

PLOT = Path(__file__).parent / "plots" / "contention.svg"
WRITERS = (1, 2, 4, 8, 16, 32, 64)
SECONDS = 20.0
"""For how long writers take new messages; then they finish what they hold and what comes back."""

ONE_BATCH = 1e-9
"""Instead: just long enough for every writer to take one batch. Of the seeds `BURSTS` together."""
BURSTS = range(1, 11)

MAX_DECISIONS = MAX_ITEMS - 2
"""In one transaction: beside the document, and the day's marker the first time."""
BATCH = 10
"""Messages that Lambda takes from a FIFO queue at once, at most."""
QUEUE = read_template(shipped("template.yaml"))["Resources"]["UsageQueue"]["Properties"]
VISIBILITY: int = QUEUE["VisibilityTimeout"]
"""Seconds until a message that was given back comes again."""
MAX_RECEIVES: int = QUEUE["RedrivePolicy"]["maxReceiveCount"]
"""How often a message comes before it is a dead letter."""

TRANSACTION_MEDIAN, CALL_MEDIAN = 0.010, 0.004
"""Assumed: seconds that a transaction, and a read or write of one item, take from the function and back; log-normal."""
BETWEEN_MEDIAN = 0.020
"""Assumed: seconds between two batches of a writer: messages deleted, the next ones received, documents read."""
P99_TO_MEDIAN = 4.0
"""Assumed: a transaction in a hundred takes longer than 40 ms."""
CLIENT_BATCHED, CLIENT_SINGLE = 0.0002, 0.0012
"""Assumed: median seconds of the function's own CPU an event: in a large transaction, in a call of its own."""
CLIENT_P99_TO_MEDIAN = 1.4
WAY = 0.25
"""Assumed: the part of a call before DynamoDB locks the item, and the part that its answer travels back."""
PARTITION_UNITS = 1000
"""Write units a second that one partition of DynamoDB takes. A refused transaction is assumed to cost half."""
DOCUMENT_UNITS = 1
"""Write units of the document: up to 1 KB."""

STANDARD_P99 = statistics.NormalDist().inv_cdf(0.99)
Steps = Generator[float, None, None]


@dataclass
class Partition:
    """Write units of a second, as a bucket that fills at a steady rate."""

    units: float = PARTITION_UNITS
    filled: float = PARTITION_UNITS
    at: float = 0.0

    def takes(self, now: float, units: float) -> bool:
        """Whether there are units enough; then they are used up."""
        self.filled = min(self.units, self.filled + (now - self.at) * self.units)
        self.at = now
        if self.filled < units:
            return False
        self.spend(units)
        return True

    def spend(self, units: float) -> None:
        """Use units up, even if that leaves less than none."""
        self.filled -= units


@dataclass
class Ledger:
    """The table: one document and its decisions. `partitions`: what the decisions of the day are spread over."""

    partitions: int
    version: int = 0
    locked: bool = False
    document: Partition = field(default_factory=Partition)
    decisions: Partition = field(init=False)
    decided: dict[int, float] = field(default_factory=dict)
    """Events and when they were decided."""

    def __post_init__(self) -> None:
        units = float(PARTITION_UNITS * self.partitions)
        self.decisions = Partition(units, units)

    def refusal(self, now: float, events: Sequence[int], version_read: int) -> "Refusal | None":
        """What stands in a transaction's way, if anything; else the document is locked for it."""
        if not (self.document.takes(now, DOCUMENT_UNITS) and self.decisions.takes(now, len(events))):
            return Refusal()  # throttled
        if self.locked:
            return Refusal()  # TransactionConflict
        earlier = {event for event in events if event in self.decided}
        if earlier or version_read != self.version:
            return Refusal(self.version, earlier)
        self.locked = True
        return None

    def commit(self, now: float, events: Sequence[int], version_read: int) -> None:
        """What was locked is written; the second half of a transaction's write units."""
        self.locked = False
        self.version = version_read + 1
        self.document.spend(DOCUMENT_UNITS)
        self.decisions.spend(len(events))
        self.decide(now, events)

    def decide(self, now: float, events: Sequence[int]) -> None:
        """Record decisions; an event that has one already is a flaw of the model."""
        twice = self.decided.keys() & set(events)
        if twice:
            raise AssertionError(f"decided twice: {sorted(twice)[:5]}")
        self.decided |= dict.fromkeys(events, now)


@dataclass(frozen=True)
class Refusal:
    """What came back: the document's version (None: DynamoDB only said that it may work later) and decided events."""

    version: int | None = None
    decided: Collection[int] = ()


@dataclass
class Message:
    """Events `first` to `first + size - 1`, handed to a writer `receives` times, at `arrived` first."""

    first: int
    size: int
    arrived: float
    receives: int = 1

    @property
    def events(self) -> range:
        return range(self.first, self.first + self.size)


class Busy(Exception):
    """A writer gave up; the messages that are not done come again."""


class World:
    """One run: clock, queue, table, and what became of the messages. `events_a_message`: how full each is."""

    def __init__(self, seed: int, events_a_message: int, partitions: int, seconds: float = SECONDS) -> None:
        self.dice = random.Random(seed)
        self.seconds = seconds
        self.ledger = Ledger(partitions)
        self.now = 0.0
        self.events_a_message = events_a_message
        self.messages: list[Message] = []
        self.returning: list[tuple[float, int]] = []
        """When a message that was given back comes again, and which one."""
        self.dead: list[Message] = []
        self.given_back = 0
        self.attempts = 0
        self.commits = 0

    def run(self, writers: Sequence[Steps]) -> None:
        """Let the writers take their steps until all of them are done."""
        steps = [(0.0, number, writer) for number, writer in enumerate(writers)]
        while steps:
            self.now, number, writer = heapq.heappop(steps)
            seconds = next(writer, None)
            if seconds is not None:
                heapq.heappush(steps, (self.now + seconds, number, writer))

    def take(self) -> list[Message]:
        """The next batch: what has come again, then new messages, as long as there are any."""
        batch: list[Message] = []
        while self.returning and self.returning[0][0] <= self.now and len(batch) < BATCH:
            batch.append(self.messages[heapq.heappop(self.returning)[1]])
            batch[-1].receives += 1
        while self.now < self.seconds and len(batch) < BATCH:
            batch.append(Message(len(self.messages) * self.events_a_message, self.events_a_message, self.now))
            self.messages.append(batch[-1])
        return batch

    def give_back(self, batch: Sequence[Message]) -> None:
        """The messages of a batch that are not done: again later, or dead letters."""
        for message in batch:
            if all(event in self.ledger.decided for event in message.events):
                continue
            self.given_back += 1
            if message.receives == MAX_RECEIVES:
                self.dead.append(message)
            else:
                heapq.heappush(self.returning, (self.now + VISIBILITY, message.first // self.events_a_message))

    def waited(self) -> Iterator[float]:
        """Seconds from a message's first arrival at a writer to the decision, of each event that has one."""
        for message in self.messages:
            for event in message.events:
                if event in self.ledger.decided:
                    yield self.ledger.decided[event] - message.arrived

    def duration(self, median: float, p99_to_median: float = P99_TO_MEDIAN) -> float:
        """Seconds, log-normal."""
        return self.dice.lognormvariate(log(median), log(p99_to_median) / STANDARD_P99)

    def pause(self, attempt: int) -> float:
        """As `gratis.table.dynamo.pause`."""
        return self.dice.uniform(0, longest_pause(attempt))


Handle = Callable[[World, Sequence[int], list[int]], Steps]
"""Decides the events of a batch; the last argument holds the document's version as far as the writer knows it."""


def writer(world: World, handle: Handle, first: Sequence[Message] = ()) -> Steps:
    """Takes batch after batch (`first` is in hand), until there is none left and none can come again."""
    while True:
        batch, first = first or world.take(), ()
        if not batch and not world.returning:
            return
        if not batch:
            yield max(0.0, world.returning[0][0] - world.now)
            continue
        yield world.duration(BETWEEN_MEDIAN)
        known = [world.ledger.version]
        try:
            yield from handle(world, [event for message in batch for event in message.events], known)
        except Busy:
            world.give_back(batch)


@dataclass(frozen=True)
class Transactions:
    """Up to `size` decisions in one transaction with the document, each decided on what the one before committed.

    `client`: median CPU seconds an event. `reads_again`: whether a writer that had to wait reads the document again.
    """

    size: int
    client: float
    reads_again: bool = True

    def __call__(self, world: World, events: Sequence[int], known: list[int]) -> Steps:
        for start in range(0, len(events), self.size):
            yield from self._commit(world, events[start : start + self.size], known)

    def _commit(self, world: World, chunk: Sequence[int], known: list[int]) -> Steps:
        """As `gratis.classify` commits a chunk: decided again on what came back, a few times."""
        attempts = 0
        while chunk:
            refusal = yield from self._attempt(world, chunk, known)
            if refusal is None:
                return
            known[0] = known[0] if refusal.version is None else refusal.version
            attempts = 0 if refusal.decided else attempts + 1
            if refusal.decided:
                chunk = [event for event in chunk if event not in refusal.decided]
            if attempts > MAX_ATTEMPTS:
                raise Busy
            if attempts:
                yield world.pause(attempts)
            if attempts and self.reads_again:
                yield world.duration(CALL_MEDIAN)
                known[0] = world.ledger.version

    def _attempt(
        self, world: World, chunk: Sequence[int], known: list[int]
    ) -> Generator[float, None, "Refusal | None"]:
        """Decide, send, and hear what became of it."""
        yield world.duration(self.client * len(chunk), CLIENT_P99_TO_MEDIAN)
        duration = world.duration(TRANSACTION_MEDIAN)
        yield duration * WAY
        world.attempts += 1
        refusal = world.ledger.refusal(world.now, chunk, known[0])
        if refusal is None:
            yield duration * (1 - 2 * WAY)
            world.ledger.commit(world.now, chunk, known[0])
            world.commits += 1
            known[0] = world.ledger.version
        yield duration * WAY
        return refusal


def add_and_put(world: World, events: Sequence[int], _: list[int]) -> Steps:
    """A conditional ADD to the counter and then a put of the decision, event by event: no version, no lock."""
    for event in events:
        yield world.duration(CLIENT_SINGLE, CLIENT_P99_TO_MEDIAN)
        yield from _write(world, world.ledger.document)
        yield from _write(world, world.ledger.decisions)
        world.ledger.decide(world.now, [event])
        world.commits += 1


def _write(world: World, partition: Partition) -> Steps:
    for attempt in range(1, MAX_ATTEMPTS + 2):
        duration = world.duration(CALL_MEDIAN)
        yield duration / 2
        world.attempts += 1
        taken = partition.takes(world.now, 1)
        yield duration / 2
        if taken:
            return
        yield world.pause(attempt)
    raise Busy


@dataclass(frozen=True)
class Design:
    """A way to decide. `events_a_message`: how full its messages are; `partitions`: of the decisions of a day."""

    name: str
    handle: Handle
    events_a_message: int
    partitions: int = DECISION_SHARDS


GRATIS = Design("Gratis", Transactions(MAX_DECISIONS, CLIENT_BATCHED), MAX_MESSAGE_EVENTS)
NOT_READING_AGAIN = Design(
    "Gratis, not reading again after a wait",
    Transactions(MAX_DECISIONS, CLIENT_BATCHED, reads_again=False),
    MAX_MESSAGE_EVENTS,
)
DESIGNS = (
    GRATIS,
    Design("Gratis, day split over 32 partitions", GRATIS.handle, MAX_MESSAGE_EVENTS, 32),
    NOT_READING_AGAIN,
    Design("a transaction an event", Transactions(1, CLIENT_SINGLE), 1),
    Design("ADD, then put, an event", add_and_put, 1),
)


@dataclass(frozen=True)
class Outcome:
    """What so many writers got done. Times from a message's first arrival at a writer to the decision, in seconds."""

    writers: int
    events_per_second: float
    attempts_per_commit: float
    given_back: float
    """How often a message was, on average."""
    dead: int
    median: float
    p99: float


def simulate(design: Design, writers: int, seed: int = 1, seconds: float = SECONDS, *, same: bool = False) -> World:
    """Run `writers` of a design on one counter, with more to do than they can. `same`: all begin with one batch."""
    world = World(seed, design.events_a_message, design.partitions, seconds)
    first = world.take() if same else []
    world.run([writer(world, design.handle, first) for _ in range(writers)])
    return world


def outcome(writers: int, worlds: Sequence[World]) -> Outcome:
    """What runs come to. Throughput is that of the time when there was always more to do."""
    waited = sorted(wait for world in worlds for wait in world.waited())
    in_time = sum(moment <= world.seconds for world in worlds for moment in world.ledger.decided.values())
    return Outcome(
        writers=writers,
        events_per_second=in_time / sum(world.seconds for world in worlds),
        attempts_per_commit=sum(world.attempts for world in worlds) / sum(world.commits for world in worlds),
        given_back=sum(world.given_back for world in worlds) / sum(len(world.messages) for world in worlds),
        dead=sum(len(world.dead) for world in worlds),
        median=waited[len(waited) // 2],
        p99=waited[len(waited) * 99 // 100],
    )


def bursts(design: Design, *, same: bool) -> list[Outcome]:
    """What becomes of a single batch for each writer, for each number of writers."""
    return [
        outcome(writers, [simulate(design, writers, seed, ONE_BATCH, same=same) for seed in BURSTS])
        for writers in WRITERS
    ]


def table(name: str, rows: Sequence[Outcome], *, saturated: bool) -> Table:
    """One design, a row for each number of writers."""
    shown = Table("writers", title=name, title_justify="left", box=box.SIMPLE)
    columns = ["events/s"] * saturated + ["attempts a commit", "given back", "dead letters", "median", "p99"]
    for column in columns:
        shown.add_column(column, justify="right")
    for each in rows:
        shown.add_row(
            str(each.writers),
            *[f"{each.events_per_second:,.0f}"] * saturated,
            f"{each.attempts_per_commit:.2f}",
            f"{each.given_back:.2f}",
            str(each.dead),
            _time(each.median),
            _time(each.p99),
        )
    return shown


def _time(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.0f} s"


def plot(results: Mapping[str, Sequence[Outcome]]) -> None:
    """Events a second and messages given back against writers."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    throughput, given_back = figure.subplots(1, 2)
    for name, rows in results.items():
        writers = [each.writers for each in rows]
        throughput.plot(writers, [each.events_per_second for each in rows], marker="o", label=name)
        given_back.plot(writers, [each.given_back for each in rows], marker="o", label=name)
    throughput.set(yscale="log", ylabel="events a second", title="One counter (simulated)")
    given_back.set(ylabel="times", title="How often a message is given back (simulated)")
    for axes in (throughput, given_back):
        axes.set_xscale("log", base=2)
        axes.set(xticks=WRITERS, xticklabels=WRITERS, xlabel="writers")
        axes.grid(alpha=0.3)
    given_back.legend(fontsize=8)
    PLOT.parent.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "contention", "svg.fonttype": "none"}):  # the same file for the same figures
        figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Every design with every number of writers: with more to do than they can, and with one batch each or for all."""
    console = Console(width=100)
    results = {}
    for design in DESIGNS:
        results[design.name] = [outcome(writers, [simulate(design, writers)]) for writers in WRITERS]
        console.print(table(design.name, results[design.name], saturated=True))
    for design in (GRATIS, NOT_READING_AGAIN):
        console.print(table(f"{design.name}: a batch for each writer", bursts(design, same=False), saturated=False))
    console.print(table("Gratis: the same batch for each writer", bursts(GRATIS, same=True), saturated=False))
    plot(results)


if __name__ == "__main__":
    main()
