"""What must hold when a world has ended: one check a file. docs/simulation.md says what each of them looks at."""

from collections.abc import Callable, Iterator

from gratis_simulation.broken import Broken
from gratis_simulation.checks import (
    accounts,
    answers,
    at_once,
    batches,
    bus,
    chains,
    days,
    decisions,
    documents,
    fates,
    formats,
    late_days,
    order,
    quarantine,
    readers,
    reservations,
    retention,
    thresholds,
)
from gratis_simulation.checks.ended import Ended
from gratis_simulation.machines.table import Unknown

CHECKS: dict[str, Callable[[Ended], None]] = {
    "decisions": decisions.check,
    "documents": documents.check,
    "order": order.check,
    "batches": batches.check,
    "at once": at_once.check,
    "retention": retention.check,
    "fates": fates.check,
    "answers": answers.check,
    "quarantine": quarantine.check,
    "accounts": accounts.check,
    "readers": readers.check,
    "reservations": reservations.check,
    "bus": bus.check,
    "thresholds": thresholds.check,
    "late days": late_days.check,
    "days": days.check,
    "chains": chains.check,
    "formats": formats.check,
}
"""By name, in the order in which they are made."""


def findings(ended: Ended) -> Iterator[Broken]:
    """What does not hold, at most one finding a check."""
    for name, check in CHECKS.items():
        if broken := _finding(check, ended):
            broken.check = name
            yield broken


def _finding(check: Callable[[Ended], None], ended: Ended) -> Broken | None:
    try:
        check(ended)
    except Broken as broken:
        return broken
    except (Exception, Unknown) as error:  # noqa: BLE001 - a check that cannot even read what is there has found it
        return unreadable(error)
    return None


def unreadable(error: BaseException) -> Broken:
    """What was left behind cannot be read, by the core or by a check."""
    return Broken("nothing unforeseen", f"what came of it cannot even be read: {error!r}")
