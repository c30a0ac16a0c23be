"""Every promise of SPEC section 3, checked when a run has come to its end."""

import json
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from gratis import moment
from gratis.account import Account
from gratis.decision import Decision
from gratis.ledger import Ledger
from gratis.quarantine import Entry, Quarantine
from gratis.receive import Received
from gratis.tiling import Step, over_granted, step_of, tiling
from local.simulation.arrivals import Arrivals, events_of, not_accepted
from local.simulation.history import History
from local.simulation.outgoing import everything_is_on_the_bus
from local.simulation.payload import Event, Payload, content_of
from local.simulation.queue import stated
from local.simulation.run import TABLE, Broken, Classified, Posted, Run
from local.simulation.traffic import KEPT
from local.simulation.world import Change, Stray

NOTHING_SET = {part: {"mode": "disabled"} for part in ("traffic", "evals", "feedback")}


@dataclass(frozen=True)
class Ended:
    """A run at its end. `entries`: what is in quarantine."""

    run: Run
    arrivals: Arrivals
    history: History
    entries: list[Entry]

    @property
    def decisions(self) -> list[Decision]:
        """In the order in which they were committed."""
        return [taken.decision for taken in self.history.taken.values()]


def check(run: Run) -> None:
    """Raises Broken if one of the promises does not hold."""
    arrivals = Arrivals(run)
    history = History(run, arrivals)
    history.tell()
    ended = Ended(run, arrivals, history, list(_entries(run)))
    for promise in PROMISES:
        promise(ended)


def _entries(run: Run) -> Iterable[Entry]:
    days = sorted({key[0].removeprefix("QUARANTINE#") for key in run.table.items if key[0].startswith("QUARANTINE#")})
    quarantine = Quarantine(run.table, TABLE)  # type: ignore[arg-type]  # a client by its looks
    for day in days:
        yield from quarantine.of_day(date.fromisoformat(day))


# 1. Never over-granted ----------------------------------------------------------------------------------------------


def free_decisions_tile(ended: Ended) -> None:
    """The free decisions of a counter tile [0, used]; none goes over its quota."""
    steps: dict[Any, list[Step]] = defaultdict(list)
    for decision in ended.decisions:
        if step := step_of(decision.record()):
            steps[decision.organization, decision.group, decision.window].append(step)
    for counter, taken in steps.items():
        if tears := [*over_granted(taken), *tiling(taken)]:
            raise Broken("never over-granted", f"{counter}: {tears}")


# 3. Exactly once ----------------------------------------------------------------------------------------------------


def messages_follow_bodies(ended: Ended) -> None:
    """A message holds events of one organization in a row, as they stood in a body, and says when that came."""
    bodies = [(stated(posted.received_at), _accepted(posted)) for posted in ended.run.seen.posted]
    strays = {step.body for step in ended.run.world.plan if isinstance(step, Stray)}
    for message, arrivals in groupby(ended.arrivals.all, key=lambda each: ended.run.queue.sent[each.place[0]]):
        row = [arrival.event for arrival in arrivals]
        accepted = (body.get(message.group, []) for attributes, body in bodies if attributes == message.attributes)
        if message.body not in strays and not any(_in_a_row(row, events) for events in accepted):
            raise Broken("decided in arrival order", f"nobody posted {[event.raw for event in row]} in a row")


def _accepted(posted: Posted) -> dict[str, list[Event]]:
    """The events of a body that the webhook has to accept, by organization."""
    accepted: dict[str, list[Event]] = defaultdict(list)
    for event in posted.step.events:
        if event.payload is not None and not not_accepted(event, posted.received_at):
            accepted[event.payload.organization].append(event)
    return accepted


def _in_a_row(row: list[Event], events: list[Event]) -> bool:
    return any(events[start : start + len(row)] == row for start in range(len(events)))


