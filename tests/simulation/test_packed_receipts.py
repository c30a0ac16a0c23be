"""The study below the transaction's floor, judged by the simulation: nothing is over-granted, doubled or lost.

The core that is deployed decides on `benchmarks.packed` in the worlds of this release, with all their faults between
any two writes. In the end what claims and packs say is put into the log as decisions, and the checks are made. What
goes out is not part of the study.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count
from typing import Any

import pytest

from benchmarks.packed import PACK, Packed, pack_key, unpacked
from gratis.outbox import Emitted
from gratis_simulation.broken import Broken
from gratis_simulation.checks import CHECKS
from gratis_simulation.checks.ended import Ended
from gratis_simulation.machines.dice import Dice
from gratis_simulation.machines.release import Release
from gratis_simulation.machines.run import Run
from gratis_simulation.machines.table import Change, Item
from gratis_simulation.worlds.world import Deploy, World, build

FIRST = 1
WORLDS = 60
MOST = 1500
"""Worlds within which a deliberate fault must be found."""
OUTWARDS = {"bus", "thresholds", "late days"}
"""Checks of what goes out. Statements are made, from the packs."""
MORE_CALLS = 6
"""How many times the calls: each event of a commit has a claim, to be put, found, fenced off and taken over."""


class Overwriting(Packed):
    """Claims whatever was claimed before."""

    def _put(self, table: str, item: Item, **condition: Any) -> bool:
        return super()._put(table, item, **{} if "pack" in item else condition)


class Unfenced(Packed):
    """Takes a claim over while the pack that it names may still come."""

    def _fenced(self, table: str, name: Item) -> Any:
        return unpacked(self._get(table, pack_key(name)) or {})


class Hasty(Packed):
    """Commits first and claims afterwards."""

    def _claim_all(self, *claims: Any) -> None:
        self.claims = claims

    def transact_write_items(self, **request: Any) -> Any:
        self.claims = ()
        answer = super().transact_write_items(**request)
        if self.claims:
            super()._claim_all(*self.claims)
        return answer


def findings(world: World, packing: Callable[..., Packed] = Packed) -> Iterator[Broken]:
    """What does not hold in the end of a world whose ledger claims and packs."""
    numbers = map(str, count())
    release = Release("packed", table=lambda line: packing(line, nonce=lambda: next(numbers)), emit=sends_nothing)
    run = Run(world, Dice(world.seed), release=release)
    run.max_calls *= MORE_CALLS
    try:
        run.finish()
    except Broken as broken:
        yield broken
        return
    unpack(run)
    ended = Ended(run)
    for name in CHECKS.keys() - OUTWARDS:
        try:
            CHECKS[name](ended)
        except Broken as broken:
            yield broken


def sends_nothing(*_: Any, **__: Any) -> Emitted:
    return Emitted()


def unpack(run: Run) -> None:
    """Puts decisions in the place of packs and leaves the claims out, in the table and in its log."""
    table = run.table
    works = {id(work): work for work in (change.actor.work for change in table.log if change.actor)}
    works |= {id(each.work): each.work for each in (*run.seen.classified, *run.seen.asking)}
    places, log = [], list[Change]()
    for change in table.log:
        places.append(len(log))
        log += told(change)
    places.append(len(log))
    for work in works.values():
        work.log_start = places[work.log_start]
    for asking in run.seen.asking:
        asking.log_end = None if asking.log_end is None else places[asking.log_end]
    decisions = {change.key: change.new for change in log if change.key[1].startswith("REQ#") and change.new}
    kept = {key: item for key, item in table.items.items() if not is_of_the_study(key)}
    table.log, table.items = log, kept | decisions


def told(change: Change) -> Sequence[Change]:
    if not is_of_the_study(change.key):
        return [change]
    decided = unpacked(change.new or {})
    return [change._replace(key=key, old=None, new=item) for key, item in decided.items()]


def is_of_the_study(key: tuple[str, str]) -> bool:
    return key[0].startswith(PACK) or key[1].startswith("REQ#")


def worlds(most: int) -> Iterator[World]:
    """Those in which no other release runs."""
    built = map(build, range(FIRST, FIRST + most))
    return (world for world in built if not any(isinstance(step, Deploy) for step in world.plan))


def test_nothing_is_over_granted_doubled_or_lost() -> None:
    assert list(chain.from_iterable(map(findings, worlds(WORLDS)))) == []


@pytest.mark.parametrize("packing", [Overwriting, Unfenced, Hasty])
def test_each_step_of_the_protocol_is_needed(packing: type[Packed]) -> None:
    found = chain.from_iterable(findings(world, packing) for world in worlds(MOST))
    assert next((broken.promise for broken in found), None) is not None
