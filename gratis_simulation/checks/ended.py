"""A run at its end, as the checks look at it."""

from datetime import date, timedelta
from functools import cached_property

from gratis.rules.receipt import Decision
from gratis.table.quarantine import Entry, Quarantine
from gratis_simulation.checks.arrivals import Arrivals
from gratis_simulation.checks.told import Told
from gratis_simulation.machines.run import TABLE, Run
from gratis_simulation.worlds.payload import Payload, Voiding
from gratis_simulation.worlds.traffic import KEPT


class Ended:
    """What the run left behind, and what reached it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.arrivals = Arrivals(run)
        self.told = Told(run, self.arrivals)

    @property
    def decisions(self) -> list[Decision]:
        """In the order in which they were committed."""
        return [taken.decision for taken in self.told.taken.values()]

    @cached_property
    def entries(self) -> list[Entry]:
        """What is in quarantine."""
        pks = {pk for pk, _ in self.run.table.items if pk.startswith("QUARANTINE#")}
        quarantine = Quarantine(self.run.table, TABLE)  # type: ignore[arg-type]  # a client by its looks
        days = sorted(date.fromisoformat(pk.removeprefix("QUARANTINE#")) for pk in pks)
        return [entry for day in days for entry in quarantine.of_day(day)]

    def overdue(self, payload: Payload | Voiding) -> bool:
        """Whether any machine can have found that it waited too long to be decided."""
        return self.run.clock.now + timedelta(seconds=max(self.run.knobs.skews)) - payload.latest > KEPT