def bodies_are_queued_in_order(ended: Ended) -> None:
    """Where nothing fails, the events that nobody else sends are in the queue in the order of their body."""
    if ended.run.knobs.faults:
        return
    sent = Tally(event.content for step in ended.run.world.plan for event in events_of(step))
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for arrival in ended.arrivals.all:
        places[arrival.event.content].append(arrival.place)
    times = Tally(id(posted.step) for posted in ended.run.seen.posted)
    for posted in (posted for posted in ended.run.seen.posted if times[id(posted.step)] == 1):
        for events in _accepted(posted).values():
            once = [places[event.content][0] for event in events if sent[event.content] == 1]
            if once != sorted(once):
                raise Broken("decided in arrival order", f"{posted.step} is in the queue in another order")


def commits_follow_arrival(ended: Ended) -> None:
    """A worker commits the events of a counter in their order. Where the queue keeps order, so do all of them."""
    last: dict[Any, Any] = {}
    for taken in ended.history.taken.values():
        decision, place = taken.decision, ended.arrivals.places[taken.payload][0]
        counter = (decision.organization, decision.group or "-", decision.window or decision.day)
        if ended.run.knobs.fifo:
            _in_order(last, counter, place, decision)
            first = ended.arrivals.payloads[taken.payload.key][0]
            if first != taken.payload and not _overdue(ended, first):
                raise Broken("decided in arrival order", f"decided was {taken.payload}, but before it came {first}")
        else:
            batch = ended.run.seen.handed_out[taken.actor.work.name]
            place = min(each for each in ended.arrivals.places[taken.payload] if each[0] in batch)
            _in_order(last, (taken.actor.work.name, *counter), place, decision)


def _in_order(last: dict[Any, Any], counter: Any, place: Any, decision: Decision) -> None:
    if counter in last and place < last[counter][0]:
        raise Broken("decided in arrival order", f"{decision} was decided after {last[counter][1]}")
    last[counter] = (place, decision)


def batches_are_accounted_for(ended: Ended) -> None:
    """What a batch says of itself: every event counted once, every decision stored, nothing finished out of turn."""
    for classified in ended.run.seen.classified:
        _counts(classified)
        _in_turn(classified)
        if ended.run.knobs.fifo and not ended.run.knobs.faults:
            _at_once(classified)
        for decision in classified.outcome.decisions:
            taken = ended.history.taken.get((decision.organization, decision.day, decision.request_id))
            if taken is None or taken.decision != decision._replace(thresholds=list(decision.thresholds)):
                raise Broken("exactly once", f"{classified.work.name} says that it took {decision}")


def _counts(classified: Classified) -> None:
    outcome = classified.outcome
    finished = len(outcome.decisions) + outcome.repeats + len(outcome.quarantined)
    if finished > outcome.events or (finished < outcome.events and not outcome.unfinished):
        raise Broken("nothing lost", f"{classified.work.name} was given {outcome.events} events and says {outcome}")


def _at_once(classified: Classified) -> None:
    """Where nothing fails and nobody else writes, a batch is done when the classifier comes back."""
    outcome = classified.outcome
    known_before = outcome.repeats or outcome.quarantined
    if outcome.unfinished or (outcome.contended and not known_before):
        raise Broken("done at once", f"nobody was in the way of {classified.work.name}, and it says {outcome}")


def _in_turn(classified: Classified) -> None:
    """After a group's first unfinished message all its later ones come again too."""
    waiting: set[str] = set()
    for message in classified.messages:
        if message.id in classified.outcome.unfinished:
            waiting.add(message.group)
        elif message.group in waiting:
            raise Broken("decided in arrival order", f"{classified.work.name} finished {message.id} out of turn")


def repeats_are_recognized(ended: Ended) -> None:
    """Decisions live as long as a repeat of their event may come; counters as long as their decisions."""
    for key, item in ended.run.table.items.items():
        if "expires" not in item:
            continue
        if key[1].startswith("REQ#"):
            decision = ended.history.taken[_key(key)].decision
            _outlives(item, moment.parse(decision.occurred_at) + KEPT, key)
        elif key[0].startswith("COUNTER#"):
            _outlives(item, _last_moment(key[1]) + KEPT, key)


