"""What receive_usage takes for a batch of 100 events, beside pydantic's validation of it and one HMAC."""

import base64
import hashlib
import hmac
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from standardwebhooks.webhooks import Webhook

from benchmarks.traffic import Sender
from gratis.intake.event_models import UsageEvent
from gratis_local.functions import Context, module_of
from gratis_local.stack import client_for

EVENTS = 100
SECRET = b"0123456789abcdef0123456789abcdef"
ROUNDS = 300


@dataclass(frozen=True)
class Receiving:
    """CPU microseconds an event; one figure a round, all measured in each."""

    function: Sequence[float]
    sending: Sequence[float]
    """Of it in the SDK's call to SQS."""
    floor: Sequence[float]
    """JSON in, validated models out, and one HMAC over the body."""

    @property
    def ratios(self) -> list[float]:
        """How many times the floor the whole function takes."""
        return [whole / floor for whole, floor in zip(self.function, self.floor, strict=True)]

    @property
    def sending_ratios(self) -> list[float]:
        """How many times the floor the SDK's call to SQS takes."""
        return [sending / floor for sending, floor in zip(self.sending, self.floor, strict=True)]

    @property
    def own_ratios(self) -> list[float]:
        """How many times the floor the rest takes: all that the function does itself."""
        return [whole - sending for whole, sending in zip(self.ratios, self.sending_ratios, strict=True)]


def receiving(endpoint_url: str, rounds: int = ROUNDS) -> Receiving:
    """Post the same signed batch again and again to the real function, on the engine's queue and secrets."""
    secret = f"whsec_{base64.b64encode(SECRET).decode()}"
    os.environ |= _resources(endpoint_url, secret)
    function = module_of("receive_usage")
    request, body = _request(secret)
    events = TypeAdapter(list[UsageEvent])
    sqs = function.intake().client
    send, sending = sqs.send_message_batch, []

    def timed_send(**call: Any) -> Any:
        start = time.process_time()
        try:
            return send(**call)
        finally:
            sending.append(_us_an_event(time.process_time() - start))

    def receive() -> None:
        answer = function.handler(request, Context("receive_usage"))
        if answer["statusCode"] != 202:
            raise AssertionError(f"the batch was not taken: {answer}")

    def floor() -> None:
        events.validate_json(body)
        hmac.new(SECRET, body, hashlib.sha256).digest()

    receive()
    sqs.send_message_batch = timed_send
    pairs = [(_cpu_us(receive), _cpu_us(floor)) for _ in range(rounds)]
    return Receiving([function for function, _ in pairs], sending, [floor for _, floor in pairs])


def _cpu_us(work: Callable[[], None]) -> float:
    """CPU microseconds an event."""
    start = time.process_time()
    work()
    return _us_an_event(time.process_time() - start)


def _us_an_event(seconds: float) -> float:
    return seconds / EVENTS * 1e6


def _resources(endpoint_url: str, secret: str) -> dict[str, str]:
    """A queue and a secret as template.yaml describes them, by the variables that name them to the function."""
    fifo = {"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    queue = client_for(endpoint_url, "sqs").create_queue(QueueName="gratis-benchmark.fifo", Attributes=fifo)
    client_for(endpoint_url, "secretsmanager").create_secret(Name="gratis-benchmark", SecretString=secret)
    return {"USAGE_QUEUE": queue["QueueUrl"], "WEBHOOK_SECRET": "gratis-benchmark"}


def _request(secret: str) -> tuple[dict[str, Any], bytes]:
    """The HTTP API's event, as Lambda hands it on (the body in base64), and the body."""
    sender, dice, now = Sender("org_received"), random.Random(6), datetime.now(UTC)
    body = json.dumps([sender.event(number, dice) for number in range(EVENTS)], separators=(",", ":"))
    headers = {
        "content-type": "application/cloudevents-batch+json",
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body),
    }
    encoded = base64.b64encode(body.encode()).decode()
    event = {"rawPath": "/v1/usage-events", "headers": headers, "body": encoded, "isBase64Encoded": True}
    return event, body.encode()
