"""The plots of benchmarks/README.md, as SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.bench import Figures
from benchmarks.growth import Grown, Reads
from benchmarks.stream import curve

COLORS = {
    "gratis": "#0f766e",
    "gratis_stream": "#5eead4",
    "idempotent_update": "#b45309",
    "single_transaction": "#475569",
}


def draw(folder: Path, workloads: Mapping[str, Mapping[str, Figures]], grown: Grown) -> None:
    """Write every plot into the folder; the same figures give the same files."""
    mpl.rcParams.update(
        {"svg.hashsalt": "gratis", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    folder.mkdir(exist_ok=True)
    _save(folder / "cost.svg", _cost(workloads))
    _save(folder / "growth.svg", _growth(grown))
    _save(folder / "rows.svg", _rows(grown))
    _save(folder / "reads.svg", _reads(grown.reads))
    _save(folder / "stream.svg", _stream())


def _save(file: Path, figure: Figure) -> None:
    figure.savefig(file, format="svg", metadata={"Date": None})


def _cost(workloads: Mapping[str, Mapping[str, Figures]]) -> Figure:
    """Dollars for a million events, and the client's CPU for one, by workload and design."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    dollars, cpu = figure.subplots(1, 2)
    for place, (design, color) in enumerate(COLORS.items()):
        measured = [number for number, figures in enumerate(workloads.values()) if design in figures]
        at = [number + (place - 1.5) * 0.21 for number in measured]
        of_design = [figures[design] for figures in workloads.values() if design in figures]
        dollars.bar(at, [each.usd_per_million for each in of_design], 0.19, color=color, label=design)
        cpu.bar(at, [each.client_cpu_us for each in of_design], 0.19, color=color)
    cpu.set_yscale("log")
    for axes, title in (
        (dollars, "USD a million events (DynamoDB, Kinesis)"),
        (cpu, "client CPU, µs an event"),
    ):
        axes.set_title(title)
        axes.set_xticks(range(len(workloads)), [name.replace("_", "\n") for name in workloads])
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def _growth(grown: Grown) -> Figure:
    """Write units an event, and the client's CPU a batch."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    of = {
        "events in the batch": grown.by_batch_size,
        "organizations in a batch of 100": grown.by_organizations,
        "decisions already in the day": grown.by_decisions,
    }
    for column, (label, points) in enumerate(of.items()):
        units: Axes = figure.add_subplot(2, 3, column + 1)
        units.plot([each.at for each in points], [each.write_units for each in points], "o-", color=COLORS["gratis"])
        units.set_ylim(0, 5)
        cpu: Axes = figure.add_subplot(2, 3, column + 4)
        cpu.plot([each.at for each in points], [each.cpu_ms for each in points], "o-", color=COLORS["gratis"])
        cpu.set_ylim(0, max(each.cpu_ms for each in points) * 1.2)
        cpu.set_xlabel(label)
        if column == 0:
            units.set_ylabel("write units an event")
            cpu.set_ylabel("client CPU, ms a batch")
    return figure


def _rows(grown: Grown) -> Figure:
    """What the rows of a day's totals (projects and models of one group) add to a commit."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes: Axes = figure.subplots()
    for label, points, before, color in (
        ("single events", grown.by_rows_single, grown.by_rows_single_before, COLORS["gratis"]),
        ("batches of 100", grown.by_rows_batch, grown.by_rows_batch_before, COLORS["idempotent_update"]),
    ):
        axes.plot([each.at for each in points], [each.write_units for each in points], "o-", color=color, label=label)
        whole = [each.write_units for each in before]
        axes.plot([each.at for each in before], whole, "o:", color=color, label=f"{label}, all rows in one document")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rows of the day's totals")
    axes.set_ylabel("write units an event")
    axes.legend(frameon=False)
    return figure


def _reads(reads: Sequence[Reads]) -> Figure:
    """Read units of each route of the account API."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes: Axes = figure.subplots()
    for route in dict.fromkeys(each.route for each in reads):
        of_route = [each for each in reads if each.route == route]
        axes.plot([each.decided for each in of_route], [each.read_units for each in of_route], "o-", label=route)
    axes.set_ylim(0, max(each.read_units for each in reads) * 1.3)
    axes.set_xlabel("decisions in the day")
    axes.set_ylabel("read units a call of the API")
    axes.legend(frameon=False, ncols=3)
    return figure


def _stream() -> Figure:
    """Write units an event by how full an invocation of the stream is."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes: Axes = figure.subplots()
    for (organizations, exponent), by_records in curve().items():
        label = f"{organizations:,} organizations, 1/r^{exponent:g}"
        axes.plot([*by_records], [*by_records.values()], "o-", label=label)
    axes.set_xscale("log")
    axes.set_ylim(1.9, 4.1)
    axes.set_xlabel("records an invocation")
    axes.set_ylabel("write units an event")
    axes.legend(frameon=False, fontsize=7)
    return figure
