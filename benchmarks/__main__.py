"""`make bench`: measures everything, prints the ratios, writes results.json, README.md and plots/ beside this file."""

import sys
import time
import warnings
from pathlib import Path

from benchmarks import plots, report
from benchmarks.asking import asking
from benchmarks.bench import SIZES, Bench, as_deployed
from benchmarks.cold_start import cold_starts
from benchmarks.growth import Growth
from benchmarks.receiving import receiving
from benchmarks.report import Measured
from gratis_local.engine import engine

FOLDER = Path(__file__).parent


def main() -> None:
    """A run."""
    warnings.filterwarnings(
        "ignore", module="aws_lambda_powertools"
    )  # a batch without metrics, in a process that goes on
    begun = time.monotonic()

    def step(what: str) -> None:
        print(f"{time.monotonic() - begun:4.0f} s  {what} ...", file=sys.stderr)

    step("cold starts")
    starts = cold_starts()
    with engine() as url, as_deployed(url):
        bench = Bench(url)
        workloads = {}
        for name, size in SIZES.items():
            step(name)
            workloads[name] = bench.workload(name, size)
        step("receive_usage")
        received = receiving(url)
        step("growth")
        grown = Growth(bench).measure()
        step("asking first")
        asked = asking(bench)
    measured = Measured(workloads, received, starts, grown, asked)
    plots.draw(FOLDER / "plots", workloads, grown)
    report.write(FOLDER, measured)
    step("written")
    print("\n".join(report.printed(measured)))


main()
