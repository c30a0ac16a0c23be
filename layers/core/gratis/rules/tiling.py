"""Whether the free decisions of a counter tile it, and where they do not. SPEC section 3, promise 1. Pure.

Think of each as a step from `used_before` to `used_after`; a void is a step back. They tile [0, used] if taken together
they are one path from 0 to `used`: every point is left as often as it is reached, but 0 is left once more, and `used`
is reached once more. A counter that took over what another one held starts there in place of 0.
"""

import hashlib
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gratis.rules.figures import Figure, parsed, written


class Step(NamedTuple):
    """What a decision did to its counter. `id`: of its billing record."""

    before: Figure
    after: Figure
    quota: Figure
    id: str


class Tear(NamedTuple):
    """Something that does not fit. `ids`: of the billing records that show it."""

    kind: str
    message: str
    ids: Iterable[str]


def step_of(record: Mapping[str, Any]) -> Step | None:
    """The step of a billing record; None if it moved nothing, as what is billed and what is empty does."""
    before, after = record["used_before"], record["used_after"]
    if record["verdict"] != "free" or before == after:
        return None
    return Step(parsed(before or 0), parsed(after or 0), parsed(record["quota"] or 0), record["id"])


class Path:
    """Whether steps, in whatever order they come, are one path, without keeping them.

    How often points are left and reached is counted by a sum of their hashes: what is left as often as it is reached
    cancels out. (So does a step far from the path together with the void that takes it back.)
    """

    def __init__(self, balance: int = 0) -> None:
        self.balance = balance

    def add(self, step: Step) -> None:
        """One more step."""
        self.balance = (self.balance + _point(step.before) - _point(step.after)) % _MODULUS

    def leads_to(self, used: Figure, start: Figure = 0) -> bool:
        """Whether the steps are one path from `start` to `used`."""
        return self.balance == (_point(start) - _point(used)) % _MODULUS


_MODULUS = 2**256


def _point(figure: Figure) -> int:
    return int.from_bytes(hashlib.sha256(str(written(figure)).encode()).digest())


def over_granted(steps: Iterable[Step]) -> Iterator[Tear]:
    """The steps that lead beyond the quota; a step back never does."""
    for step in steps:
        if step.before < step.after > step.quota:
            yield Tear("over_granted", "more was free than the quota", [step.id])


def tiling(steps: Iterable[Step], *, start: Figure = 0, used: Figure | None = None) -> Iterator[Tear]:
    """What keeps the steps from being one path from `start` to `used`; without `used`, to wherever they lead."""
    points = _Points(steps)
    points.surplus[start] += 1
    if used is not None:
        points.surplus[used] -= 1
    ends, begins = points.loose()
    last = None
    if used is not None and used in begins:
        begins.remove(used)
        last = ends.pop()
    for end, begin in zip(ends, begins, strict=False):
        if begin < end:
            yield points.overlap(end, begin)
        else:
            yield Tear("gap", f"no decision on {end} to {begin}", points.left_by[begin])
    if last is not None:
        yield Tear("gap", f"the decisions reach {last}, the counter holds {used}", points.reached_by[last])


class _Points:
    """The points of a counter: which decisions reach and leave each, and how many more reach it than leave it."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.reached_by: dict[Figure, list[str]] = defaultdict(list)
        self.left_by: dict[Figure, list[str]] = defaultdict(list)
        self.surplus: Tally[Figure] = Tally()
        for step in steps:
            self.left_by[step.before].append(step.id)
            self.reached_by[step.after].append(step.id)
            self.surplus[step.before] -= 1
            self.surplus[step.after] += 1

    def loose(self) -> tuple[list[Figure], list[Figure]]:
        """Where a path ends, since more reach the point than leave it, and where one begins; both in order."""
        return sorted(self.surplus.elements()), sorted((-self.surplus).elements())

    def overlap(self, end: Figure, begin: Figure) -> Tear:
        """A path begins before another one ends."""
        ids = dict.fromkeys(self.reached_by[end] + self.left_by[begin])
        return Tear("overlap", "two decisions on the same tokens", ids)
