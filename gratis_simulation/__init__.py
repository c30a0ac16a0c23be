"""Seeded fault simulation of the core: the real code, on machines that fail in every way we could think of.

`simulate` plays worlds, one a seed. In each, the code that takes in, decides, emits and closes works against a table,
a queue and a bus of our own, which do what the real ones do, and no more kindly. In the end every promise of SPEC
section 3 must hold. A world that breaks one is made small, and its seed plays it again.
"""

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice

from gratis_simulation.shrink import Failure, fails, shrunk
from gratis_simulation.worlds.world import build

__all__ = ["Failure", "Result", "simulate"]

WORLDS_AT_A_TIME = 20
"""Worlds that a process plays at a time."""


@dataclass(frozen=True)
class Result:
    """How many worlds were played, and what broke first."""

    worlds: int
    failure: Failure | None = None


def simulate(
    worlds: int,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
    *,
    processes: int | None = None,
    intake: str | None = None,
) -> Result:
    """Play the worlds of `worlds` seeds from `seed` on, up to the first that breaks a promise.

    `progress` is told how many more were played. `processes`: as many as there are processors, if that pays. `intake`:
    the seeds of other worlds are passed over (`World.intake`).
    """
    seeds = (each for each in count(seed) if intake is None or build(each).intake == intake)
    blocks = _blocks(islice(seeds, worlds))
    played = 0
    with _players(min(processes or os.cpu_count() or 1, -(-worlds // WORLDS_AT_A_TIME))) as play_all:
        for more, failing in play_all(blocks):
            played += more
            progress(more)
            if failing is not None:
                return Result(played, shrunk(build(failing)))
    return Result(played)


def _blocks(seeds: Iterator[int]) -> Iterator[list[int]]:
    while block := list(islice(seeds, WORLDS_AT_A_TIME)):
        yield block


Players = Callable[[Iterable[Sequence[int]]], Iterator[tuple[int, int | None]]]


@contextmanager
def _players(processes: int) -> Iterator[Players]:
    """Plays blocks, in order; in several processes where they can be forked from this one."""
    if processes > 1 and sys.platform == "linux":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a progress bar's thread: nothing here waits for it
            pool = multiprocessing.get_context("fork").Pool(processes, _left_alone)
        with pool:
            yield lambda blocks: pool.imap(_play_block, blocks)
    else:
        yield lambda blocks: map(_play_block, blocks)


def _left_alone() -> None:
    """A child ignores Ctrl-C: the process that started it ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _play_block(seeds: Sequence[int]) -> tuple[int, int | None]:
    """How many were played, and the seed that failed."""
    for played, seed in enumerate(seeds, start=1):
        if fails(build(seed)):
            return played, seed
    return len(seeds), None
