"""What decisions take beside an earlier checkout's: `python -m benchmarks.before EARLIER [LATER]`.

A process for each checkout (LATER: this one) decides the same workloads with its own code on an engine of its own. They
take turns, so that what slows the machine down slows both. Prints how many times the earlier one's CPU the later takes.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
WORKLOADS = ("single", "batch_100")
ROUNDS = 11


def compare(
    earlier: Path, later: Path = HERE, workloads: Sequence[str] = WORKLOADS, rounds: int = ROUNDS
) -> dict[str, dict[str, Any]]:
    """By workload: write units, read units and calls an event, before and now, and the ratio of CPU in each round."""
    with _player(earlier) as theirs, _player(later) as ours:
        found = {}
        for name in workloads:
            counted = {"before": _told(theirs, f"counted {name}"), "now": _told(ours, f"counted {name}")}
            timed = [[_told(each, f"timed {name}") for each in (theirs, ours)] for _ in range(rounds)]
            found[name] = counted | {"cpu_ratios": [now / before for before, now in timed]}
        return found


def lines(found: dict[str, dict[str, Any]]) -> Sequence[str]:
    """As they are printed."""
    said = []
    for name, each in found.items():
        low, middle, high = statistics.quantiles(each["cpu_ratios"], n=4, method="inclusive")
        units = ", ".join(
            f"{what} {before:g} -> {now:g}"
            for what, before, now in zip(
                ("write units", "read units", "calls"), each["before"], each["now"], strict=True
            )
        )
        said.append(f"{name}: {units}; client CPU {middle:.3f} times (half of the rounds {low:.3f} to {high:.3f})")
    return said


def _player(checkout: Path) -> "subprocess.Popen[str]":
    path = os.pathsep.join([str(checkout), str(checkout / "layers" / "core")])
    return subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-P", str(HERE / "benchmarks" / "player.py")],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _told(player: "subprocess.Popen[str]", asked: str) -> Any:
    if player.stdin is None or player.stdout is None:
        raise AssertionError("the process has no pipes")
    print(asked, file=player.stdin, flush=True)
    return json.loads(player.stdout.readline())


if __name__ == "__main__":
    checkouts = [Path(each).resolve() for each in sys.argv[1:]]
    print("\n".join(lines(compare(checkouts[0], (*checkouts[1:], HERE)[0]))))
