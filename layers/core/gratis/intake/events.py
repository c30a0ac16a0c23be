"""Usage events as they come in: CloudEvents 1.0 JSON, validated once, at the edge. SPEC section 5."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import pydantic_core
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from gratis import moment
from gratis.errors import Rejected
from gratis.rules.account import IDENTIFIER, PRINTABLE, Identifier, ProjectName
from gratis.rules.request import AHEAD, REQUEST_ID, Request, Tokens, Void

HORIZON = timedelta(days=35)
"""How old an event may be when it arrives: for that long its decision is kept to recognize a repeat."""
FIRST_YEAR, LAST_YEAR = 1970, 9000
MAX_TOKENS = 10**12
"""More than any request has; keeps every total far inside DynamoDB's 38 digits."""
MAX_WHY = 1000
"""Characters of what a void says of its cause."""
MAX_EVENT_BYTES = 80_000
"""Of one event, as compact JSON in ASCII: it fits a queue message whole."""

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _moment(value: object) -> datetime:
    """A moment with an offset, in UTC. Decimals past the microsecond are dropped."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be a moment with an offset, like 2025-03-11T09:15:00Z")
    stated = datetime.fromisoformat(value.upper())
    if not FIRST_YEAR <= stated.year <= LAST_YEAR:
        raise ValueError(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")
    return stated.astimezone(UTC)


def _day(value: object) -> date:
    """A UTC day."""
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("must be a UTC day, like 2025-03-11")
    day = date.fromisoformat(value)
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")
    return day


RequestId = Annotated[str, Field(pattern=REQUEST_ID)]
ModelId = Annotated[str, Field(max_length=128, pattern=PRINTABLE)]
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:/ -]+$")]
Opaque = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
MAX_TOOLS = 512


class _Incoming(BaseModel):
    """Strict, and keeps unknown fields."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")


class _NullIsAbsent(_Incoming):
    """Gateways send null for what they have no value for."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or None not in fields.values():
            return fields
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in fields.items() if value is not None or name not in optional}


class InputDetails(_Incoming):
    """What is known of the input tokens. All are part of the input."""

    cached_tokens: Count | None = None
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    cache_creation_tokens: Count | None = None
    audio_tokens: Count | None = None


class OutputDetails(_Incoming):
    """What is known of the output tokens. All are part of the output."""

    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None


INPUT_DETAILS = ("input_tokens_details", "input_token_details", "prompt_tokens_details", "prompt_token_details")
OUTPUT_DETAILS = (
    *("output_tokens_details", "output_token_details"),
    *("completion_tokens_details", "completion_token_details"),
)
CACHED = ("cached_tokens", "cache_read_tokens")
CACHED_FLAT = ("cached_tokens", "cached_input_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens")
WRITTEN = ("cache_write_tokens", "cache_creation_tokens")
WRITTEN_FLAT = ("cache_write_tokens", "cache_write_input_tokens", "cache_creation_input_tokens")
"""Names under which platforms and gateways state what was read from the cache, and what was written to it."""


class Usage(_Incoming):
    """Usage as the Responses API or Chat Completions state it, or both of them where they agree.

    Realtime and transcription use the singular (`input_token_details`); embeddings have no output.
    """

    total_tokens: Count
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens_details: InputDetails | None = None
    input_token_details: InputDetails | None = None
    prompt_tokens_details: InputDetails | None = None
    prompt_token_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None
    output_token_details: OutputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    completion_token_details: OutputDetails | None = None
    cached_tokens: Count | None = None
    cached_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    prompt_cache_hit_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    cache_write_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        self.tokens  # noqa: B018 - raises ValueError for counts that contradict each other
        return self

    @cached_property
    def tokens(self) -> Tokens:
        """What was used. Raises ValueError, naming the counts that contradict each other or do not add up."""
        left_out = self._empty_shape()
        read = self.input_tokens if "input" not in left_out else None
        prompt = self.prompt_tokens if "prompt" not in left_out else None
        if read is None and prompt is None:
            raise ValueError("names neither input_tokens nor prompt_tokens")
        counted = _one({"input_tokens": read, "prompt_tokens": prompt})
        if read is not None and self.output_tokens is None:
            raise ValueError("names input_tokens, but no output_tokens")
        answered = _one(
            {
                "output_tokens": self.output_tokens if "input" not in left_out else None,
                "completion_tokens": self.completion_tokens if "prompt" not in left_out else None,
            }
        )
        if self.total_tokens != counted + answered:
            raise ValueError(
                f"total_tokens is {self.total_tokens}, but input {counted} + output {answered} is {counted + answered}"
            )
        cached = self._stated(INPUT_DETAILS, CACHED, CACHED_FLAT, left_out)
        cache_write = self._stated(INPUT_DETAILS, WRITTEN, WRITTEN_FLAT, left_out)
        audio = self._stated(INPUT_DETAILS, ("audio_tokens",), (), left_out)
        audio += self._stated(OUTPUT_DETAILS, ("audio_tokens",), (), left_out)
        for name, part in (("cached_tokens", cached), ("cached and cache_write_tokens", cached + cache_write)):
            if part > counted:
                raise ValueError(f"{name} is {part}, more than the {counted} input tokens it is part of")
        return Tokens(counted, cached, answered, cache_write, audio)

    def _empty_shape(self) -> frozenset[str]:
        """The shape that is all zeros or nulls beside one that is not: it counts as absent."""
        responses, chat = (self.input_tokens, self.output_tokens), (self.prompt_tokens, self.completion_tokens)
        if any(responses) and not any(chat):
            return frozenset({"prompt", "completion"})
        return frozenset({"input", "output"}) if any(chat) and not any(responses) else frozenset()

    def _stated(
        self, places: Sequence[str], names: Sequence[str], flat: Sequence[str], left_out: frozenset[str]
    ) -> int:
        """A count that may stand in several places, all of which must agree; 0 where it stands in none."""
        stated = {name: getattr(self, name) for name in flat}
        for place in places:
            details = getattr(self, place)
            if details is not None and not (place.partition("_")[0] in left_out and _is_empty(details)):
                stated |= {f"{place}.{name}": getattr(details, name, None) for name in names}
        return _one(stated)


def _one(stated: Mapping[str, int | None]) -> int:
    """The one count that is stated, 0 where none is. Raises ValueError where two are not the same."""
    told = {name: value for name, value in stated.items() if value is not None}
    if len(set(told.values())) > 1:
        raise ValueError("contradicts itself: " + ", ".join(f"{name} is {value}" for name, value in told.items()))
    return next(iter(told.values()), 0)


def _is_empty(details: BaseModel) -> bool:
    return not any(value for _, value in details)


class ToolObject(_Incoming):
    """A tool as a request lists it."""

    type: Opaque


class UsageData(_NullIsAbsent):
    """What a request used."""

    project: ProjectName | None = None
    model: ModelId
    endpoint: Label = "responses"
    service_tier: Label = "default"
    batch: bool = False
    tools: Annotated[list[Opaque | ToolObject], Field(max_length=MAX_TOOLS), FailFast()] = Field(default_factory=list)
    shared: bool = False
    user_id: Opaque | None = None
    api_key_id: Opaque | None = None
    reservation: RequestId | None = None
    platform_verdict: Literal["free", "billed"] | None = None
    usage: Usage

    @property
    def said_by_the_platform(self) -> Literal["free", "billed"] | None:
        """The platform's own verdict: as stated, else by who pays in a Responses body that was sent as `data`."""
        billing = (self.model_extra or {}).get("billing")
        payer = billing.get("payer") if isinstance(billing, dict) else None
        return self.platform_verdict or (VERDICTS.get(payer) if isinstance(payer, str) else None)