def _last_moment(window: str) -> datetime:
    """When the last event occurred that a counter document can hold."""
    if window == "ROLLING":
        raise Broken("exactly once", "the document of all rolling windows expires")
    days = 7 if window.startswith("WEEK#") else 1
    return moment.midnight(date.fromisoformat(window.removeprefix("WEEK#"))) + timedelta(days=days)


def _outlives(item: dict[str, Any], until: Any, key: Any) -> None:
    if int(item["expires"]["N"]) < until.timestamp():
        raise Broken("exactly once", f"{key} expires before {until}")


def _key(key: tuple[str, str]) -> tuple[str, str, str]:
    _, organization, day, _ = key[0].split("#")
    return organization, day, key[1].removeprefix("REQ#")


# 4. Nothing lost ----------------------------------------------------------------------------------------------------


def every_event_ends_once(ended: Ended) -> None:
    """Each event of the queue has its decision, or is in quarantine: as a conflict, or because it says nothing."""
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
    taken = ended.history.taken.get(event.payload.key)
    if taken is not None and taken.payload == event.payload:
        return (None,)
    undecided = ("too_old",) if _overdue(ended, event.payload) else ()
    if taken is not None or event.wrong:
        return (event.wrong or "conflict", *undecided)
    if not undecided:
        raise Broken("nothing lost", f"there is no decision on {event.raw}")
    return undecided


def _overdue(ended: Ended, payload: Payload) -> bool:
    """Whether any machine can have found that it waited too long to be decided."""
    return ended.run.clock.now + timedelta(seconds=max(ended.run.knobs.skews)) - payload.occurred_at > KEPT


def every_answer_holds(ended: Ended) -> None:
    """What the webhook answered is true: accepted events reached the queue, refused ones the quarantine."""
    kept = {(entry.code, entry.received_at[:10], content_of(json.loads(entry.raw))) for entry in ended.entries}
    for posted in ended.run.seen.posted:
        if posted.received is not None:
            _answer_holds(ended, posted, posted.received, kept)


def _answer_holds(ended: Ended, posted: Posted, received: Received, kept: set[tuple[str, str, str]]) -> None:
    events = posted.step.events
    refused = {each["index"]: each["error"]["code"] for each in received.quarantined}
    if [each["id"] for each in received.quarantined] != [
        events[each["index"]].raw.get("id") for each in received.quarantined
    ]:
        raise Broken("nothing lost", f"{received} does not name the events {events}")
    for index, event in enumerate(events):
        code = not_accepted(event, posted.received_at)
        if refused.get(index) != code:
            raise Broken("nothing lost", f"answered {refused.get(index)} to {event.raw}, must be {code}")
        if code and (code, moment.text(posted.received_at)[:10], event.content) not in kept:
            raise Broken("nothing lost", f"not in quarantine as {code}: {event.raw}")
        if not code and event.content not in ended.arrivals.contents:
            raise Broken("nothing lost", f"accepted, but never in the queue: {event.raw}")
    if received.accepted + len(refused) != len(events):
        raise Broken("nothing lost", f"{received} for {len(events)} events")


def quarantine_can_be_read(ended: Ended) -> None:
    """As many entries are read as there are."""
    heads = [key for key, item in ended.run.table.items.items() if key[0].startswith("QUARANTINE#") and "code" in item]
    if len(heads) != len(ended.entries):
        raise Broken("nothing lost", f"{len(heads)} entries are in quarantine, {len(ended.entries)} can be read")


def quarantine_is_just(ended: Ended) -> None:
    """Nothing is in quarantine that could be decided, and each conflict shows the decision that stands."""
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
        if entry.code == "conflict":
            _conflicts(ended, event, entry)
        elif entry.code in (event.wrong, arrived.get((text, entry.received_at))):
            continue
        elif entry.code == "too_old" and event.payload is not None and _overdue(ended, event.payload):
            _undecided(ended, event.payload, entry)
        else:
            raise Broken("nothing lost", f"{entry.code} ({entry.message}) is not why {event.raw} is in quarantine")


