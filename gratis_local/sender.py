"""Posts events to a deployed webhook, signed as Standard Webhooks says."""

import json
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import urllib3
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from gratis import moment
from gratis.intake.events import moment_of
from gratis.intake.messages import pack
from gratis.intake.receive import Received

MAX_BODY_BYTES = 3_000_000
"""Of one request: the webhook takes 4 MB."""
SECONDS = 30
AGAIN = urllib3.Retry(
    6,
    redirect=0,
    allowed_methods=None,
    status_forcelist=(429, 500, 502, 503, 504),
    backoff_factor=0.2,
    raise_on_status=False,
)
"""An event that comes twice is decided once, so whatever was not answered is sent again, for about ten seconds."""


class NotTaken(Exception):
    """The webhook did not answer 202; the message says what it answered."""


def send(events: Sequence[Any], url: str, secret: str, progress: Callable[[int], None] = lambda _: None) -> Received:
    """Post `events` in order, up to 100 a request; what was refused keeps its index. Raises NotTaken."""
    if not url.startswith(("http://", "https://")):
        raise NotTaken(f"{url!r} is no URL like https://api.example/v1")
    try:
        webhook = Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        raise NotTaken("the webhook's secret is not base64 (whsec_...)") from None
    sent = Received()
    with urllib3.PoolManager(timeout=SECONDS) as pool:
        start = 0
        for body in pack(map(json.dumps, events), MAX_BODY_BYTES):
            answer = _post(pool, webhook, url, body)
            sent.accepted += answer["accepted"]
            sent.quarantined += [each | {"index": start + each["index"]} for each in answer["quarantined"]]
            taken = answer["accepted"] + len(answer["quarantined"])
            start += taken
            progress(taken)
    return sent


def moved(events: Sequence[Any], to_day: date) -> list[Any]:
    """The events with every time moved by the same whole days, so that the latest falls on `to_day`."""
    times = [when for event in events if (when := moment_of(event))]
    if not times:
        return list(events)
    by = to_day - moment.day_of(max(times))
    return [{**event, "time": moment.text(when + by)} if (when := moment_of(event)) else event for event in events]


def _post(pool: urllib3.PoolManager, webhook: Webhook, url: str, body: str) -> dict[str, Any]:
    message_id, now = f"msg_{uuid.uuid4().hex}", datetime.now(UTC)
    headers = {
        "content-type": "application/cloudevents-batch+json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign(message_id, now, body),
    }
    try:
        answer = pool.request("POST", url, body=body.encode(), headers=headers, retries=AGAIN)
    except urllib3.exceptions.HTTPError as error:
        raise NotTaken(f"{url} does not answer: {_why(error)}") from None
    if answer.status != 202:
        raise NotTaken(f"{url} answered {answer.status}: {answer.data[:500].decode(errors='replace')}")
    content: dict[str, Any] = answer.json()
    return content


def _why(error: urllib3.exceptions.HTTPError) -> str:
    """The error's cause, in the operating system's words where there are any."""
    reason = getattr(error, "reason", None) or error
    cause = reason.__cause__ or reason.args[-1]
    return (isinstance(cause, OSError) and cause.strerror) or str(reason.args[-1])
