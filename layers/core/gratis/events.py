"""Usage events as they come in: CloudEvents 1.0 JSON, validated once, at the edge. SPEC section 5."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from gratis import moment
from gratis.account import IDENTIFIER, Identifier
from gratis.errors import Rejected
from gratis.request import AHEAD, REQUEST_ID, Request, Tokens

HORIZON = timedelta(days=35)
"""How old an event may be when it arrives: for that long its decision is kept to recognize a repeat."""
FIRST_YEAR, LAST_YEAR = 1970, 9000
MOST_TOKENS = 10**12
"""More than any request has; keeps every total far inside DynamoDB's 38 digits."""
MOST_BYTES = 80_000
"""Of one event, as compact JSON in ASCII: it fits a queue message whole."""

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _moment(value: object) -> datetime:
    """A moment with an offset, in UTC. Decimals past the microsecond are dropped."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be a moment with an offset, like 2025-03-11T09:15:00Z")
    stated = datetime.fromisoformat(value.upper())
    if not FIRST_YEAR <= stated.year <= LAST_YEAR:
        raise ValueError(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")
    return stated.astimezone(UTC)


MODEL_ID = r"^[A-Za-z0-9._:/-]{1,128}$"
RequestId = Annotated[str, Field(pattern=REQUEST_ID)]
ModelId = Annotated[str, Field(pattern=MODEL_ID)]
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:/ -]+$")]
Opaque = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class _Incoming(BaseModel):
    """Strict, and keeps unknown fields."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, fields: Any) -> Any:
        """Gateways send null for what they have no value for."""
        if not isinstance(fields, dict) or None not in fields.values():
            return fields
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in fields.items() if value is not None or name not in optional}


class InputDetails(_Incoming):
    """What is known of the input tokens."""

    cached_tokens: Count = 0


class OutputDetails(_Incoming):
    """What is known of the output tokens."""

    reasoning_tokens: Count = 0


class _Usage(_Incoming):
    total_tokens: Count

    def check(self, input_tokens: int, cached: int, output: int) -> None:
        if self.model_extra:
            self._check_other_shape(self.model_extra, input_tokens, output)
        if self.total_tokens != input_tokens + output:
            raise ValueError(
                f"total_tokens is {self.total_tokens}, but input {input_tokens} + output {output} is "
                f"{input_tokens + output}"
            )
        if cached > input_tokens:
            raise ValueError(f"cached_tokens is {cached}, more than the {input_tokens} input tokens it is part of")

    def _check_other_shape(self, extra: Mapping[str, Any], input_tokens: int, output: int) -> None:
        stated = {"input_tokens": input_tokens, "output_tokens": output}
        stated |= {"prompt_tokens": input_tokens, "completion_tokens": output}
        for name, value in extra.items():
            if value is not None and value != stated.get(name, value):
                raise ValueError(f"{name} is {_shown(value)}, but in the other shape it is {stated[name]}")


class ResponsesUsage(_Usage):
    """Usage as the Responses API reports it."""

    input_tokens: Count
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: Count
    output_tokens_details: OutputDetails = OutputDetails()

    @model_validator(mode="after")
    def _adds_up(self) -> "ResponsesUsage":
        self.check(self.input_tokens, self.input_tokens_details.cached_tokens, self.output_tokens)
        return self

    def tokens(self) -> Tokens:
        return Tokens(self.input_tokens, self.input_tokens_details.cached_tokens, self.output_tokens)


class ChatUsage(_Usage):
    """Usage as Chat Completions report it; embeddings leave `completion_tokens` out."""

    prompt_tokens: Count
    prompt_tokens_details: InputDetails = InputDetails()
    completion_tokens: Count = 0
    completion_tokens_details: OutputDetails = OutputDetails()

    @model_validator(mode="after")
    def _adds_up(self) -> "ChatUsage":
        self.check(self.prompt_tokens, self.prompt_tokens_details.cached_tokens, self.completion_tokens)
        return self

    def tokens(self) -> Tokens:
        return Tokens(self.prompt_tokens, self.prompt_tokens_details.cached_tokens, self.completion_tokens)


def _usage_shape(usage: Any) -> str:
    return "chat" if isinstance(usage, dict) and usage.get("prompt_tokens") is not None else "responses"


class ToolObject(_Incoming):
    """A tool as a request lists it."""

    type: Opaque


class UsageData(_Incoming):
    """What a request used."""

    project: Identifier | None = None
    model: ModelId
    endpoint: Label = "responses"
    service_tier: Label = "default"
    batch: bool = False
    tools: list[Opaque | ToolObject] = Field(default_factory=list)
    shared: bool = True
    user_id: Opaque | None = None
    api_key_id: Opaque | None = None
    usage: Annotated[
        Annotated[ResponsesUsage, Tag("responses")] | Annotated[ChatUsage, Tag("chat")],
        Discriminator(_usage_shape),
    ]


