"""Takes events of the bus to the endpoints that want them, and decides what becomes of each attempt. SPEC section 5.

What if this dies on any line, runs twice, or two of it run at once? The queue hands its message over again, and the
endpoint may get an event twice, under one `webhook-id`. An endpoint's deliveries are one message group: it is called
for one event at a time, so a slow one delays no other.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis import moment
from gratis.errors import Busy
from gratis.outgoing.deliveries import Attempt, Deliveries, Delivery
from gratis.outgoing.endpoints import GIVE_UP, Endpoint, Endpoints
from gratis.outgoing.targets import Answer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

TEST = "test"
"""The type of the event that an owner asks for."""
DELAYS = tuple(timedelta(seconds=each) for each in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400))
"""Between an event's attempts: three days and a few hours in all. Source: Standard Webhooks 1.0."""
GONE = 410
"""The endpoint wants nothing more (Standard Webhooks)."""
Send = Callable[[str, Mapping[str, str], bytes], Answer]


@dataclass
class Sent:
    """What became of a call's work, for its metrics."""

    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    put_off: int = 0
    disabled: list[str] = field(default_factory=list)


class Sender:
    """Sends what is queued. `send`: makes an attempt; `now`: the clock."""

    def __init__(
        self, endpoints: Endpoints, deliveries: Deliveries, queue: "Queue", send: Send, now: Callable[[], datetime]
    ) -> None:
        self.endpoints = endpoints
        self.deliveries = deliveries
        self.queue = queue
        self.send = send
        self.now = now

    def spread(self, event: Mapping[str, Any]) -> int:
        """Queue an event of the bus for each endpoint that wants it; says for how many. Raises Busy."""
        kind, detail = event["detail-type"], event["detail"]
        wanted = [each for each in self.endpoints.of(detail["organization"]) if each.is_enabled and kind in each.types]
        for each in wanted:
            timestamp = event.get("time") or moment.text(self.now())
            self.queue.put(Delivery(each.organization, each.id, event_id(kind, detail), kind, timestamp, detail))
        return len(wanted)

    def deliver(self, delivery: Delivery, sent: Sent) -> None:
        """Make an attempt, unless the endpoint is gone, disabled, or left alone for now. Raises Busy."""
        endpoint, now = self.endpoints.get(delivery.organization, delivery.endpoint), self.now()
        if endpoint is None or not endpoint.is_enabled:
            return
        quiet_until = moment.parse(endpoint.quiet_until) if endpoint.quiet_until else now
        if now < quiet_until:
            self.deliveries.wait(delivery, quiet_until, now)
            sent.put_off += 1
            return
        body = delivery.body()
        answer = self.send(endpoint.url, _headers(endpoint, delivery, body, now), body)
        after = self.now()
        took = int((after - now) / timedelta(milliseconds=1))
        made = replace(delivery, attempts=delivery.attempts + 1, first_at=delivery.first_at or moment.text(now))
        if answer.is_success:
            self._succeeded(made, answer, took, sent)
        else:
            self._failed(made, answer, took, sent)

    def queue_due(self, is_over: Callable[[], bool] = lambda: False) -> int:
        """Queue what is due again, until `is_over`; says how much. Raises Busy."""
        count = 0
        for key, delivery in self.deliveries.due(self.now()):
            if is_over():
                break
            self.queue.put(delivery, key["sk"]["S"])
            self.deliveries.forget(key)
            count += 1
        return count

    def _succeeded(self, delivery: Delivery, answer: Answer, took: int, sent: Sent) -> None:
        now = self.now()
        self.endpoints.change(delivery.organization, delivery.endpoint, lambda each: each.succeeded(now))
        self._log(delivery, answer, took, "delivered")
        sent.delivered += 1

    def _failed(self, delivery: Delivery, answer: Answer, took: int, sent: Sent) -> None:
        now, first = self.now(), moment.parse(delivery.first_at or "")
        if answer.status == GONE:
            self._disable(delivery, f"it answered {GONE}: nothing more is wanted", sent)
            self._log(delivery, answer, took, "given_up")
        elif delivery.attempts > len(DELAYS) or now - first >= GIVE_UP:
            self._give_up(delivery, first, sent)
            self._log(delivery, answer, took, "given_up")
        else:
            self.endpoints.change(delivery.organization, delivery.endpoint, lambda each: each.failed(now))
            due = now + DELAYS[delivery.attempts - 1]
            self.deliveries.wait(delivery, due, now)
            self._log(delivery, answer, took, "retry", moment.text(due))
        sent.failed += 1

    def _give_up(self, delivery: Delivery, first: datetime, sent: Sent) -> None:
        """No more attempts. An endpoint that took nothing else meanwhile is disabled."""
        endpoint = self.endpoints.get(delivery.organization, delivery.endpoint)
        took = endpoint.last_success_at if endpoint else None
        took_others = took is not None and moment.parse(took) >= first
        if not took_others:
            days = GIVE_UP // timedelta(days=1)
            self._disable(delivery, f"nothing was taken for {days} days; enable it again when it is mended", sent)
        sent.given_up += 1

    def _disable(self, delivery: Delivery, why: str, sent: Sent) -> None:
        self.endpoints.change(delivery.organization, delivery.endpoint, lambda each: each.disabled(why))
        sent.disabled.append(f"{delivery.organization}/{delivery.endpoint}")

    def _log(self, delivery: Delivery, answer: Answer, took: int, outcome: str, next_at: str | None = None) -> None:
        now = self.now()
        attempt = Attempt(
            moment.text(now),
            delivery.event_id,
            delivery.type,
            delivery.attempts,
            outcome,
            answer.status,
            answer.error,
            took,
            next_at,
        )
        self.deliveries.log(delivery, attempt, now)


