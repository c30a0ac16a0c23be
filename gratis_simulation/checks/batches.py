"""What a batch says of itself is true: every event is counted once, every decision that it names is stored."""

from gratis.rules.receipt import Decision
from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.checks.told import name_of
from gratis_simulation.machines.seen import Classified


def check(ended: Ended) -> None:
    """Whatever the classifier came back from."""
    for classified in ended.run.seen.classified:
        _counts(classified)
        for decision in classified.outcome.decisions:
            taken = ended.told.taken.get(name_of(decision))
            if taken is None or not _same(taken.decision, decision):
                raise Broken("exactly once", f"{classified.work.name} says that it took {decision}")


def _same(stored: Decision, said: Decision) -> bool:
    """The same decision; another release may have stored it in another format."""
    return stored == said._replace(thresholds=list(said.thresholds), format=stored.format, later=stored.later)


def _counts(classified: Classified) -> None:
    outcome = classified.outcome
    finished = len(outcome.decisions) + outcome.repeats + len(outcome.quarantined)
    if finished > outcome.events or (finished < outcome.events and not outcome.unfinished):
        raise Broken("nothing lost", f"{classified.work.name} was given {outcome.events} events and says {outcome}")
