"""What a usage event says: the models of CloudEvents 1.0 JSON. SPEC section 5.

`events.py` validates by them. `account_api` takes a part of them in some bodies, and starts without building any.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator

from gratis.rules.names import PRINTABLE, Identifier, ProjectName
from gratis.rules.request import REQUEST_ID, Tokens

FIRST_YEAR, LAST_YEAR = 1970, 9000
MAX_TOKENS = 10**12
"""More than any request has; keeps every total far inside DynamoDB's 38 digits."""
MAX_WHY = 1000
"""Characters of what a void says of its cause."""

_PRICED_APART = re.compile(r"(?i)^(?!.*(miss|uncach|non_?cach|ttl|second|_at$|hit$)).*cach|audio_?tokens")
"""In the name of a count that has a price of its own; what was not cached, and what counts no tokens, has none."""
_WRITTEN = re.compile(r"(?i)writ|creat")
"""In the name of a count of what was written to the cache."""
OTHER_PROVIDER = "/"
"""In the name of a model: what stands before it is another provider, whose models have no price here."""
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def moment_stated(value: object) -> datetime:
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
    """A part of an event: types are strict, unknown fields are kept.

    Built when it is first needed, as a part of another model or by itself.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", defer_build=True)


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
    cache_read: Count | None = None
    flex_cache_read: Count | None = None
    priority_cache_read: Count | None = None
    cache_write_tokens: Count | None = None
    cache_creation_tokens: Count | None = None
    cache_creation: Count | None = None
    audio_tokens: Count | None = None
    audio: Count | None = None


class OutputDetails(_Incoming):
    """What is known of the output tokens. All are part of the output."""

    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None
    audio: Count | None = None


INPUT_DETAILS = ("input_tokens_details", "input_token_details", "prompt_tokens_details", "prompt_token_details")
OUTPUT_DETAILS = (
    *("output_tokens_details", "output_token_details"),
    *("completion_tokens_details", "completion_token_details"),
)
DETAILS = (*INPUT_DETAILS, *OUTPUT_DETAILS)
RESPONSES = frozenset({"input_tokens", "output_tokens", *INPUT_DETAILS[:2], *OUTPUT_DETAILS[:2]})
CHAT = frozenset({"prompt_tokens", "completion_tokens", *INPUT_DETAILS[2:], *OUTPUT_DETAILS[2:]})
"""The fields of usage as the Responses API states it, and as Chat Completions do."""


def _within(places: Sequence[str], *names: str) -> list[str]:
    return [f"{place}.{name}" for place in places for name in names]


NAMES = {
    "input": ["input_tokens", "prompt_tokens"],
    "output": ["output_tokens", "completion_tokens"],
    "cached": [
        *("cached_tokens", "cached_input_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens"),
        *_within(INPUT_DETAILS, "cached_tokens", "cache_read_tokens"),
        *_within(INPUT_DETAILS, "cache_read", "flex_cache_read", "priority_cache_read"),
    ],
    "cache_write": [
        *("cache_write_tokens", "cache_write_input_tokens", "cache_creation_input_tokens"),
        *_within(INPUT_DETAILS, "cache_write_tokens", "cache_creation_tokens", "cache_creation"),
    ],
    "input_audio": _within(INPUT_DETAILS, "audio_tokens", "audio"),
    "output_audio": _within(OUTPUT_DETAILS, "audio_tokens", "audio"),
}
"""Where platforms, gateways and LangChain (without `_tokens`, the tier before it) state each count that we read."""
_COUNT_OF = {name: count for count, names in NAMES.items() for name in names}


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
        stated = self._stated()
        if "input" not in stated:
            raise ValueError("names neither input_tokens nor prompt_tokens")
        counted = _one(stated["input"])
        if "input_tokens" in stated["input"] and self.output_tokens is None:
            raise ValueError("names input_tokens, but no output_tokens")
        answered = _one(stated.get("output"))
        if self.total_tokens != counted + answered:
            raise ValueError(
                f"total_tokens is {self.total_tokens}, but input {counted} + output {answered} is {counted + answered}"
            )
        cached, cache_write = _one(stated.get("cached")), _one(stated.get("cache_write"))
        audio = _one(stated.get("input_audio")) + _one(stated.get("output_audio"))
        for name, part in (("cached_tokens", cached), ("cached and cache_write_tokens", cached + cache_write)):
            if part > counted:
                raise ValueError(f"{name} is {part}, more than the {counted} input tokens it is part of")
        return Tokens(counted, cached, answered, cache_write, audio)

    def _stated(self) -> Mapping[str, Mapping[str, int]]:
        """By count, the places that state it, each with its figure."""
        found: dict[str, dict[str, int]] = {}
        absent = self._absent_shape()
        for name, value in self.__dict__.items():
            if value is None or (name in absent and _is_empty(value)):
                continue
            named = {name: value} if isinstance(value, int) else _by_place(name, value)
            for place, count in named.items():
                if place in _COUNT_OF:
                    found.setdefault(_COUNT_OF[place], {})[place] = count
        return found

    def not_understood(self) -> Iterator[str]:
        """Counts of cached input and of audio under other names, of more than is known by those that are read."""
        yield from self._beyond_what_is_read(self, "")
        for place in DETAILS:
            if (details := getattr(self, place)) is not None:
                yield from self._beyond_what_is_read(details, f"{place}.")

    def _beyond_what_is_read(self, part: BaseModel, place: str) -> Iterable[str]:
        extra = part.model_extra
        if not extra:
            return ()
        named = (name for name, value in extra.items() if type(value) is int and value > self._read_as(name))
        return (f"{place}{name}" for name in named if _PRICED_APART.search(name))

    def _read_as(self, name: str) -> int:
        """What is read of the kind of count that a name tells."""
        if "audio" in name.lower():
            return self.tokens.audio
        return self.tokens.cache_write if _WRITTEN.search(name) else self.tokens.cached

    def _absent_shape(self) -> frozenset[str]:
        """The fields of the shape that is all zeros or nulls beside one that is not: it counts as absent."""
        responses, chat = (self.input_tokens, self.output_tokens), (self.prompt_tokens, self.completion_tokens)
        if any(responses) and not any(chat):
            return CHAT
        return RESPONSES if any(chat) and not any(responses) else frozenset()


def _one(stated: Mapping[str, int] | None) -> int:
    """The one count that is stated, 0 where none is. Raises ValueError where two are not the same."""
    if not stated:
        return 0
    if len(set(stated.values())) > 1:
        raise ValueError("contradicts itself: " + ", ".join(f"{name} is {value}" for name, value in stated.items()))
    return next(iter(stated.values()))


def _by_place(name: str, details: BaseModel) -> dict[str, int]:
    return {f"{name}.{each}": count for each, count in details.__dict__.items() if count is not None}


def _is_empty(stated: int | BaseModel) -> bool:
    return not (stated if isinstance(stated, int) else any(value for _, value in stated))


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

    @model_validator(mode="after")
    def _prices_every_count(self) -> Self:
        """A count that changes the price is priced or refused by name, never ignored."""
        unknown = next(self.usage.not_understood(), None) if self.usage else None
        if unknown and OTHER_PROVIDER not in self.model:
            raise ValueError(f"usage.{unknown} has a price of its own, and is no name of a count that is known")
        return self

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
    time: Annotated[datetime, BeforeValidator(moment_stated)]
    subject: Identifier
    data: UsageData

    def payload_hash(self) -> str:
        """SHA-256 over the validated event: what was used, by whom and when; not its source, not its bytes.

        Both usage shapes and any way to write the same moment give the same hash, and so does a field that is left
        out or given with its default. But `shared` is hashed as in the first release, whose default was true: a run
        that was decided then and comes again is a repeat.
        """
        payload = self.data.model_dump(mode="json", exclude=NOT_HASHED, exclude_defaults=True)
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
    time: Annotated[datetime, BeforeValidator(moment_stated)]
    subject: Identifier
    data: VoidData

    def payload_hash(self) -> str:
        """SHA-256 over the validated event; not over its source, and not over its bytes."""
        payload = self.data.model_dump(mode="json", exclude_defaults=True)
        parts = [self.type, self.subject, self.id, self.time.isoformat(), payload]
        return hashlib.sha256(_canonical(parts).encode()).hexdigest()
