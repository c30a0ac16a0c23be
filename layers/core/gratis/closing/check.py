"""What all checks of a proof have in common. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from gratis.closing.proof import Differences
from gratis.closing.windows import CounterWindow
from gratis.rules.figures import Figure
from gratis.rules.receipt import Decision, request_of
from gratis.rules.request import Request


class Entry(NamedTuple):
    """A decision with what the checks need of it.

    `also_on`: the days of other decisions on the same request id; `voided`: what a void takes back, if it is there.
    """

    decision: Decision
    request: Request
    record: Mapping[str, Any]
    counter: CounterWindow | None
    also_on: Sequence[str] = ()
    voided: Decision | None = None

    @classmethod
    def of(
        cls,
        decision: Decision,
        counter: CounterWindow | None,
        also_on: Sequence[str] = (),
        voided: Decision | None = None,
    ) -> "Entry":
        """The entry of a decision that was taken in this counter."""
        return cls(decision, request_of(decision), decision.record(), counter, also_on, voided)


class Held(NamedTuple):
    """What is known once all decisions were added.

    `used`: what the ledger's counters hold; `partial`: counters of which some decisions are no longer kept; `moving`:
    counters that another day's decisions counted in while these were read, whose proof looks at all of them;
    `read_again`: gives all entries of some counters once more.
    """

    used: Mapping[CounterWindow, Figure]
    partial: Set[CounterWindow]
    moving: Set[CounterWindow]
    read_again: Callable[[Set[CounterWindow]], Iterable[Entry]]


class Check:
    """One thing that is checked. What it keeps of the decisions has one size, however many there were."""

    def add(self, entry: Entry, found: Differences) -> None:
        """Look at a decision of the day; they come by request id."""

    def add_beyond(self, entry: Entry, found: Differences) -> None:
        """Look at a decision of another day, in a window that a decision of this day is in."""

    def differences(self, found: Differences, held: Held) -> None:
        """Say what shows only when all decisions were added."""

    def content(self) -> Any:
        """All that is kept of the decisions, as JSON values: so a proof can be put down after any of them."""

    def take_up(self, content: Any) -> None:
        """Go on from what `content` gave."""
