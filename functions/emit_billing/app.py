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

from gratis.closing.late import LateDays
from gratis.closing.locked import LockedStatements
from gratis.config import QUICK, dynamodb
from gratis.errors import Busy
from gratis.outbox import Emitted, emit
from gratis.table.day_list import list_decisions
from gratis.telemetry import metrics_of, report_emitted
from gratis.unlisted import Unlisted

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient

logger = Logger(service="emit_billing")
metrics = metrics_of("emit_billing")


@cache
def bus() -> "EventBridgeClient":
    return boto3.client("events", config=QUICK)


@cache
def queues() -> "SQSClient":
    return boto3.client("sqs", config=QUICK)


@cache
def late_days() -> LateDays:
    return LateDays(dynamodb(), os.environ["LEDGER_TABLE"], queues(), os.environ["CLOSE_QUEUE"])


@cache
def unlisted() -> Unlisted:
    return Unlisted(dynamodb(), os.environ["LEDGER_TABLE"], bus(), os.environ["EVENT_BUS"])


@cache
def locked_statements() -> LockedStatements | None:
    bucket = os.environ.get("STATEMENTS_BUCKET")
    return LockedStatements(boto3.client("s3", config=QUICK), bucket) if bucket else None


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Stream batch in; out goes the position from which it has to come again, if any. Raises Busy for all of it."""
    emitted = emit(event["Records"], bus(), os.environ["EVENT_BUS"])
    now = datetime.now(UTC)
    _keep_unreadable(emitted)
    _lock(emitted)
    late_days().close_again(emitted.late, now)
    unlisted().announce(emitted.billing, now)
    list_decisions(dynamodb(), os.environ["LEDGER_TABLE"], emitted.billing)
    report_emitted(emitted, now, logger, metrics)
    if emitted.retry_from and "AWS_ENDPOINT_URL" in os.environ:
        raise Busy("only AWS takes a part of a batch as failed; a local engine would take all of it as done")
    return {"batchItemFailures": [{"itemIdentifier": emitted.retry_from}] if emitted.retry_from else []}


def _keep_unreadable(emitted: Emitted) -> None:
    """Put what could not be read among the dead letters, or fail: then the whole batch comes again."""
    for unreadable in emitted.unreadable:
        queues().send_message(QueueUrl=os.environ["STREAM_DEAD_LETTERS"], MessageBody=unreadable.letter())


def _lock(emitted: Emitted) -> None:
    """Put statements under Object Lock, or fail: then the whole batch comes again."""
    for stated in emitted.statements:
        if locked := locked_statements():
            locked.keep(stated)
