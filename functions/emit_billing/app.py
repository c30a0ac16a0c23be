"""emit_billing: carries what the ledger's stream says to the bus."""

import gratis.startup  # noqa: F401 - before all others

# isort: split
import os
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis.config import QUICK
from gratis.days import send_days
from gratis.outbox import emit
from gratis.telemetry import metrics_of, report_emitted

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient

LATE_SECONDS = 900
"""A day that got a late decision is closed again after this time, once for all that came in meanwhile or nearly so."""

logger = Logger(service="emit_billing")
metrics = metrics_of("emit_billing")


@cache
def bus() -> "EventBridgeClient":
    return boto3.client("events", config=QUICK)


@cache
def queue() -> "SQSClient":
    return boto3.client("sqs", config=QUICK)


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Stream batch in; out goes the position from which it has to come again, if any."""
    emitted = emit(event["Records"], bus(), os.environ["EVENT_BUS"])
    send_days(queue(), os.environ["CLOSE_QUEUE"], emitted.late, LATE_SECONDS)
    report_emitted(emitted, datetime.now(UTC), logger, metrics)
    return {"batchItemFailures": [{"itemIdentifier": emitted.retry_from}] if emitted.retry_from else []}
