"""What reached the queue: every event in the order of its arrival."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gratis import moment
from gratis.intake.events import parse_event
from gratis_simulation.machines.queue import Sent
from gratis_simulation.machines.run import Run
from gratis_simulation.machines.seen import Posted
from gratis_simulation.worlds.payload import Event, Payload, Voiding, content_of
from gratis_simulation.worlds.traffic import AHEAD, HORIZON
from gratis_simulation.worlds.world import Post, Step, Stray


@dataclass(frozen=True)
class Arrival:
    """One event in the queue. `place`: that of its message, and its own within the message."""

    place: tuple[int, int]
    event: Event
    received_at: datetime


class Arrivals:
    """`all`: in order; `payloads`: those of each key, in order; of each payload `received`: when, `places`: where.

    `by_lane`: the payloads of each lane, in order. The last four leave out what was too old, or too far ahead, when it
    was received.
    """

    def __init__(self, run: Run) -> None:
        self.events = {event.content: event for step in run.world.plan for event in events_of(step)}
        self.all = list(self._arrivals(run.sent))
        self.payloads: dict[tuple[str, str, str], list[Payload | Voiding]] = defaultdict(list)
        self.received: dict[Payload | Voiding, set[str]] = defaultdict(set)
        self.places: dict[Payload | Voiding, list[tuple[int, int]]] = defaultdict(list)
        self.by_lane: dict[tuple[str, str], list[Payload | Voiding]] = defaultdict(list)
        for arrival in self.all:
            payload = arrival.event.payload
            if payload is not None and not not_accepted(arrival.event, arrival.received_at):
                if payload not in self.places:
                    self.payloads[payload.key].append(payload)
                self.places[payload].append(arrival.place)
                self.by_lane[run.sent[arrival.place[0]].lane].append(payload)
                self.received[payload].add(moment.text(arrival.received_at))
        self.contents = {arrival.event.content for arrival in self.all}

    def hash_of(self, payload: Payload | Voiding) -> str:
        """The hash by which the core tells the payload from others of the same key."""
        place = self.places[payload][0]
        arrival = next(each for each in self.all if each.place == place)
        return parse_event(arrival.event.raw, arrival.received_at).payload_hash

    def _arrivals(self, messages: list[Sent]) -> Iterator[Arrival]:
        for message in messages:
            for index, raw in enumerate(_decoded(message.body)):
                yield Arrival((message.place, index), self.events[content_of(raw)], message.received_at)


def not_accepted(event: Event, received_at: datetime) -> str | None:
    """Why an event that is received at this moment can never be decided."""
    if event.payload is None:
        return event.wrong
    is_void = isinstance(event.payload, Voiding)
    stated = event.payload.time if isinstance(event.payload, Voiding) else event.payload.occurred_at
    if stated - received_at > AHEAD:
        return "in_the_future"
    old = received_at - stated > HORIZON or (is_void and (received_at - HORIZON).date() > event.payload.day)
    return "too_old" if old else None


def accepted(posted: Posted) -> dict[str, list[Event]]:
    """The events of a body that the webhook has to accept, by organization."""
    accepted: dict[str, list[Event]] = defaultdict(list)
    for event in posted.step.events:
        if event.payload is not None and not not_accepted(event, posted.received_at):
            accepted[event.payload.organization].append(event)
    return accepted


def events_of(step: Step) -> tuple[Event, ...]:
    """What a step of the plan sends."""
    if isinstance(step, Post):
        return step.events
    return (step.event,) if isinstance(step, Stray) else ()


def _decoded(body: str) -> list[Any]:
    try:
        decoded = json.loads(body, parse_constant=_refuse)
    except ValueError:
        return [body]
    return decoded if isinstance(decoded, list) else [decoded]


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
