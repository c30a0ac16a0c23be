"""Each decision was asked for, is taken once, and says what the rules make of it."""

from gratis import moment
from gratis.rules.receipt import Decision
from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.checks.reference import Expected
from gratis_simulation.checks.told import Taken, differing
from gratis_simulation.worlds.payload import Payload, Voiding
from gratis_simulation.worlds.traffic import KEPT


def check(ended: Ended) -> None:
    """One after the other, in the order in which they were committed."""
    for change in ended.told.overwritten:
        raise Broken("exactly once", f"the decision {change.key} was written over")
    for taken in ended.told.taken.values():
        if taken.payload is None or taken.expected is None:
            raise Broken("explained", f"nobody sent what was decided: {taken.decision}")
        _says(taken.decision, taken.expected, taken.name)
        _is_dated(taken, taken.payload, ended.arrivals.received[taken.payload])


def _says(decision: Decision, expected: Expected, name: str) -> None:
    wrong = differing(decision, expected)
    if not wrong:
        return
    told = ", ".join(f"{field} is {said!r}, must be {meant!r}" for field, (said, meant) in wrong.items())
    promise = "explained"
    if "verdict" in wrong:
        promise = "never over-granted" if decision.verdict == "free" else "never wrongly billed"
    elif "thresholds" in wrong:
        promise = "thresholds announced once and right"
    elif "window" in wrong:
        promise = "windows right"
    raise Broken(promise, f"{name}: {told}")


def _is_dated(taken: Taken, payload: Payload | Voiding, received: set[str]) -> None:
    """It says when its event arrived and when it was decided."""
    decision, actor = taken.decision, taken.actor
    skew, decided_at = actor.work.skew, moment.parse(decision.decided_at)
    if not actor.work.started_at + skew <= decided_at <= actor.at + skew:
        raise Broken("explained", f"{taken.name} was not decided at {decision.decided_at}")
    if actor.work.started_at + skew - payload.latest > KEPT:
        raise Broken("exactly once", f"{taken.name} was decided so late that a repeat would not be recognized")
    if decision.received_at not in received:
        raise Broken("explained", f"{taken.name} was not received at {decision.received_at}")