def _conflicts(ended: Ended, event: Event, entry: Entry) -> None:
    taken = ended.history.taken.get(event.payload.key) if event.payload else None
    if taken is None or taken.payload == event.payload:
        raise Broken("exactly once", f"a conflict with nothing: {entry}")
    if entry.decided is None or json.loads(entry.decided) != taken.decision.record():
        raise Broken("exactly once", f"the conflict does not show the decision that stands: {entry}")
    if (entry.organization, entry.id) != (taken.payload.organization, taken.payload.id):
        raise Broken("explained", f"the entry names somebody else: {entry}")


def _undecided(ended: Ended, payload: Payload, entry: Entry) -> None:
    """What is found to have waited too long was not decided by then."""
    taken = ended.history.taken.get(payload.key)
    kept = next(change for change in ended.run.table.log if (change.key[0], change.key[1]) == _place(entry))
    if taken is not None and taken.payload == payload and taken.number < kept.actor.work.log_start:
        raise Broken("nothing lost", f"it was decided before it was put into quarantine: {entry}")


def _place(entry: Entry) -> tuple[str, str]:
    return entry.key["pk"]["S"], entry.key["sk"]["S"]


def changes_are_kept(ended: Ended) -> None:
    """A change of an account that was answered with success is part of its history."""
    for changed in ended.run.seen.changed:
        final = ended.run.account(changed.step.organization)
        for name in ("profile", "sharing"):
            said, stands = getattr(changed.account, name), getattr(final, name, ())
            if stands[: len(said)] != said:
                raise Broken("settings are append-only", f"{changed.step.actor} was told {said}, there is {stands}")
        _took_effect(changed.step, changed.account)


def _took_effect(step: Change, account: Account) -> None:
    """What was asked for is in force; what nobody ever set is off."""
    asked = (step.profile if step.profile is not None else step.sharing) or {}
    versions = account.profile if step.profile is not None else account.sharing
    version = versions[-1].model_dump(mode="json", exclude_none=True) if versions else NOTHING_SET
    for name, wanted in asked.items():
        if name != "confirmed" and version[name] != wanted:
            raise Broken("settings take effect at once", f"{step.actor} set {name} to {wanted}, it is {version[name]}")


# 6. Proved ----------------------------------------------------------------------------------------------------------


def readers_see_it_all(ended: Ended) -> None:
    """What the account API and the proof read is what there is."""
    ledger = Ledger(ended.run.table, TABLE)  # type: ignore[arg-type]  # a client by its looks
    decisions = {decision.key: decision for decision in ended.decisions}
    if ledger.decisions(decisions) != decisions:
        raise Broken("explained", "decisions are not found by their keys")
    of_days: dict[tuple[str, str], list[Decision]] = defaultdict(list)
    for decision in ended.decisions:
        of_days[decision.organization, decision.day].append(decision)
    for (organization, day), wanted in of_days.items():
        _day_is_complete(ledger, organization, date.fromisoformat(day), wanted)


def _day_is_complete(ledger: Ledger, organization: str, day: date, wanted: list[Decision]) -> None:
    found = sorted(ledger.decisions_of_day(organization, day), key=lambda each: each.request_id)
    if found != sorted(wanted, key=lambda each: each.request_id):
        raise Broken("proved", f"the day {day} of {organization} is read as {found}")
    groups = {decision.group or "-" for decision in wanted}
    if {group for _, group in ledger.marked(day, organization)} != groups:
        raise Broken("proved", f"{organization} has decisions on {day} in {groups}, not all of them are marked")
    documents = ledger.days(organization, sorted(groups), day, day)
    requests = sum(row.requests for each in documents.values() for row in each.totals.rows.values())
    if requests != len(wanted):
        raise Broken("totals are sums of decisions", f"{day} of {organization} counts {requests}, not {len(wanted)}")


PROMISES: tuple[Callable[[Ended], None], ...] = (
    free_decisions_tile,
    messages_follow_bodies,
    bodies_are_queued_in_order,
    commits_follow_arrival,
    batches_are_accounted_for,
    repeats_are_recognized,
    every_event_ends_once,
    every_answer_holds,
    quarantine_can_be_read,
    quarantine_is_just,
    changes_are_kept,
    readers_see_it_all,
    lambda ended: everything_is_on_the_bus(ended.run, ended.decisions),
)
