"""Each event of the queue has its decision, or is in quarantine under a code that fits it."""

import json
from datetime import datetime

from gratis_simulation.broken import Broken
from gratis_simulation.checks.arrivals import not_accepted
from gratis_simulation.checks.ended import Ended
from gratis_simulation.worlds.payload import Event, Voiding, content_of


def check(ended: Ended) -> None:
    """Whatever was ever in the queue."""
    kept = {(entry.code, content_of(json.loads(entry.raw))) for entry in ended.entries}
    for arrival in ended.arrivals.all:
        event = arrival.event
        ends = _ends(ended, event, arrival.received_at)
        if None not in ends and not any((code, event.content) in kept for code in ends):
            raise Broken("nothing lost", f"not in quarantine as {ends}: {event.raw}")


def _ends(ended: Ended, event: Event, received_at: datetime) -> tuple[str | None, ...]:
    """How an event of the queue may end: the codes under which it is in quarantine, or None: decided."""
    code = not_accepted(event, received_at)
    if code or event.payload is None:
        return (code,)
    taken = ended.told.taken.get(event.payload.key)
    is_void = isinstance(event.payload, Voiding)
    if taken is not None and (is_void or taken.payload == event.payload):
        return (None,)
    undecided = ("too_old",) if ended.overdue(event.payload) else ()
    if is_void:
        return ("unknown_request", *undecided)
    if taken is not None or event.wrong:
        return (event.wrong or "conflict", *undecided)
    if not undecided:
        raise Broken("nothing lost", f"there is no decision on {event.raw}")
    return undecided
