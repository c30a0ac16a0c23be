"""What is asked before a request is sent: the body of a check and of a reservation. SPEC section 5."""

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gratis.intake.event_models import Count, RequestId, Usage, UsageData
from gratis.rules.decision import price_of
from gratis.rules.request import Request, Tokens
from gratis.rules.reservation import MAX_LIFE

NO_ID = "-"
"""The id of a request that is only asked about."""


class Asked(UsageData):
    """An event's `data`, with `usage` or just `tokens`."""

    type: Literal["usage.request", "usage.eval_run"] = "usage.request"
    usage: Usage | None = None  # type: ignore[assignment]  # here it may be left out
    tokens: Count | None = None

    @model_validator(mode="after")
    def _is_counted_once(self) -> Self:
        if (self.usage is None) == (self.tokens is None):
            raise ValueError("takes either usage or tokens")
        return self

    @property
    def total(self) -> int:
        """Tokens in all."""
        return self.usage.tokens.total if self.usage else self.tokens or 0


class Wanted(Asked):
    """A reservation. `id`: the request id to come; `expires_in`: seconds."""

    id: RequestId
    expires_in: Annotated[int, Field(ge=1, le=int(MAX_LIFE.total_seconds()))] = 600

    def hash(self) -> str:
        """Of all that it says; a field that is left out is one that holds its default."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def request_of(asked: Asked, organization: str, now: datetime) -> Request:
    """The request as if it came now. Of `tokens` alone none is cached, and all are of the dearer kind."""
    request = Request(
        kind=asked.type,
        organization=organization,
        id=asked.id if isinstance(asked, Wanted) else NO_ID,
        project=asked.project,
        model=asked.model,
        endpoint=asked.endpoint,
        service_tier=asked.service_tier,
        batch=asked.batch,
        tools=tuple(tool if isinstance(tool, str) else tool.type for tool in asked.tools),
        shared=asked.shared,
        tokens=asked.usage.tokens if asked.usage else Tokens(asked.total, 0, 0),
        occurred_at=now,
        received_at=now,
        payload_hash="",
        reservation=None if isinstance(asked, Wanted) else asked.reservation,
    )
    return request if asked.usage else _as_dearer(request)


def _as_dearer(request: Request) -> Request:
    """The request with all its tokens as output, where that costs more."""
    price, as_output = price_of(request), Tokens(0, 0, request.tokens.total)
    if price is None:
        return request
    amounts = price.amount(request.tokens), price.amount(as_output)
    return request._replace(tokens=as_output) if (amounts[1] or 0) > (amounts[0] or 0) else request