VERDICTS: dict[str, Literal["free", "billed"]] = {"openai": "free", "developer": "billed"}
"""What `billing.payer` of a Responses body says."""
NOT_HASHED = {"usage", "shared", "reservation", "platform_verdict"}
"""Of an event's data: usage and `shared` are hashed by what they come to; the others may change in a repeat."""


class UsageEvent(_NullIsAbsent):
    """One CloudEvent. `id` and `time` are the sender's, never invented: they make a retry a repeat."""

    specversion: Literal["1.0"]
    type: Literal["usage.request", "usage.eval_run"]  # `usage.void` is VoidEvent
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    id: RequestId
    time: Annotated[datetime, BeforeValidator(_moment)]
    subject: Identifier
    data: UsageData

    def payload_hash(self) -> str:
        """SHA-256 over the validated event: what was used, by whom and when; not its source, not its bytes.

        Both usage shapes and any way to write the same moment give the same hash, and so does a field that is left
        out or given with its default. But `shared` is hashed as in the first release, whose default was true: a run
        that was decided then and comes again is a repeat.
        """
        payload = _DATA.to_python(self.data, mode="json", exclude=NOT_HASHED, exclude_defaults=True)
        if "shared" in self.data.model_fields_set and not self.data.shared:
            payload["shared"] = False
        payload["usage"] = self.data.usage.tokens.hashed
        parts = [self.type, self.subject, self.id, self.time.isoformat(), payload]
        return hashlib.sha256(_canonical(parts).encode()).hexdigest()


class VoidData(_NullIsAbsent):
    """Which request is taken back. `day`: the UTC day on which it occurred; `why`: for people."""

    request_id: RequestId
    day: Annotated[date, BeforeValidator(_day)]
    why: Annotated[str, Field(max_length=MAX_WHY)] | None = None


class VoidEvent(_NullIsAbsent):
    """One CloudEvent that takes back the decision on a request. SPEC section 2, "Voids"."""

    specversion: Literal["1.0"]
    type: Literal["usage.void"]
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    id: RequestId
    time: Annotated[datetime, BeforeValidator(_moment)]
    subject: Identifier
    data: VoidData

    def payload_hash(self) -> str:
        """SHA-256 over the validated event; not over its source, and not over its bytes."""
        payload = self.data.model_dump(mode="json", exclude_defaults=True)
        parts = [self.type, self.subject, self.id, self.time.isoformat(), payload]
        return hashlib.sha256(_canonical(parts).encode()).hexdigest()


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
        raise Rejected("invalid_event", f"event: is {len(text)} bytes of JSON; at most {MAX_EVENT_BYTES} are accepted")
    return text


def _is_json(raw: Any) -> bool:
    """Whether every number in it is one that JSON can write."""
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
        return _moment(raw.get("time")) if isinstance(raw, Mapping) else None
    except ValueError:
        return None


def check_age(occurred_at: datetime, now: datetime) -> None:
    """Raises Rejected: `in_the_future` over 5 min ahead of `now`, `too_old` past the dedupe horizon."""
    if occurred_at - now > AHEAD:
        said = f"time: {moment.text(occurred_at)} is over 5 minutes ahead of {moment.text(now)}"
        raise Rejected("in_the_future", said)
    if now - occurred_at > HORIZON:
        raise Rejected("too_old", f"time: {moment.text(occurred_at)} is over 35 days before {moment.text(now)}")


_DATA = TypeAdapter(UsageData).serializer
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
    shows_it = problem["type"] == "missing" or (problem["type"] == "value_error" and place == "data.usage")
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