class Queue:
    """The queue of deliveries, one message group an endpoint."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    def put(self, delivery: Delivery, due: str = "") -> None:
        """Queue an attempt. Raises Busy.

        `due`: since when, if it had to wait. The queue drops what comes again within five minutes under the same id:
        a delivery that is put off may come back unchanged, and is then none of these.
        """
        text = delivery.text()
        try:
            self._client.send_message(
                QueueUrl=self._url,
                MessageBody=text,
                MessageGroupId=f"{delivery.organization}/{delivery.endpoint}",
                MessageDeduplicationId=hashlib.sha256((text + due).encode()).hexdigest(),
            )
        except (ClientError, BotoCoreError) as error:
            raise Busy(f"the queue of deliveries does not answer: {error}") from error


def trial(endpoint: Endpoint, now: datetime) -> Delivery:
    """An event that says nothing, for an owner who wants to see one arrive."""
    when = moment.text(now)
    data = {"organization": endpoint.organization, "message": "This is a test of your webhook."}
    name = f"evt_test_{secrets.token_hex(10)}"
    return Delivery(endpoint.organization, endpoint.id, name, TEST, when, data)


def event_id(kind: str, detail: Mapping[str, Any]) -> str:
    """The `webhook-id`, the same whenever an event comes again: from what the bus calls it, or from its records."""
    named: Iterable[str] = [detail["id"]] if "id" in detail else (each["id"] for each in detail.get("records", ()))
    return f"evt_{hashlib.sha256(json.dumps([kind, *named]).encode()).hexdigest()[:32]}"


def _headers(endpoint: Endpoint, delivery: Delivery, body: bytes, now: datetime) -> dict[str, str]:
    """Standard Webhooks: the signature is over id, time of the attempt, and body."""
    timestamp = str(int(now.timestamp()))
    key = base64.b64decode(endpoint.secret.removeprefix("whsec_"))
    signed = f"{delivery.event_id}.{timestamp}.".encode() + body
    digest = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "content-type": "application/json",
        "user-agent": "gratis",
        "webhook-id": delivery.event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{digest}",
    }
