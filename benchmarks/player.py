"""A checkout's side of `before.py`: its own modules are on the path, and it decides what it is told to."""

import json
import os
import sys
from typing import Any

from benchmarks.bench import SIZES, Bench, as_deployed
from gratis_local.engine import engine


def play() -> None:
    """Answers `counted WORKLOAD` with units and calls an event, `timed WORKLOAD` with CPU seconds an event."""
    said = os.fdopen(os.dup(1), "w")
    with engine() as url, as_deployed(url):
        bench = Bench(url)
        for line in sys.stdin:
            what, name = line.split()
            print(json.dumps(_answer(bench, what, name)), file=said, flush=True)


def _answer(bench: Bench, what: str, name: str) -> Any:
    """By the names that earlier checkouts have."""
    if what == "counted":
        return bench._counted("gratis", name, SIZES[name])  # noqa: SLF001
    events, took = bench._timed("gratis", name, SIZES[name])  # noqa: SLF001
    return took.cpu / events


if __name__ == "__main__":
    play()
