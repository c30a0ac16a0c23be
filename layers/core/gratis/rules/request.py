"""One request to decide, as the rules see it: validated, typed, frozen."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Literal, NamedTuple

from gratis import moment

Kind = Literal["usage.request", "usage.eval_run", "usage.void"]
"""Of a decision. A request is one of the first two."""
REQUEST_ID = r"^[A-Za-z0-9._:/-]{1,256}$"
VOID = "~void"
"""What the id of a void has after the id of the request that it voids. No request id holds `~`."""
AHEAD = timedelta(minutes=5)
"""How far ahead of us a sender's clock may be."""


class RequestKey(NamedTuple):
    """What is decided exactly once: SPEC section 3, promise 3."""

    organization: str
    day: date
    request_id: str


def void_of(key: RequestKey) -> RequestKey:
    """The key of the void of a request."""
    return key._replace(request_id=f"{key.request_id}{VOID}")


def voided_by(key: RequestKey) -> RequestKey:
    """The key of the request whose void has this one."""
    return key._replace(request_id=key.request_id.removesuffix(VOID))


class Tokens(NamedTuple):
    """Token counts of a request. `cached` and `cache_write` are part of `input`; reasoning is part of `output`.

    `audio`: of both; they have a price of their own, which the price table does not know.
    """

    input: int
    cached: int
    output: int
    cache_write: int = 0
    audio: int = 0

    @property
    def hashed(self) -> list[int]:
        """What a payload's hash is made of. A count that a later release added is left out where it is 0."""
        counts = [self.input, self.cached, self.output, self.cache_write, self.audio]
        while len(counts) > 3 and not counts[-1]:
            counts.pop()
        return counts

    @property
    def total(self) -> int:
        """What counts against a quota."""
        return self.input + self.output


class Request(NamedTuple):
    """A validated usage event.

    `shared`: whether the members share this evaluation run; `reservation`: the one that it settles, by its id;
    `platform_verdict`: what the platform itself says, which never decides.
    """

    kind: Kind
    organization: str
    id: str
    project: str | None
    model: str
    endpoint: str
    service_tier: str
    batch: bool
    tools: tuple[str, ...]
    shared: bool
    tokens: Tokens
    occurred_at: datetime
    received_at: datetime
    payload_hash: str
    reservation: str | None = None
    platform_verdict: Literal["free", "billed"] | None = None

    @property
    def is_run(self) -> bool:
        """Whether this is an evaluation run."""
        return self.kind == "usage.eval_run"

    @property
    def day(self) -> date:
        """The UTC day of `occurred_at`."""
        return moment.day_of(self.occurred_at)

    @property
    def key(self) -> RequestKey:
        """What is decided once."""
        return RequestKey(self.organization, self.day, self.id)


@dataclass(frozen=True)
class Void:
    """A validated event that takes back the decision on a request. SPEC section 2, "Voids".

    `day`: the UTC day of the request; `payload_hash`: of this event.
    """

    organization: str
    id: str
    request_id: str
    day: date
    received_at: datetime
    payload_hash: str

    @property
    def voided(self) -> RequestKey:
        """The request whose decision is taken back."""
        return RequestKey(self.organization, self.day, self.request_id)

    @cached_property
    def key(self) -> RequestKey:
        """There is one void of a request, whatever the ids of the events that ask for it."""
        return void_of(self.voided)

    @property
    def occurred_at(self) -> datetime:
        """The last moment at which the request can have occurred: how long its decision is there depends on that."""
        return moment.midnight(self.day) + moment.DAY - datetime.resolution
