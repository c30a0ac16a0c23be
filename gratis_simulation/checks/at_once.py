"""Where nothing fails, nobody gives up: repetition without a cause would hide repetition with one."""

from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.machines.seen import Classified


def check(ended: Ended) -> None:
    """Judges worlds without faults in which no release has to wait for another to decide.

    Batches only where classifiers share no organization and nobody reserves: else they get in each other's way.
    """
    if ended.run.knobs.faults or ended.run.world.runs("beyond"):
        return
    for work, busy in ended.run.seen.gave_up:
        if work.kind in {"receive", "change", "ask"}:
            raise Broken("done at once", f"nothing failed, and {work.name} gave up: {busy}")
    if ended.run.world.keeps_order and not ended.run.seen.asking:
        moved = [place for place, change in enumerate(ended.run.table.log) if change.key[1] == "ACCOUNT"]
        for classified in ended.run.seen.classified:
            _is_done(classified, moved[-1] if moved else -1)


def _is_done(classified: Classified, last_moved: int) -> None:
    """`last_moved`: where the last change of an account stands in the log. It may have been in the way."""
    outcome = classified.outcome
    known_before = outcome.repeats or outcome.quarantined or last_moved >= classified.work.log_start
    if outcome.unfinished or (outcome.contended and not known_before):
        raise Broken("done at once", f"nobody was in the way of {classified.work.name}, and it says {outcome}")
