"""What a run found: benchmarks/results.json, benchmarks/README.md, and what is printed."""

import json
import os
import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import stream
from benchmarks.asking import Asking
from benchmarks.bench import SIZES, STREAMED, Figures
from benchmarks.closing import found_so_far
from benchmarks.cold_start import Start
from benchmarks.contention import TRANSACTION_MEDIAN
from benchmarks.growth import Grown
from benchmarks.prices import PRICES
from benchmarks.receiving import Receiving
from benchmarks.workloads import EVENTS_A_SECOND, EXPONENT, GROUPS, ORGANIZATIONS, WINDOW_SECONDS

VERSIONS = ("ministack", "boto3", "aws-lambda-powertools", "pydantic", "awslambdaric")
MEMORY = (512, 1024, 1769, 3008)
"""MB that a function may have; at 1,769 it has one whole CPU, below a share of it."""
WHOLE_CPU = 1769
HOT = ("hot_organization", "hot_single")
"""Workloads whose speed counts."""
STARTED = ("classify_usage", "account_api")
"""Functions whose start the table of memory shows: the usual one, and the largest."""
CALL_MS = TRANSACTION_MEDIAN * 1000
"""What one DynamoDB call is assumed to last on AWS; the emulator cannot tell."""


@dataclass(frozen=True)
class Measured:
    """Everything that a run measured."""

    workloads: Mapping[str, Mapping[str, Figures]]
    receiving: Receiving
    starts: Mapping[str, Start]
    grown: Grown
    asking: Asking


@dataclass(frozen=True)
class Aim:
    """Something to reach. `most`: at most `bound`, else at least. `rounds`: what each round of a timed one found."""

    what: str
    found: float
    bound: float
    most: bool = True
    rounds: Sequence[float] = ()

    @classmethod
    def timed(cls, what: str, rounds: Sequence[float], bound: float, *, most: bool = True) -> "Aim":
        """The median counts."""
        return cls(what, statistics.median(rounds), bound, most, rounds)

    @property
    def reached(self) -> bool:
        return self.found <= self.bound if self.most else self.found >= self.bound

    def row(self) -> list[str]:
        bound = f"{'≤' if self.most else '≥'} {self.bound:g}"
        return [self.what, bound, f"{self.found:.3g}", _middle_half(self.rounds), "yes" if self.reached else "**no**"]


def _middle_half(rounds: Sequence[float]) -> str:
    """Between which figures half of the rounds lie."""
    if not rounds:
        return "counted"
    low, _, high = statistics.quantiles(rounds, n=4, method="inclusive")
    return f"{low:.3g} to {high:.3g}"


def aims(measured: Measured) -> list[Aim]:
    """What is to be reached, and what this run found."""
    of = measured.workloads
    batch, hot, zipf = of["batch_100"], of["hot_organization"], of["zipf_day"]
    single, hot_single = of["single_stream"], of["hot_single"]
    cpu = _by_round(batch["idempotent_update"].cpu_us, batch["gratis"].cpu_us)
    speed = _by_round(hot["gratis"].events_per_second, hot["single_transaction"].events_per_second)
    faster = _by_round(hot_single[STREAMED].events_per_second, hot_single["gratis"].events_per_second)
    streamed, theirs = single[STREAMED].usd_per_million, single["idempotent_update"].usd_per_million
    queue = stream.queue_usd_per_million()
    dollars = zipf["gratis"].usd_per_million / zipf["idempotent_update"].usd_per_million
    widest = measured.grown.by_rows_single[-1]
    records = single[STREAMED].events
    skew = f"1/r^{EXPONENT:g}, a post every {WINDOW_SECONDS} s"
    return [
        Aim("`batch_100`: write units an event", batch["gratis"].write_units, 2.2),
        Aim("`spent_quota`: write units an event", of["spent_quota"]["gratis"].write_units, 2.2),
        Aim("`single`: write units an event", of["single"]["gratis"].write_units, 4.1),
        Aim(f"`zipf_day` ({skew}): dollars, as a share of `idempotent_update`'s", dollars, 0.5),
        Aim(f"`single_stream` ({records:,} records): write units an event", single[STREAMED].write_units, 2.5),
        Aim(
            "`single_stream`: dollars, the stream's in them, as a share of `idempotent_update`'s",
            streamed / theirs,
            0.5,
        ),
        Aim("`single_stream`: the same, with the queue's in those", streamed / (theirs + queue), 0.5),
        Aim.timed("`hot_single`: events a second over the stream, times those over the queue", faster, 5, most=False),
        Aim(f"write units of a single event on a day of {widest.at:,} rows", widest.write_units, 8),
        Aim.timed("`batch_100`: client CPU, times less than `idempotent_update`", cpu, 25, most=False),
        Aim("`batch_100`: calls an event", batch["gratis"].calls, 0.05),
        Aim.timed("`hot_organization`: events a second, times those of `single_transaction`", speed, 10, most=False),
        Aim.timed("`receive_usage`: CPU, times pydantic's validation and one HMAC", measured.receiving.ratios, 2),
        *(
            Aim.timed(f"start of `{name}`, times a bare client's", start.ratios, 1.2 if name == "account_api" else 1.1)
            for name, start in measured.starts.items()
        ),
    ]