class UsageEvent(_Incoming):
    """One CloudEvent. `id` and `time` are the sender's, never invented: they make a retry a repeat."""

    specversion: Literal["1.0"]
    type: Literal["usage.request", "usage.eval_run"]
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    id: RequestId
    time: Annotated[datetime, BeforeValidator(_moment)]
    subject: Identifier
    data: UsageData

    def payload_hash(self) -> str:
        """SHA-256 over the validated event: what was used, by whom and when; not its source, not its bytes.

        Both usage shapes and any way to write the same moment give the same hash, and so does a field that is left
        out or given with its default.
        """
        tokens = self.data.usage.tokens()
        payload = self.data.model_dump(mode="json", exclude={"usage"}, exclude_defaults=True)
        payload["usage"] = [tokens.input, tokens.cached, tokens.output]
        parts = [self.type, self.subject, self.id, self.time.isoformat(), payload]
        return hashlib.sha256(_canonical(parts).encode()).hexdigest()


def parse_event(raw: Any, received_at: datetime) -> Request:
    """One decoded event as a request to decide. Raises Rejected, naming the field and the value."""
    compact(raw)  # replay and dead letters come past the webhook: what it refuses for its size is refused here too
    event = checked(raw, received_at)
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
        tokens=event.data.usage.tokens(),
        occurred_at=event.time,
        received_at=received_at,
        payload_hash=event.payload_hash(),
    )


def compact(raw: Any) -> str:
    """One decoded event as the queue carries it: JSON in ASCII, since SQS refuses some characters of Unicode.

    Raises Rejected for an event that is too large, or holds a number that is.
    """
    encoded = pydantic_core.to_json(raw)  # in a third less time than with ensure_ascii, and nearly always ASCII
    text = (encoded if encoded.isascii() else pydantic_core.to_json(raw, ensure_ascii=True)).decode()
    if "Infinity" in text and not _is_json(raw):
        raise Rejected("invalid_event", "event: holds a number that is too large for JSON")
    if len(text) > MOST_BYTES:
        raise Rejected("invalid_event", f"event: is {len(text)} bytes of JSON; at most {MOST_BYTES} are accepted")
    return text


def _is_json(raw: Any) -> bool:
    """Whether every number in it is one that JSON can write."""
    try:
        json.dumps(raw, allow_nan=False)
    except ValueError:
        return False
    return True


def checked(raw: Any, received_at: datetime) -> UsageEvent:
    """One decoded event, validated. Raises Rejected, naming the field and the value."""
    try:
        event: UsageEvent = _EVENT.validate_python(raw)
    except ValidationError as error:
        raise _rejected(error, raw) from None
    check_age(event.time, received_at)
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


_EVENT = TypeAdapter(UsageEvent).validator


MOST_NAMED = 3
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
    more = f" (and {len(said) - MOST_NAMED} more)" if len(said) > MOST_NAMED else ""
    return Rejected("invalid_event", "; ".join(said[:MOST_NAMED]) + more)


def _place(problem: Any) -> str:
    """Where in the event, as in `data.usage.input_tokens`."""
    return ".".join(str(part) for part in problem["loc"] if part not in _UNION_TAGS) or "event"


def _said(place: str, problem: Any) -> str:
    """A problem with its place, and the value unless the message holds the figures itself."""
    shows_it = problem["type"] == "missing" or (problem["type"] == "value_error" and place == "data.usage")
    return f"{place}: {_worded(problem)}" + ("" if shows_it else f": {_shown(problem['input'])}")


_UNION_TAGS = ("responses", "chat", "constrained-str", "ToolObject")
_ALPHABETS = {
    IDENTIFIER: "must be 1 to 64 letters, digits or . _ -",
    REQUEST_ID: "must be 1 to 256 letters, digits or . _ - : /",
    MODEL_ID: "must be 1 to 128 letters, digits or . _ - : /",
}


def _worded(problem: Any) -> str:
    """A problem in words for whoever sent the event."""
    if problem["type"] == "model_type":
        return "must be a JSON object"
    if problem["type"] == "string_pattern_mismatch":
        pattern: str = problem["ctx"]["pattern"]
        return _ALPHABETS.get(pattern, f"must match {pattern}")
    message: str = problem["msg"]
    return message.removeprefix("Value error, ")


def _shown(value: Any) -> str:
    """A value for an error message, cut to a length that a person reads."""
    text = pydantic_core.to_json(value, serialize_unknown=True).decode()
    return text if len(text) <= 120 else f"{text[:117]}..."
