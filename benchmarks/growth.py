"""What grows with what: the cost of an event, the time of a batch, and what the account API reads."""

import json
import random
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.bench import TABLE, Bench
from benchmarks.designs import Design, OneDocument
from benchmarks.meter import Meter, took
from benchmarks.traffic import Sender, account, batches, queued
from gratis import config
from gratis.table.api_keys import Holder, Keys
from gratis_local.functions import Context, handler_of

BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100)
ORGANIZATIONS = (1, 2, 5, 10)
DECIDED = (0, 1000, 2000, 5000, 10_000)
ROWS = (1, 10, 30, 100, 300, 1000)
REPEATS = 9
ROUTES = {
    "allowance": ("/v1/organization/allowance", ""),
    "usage": ("/v1/organization/usage/completions", "start_time={day}&group_by=model"),
    "costs": ("/v1/organization/costs", "start_time={day}"),
    "requests": ("/v1/organization/requests", "limit=20"),
    "request": ("/v1/organization/requests/{request}", ""),
}


@dataclass(frozen=True)
class Point:
    """One point of a plot. `cpu_ms`: of the client, a batch; the least of the repeats."""

    at: int
    write_units: float
    read_units: float
    calls: float
    cpu_ms: float


@dataclass(frozen=True)
class Reads:
    """What one route of the account API took after so many decisions."""

    route: str
    decided: int
    calls: int
    read_units: float


@dataclass(frozen=True)
class Grown:
    """Everything that was measured."""

    by_batch_size: Sequence[Point]
    by_organizations: Sequence[Point]
    by_decisions: Sequence[Point]
    by_rows_single: Sequence[Point]
    by_rows_batch: Sequence[Point]
    by_rows_single_before: Sequence[Point]
    """With all totals of the day in one document."""
    by_rows_batch_before: Sequence[Point]
    reads: Sequence[Reads]


class Growth:
    """Measures Gratis alone, on the engine and the table of a bench."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.gratis = bench.designs["gratis"]
        self.before = OneDocument(config.new_dynamodb(), TABLE)
        self.dice = random.Random(7)
        self.names = iter(f"growth{number}" for number in range(10**6))

    def measure(self) -> Grown:
        """All of it."""
        decisions, reads = self.by_decisions()
        return Grown(
            self.by_batch_size(),
            self.by_organizations(),
            decisions,
            self.by_rows(1, self.gratis),
            self.by_rows(100, self.gratis),
            self.by_rows(1, self.before),
            self.by_rows(100, self.before),
            reads,
        )

    def by_batch_size(self) -> list[Point]:
        """One organization, a batch of so many events."""
        return [self._point(size, [self._sender()], size) for size in BATCH_SIZES]

    def by_organizations(self) -> list[Point]:
        """A batch of 100 events of so many organizations."""
        return [self._point(count, [self._sender() for _ in range(count)], 100 // count) for count in ORGANIZATIONS]

    def by_rows(self, events: int, design: Design) -> list[Point]:
        """Batches of `events` of one organization whose day has totals of so many projects."""
        points = []
        for rows in ROWS:
            letters = ("".join(self.dice.choices(string.ascii_letters, k=24)) for _ in range(rows))
            sender = self._sender(tuple(f"proj_{each}" for each in letters))
            begun = [Sender(sender.organization, (project,), sender.models) for project in sender.projects]
            for _ in range(2):  # a page that one commit fills far beyond its size takes others to come apart
                self._decide([each.event(number, self.dice) for number, each in enumerate(begun)], design)
            points.append(self._point(rows, [sender], events, design))
        return points

    def by_decisions(self) -> tuple[list[Point], list[Reads]]:
        """Batches of 100, and the account API's reads, after so many decisions of the day."""
        sender, points, reads, decided = self._sender(), [], [], 0
        handler = handler_of("account_api")
        key = Keys(self.gratis.client, TABLE).create(Holder("reader", sender.organization, "benchmark"))
        for target in DECIDED:
            self._decide([sender.event(number, self.dice) for number in range(decided, target)])
            points.append(self._point(target, [sender], 100))
            decided = target
            asked = sender.event(target + 10**6, self.dice)
            self._decide([asked])
            reads += [self._read(handler, route, key, asked["id"], target) for route in ROUTES]
        return points, reads

    def _sender(self, projects: Sequence[str] = ("proj_web", "proj_app")) -> Sender:
        sender = Sender(next(self.names), projects, ("gpt-4o-mini-2024-07-18",))
        self.bench.accounts.put(account(sender.organization))
        self._decide([sender.event(0, self.dice)])
        return sender

    def _decide(self, events: Sequence[Any], design: Design | None = None) -> None:
        bodies = [events[start : start + 1000] for start in range(0, len(events), 1000)]
        for batch in batches(queued(bodies)):
            (design or self.gratis).handle(batch)

    def _point(self, at: int, senders: Sequence[Sender], events_each: int, design: Design | None = None) -> Point:
        """Batches that are counted, of which the dearest says what a batch takes, then timed ones."""
        used = design or self.gratis
        counted = [self._counted(used, senders, events_each) for _ in range(REPEATS)]
        meter = max(counted, key=lambda each: each.write_units)
        times = []
        for _ in range(REPEATS):
            (batch,) = self._batch(senders, events_each)
            times.append(took(lambda batch=batch: used.handle(batch)).cpu)  # type: ignore[misc]
        events = events_each * len(senders)
        return Point(at, meter.write_units / events, meter.read_units / events, meter.calls / events, min(times) * 1000)

    def _counted(self, design: Design, senders: Sequence[Sender], events_each: int) -> Meter:
        meter = Meter()
        (batch,) = self._batch(senders, events_each)
        with meter.attached(design.client):
            design.handle(batch)
        return meter

    def _batch(self, senders: Sequence[Sender], events_each: int) -> Iterator[dict[str, Any]]:
        events = [sender.event(number, self.dice) for sender in senders for number in range(events_each)]
        return batches(queued([events]))

    def _read(self, handler: Any, route: str, key: str, request_id: str, decided: int) -> Reads:
        path, query = ROUTES[route]
        midnight = int(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp())
        event = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path.format(request=request_id),
            "rawQueryString": query.format(day=midnight),
            "headers": {"authorization": f"Bearer {key}"},
            "requestContext": {"http": {"method": "GET", "path": path}, "stage": "$default", "requestId": "r"},
            "isBase64Encoded": False,
        }
        meter = Meter()
        with meter.attached(self.gratis.client):
            answer = handler(event, Context("account_api"))
        if answer["statusCode"] != 200:
            raise AssertionError(f"{path}: {json.dumps(answer)[:500]}")
        return Reads(route, decided, meter.calls, meter.read_units)
