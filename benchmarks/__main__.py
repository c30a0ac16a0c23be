"""`make bench`."""

import json
import sys
import time
from pathlib import Path

from benchmarks.bench import SIZES, Bench, as_deployed
from local.engine import engine

FOLDER = Path(__file__).parent


def main() -> None:
    """Measure everything, print the ratios, and write results.json and README.md beside this file."""
    results = {}
    with engine() as url, as_deployed(url):
        bench = Bench(url)
        for name, size in SIZES.items():
            start = time.monotonic()
            results[name] = bench.workload(name, size)
            print(
                name,
                f"{time.monotonic() - start:.0f} s",
                {
                    d: (f.as_json(), [round(x) for x in f.cpu_us], [round(x) for x in f.events_per_second])
                    for d, f in results[name].items()
                },
                file=sys.stderr,
            )
    content = {"workloads": {n: {d: f.as_json() for d, f in r.items()} for n, r in results.items()}}
    (FOLDER / "results.json").write_text(json.dumps(content, indent=1) + "\n")


main()
