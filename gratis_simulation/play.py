"""Plays one world: runs it to its end, and makes every check."""

from collections.abc import Iterator

from gratis_simulation.broken import Broken
from gratis_simulation.checks import findings, unreadable
from gratis_simulation.checks.ended import Ended
from gratis_simulation.machines.run import Run
from gratis_simulation.machines.table import Unknown


def play(run: Run) -> None:
    """Raises Broken if a promise does not hold."""
    for broken in judged(run):
        raise broken


def judged(run: Run) -> Iterator[Broken]:
    """All that does not hold, one finding a check; one alone where the run did not even come to its end."""
    try:
        run.finish()
        ended = Ended(run)
    except Broken as broken:
        yield broken
    except (Exception, Unknown) as error:  # noqa: BLE001 - told with its cause
        yield unreadable(error)
    else:
        yield from findings(ended)
