"""Nothing is in quarantine that could be decided; what is there can be read, and says why."""

import json

from gratis import moment
from gratis.rules.formats import FORMAT
from gratis.table.quarantine import Entry
from gratis_simulation.broken import Broken
from gratis_simulation.checks.arrivals import not_accepted
from gratis_simulation.checks.ended import Ended
from gratis_simulation.checks.record import record_of
from gratis_simulation.checks.told import Taken
from gratis_simulation.machines.releases import BEYOND, LAST, NEXT
from gratis_simulation.machines.table import Item, Key
from gratis_simulation.worlds.payload import Event, Payload, Voiding, content_of

OTHERS = (NEXT, BEYOND, LAST)


def check(ended: Ended) -> None:
    """Entry by entry: it is whole, it can be read, and it is there for a cause."""
    _entries_are_whole(ended)
    heads = [key for key, item in ended.run.table.items.items() if key[0].startswith("QUARANTINE#") and "code" in item]
    if len(heads) != len(ended.entries):
        raise Broken("nothing lost", f"{len(heads)} entries are in quarantine, {len(ended.entries)} can be read")
    arrived = {
        (event.content, moment.text(each.received_at)): not_accepted(event, each.received_at)
        for each in ended.run.seen.posted
        for event in each.step.events
    }
    arrived |= {
        (each.event.content, moment.text(each.received_at)): not_accepted(each.event, each.received_at)
        for each in ended.arrivals.all
    }
    for entry in ended.entries:
        text = content_of(json.loads(entry.raw))
        event = ended.arrivals.events.get(text)
        if event is None:
            raise Broken("nothing lost", f"nobody sent what is in quarantine: {entry}")
        _is_just(ended, event, entry, arrived.get((text, entry.received_at)))


def _entries_are_whole(ended: Ended) -> None:
    """Whoever finds an entry in quarantine, at whatever moment, finds all of it."""
    there: set[Key] = set()
    for change in ended.run.table.log:
        if change.key[0].startswith("QUARANTINE#") and change.new is not None:
            there.add(change.key)
            _is_whole(change.key, change.new, there, ended.run.limits.quarantined_bytes)


def _is_whole(key: Key, item: Item, there: set[Key], max_bytes: int) -> None:
    parts = {(key[0], f"{key[1]}#{number}") for number in range(2, int(item.get("parts", {"N": "0"})["N"]) + 1)}
    if key[1].count("#") != (2 if "code" in item else 3):
        raise Broken("explained", f"what an event calls itself was taken for a part of the key: {key}")
    if len(item["raw"]["B"]) > max_bytes:
        raise Broken("known to the services", f"a part of {key} holds {len(item['raw']['B'])} bytes")
    if not parts <= there:
        raise Broken("nothing lost", f"{key} is in quarantine, but not all of its parts")


def _is_just(ended: Ended, event: Event, entry: Entry, not_accepted_as: str | None) -> None:
    """It could not be decided, and a conflict shows the decision that stands."""
    if entry.code == "conflict":
        _conflicts(ended, event, entry)
    elif entry.code in (event.wrong, not_accepted_as):
        return
    elif entry.code == "unknown_request" and isinstance(event.payload, Voiding):
        _is_unknown(ended, event.payload, entry)
    elif entry.code == "too_old" and event.payload is not None and ended.overdue(event.payload):
        _is_undecided(ended, event.payload, entry)
    else:
        raise Broken("nothing lost", f"{entry.code} ({entry.message}) is not why {event.raw} is in quarantine")


def _conflicts(ended: Ended, event: Event, entry: Entry) -> None:
    taken = ended.told.taken.get(event.payload.key) if event.payload else None
    if taken is None or taken.payload == event.payload:
        raise Broken("exactly once", f"a conflict with nothing: {entry}")
    forms = [record_of(taken.decision)]
    if ended.run.world.runs(LAST):
        forms.append(record_of(taken.decision._replace(format=1)))
    if any(ended.run.world.runs(other) for other in OTHERS):  # it shows its own form
        forms.append(record_of(taken.decision._replace(format=FORMAT, later={})))
    if entry.decided is None or json.loads(entry.decided) not in forms:
        raise Broken("exactly once", f"the conflict does not show the decision that stands: {entry}")
    if (entry.organization, entry.id) != (taken.decision.organization, taken.decision.request_id):
        raise Broken("explained", f"the entry names somebody else: {entry}")


def _is_unknown(ended: Ended, void: Voiding, entry: Entry) -> None:
    """The voided request was not decided by then, nor, where order is kept, had it come before the void.

    Unless it waited too long: then it may be decided only when it comes again, by a worker with another clock.
    """
    taken = ended.told.taken.get(void.voided)
    if taken is None or taken.payload is None:
        return
    came_before = ended.arrivals.places[taken.payload][0] < ended.arrivals.places[void][0]
    in_order = ended.run.world.keeps_order and not ended.overdue(taken.payload)
    if _was_taken_before(ended, taken, entry) or (in_order and came_before):
        raise Broken("nothing lost", f"the request that it voids was there: {entry}")


def _was_taken_before(ended: Ended, taken: Taken, entry: Entry) -> bool:
    """Whether a decision was committed before the worker began that put the entry into quarantine."""
    place = entry.key["pk"]["S"], entry.key["sk"]["S"]
    kept = next(change for change in ended.run.table.log if change.key == place)
    return bool(taken.number < kept.actor.work.log_start)


def _is_undecided(ended: Ended, payload: Payload | Voiding, entry: Entry) -> None:
    """What is found to have waited too long was not decided by then."""
    taken = ended.told.taken.get(payload.key)
    if taken is not None and taken.payload == payload and _was_taken_before(ended, taken, entry):
        raise Broken("nothing lost", f"it was decided before it was put into quarantine: {entry}")
