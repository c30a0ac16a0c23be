"""What comes in: usage events and voids, the requests that they are read as, and the messages that carry them."""

import base64
import json
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import count
from typing import Any

from gratis.intake.events import parse_event
from gratis.intake.messages import Message
from gratis.rules.request import Kind, Request, Tokens

LARGE = "gpt-4o-2024-08-06"
"""Of group 1m; at tier 4 its quota is 1,000,000 tokens."""
SMALL = "gpt-4o-mini-2024-07-18"
"""Of group 10m; at tier 4 its quota is 10,000,000 tokens."""
DAY = date(2025, 3, 11)
RECEIVED = datetime(2025, 3, 11, 23, 30, tzinfo=UTC)
_NUMBERS = count(1)


def at(written: str) -> datetime:
    """A moment in UTC: `2025-03-11T09:15`."""
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


# --- events --------------------------------------------------------------------------------------------------------


def usage_event(**fields: Any) -> dict[str, Any]:
    """A CloudEvent as senders post it. `fields` replace those of the envelope."""
    return {
        "specversion": "1.0",
        "type": "usage.request",
        "source": "https://gateway.example",
        "id": "req_001",
        "time": "2025-03-11T09:15:00Z",
        "subject": "org_demo",
        "data": usage_data(),
    } | fields


def usage_data(**fields: Any) -> dict[str, Any]:
    """The `data` of an event. `fields` replace its own."""
    return {"project": "proj_web", "model": LARGE, "usage": responses_usage(90_000, 30_000)} | fields


def responses_usage(input_tokens: int, output: int, *, cached: int = 0) -> dict[str, Any]:
    """Usage in the shape of the Responses API."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output,
    }


def chat_usage(input_tokens: int, output: int, *, cached: int = 0) -> dict[str, Any]:
    """Usage in the shape of Chat Completions."""
    return {
        "prompt_tokens": input_tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens": output,
        "completion_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output,
    }


def counts(input_tokens: int, output: int = 0) -> dict[str, Any]:
    """Usage without details."""
    return {"input_tokens": input_tokens, "output_tokens": output, "total_tokens": input_tokens + output}


def usage(
    request_id: str,
    tokens: int = 1000,
    *,
    organization: str = "org_a",
    at: str = "2025-03-11T09:00:00Z",
    kind: str = "usage.request",
    model: str = LARGE,
    **data: Any,
) -> dict[str, Any]:
    """A usage event of `tokens` tokens, all of them input; an evaluation run is shared unless `data` says otherwise."""
    shared = {"shared": True} if kind == "usage.eval_run" else {}
    data = {"model": model, "usage": counts(tokens), **shared, **data}
    return usage_event(id=request_id, subject=organization, time=at, type=kind, data=data)


def used(
    input_tokens: int = 1000,
    output: int = 0,
    *,
    cached: int = 0,
    cache_write: int = 0,
    at: str = "2025-03-12T09:00:00Z",
    id: str | None = None,  # noqa: A002 - as in an event
    **fields: Any,
) -> dict[str, Any]:
    """A usage event with an id of its own."""
    event = usage(id or f"req_{next(_NUMBERS)}", at=at, **fields)
    details = {"cached_tokens": cached} | ({"cache_write_tokens": cache_write} if cache_write else {})
    event["data"]["usage"] = counts(input_tokens, output) | {"input_tokens_details": details}
    return event


def billed(*figures: int, **fields: Any) -> dict[str, Any]:
    """A usage event that is billed whatever the counter holds."""
    return used(*figures, tools=["web_search"], **fields)


def void_of(event: Any, void_id: str) -> dict[str, Any]:
    """An event that takes back the decision on the request of another event."""
    voided = {"request_id": event["id"], "day": event["time"][:10]}
    return event | {"type": "usage.void", "id": void_id, "data": voided}


def void(request_id: str, day: date = DAY, **more: Any) -> dict[str, Any]:
    """An event of org_a that takes back the decision on a request."""
    data = {"request_id": request_id, "day": day.isoformat(), "why": "sent twice by mistake"}
    return usage(f"void_{next(_NUMBERS)}") | {"type": "usage.void", "data": data} | more


def incompressible(size: int, seed: int = 1) -> str:
    """Text of about that size that no packing makes much smaller."""
    return base64.b64encode(random.Random(seed).randbytes(size * 3 // 4)).decode()


# --- requests ------------------------------------------------------------------------------------------------------


def request_of(event: Any, received_at: datetime = RECEIVED) -> Request:
    return parse_event(event, received_at)


def request(
    tokens: int | Tokens = 1000,
    when: str | datetime = "2025-03-11T09:15",
    *,
    kind: Kind = "usage.request",
    id: str | None = None,  # noqa: A002 - as in Request
    project: str | None = "proj_web",
    model: str = LARGE,
    endpoint: str = "responses",
    service_tier: str = "default",
    batch: bool = False,
    tools: Sequence[str] = (),
    shared: bool = True,
) -> Request:
    """A validated request, received as it occurred; its id is new. A plain number of tokens is all input."""
    occurred_at = at(when) if isinstance(when, str) else when
    return Request(
        kind=kind,
        organization="org_demo",
        id=id or f"req_{next(_NUMBERS)}",
        project=project,
        model=model,
        endpoint=endpoint,
        service_tier=service_tier,
        batch=batch,
        tools=tuple(tools),
        shared=shared,
        tokens=tokens if isinstance(tokens, Tokens) else Tokens(tokens, 0, 0),
        occurred_at=occurred_at,
        received_at=occurred_at,
        payload_hash="0" * 64,
    )


def eval_run(when: str | datetime = "2025-03-11T09:15", tokens: int | Tokens = 1000, **fields: Any) -> Request:
    """An evaluation run."""
    return request(tokens, when, kind="usage.eval_run", **fields)


# --- messages ------------------------------------------------------------------------------------------------------


def message(message_id: str, *events: Any, group: str = "org_a", received_at: datetime = RECEIVED) -> Message:
    return Message(message_id, group, json.dumps(events), received_at)


def record(message_id: str, *events: Any, group: str = "org_a", body: str | None = None) -> dict[str, Any]:
    """A record of Lambda's SQS event, as a FIFO queue gives it."""
    return {
        "messageId": message_id,
        "receiptHandle": f"receipt-{message_id}",
        "body": json.dumps(events) if body is None else body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(int(RECEIVED.timestamp() * 1000) + 5),
            "MessageGroupId": group,
            "MessageDeduplicationId": f"hash-{message_id}",
        },
        "messageAttributes": {"received_at": {"dataType": "String", "stringValue": "2025-03-11T23:30:00Z"}},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:usage.fifo",
        "awsRegion": "us-east-1",
    }
