"""Usage events as they come in: validated once, at the edge. SPEC section 5; `event_models.py` says what they hold."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pydantic_core
from pydantic import TypeAdapter, ValidationError

from gratis import moment
from gratis.errors import Rejected
from gratis.intake.event_models import UsageEvent, VoidEvent, moment_stated
from gratis.rules.names import IDENTIFIER, PRINTABLE
from gratis.rules.request import AHEAD, REQUEST_ID, Request, Void

HORIZON = timedelta(days=35)
"""How old an event may be when it arrives: for that long its decision is kept to recognize a repeat."""
MAX_EVENT_BYTES = 80_000
"""Of one event, as compact JSON in ASCII: it fits a queue message whole."""


def parse_event(raw: Any, received_at: datetime) -> Request | Void:
    """One decoded event as a request, or a void, to decide, whatever its size.

    Raises Rejected, naming the field and the value.
    """
    event = checked(raw, received_at)
    if isinstance(event, VoidEvent):
        return Void(
            organization=event.subject,
            id=event.id,
            request_id=event.data.request_id,
            day=event.data.day,
            received_at=received_at,
            payload_hash=event.payload_hash(),
        )
    return Request(
        kind=event.type,
        organization=event.subject,
        id=event.id,
        project=event.data.project,
        model=event.data.model,
        endpoint=event.data.endpoint,
        service_tier=event.data.service_tier,
        batch=event.data.batch,
        tools=tuple(tool if isinstance(tool, str) else tool.type for tool in event.data.tools),
        shared=event.data.shared,
        tokens=event.data.usage.tokens,
        occurred_at=event.time,
        received_at=received_at,
        payload_hash=event.payload_hash(),
        reservation=event.data.reservation,
        platform_verdict=event.data.said_by_the_platform,
    )


def compact(raw: Any) -> str:
    """One decoded event as the queue carries it: JSON in ASCII, since SQS refuses some characters of Unicode.

    Raises Rejected for an event that is too large, or holds a number that is.
    """
    encoded = pydantic_core.to_json(raw)  # in a third less time than with ensure_ascii, and nearly always ASCII
    text = (encoded if encoded.isascii() else pydantic_core.to_json(raw, ensure_ascii=True)).decode()
    if "Infinity" in text and not _is_json(raw):
        raise Rejected("invalid_event", "event: holds a number that is too large for JSON")
    if len(text) > MAX_EVENT_BYTES:
        raise Rejected("too_large", f"event: is {len(text)} bytes of JSON; at most {MAX_EVENT_BYTES} are accepted")
    return text


def _is_json(raw: Any) -> bool:
    """Whether JSON can write every number in it: no NaN and no infinity."""
    try:
        json.dumps(raw, allow_nan=False)
    except ValueError:
        return False
    return True


def checked(raw: Any, received_at: datetime) -> UsageEvent | VoidEvent:
    """One decoded event, validated. Raises Rejected, naming the field and the value."""
    is_void = isinstance(raw, Mapping) and raw.get("type") == "usage.void"
    try:
        event: UsageEvent | VoidEvent = (_VOID if is_void else _EVENT).validate_python(raw)
    except ValidationError as error:
        raise _rejected(error, raw) from None
    check_age(event.time, received_at)
    if isinstance(event, VoidEvent) and event.data.day < moment.day_of(received_at - HORIZON):
        now = moment.text(received_at)
        raise Rejected("too_old", f"data.day: {event.data.day} is over 35 days before {now}")
    return event


def moment_of(raw: Any) -> datetime | None:
    """The moment that an event states, valid or not otherwise; None if it states none."""
    try:
        return moment_stated(raw.get("time")) if isinstance(raw, Mapping) else None
    except ValueError:
        return None


def check_age(occurred_at: datetime, now: datetime) -> None:
    """Raises Rejected: `in_the_future` over 5 min ahead of `now`, `too_old` past the dedupe horizon."""
    if occurred_at - now > AHEAD:
        said = f"time: {moment.text(occurred_at)} is over 5 minutes ahead of {moment.text(now)}"
        raise Rejected("in_the_future", said)
    if now - occurred_at > HORIZON:
        raise Rejected("too_old", f"time: {moment.text(occurred_at)} is over 35 days before {moment.text(now)}")


_EVENT = TypeAdapter(UsageEvent).validator
_VOID = TypeAdapter(VoidEvent).validator


MAX_NAMED = 3
"""Things that are wrong with one event, of those that its message names; the others are counted."""


def _rejected(error: ValidationError, raw: Any) -> Rejected:
    """What is wrong, each named by its place in the event, with the value that was found there."""
    problems = error.errors(include_url=False)
    if (
        isinstance(raw, Mapping)
        and not raw.get("subject")
        and all(each["loc"][:1] == ("subject",) for each in problems)
    ):
        return Rejected("no_organization", f"subject: names no organization: {_shown(raw.get('subject'))}")
    first_of_place = {_place(each): each for each in reversed(problems)}
    said = [_said(place, first_of_place[place]) for place in dict.fromkeys(map(_place, problems))]
    more = f" (and {len(said) - MAX_NAMED} more)" if len(said) > MAX_NAMED else ""
    return Rejected("invalid_event", "; ".join(said[:MAX_NAMED]) + more)


def _place(problem: Any) -> str:
    """Where in the event, as in `data.usage.input_tokens`."""
    return ".".join(str(part) for part in problem["loc"] if part not in _UNION_TAGS) or "event"


def _said(place: str, problem: Any) -> str:
    """A problem with its place, and the value unless the message holds the figures itself."""
    shows_it = problem["type"] == "missing" or (problem["type"] == "value_error" and place in ("data", "data.usage"))
    return f"{place}: {_worded(problem)}" + ("" if shows_it else f": {_shown(problem['input'])}")


_UNION_TAGS = ("constrained-str", "ToolObject")
_ALPHABETS = {
    IDENTIFIER: "must be 1 to 64 letters, digits or . _ -",
    REQUEST_ID: "must be 1 to 256 letters, digits or . _ - : /",
    PRINTABLE: "must be printable, without control characters, and neither begin nor end with a blank",
}


def _worded(problem: Any) -> str:
    """A problem in words for whoever sent the event."""
    if problem["type"] == "model_type":
        return "must be a JSON object"
    if problem["type"] == "literal_error" and problem["loc"] == ("type",):
        return "must be usage.request, usage.eval_run or usage.void"
    if problem["type"] == "string_pattern_mismatch":
        pattern: str = problem["ctx"]["pattern"]
        return _ALPHABETS.get(pattern, f"must match {pattern}")
    message: str = problem["msg"]
    return message.removeprefix("Value error, ")


def _shown(value: Any) -> str:
    """A value for an error message, cut to a length that a person reads."""
    text = pydantic_core.to_json(value, serialize_unknown=True).decode()
    return text if len(text) <= 120 else f"{text[:117]}..."
