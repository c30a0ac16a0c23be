"""Whether the steps of each counter of the day are one path to what the counter holds. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from gratis.closing.check import Check, Entry, Held
from gratis.closing.proof import Differences
from gratis.closing.windows import CounterWindow
from gratis.rules.tiling import Path, Step, Tear, over_granted, step_of, tiling


class Tiling(Check):
    """Follows the steps. `paths`: those of each counter that a decision of the day was taken in."""

    def __init__(self) -> None:
        self.paths: dict[CounterWindow, Path] = {}

    def add(self, entry: Entry, found: Differences) -> None:
        """Take the step of a decision of the day."""
        if entry.counter is not None:
            self.paths.setdefault(entry.counter, Path())
            self.add_beyond(entry, found)
        elif step_of(entry.record):
            found.add("gap", "free, but in no window of any counter", entry.decision.record_id)

    def add_beyond(self, entry: Entry, found: Differences) -> None:
        """Take the step of a decision of another day."""
        if entry.counter is not None and (step := step_of(entry.record)):
            self.paths[entry.counter].add(step)
            add_tears(entry.counter, over_granted([step]), found)

    def differences(self, found: Differences, held: Held) -> None:
        """Name what is torn; only for that the decisions have to be looked at once more."""
        counters = self.paths.keys() | held.used.keys()
        torn = {each for each in counters if not self.paths.get(each, Path()).leads_to(held.used.get(each, 0))}
        torn -= held.moving | held.partial
        steps: dict[CounterWindow, list[Step]] = defaultdict(list)
        for entry in held.read_again(torn) if torn else ():
            if entry.counter is not None and (step := step_of(entry.record)):
                steps[entry.counter].append(step)
        for counter in sorted(torn, key=str):
            taken, used = steps[counter], held.used.get(counter, 0)
            add_tears(counter, tiling(taken, used=used), found)

    def content(self) -> list[Any]:
        """The balance of each path."""
        return [[counter, hex(path.balance)] for counter, path in self.paths.items()]

    def take_up(self, content: Sequence[Any]) -> None:
        """Go on from what `content` gave."""
        self.paths = {CounterWindow.of(counter): Path(int(balance, 16)) for counter, balance in content}


def add_tears(counter: CounterWindow, tears: Iterable[Tear], found: Differences) -> None:
    """What does not fit in a counter is a difference."""
    for kind, message, ids in tears:
        found.add(kind, f"{counter}: {message}", *ids)
