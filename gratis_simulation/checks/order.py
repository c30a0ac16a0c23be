"""Events are decided in the order of their arrival, as far as the queue keeps it."""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

from gratis.rules.receipt import Decision
from gratis_simulation.broken import Broken
from gratis_simulation.checks.arrivals import accepted, events_of
from gratis_simulation.checks.ended import Ended
from gratis_simulation.checks.told import Taken
from gratis_simulation.machines.queue import stated
from gratis_simulation.worlds.payload import Event, Voiding
from gratis_simulation.worlds.world import Stray


def check(ended: Ended) -> None:
    """From a body to the queue, and from there to the ledger."""
    _messages_follow_bodies(ended)
    _bodies_are_queued_in_order(ended)
    _commits_follow_arrival(ended)
    _messages_are_finished_in_turn(ended)


def _messages_follow_bodies(ended: Ended) -> None:
    """A message holds events of one organization in a row, as they stood in a body, and says when that came."""
    bodies = [(stated(posted.received_at), accepted(posted)) for posted in ended.run.seen.posted]
    strays = {step.body for step in ended.run.world.plan if isinstance(step, Stray)}
    for message, arrivals in groupby(ended.arrivals.all, key=lambda each: ended.run.sent[each.place[0]]):
        row = [arrival.event for arrival in arrivals]
        organization, said = message.organization, message.attributes
        posted = (body.get(organization, []) for attributes, body in bodies if attributes == said)
        if message.body not in strays and not any(_in_a_row(row, events) for events in posted):
            raise Broken("decided in arrival order", f"nobody posted {[event.raw for event in row]} in a row")


def _in_a_row(row: list[Event], events: list[Event]) -> bool:
    return any(events[start : start + len(row)] == row for start in range(len(events)))


def _bodies_are_queued_in_order(ended: Ended) -> None:
    """Events that are sent only once are in the queue in the order of their body, if that was posted once."""
    sent = Tally(event.content for step in ended.run.world.plan for event in events_of(step))
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for arrival in ended.arrivals.all:
        places[arrival.event.content].append(arrival.place)
    times = Tally(id(posted.step) for posted in ended.run.seen.posted)
    for posted in (posted for posted in ended.run.seen.posted if times[id(posted.step)] == 1):
        for events in accepted(posted).values():
            alone = (places[event.content] for event in events if sent[event.content] == 1)
            once = [found[0] for found in alone if found]  # other checks see to it that the event is there at all
            if once != sorted(once):
                raise Broken("decided in arrival order", f"{posted.step} is in the queue in another order")


def _commits_follow_arrival(ended: Ended) -> None:
    """A counter's events are committed in order by each worker; by all together where they came by one FIFO lane."""
    last: dict[Any, Any] = {}
    for taken in ended.told.taken.values():
        if taken.payload is None:
            continue
        decision, places = taken.decision, _places(ended, taken)
        if not places:
            continue
        # A void of what took nothing is committed with its day's totals, not with the counter that it had asked.
        asked = decision.quota is not None and (not decision.is_void or decision.window is not None)
        counter = (decision.organization, decision.group, decision.pool, asked, decision.window or decision.day)
        if ended.run.knobs.fifo:
            # A shard that is read again may hand out once more a void that came before its request; and a void that
            # came before its request by another way may have been read before the request is decided.
            if decision.is_void and ended.run.world.intake != "queue":
                continue
            for lane in _lanes(ended, taken, places):
                first_place = min(place for place in places if ended.run.sent[place[0]].lane == lane)
                _in_order(last, (lane, *counter), first_place, decision)
                first = next(each for each in ended.arrivals.by_lane[lane] if each.key == taken.payload.key)
                if first != taken.payload and not decision.is_void and not ended.overdue(first):
                    raise Broken("decided in arrival order", f"decided was {taken.payload}, but before it came {first}")
        else:
            work = taken.actor.work.name
            batch = ended.run.seen.handed_out[work]
            in_batch = [each for each in places if each[0] in batch and each > _asked_before(ended, taken, batch)]
            if in_batch or not decision.is_void:
                _in_order(last, (work, *counter), min(in_batch), decision)


def _places(ended: Ended, taken: Taken) -> Sequence[tuple[int, int]]:
    """The places of the event that was decided; of a void, only those after its request's first."""
    places = ended.arrivals.places[taken.payload] if taken.payload else []
    if not isinstance(taken.payload, Voiding):
        return places
    voided = ended.told.taken[taken.payload.voided].payload
    return [place for place in places if voided and place > ended.arrivals.places[voided][0]]


def _lanes(ended: Ended, taken: Taken, places: Sequence[tuple[int, int]]) -> Collection[tuple[str, str]]:
    """The lane by which it came to the worker that decided it; none, where it came by several."""
    batch = ended.run.seen.handed_out[taken.actor.work.name]
    lanes = {ended.run.sent[place[0]].lane for place in places if place[0] in batch}
    return lanes if len(lanes) == 1 else ()


def _asked_before(ended: Ended, taken: Taken, batch: Collection[int]) -> tuple[int, int]:
    """The place of a void's request in the batch, if one worker decided both: the void is decided after it."""
    start = (-1, -1)
    if not isinstance(taken.payload, Voiding):
        return start
    voided = ended.told.taken[taken.payload.voided]
    if voided.payload is None or voided.actor.work.name != taken.actor.work.name:
        return start
    return min((each for each in ended.arrivals.places[voided.payload] if each[0] in batch), default=start)


def _in_order(last: dict[Any, Any], counter: Any, place: Any, decision: Decision) -> None:
    """A request that asks another counter since the account was changed may come after later ones of that counter."""
    judged = counter, _account(decision)
    if judged in last and place < last[judged][0]:
        raise Broken("decided in arrival order", f"{decision} was decided after {last[judged][1]}")
    last[judged] = (place, decision)


def _account(decision: Decision) -> tuple[int | None, int | None]:
    """The versions of the account by which it was judged."""
    return decision.profile_version, decision.settings_version


def _messages_are_finished_in_turn(ended: Ended) -> None:
    """After a group's first unfinished message all its later ones come again too."""
    for classified in ended.run.seen.classified:
        waiting: set[str] = set()
        for message in classified.messages:
            if message.id in classified.outcome.unfinished:
                waiting.add(message.group)
            elif message.group in waiting:
                raise Broken("decided in arrival order", f"{classified.work.name} finished {message.id} out of turn")