def _by_round(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """How many times those of the same round."""
    return [this / that for this, that in zip(these, those, strict=True)]


def write(folder: Path, measured: Measured) -> None:
    """results.json and README.md."""
    (folder / "results.json").write_text(json.dumps(results(measured), indent=1) + "\n", encoding="utf-8")
    page = (folder / "page.md").read_text(encoding="utf-8").format(**_slots(measured))
    (folder / "README.md").write_text(page, encoding="utf-8")


def results(measured: Measured) -> dict[str, Any]:
    """What results.json holds: the figures, an event, and every round that they were taken from."""
    workloads = {
        name: {design: figures.as_json() for design, figures in designs.items()}
        for name, designs in measured.workloads.items()
    }
    for name in HOT:
        for design, figures in measured.workloads[name].items():
            workloads[name][design]["events_per_second"] = round(figures.speed, 1)
    rounds = {
        name: {design: figures.rounds_as_json() for design, figures in designs.items()}
        for name, designs in measured.workloads.items()
    }
    return {
        "day": _today(),
        "machine": _machine(),
        "workloads": workloads,
        "cold_start_ratio": {name: _median(start.ratios) for name, start in measured.starts.items()},
        "receive_usage_ratio": _median(measured.receiving.ratios),
        "rounds": rounds,
        "receive_usage_us": {name: _rounded(found, 2) for name, found in vars(measured.receiving).items()},
        "start_cpu_s": {
            name: {part: _rounded(found, 4) for part, found in vars(start).items()}
            for name, start in measured.starts.items()
        },
        "growth": asdict(measured.grown),
        "stream": stream.computed(),
        "asking": asking_as_json(measured.asking),
    }


def asking_as_json(asking: Asking) -> dict[str, Any]:
    """CPU seconds of every round, and what a check asks of DynamoDB."""
    return {
        name: found if isinstance(found, int | float) else _rounded(found, 5) for name, found in vars(asking).items()
    }


def _rounded(found: Sequence[float], digits: int) -> list[float]:
    return [round(each, digits) for each in found]


def _median(found: Sequence[float]) -> float:
    return round(statistics.median(found), 2)


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; all but the first column to the right."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], f"|---|{'---:|' * (len(head) - 1)}", *lines[1:]])


def _machine() -> dict[str, str]:
    """What it ran on, and with what."""
    return {
        "CPUs": f"{os.cpu_count()} ({platform.machine()})",
        "system": platform.system(),
        "Python": platform.python_version(),
        **{name: version(name) for name in VERSIONS},
    }


def _slots(measured: Measured) -> dict[str, Any]:
    """What page.md leaves open."""
    received, starts, grown = measured.receiving, measured.starts, measured.grown
    return {
        "day": _today(),
        "machine": ", ".join(f"{name} {said}" for name, said in _machine().items()),
        "aims": table(
            ["to reach", "bound", "found", "half of the rounds", "reached"], [aim.row() for aim in aims(measured)]
        ),
        "region": PRICES.region,
        "since": PRICES.since,
        "write_units": PRICES.write_units,
        "read_units": PRICES.read_units,
        "source": PRICES.source,
        "workloads": _workloads(measured.workloads),
        "organizations": f"{ORGANIZATIONS:,}",
        "exponent": f"{EXPONENT:g}",
        "events_a_second": f"{EVENTS_A_SECOND:,}",
        "window": WINDOW_SECONDS,
        "body": f"{EVENTS_A_SECOND * WINDOW_SECONDS:,}",
        "step": EVENTS_A_SECOND * WINDOW_SECONDS // SIZES["zipf_day"].gratis,
        "windows": _windows(),
        "receive_ratio": _median(received.ratios),
        "sending_ratio": _median(received.sending_ratios),
        "own_ratio": _median(received.own_ratios),
        "receive_us": f"{statistics.median(received.function):.0f}",
        "floor_us": f"{statistics.median(received.floor):.0f}",
        "rounds": len(received.floor),
        "python": platform.python_version(),
        "bare_ms": f"{statistics.median(each for start in starts.values() for each in start.bare) * 1000:.0f}",
        "starts": _starts(starts),
        "call_ms": CALL_MS,
        "gb_second": f"{PRICES.lambda_gb_second:.10f}",
        "memory": _memory(starts, measured.workloads["batch_100"]["gratis"]),
        "rows": _rows(grown),
        "reads": _reads(grown),
        "asking": table(["CPU time", "`POST .../allowance/check`", "`GET .../allowance`"], measured.asking.table()),
        "check_calls": measured.asking.calls,
        "check_units": f"{measured.asking.read_units:g}",
        "closing": found_so_far(),
        **_stream_slots(measured),
    }


def _stream_slots(measured: Measured) -> dict[str, Any]:
    """What page.md leaves open of the stream."""
    hot = measured.workloads["hot_single"]
    return {
        "groups": len(GROUPS),
        "records": f"{measured.workloads['single_stream'][STREAMED].events:,}",
        "hot_records": f"{hot[STREAMED].events:,}",
        "hot_stream": f"{hot[STREAMED].speed:,.0f}",
        "hot_queue": f"{hot['gratis'].speed:,.0f}",
        "full_shard": f"{stream.FULL_SHARD:,}",
        "used_shard": stream.USED_SHARD,
        "stream_dollars": f"{stream.stream_usd_per_million(stream.USED_SHARD):.3f}",
        "queue_dollars": f"{stream.queue_usd_per_million():.2f}",
        "shard_hour": PRICES.shard_hour,
        "shard_hour_kept": f"{PRICES.shard_hour_kept:.3f}",
        "put_units": PRICES.put_units,
        "fitting": f"{stream.fitting():,}",
        "fitting_units": f"{stream.write_units(stream.fitting()):.2f}",
        "curve": _curve(),
        "waits": _waits(),
        "stream_window": stream.WINDOW_SECONDS,
        "by_rate": _by_rate(),
        "break_even": stream.break_even(),
        "break_even_minute": stream.break_even(60),
    }


def _curve() -> str:
    rows = [
        [f"{organizations:,}, 1/r^{exponent:g}", *(f"{units:.2f}" for units in by_records.values())]
        for (organizations, exponent), by_records in stream.curve().items()
    ]
    return table(["organizations, the r-th sends", *(f"{each:,} records" for each in stream.RECORDS)], rows)


def _waits() -> str:
    rows = [
        [f"{rate:,} records a second", *(f"{stream.waiting_seconds(each, rate):,g} s" for each in stream.RECORDS)]
        for rate in (stream.FULL_SHARD, 100, 10)
    ]
    return table(["a shard of", *(f"{each:,} records" for each in stream.RECORDS)], rows)


def _by_rate() -> str:
    queue = f"{stream.dollars_over_queue():.2f}"
    rows = [
        [f"{rate:,}", f"{stream.shards_of(rate):,}", f"{stream.dollars_over_stream(rate):.2f}", queue]
        for rate in stream.RATES
    ]
    return table(["single events a second", "shards", "over the stream", "over the queue"], rows)


def _workloads(workloads: Mapping[str, Mapping[str, Figures]]) -> str:
    rows = []
    for name, designs in workloads.items():
        ours = designs["gratis"]
        for design, figures in designs.items():
            rows.append(
                [
                    f"`{name}` {design}",
                    f"{figures.write_units:.3f}",
                    f"{figures.read_units:.3f}",
                    f"{figures.calls:.3f}",
                    f"{figures.usd_per_million:.2f}",
                    f"{len(figures.cpu_us)} × {figures.events:,}",
                    f"{figures.client_cpu_us / ours.client_cpu_us:.1f} × ({figures.client_cpu_us:.0f} µs)",
                    f"{_spread(figures.cpu_us):.0%}",
                    f"1/{ours.speed / figures.speed:.1f}",
                    f"{_spread(figures.events_per_second):.0%}",
                ]
            )
    head = [
        "workload, design",
        "write units",
        "read units",
        "calls",
        "USD a million",
        "timed",
        "client CPU",
        "spread",
        "events/s",
        "spread",
    ]
    return table(head, rows)


def _windows() -> str:
    seconds = (0.25, 1, 2, WINDOW_SECONDS)
    rows = [
        [f"1/r^{exponent:g}", *(f"{_share(exponent, int(EVENTS_A_SECOND * each)):.2f}" for each in seconds)]
        for exponent in (0.9, 1.0, 1.1, 1.2)
    ]
    return table(["traffic of the r-th organization", *(f"every {each:g} s" for each in seconds)], rows)


def _share(exponent: float, events: int) -> float:
    commits = stream.commits(events, exponent=exponent)
    return PRICES.usd_per_million(2 + 2 * commits, 2 * commits) / PRICES.usd_per_million(5, commits)


def _starts(starts: Mapping[str, Start]) -> str:
    rows = [
        [
            f"`{name}`",
            f"{_median(start.ratios):.2f} ×",
            _middle_half(start.ratios),
            f"{statistics.median(start.answered) / statistics.median(start.bare):.2f} ×",
        ]
        for name, start in starts.items()
    ]
    return table(["function", "init", "half of the rounds", "first answer"], rows)


def _memory(starts: Mapping[str, Start], batch: Figures) -> str:
    head = ["memory", *(f"start of `{name}`" for name in STARTED), "batch of 100", "USD a million events"]
    return table(head, [_memory_row(size, starts, batch) for size in MEMORY])


def _memory_row(size: int, starts: Mapping[str, Start], batch: Figures) -> list[str]:
    share = min(size / WHOLE_CPU, 1)
    init = [statistics.median(starts[name].init) * 1000 / share for name in STARTED]
    lasts = batch.client_cpu_us * 100 / 1000 / share + batch.calls * 100 * CALL_MS
    dollars = PRICES.lambda_usd_per_million(lasts / 1000 / 100, size)
    return [f"{size:,} MB", *(f"{each:.0f} ms" for each in init), f"{lasts:.0f} ms", f"{dollars:.3f}"]


def _rows(grown: Grown) -> str:
    head = ["rows of a group in a day", *(f"{each.at:,}" for each in grown.by_rows_single)]
    points = (
        ("write units of a single event", grown.by_rows_single),
        ("as before, all rows in one document", grown.by_rows_single_before),
        ("write units an event in a batch of 100", grown.by_rows_batch),
        ("as before, all rows in one document", grown.by_rows_batch_before),
    )
    return table(head, [[what, *(f"{each.write_units:.2f}" for each in found)] for what, found in points])


def _reads(grown: Grown) -> str:
    routes = dict.fromkeys(each.route for each in grown.reads)
    levels = dict.fromkeys(each.decided for each in grown.reads)
    found = {(each.route, each.decided): f"{each.calls} / {each.read_units:g}" for each in grown.reads}
    head = ["calls / read units of", *(f"after {level:,} decisions" for level in levels)]
    return table(head, [[f"`{route}`", *(found[route, level] for level in levels)] for route in routes])


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / statistics.median(values)


def printed(measured: Measured) -> Iterator[str]:
    """The ratios, for a terminal."""
    yield "times what gratis takes:                  dollars    units    calls      CPU     time"
    for name, designs in measured.workloads.items():
        ours = designs["gratis"]
        for design, other in designs.items():
            if design != "gratis":
                times = (
                    other.usd_per_million / ours.usd_per_million,
                    other.write_units / ours.write_units,
                    other.calls / ours.calls,
                    other.client_cpu_us / ours.client_cpu_us,
                    ours.speed / other.speed,
                )
                yield f"{name:17} {design:21}" + "".join(f"{each:9.2f}" for each in times)
    for aim in aims(measured):
        what, bound, found, *_ = aim.row()
        yield f"{what.replace('`', ''):88} {found:>6} {bound:>7} {'reached' if aim.reached else 'NOT REACHED'}"
