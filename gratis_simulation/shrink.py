"""Makes a world that fails small: fewer events, fewer turns off the ordinary course, the same promise broken."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from gratis_simulation.broken import Broken
from gratis_simulation.machines.dice import Dice
from gratis_simulation.machines.run import Run
from gratis_simulation.play import play
from gratis_simulation.worlds.world import Deploy, Limits, Post, Step, World

MAX_RUNS, MAX_SECONDS = 500, 20
"""Of one shrinking."""
SHOWN = 60
"""Lines of a story that are shown, and turns."""
PLAINER: tuple[dict[str, Any], ...] = (
    {"skews": (0.0,)},
    {"limits": Limits()},
    {"shards": 1},
    {"senders": 1},
    {"records": 100},
    {"fifo": True},
    {"keys": 1},
    {"parallel": 1},
)

_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Failure:
    """A world that breaks a promise, and the smallest one found that still does. `turns`: off the ordinary course."""

    seed: int
    promise: str
    check: str
    message: str
    events: int
    turns: tuple[str, ...]
    story: tuple[str, ...]

    def text(self) -> str:
        """For people: what broke, and the steps that lead there."""
        head = [
            f"seed {self.seed} breaks a promise: {self.promise} (found by: {self.check})",
            self.message,
            "",
            f"The smallest way to it: {self.events} events, {len(self.turns)} turns off the ordinary course",
        ]
        turns = [f"  turn: {turn}" for turn in _abridged(self.turns)]
        return "\n".join([*head, *turns, *(f"  {line}" for line in _abridged(self.story))])


def _abridged(lines: Sequence[str]) -> Sequence[str]:
    left_out = len(lines) - SHOWN
    if left_out <= 0:
        return lines
    return (*lines[: SHOWN // 2], f"... {left_out} lines ...", *lines[-SHOWN // 2 :])


@dataclass(frozen=True)
class _Failing:
    """A world and its turns, known to fail."""

    world: World
    turns: tuple[str, ...]
    broken: Broken


class _Shrinking:
    def __init__(self, failing: _Failing) -> None:
        self.failing = failing
        self.runs = 0
        self._until = time.monotonic() + MAX_SECONDS

    @property
    def tired(self) -> bool:
        """Whether it was tried often enough."""
        return self.runs >= MAX_RUNS or time.monotonic() > self._until

    def settle(self) -> None:
        """Leave out what can be left out, until nothing can or it was tried often enough."""
        size = -1
        while size != (size := self._size()) and not self.tired:
            self._plainly()
            without(self.failing.turns, self._with_turns)
            without(_parts(self.failing.world), self._with_parts)

    def _size(self) -> int:
        return len(self.failing.turns) + len(_parts(self.failing.world))

    def _plainly(self) -> None:
        """Set the machines to one of each kind, with the right time and the core's own limits, if it still fails so."""
        for plainer in PLAINER:
            world = self.failing.world
            if plainer.items() <= vars(world.knobs).items():
                continue
            self._try(replace(world, knobs=replace(world.knobs, **plainer)), self.failing.turns)

    def _with_turns(self, turns: Sequence[str]) -> bool:
        return self._try(self.failing.world, tuple(turns))

    def _with_parts(self, parts: Sequence[tuple[int, int]]) -> bool:
        return self._try(_only(self.failing.world, set(parts)), self.failing.turns)

    def _try(self, world: World, turns: tuple[str, ...]) -> bool:
        if self.tired:
            return False
        self.runs += 1
        failing = fails(world, turns)
        if failing is None or failing.broken.promise != self.failing.broken.promise:
            return False
        self.failing = failing
        return True


def fails(world: World, turns: Sequence[str] | None = None) -> _Failing | None:
    """The failure of a world, if only these turns may be taken; None if it keeps every promise."""
    dice = Dice(world.seed, None if turns is None else frozenset(turns))
    try:
        play(Run(world, dice))
    except Broken as broken:
        return _Failing(world, tuple(dict.fromkeys(dice.taken)), broken)
    return None


def shrunk(world: World) -> Failure | None:
    """The failure of a world as small as it could be made; None if the world keeps every promise."""
    found = fails(world)
    if found is None:
        return None
    shrinking = _Shrinking(found)
    if not found.broken.stuck:
        shrinking.settle()
    small = shrinking.failing
    return Failure(
        seed=world.seed,
        promise=small.broken.promise,
        check=small.broken.check,
        message=small.broken.message,
        events=sum(len(step.events) for step in small.world.plan if isinstance(step, Post)),
        turns=small.turns,
        story=tuple(_story(small)),
    )


def _story(failing: _Failing) -> list[str]:
    if failing.broken.stuck:
        return []
    run = Run(failing.world, Dice(failing.world.seed, frozenset(failing.turns)), telling=True)
    try:
        play(run)
    except Broken:
        return run.seen.story
    raise AssertionError("the same world and the same turns came out otherwise")


def without(parts: Sequence[_Part], still: Callable[[Sequence[_Part]], bool]) -> list[_Part]:
    """As few of the parts as `still` needs: leaves out halves, quarters, single ones."""
    left = list(parts)
    size = max(1, len(left))
    while size:
        start = 0
        while start < len(left):
            fewer = left[:start] + left[start + size :]
            if still(fewer):
                left = fewer
            else:
                start += size
        size //= 2
    return left


def _parts(world: World) -> list[tuple[int, int]]:
    """Every step that can be left out, a post event by event. Deployments stay: some worlds end only by them."""
    return [
        (place, number)
        for place, step in enumerate(world.plan)
        for number in range(len(step.events) if isinstance(step, Post) else 1)
        if not isinstance(step, Deploy)
    ]


def _only(world: World, parts: set[tuple[int, int]]) -> World:
    """The world with these parts of its plan alone. Steps keep their places, so that they keep their names."""
    return replace(world, plan=tuple(_step(step, place, parts) for place, step in enumerate(world.plan)))


def _step(step: Step, place: int, parts: set[tuple[int, int]]) -> Step:
    if isinstance(step, Post):
        return replace(step, events=tuple(each for number, each in enumerate(step.events) if (place, number) in parts))
    return step if (place, 0) in parts or isinstance(step, Deploy) else Post(step.at, ())
