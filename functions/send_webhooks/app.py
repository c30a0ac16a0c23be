"""send_webhooks: takes the bus's events to the endpoints that organizations registered."""

import gratis.startup  # noqa: F401 - before all others

# isort: split
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis.config import QUICK, dynamodb
from gratis.errors import Busy
from gratis.outgoing.deliveries import Deliveries, Delivery
from gratis.outgoing.endpoints import Endpoints
from gratis.outgoing.sending import Queue, Sender, Sent
from gratis.outgoing.targets import send
from gratis.telemetry import NAMESPACE, report_sent

RESERVE_MS = 5_000
"""What is left of a call when it stops to queue what is due."""

logger = Logger(service="send_webhooks")
metrics = Metrics(namespace=NAMESPACE, service="send_webhooks")


@cache
def sender() -> Sender:
    client, table = dynamodb(), os.environ["LEDGER_TABLE"]
    queue = Queue(boto3.client("sqs", config=QUICK), os.environ["DELIVERY_QUEUE"])
    attempt = partial(send, loopback=os.environ.get("WEBHOOK_TARGETS") == "loopback")
    return Sender(Endpoints(client, table), Deliveries(client, table), queue, attempt, partial(datetime.now, UTC))


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """From the bus: queue an event for its endpoints. From that queue: send. From the schedule: queue what is due."""
    if "Records" not in event:
        return {"queued": sender().queue_due(lambda: context.get_remaining_time_in_millis() < RESERVE_MS)}
    sent = Sent()
    failures = [failure for record in event["Records"] if (failure := _failure(record, sent))]
    report_sent(sent, logger, metrics)
    return {"batchItemFailures": failures}


def _failure(record: dict[str, Any], sent: Sent) -> dict[str, str] | None:
    body = record["body"]
    is_delivery = "MessageGroupId" in record["attributes"]
    act: Callable[[], Any] = (
        partial(sender().deliver, Delivery.of(body), sent) if is_delivery else partial(_spread, body)
    )
    try:
        act()
    except Busy as busy:
        logger.warning("not done, comes again", extra={"cause": str(busy)})
        return {"itemIdentifier": record["messageId"]}
    return None


def _spread(body: str) -> None:
    sender().spread(json.loads(body))
