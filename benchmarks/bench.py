"""Runs every workload through every design, and says what it took an event."""

import contextlib
import gc
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from benchmarks import workloads
from benchmarks.designs import Design, Gratis, IdempotentUpdate, SingleTransaction
from benchmarks.meter import Meter, Took, took
from benchmarks.prices import PRICES
from benchmarks.stream import USED_SHARD, stream_usd_per_million
from benchmarks.traffic import STREAM, Intake, account
from benchmarks.workloads import Load
from gratis import config
from gratis.table.accounts import Accounts
from gratis_local.engine import create_table
from gratis_local.stack import LOCAL_CREDENTIALS, client_for, local_environment

TABLE, IDEMPOTENCY_TABLE = "gratis-benchmark", "gratis-benchmark-idempotency"
STREAMED = "gratis_stream"
"""The design that takes its batches from the stream; all others take them from the queue."""


@dataclass(frozen=True)
class Size:
    """How many events of a workload Gratis is given, and how many the others, which take longer: fewer batches of the
    same size, never smaller ones. `stream`: how many Gratis is given over the stream; 0: it is not measured there.

    `repeats`: timed runs. The designs take turns, so what slows the machine down slows all of them: many short runs
    compare better than a few long ones.
    """

    gratis: int
    others: int
    repeats: int = 11
    stream: int = 0

    def of(self, design: str) -> int:
        """How many events this design is given."""
        return {"gratis": self.gratis, STREAMED: self.stream}.get(design, self.others)


SIZES = {
    "single": Size(100, 100),
    "batch_100": Size(1000, 100),
    "spent_quota": Size(1000, 100),
    "zipf_day": Size(1000, 1000, repeats=3),
    "hot_organization": Size(2000, 1000, repeats=5),
    "single_stream": Size(1000, 100, repeats=2, stream=10_000),
    "hot_single": Size(500, 100, repeats=5, stream=5_000),
}
WORKLOADS: Mapping[str, Callable[[str, int], Load]] = {
    "single": workloads.single,
    "batch_100": workloads.batch_100,
    "spent_quota": workloads.spent_quota,
    "zipf_day": workloads.zipf_day,
    "hot_organization": workloads.hot_organization,
    "single_stream": workloads.single_stream,
    "hot_single": workloads.hot_single,
}
STREAM_WORKLOADS: Mapping[str, Callable[[str, int, Intake], Load]] = {
    "single_stream": workloads.single_stream,
    "hot_single": workloads.hot_single,
}


@dataclass(frozen=True)
class Figures:
    """What one design took for one workload, an event. `events`: how many each timed run had."""

    events: int
    write_units: float
    read_units: float
    calls: float
    cpu_us: Sequence[float]
    """Of the client process; one figure a repeat."""
    events_per_second: Sequence[float]
    intake_usd: float = 0
    """Dollars a million for the stream itself; of the queue nothing is counted."""

    @property
    def client_cpu_us(self) -> float:
        """The median of the repeats."""
        return statistics.median(self.cpu_us)

    @property
    def usd_per_million(self) -> float:
        """Dollars for a million such events; over the stream with its own price."""
        return PRICES.usd_per_million(self.write_units, self.read_units) + self.intake_usd

    @property
    def speed(self) -> float:
        """Events a second, the engine's work included: the median of the repeats."""
        return statistics.median(self.events_per_second)

    def as_json(self) -> dict[str, float]:
        """As results.json holds it."""
        return {
            "write_units": round(self.write_units, 3),
            "read_units": round(self.read_units, 3),
            "calls": round(self.calls, 4),
            "client_cpu_us": round(self.client_cpu_us, 1),
            "usd_per_million": round(self.usd_per_million, 3),
        }

    def rounds_as_json(self) -> dict[str, Any]:
        """The timed runs, as results.json holds them."""
        return {
            "events": self.events,
            "client_cpu_us": [round(each, 1) for each in self.cpu_us],
            "events_per_second": [round(each, 1) for each in self.events_per_second],
        }


class Bench:
    """The designs on one engine."""

    def __init__(self, endpoint_url: str) -> None:
        client = client_for(endpoint_url, "dynamodb")
        create_table(client, TABLE)
        client.create_table(
            TableName=IDEMPOTENCY_TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.accounts = Accounts(client, TABLE)
        self.runs = 0
        self.designs: Mapping[str, Design] = {
            "gratis": Gratis(),
            STREAMED: Gratis(),
            "idempotent_update": IdempotentUpdate(config.new_dynamodb(), TABLE, IDEMPOTENCY_TABLE),
            "single_transaction": SingleTransaction(config.new_dynamodb(), TABLE),
        }

    def workload(self, name: str, size: Size) -> dict[str, Figures]:
        """Every design under one workload: one run that counts, then timed ones, which nothing counts along with."""
        counted = {design: self._counted(design, name, size) for design in self.designs if size.of(design)}
        timed: dict[str, list[tuple[int, Took]]] = {design: [] for design in counted}
        for _ in range(size.repeats):
            for design in counted:
                timed[design].append(self._timed(design, name, size))
        return {
            design: Figures(
                runs[0][0],
                *counted[design],
                [took.cpu / events * 1e6 for events, took in runs],
                [events / took.wall for events, took in runs],
                stream_usd_per_million(USED_SHARD) if design == STREAMED else 0,
            )
            for design, runs in timed.items()
        }

    def _counted(self, design: str, name: str, size: Size) -> tuple[float, float, float]:
        """Write units, read units and calls, an event."""
        load, meter = self._ready(design, name, size), Meter()
        with meter.attached(self.designs[design].client):
            self._run(design, load)
        return meter.write_units / load.events, meter.read_units / load.events, meter.calls / load.events

    def _timed(self, design: str, name: str, size: Size) -> tuple[int, Took]:
        load = self._ready(design, name, size)
        gc.collect()
        gc.freeze()  # what the benchmark itself holds is no work for the collector of a design
        return load.events, took(lambda: self._run(design, load))

    def _ready(self, design: str, name: str, size: Size) -> Load:
        """Events of organizations that no other run has, each with an account."""
        self.runs += 1
        prefix, events = f"run{self.runs}", size.of(design)
        streamed = design == STREAMED
        load = STREAM_WORKLOADS[name](prefix, events, STREAM) if streamed else WORKLOADS[name](prefix, events)
        for organization in load.organizations:
            self.accounts.put(account(organization))
        for batch in load.before:
            self.designs[design].handle(batch)
        return load

    def _run(self, design: str, load: Load) -> None:
        for batch in load.batches:
            self.designs[design].handle(batch)


@contextlib.contextmanager
def as_deployed(endpoint_url: str) -> Iterator[None]:
    """The environment that the functions read; what they print goes nowhere."""
    ours = {"LEDGER_TABLE": TABLE, "OFFER": "data-sharing", "AWS_ENDPOINT_URL": endpoint_url}
    _forget_configuration()
    with (
        mock.patch.dict(os.environ, local_environment() | LOCAL_CREDENTIALS | ours, clear=True),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield
    _forget_configuration()


def _forget_configuration() -> None:
    config.config.cache_clear()
    config.dynamodb.cache_clear()
