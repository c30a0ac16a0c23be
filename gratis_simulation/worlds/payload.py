"""Events of a world: what each of them says, and the different ways in which senders write the same thing."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cached_property
from typing import Any, NamedTuple

BERLIN = timezone(timedelta(hours=2))


class Payload(NamedTuple):
    """What was used, by whom and when. Events with the same payload are the same event, however they are written."""

    kind: str
    organization: str
    id: str
    occurred_at: datetime
    model: str
    input: int
    cached: int = 0
    output: int = 0
    project: str | None = None
    endpoint: str = "responses"
    service_tier: str = "default"
    batch: bool = False
    tools: tuple[str, ...] = ()
    shared: bool = True
    reservation: str | None = None

    @property
    def day(self) -> date:
        """The UTC day it occurred on."""
        return self.occurred_at.date()

    @property
    def key(self) -> tuple[str, str, str]:
        """Organization, day and request id: what there is one decision of."""
        return self.organization, self.day.isoformat(), self.id

    @property
    def latest(self) -> datetime:
        """The moment from which its decision's retention is counted."""
        return self.occurred_at

    @property
    def units(self) -> int:
        """What it asks of a quota: tokens, or one run."""
        return 1 if self.kind == "usage.eval_run" else self.input + self.output


class Reserving(NamedTuple):
    """Room asked for under the id of `asked`, for a request like it. `exact`: tokens by kind, not only their total.

    `expires_in`: seconds.
    """

    asked: Payload
    exact: bool
    expires_in: int

    def body(self) -> dict[str, Any]:
        """What a client sends."""
        total = self.asked.input + self.asked.output
        counts: dict[str, Any] = {"usage": _usage(self.asked, chat=False)} if self.exact else {"tokens": total}
        named: dict[str, Any] = {
            "id": self.asked.id,
            "type": self.asked.kind,
            "model": self.asked.model,
            "expires_in": self.expires_in,
        }
        return {**named, **counts, **_named(self.asked, everything=True)}


class Voiding(NamedTuple):
    """Which request is taken back, by an event that occurred at `time` under the id `id`."""

    organization: str
    id: str
    time: datetime
    request_id: str
    day: date
    why: str | None = None
    kind: str = "usage.void"

    @property
    def voided(self) -> tuple[str, str, str]:
        """Organization, day and id of the request."""
        return self.organization, self.day.isoformat(), self.request_id

    @property
    def key(self) -> tuple[str, str, str]:
        """There is one void of a request."""
        return self.organization, self.day.isoformat(), f"{self.request_id}~void"

    @property
    def latest(self) -> datetime:
        """When the request can have occurred, at the latest."""
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC) + timedelta(days=1, microseconds=-1)


@dataclass(frozen=True)
class Event:
    """An event as it is sent. `wrong`: the error code where it can never be decided; if it says nothing, no payload."""

    raw: Any
    payload: Payload | Voiding | None
    wrong: str | None = None

    @cached_property
    def content(self) -> str:
        """All of it as text, whatever the order of its fields."""
        return content_of(self.raw)

    def text(self) -> str:
        """For people, in a line."""
        if self.payload is None:
            return f"{self.wrong}: {str(self.raw)[:100]}"
        told = self.payload
        if isinstance(told, Voiding):
            return f"{told.organization} {told.id}: a void of {told.request_id} on {told.day}"
        what = "a run" if told.kind == "usage.eval_run" else f"{told.input + told.output} tokens"
        return f"{told.organization} {told.id}: {what} of {told.model} at {told.occurred_at:%Y-%m-%d %H:%M:%S.%f}"


def written(payload: Payload, dice: random.Random, *, plainly: bool = False) -> Event:
    """One of the ways to write a payload."""
    chosen = dice.random() if not plainly else 1.0
    raw: dict[str, Any] = {
        "specversion": "1.0",
        "type": payload.kind,
        "source": "https://gateway.example" if chosen > 0.3 else "https://other.example",
        "id": payload.id,
        "time": _time(payload.occurred_at, abroad=chosen < 0.1),
        "subject": payload.organization,
        "data": {"model": payload.model, "usage": _usage(payload, chat=0.1 < chosen < 0.2)},
    }
    if 0.2 < chosen < 0.25:
        raw["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    raw["data"] |= _named(payload, everything=chosen < 0.15)
    return Event(raw, payload, "internal_error" if payload.id.startswith("poison") else None)


def written_void(payload: Voiding, dice: random.Random) -> Event:
    """One of the ways to write a void."""
    data: dict[str, Any] = {"request_id": payload.request_id, "day": payload.day.isoformat()}
    if payload.why is not None or dice.random() < 0.1:
        data["why"] = payload.why
    raw = {
        "specversion": "1.0",
        "type": payload.kind,
        "source": dice.choice(("https://gateway.example", "https://other.example")),
        "id": payload.id,
        "time": _time(payload.time, abroad=dice.random() < 0.1),
        "subject": payload.organization,
        "data": data,
    }
    return Event(raw, payload)


def spoiled_void(event: Event, dice: random.Random) -> Event:
    """The void with something in it that makes it undecidable."""
    wrong = dice.choice(({"day": "11 March"}, {"request_id": "a~void"}, {"request_id": None}))
    return Event({**event.raw, "data": {**event.raw["data"], **wrong}}, None, "invalid_event")


def spoiled(event: Event, dice: random.Random) -> Event:
    """The event with something in it that makes it undecidable."""
    raw = {**event.raw, "data": {**event.raw["data"], "usage": dict(event.raw["data"]["usage"])}}
    usage = raw["data"]["usage"]
    match dice.randrange(5):
        case 0:
            del raw["subject"]
            return Event(raw, None, "no_organization")
        case 1:
            del raw["id"]
        case 2:
            usage["total_tokens"] += 1
        case 3:
            raw["time"] = raw["time"][:16]
        case _:
            raw["subject"] = "org#a"
    return Event(raw, None, "invalid_event")


def _time(moment: datetime, *, abroad: bool) -> str:
    if abroad:
        return moment.astimezone(BERLIN).isoformat()
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _usage(payload: Payload, *, chat: bool) -> dict[str, Any]:
    total = payload.input + payload.output
    names = ("prompt", "completion") if chat else ("input", "output")
    usage: dict[str, Any] = {
        f"{names[0]}_tokens": payload.input,
        f"{names[1]}_tokens": payload.output,
        "total_tokens": total,
    }
    if payload.cached:
        usage[f"{names[0]}_tokens_details"] = {"cached_tokens": payload.cached}
    return usage


def _named(payload: Payload, *, everything: bool) -> Mapping[str, Any]:
    """The optional fields; those that hold the default only if `everything` is written. `shared` is always said."""
    fields: dict[str, Any] = {
        "project": payload.project,
        "endpoint": payload.endpoint,
        "service_tier": payload.service_tier,
        "batch": payload.batch,
        "tools": list(payload.tools),
        "shared": payload.shared,
    }
    if payload.reservation:
        fields["reservation"] = payload.reservation
    usual = Payload._field_defaults
    unsaid = {name for name, value in fields.items() if tuple_of(value) == usual[name]} - {"shared"}
    return {name: value for name, value in fields.items() if everything or name not in unsaid}


def content_of(raw: Any) -> str:
    """What was sent as text, whatever the order of its fields."""
    return json.dumps(raw, sort_keys=True)


def tuple_of(value: Any) -> Any:
    """Lists as tuples; everything else as it is."""
    return tuple(value) if isinstance(value, list) else value
