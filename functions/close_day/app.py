"""close_day: proves each organization's closed days. The schedule lists them, a queue message closes one."""

import gratis.startup  # noqa: F401 - before all others

# isort: split
import os
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis import moment
from gratis.closing.close import Closed, PutDown, Unchanged, close
from gratis.closing.days import day_of_message, send_days
from gratis.closing.proving import NoLongerKept
from gratis.closing.signing import Signer
from gratis.closing.statements import Statements
from gratis.config import QUICK, config, dynamodb, known_offer
from gratis.errors import Busy
from gratis.table.ledger import Ledger
from gratis.telemetry import (
    metrics_of,
    report_closed,
    report_no_longer_kept,
    report_not_closed,
    report_put_down,
    report_queued,
    report_unchanged,
)

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

NIGHTS = 7
"""The days before today that each night queues: so many nights may be missed. One that was closed costs four reads."""
RESERVE_SECONDS = 120
"""What is left of a call when a large day is put down: far more than reading on to the next look at the clock takes."""

logger = Logger(service="close_day")
metrics = metrics_of("close_day")


@cache
def ledger() -> Ledger:
    return Ledger(dynamodb(), config().table)


@cache
def statements() -> Statements:
    key = os.environ.get("STATEMENT_KEY")
    signer = Signer(boto3.client("kms", config=QUICK), key) if key else None
    return Statements(dynamodb(), config().table, signer)


@cache
def queue() -> "SQSClient":
    return boto3.client("sqs", config=QUICK)


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """From the schedule: queue the last days of every organization that had decisions. From the queue: close days."""
    if "Records" not in event:
        today = moment.day_of(datetime.now(UTC))
        return {"queued": sum(_queue(today - back * moment.DAY) for back in range(1, NIGHTS + 1))}

    def hurry() -> bool:
        return context.get_remaining_time_in_millis() < RESERVE_SECONDS * 1000

    return {"batchItemFailures": [failure for record in event["Records"] if (failure := _failure(record, hurry))]}


def _queue(day: date) -> int:
    """Queue a day for every organization that had decisions; returns how many."""
    organizations = {organization for organization, _ in ledger().marked(day)}
    send_days(queue(), os.environ["CLOSE_QUEUE"], {(each, day.isoformat()) for each in organizations})
    report_queued(len(organizations), day, logger, metrics)
    return len(organizations)


def _failure(record: Mapping[str, Any], hurry: Callable[[], bool]) -> dict[str, str] | None:
    organization, day = day_of_message(record)
    try:
        _close(organization, day, hurry)
    except Busy as busy:
        report_not_closed(organization, day, busy, logger, metrics)
        return {"itemIdentifier": record["messageId"]}
    return None


def _close(organization: str, day: date, hurry: Callable[[], bool]) -> None:
    """Close a day; a large one goes on in another call when time runs out."""
    now = partial(datetime.now, UTC)
    match close(ledger(), statements(), organization, day, offer_of=known_offer, now=now, hurry=hurry):
        case Closed(proof, statement):
            report_closed(proof, statement, logger, metrics)
        case PutDown():
            send_days(queue(), os.environ["CLOSE_QUEUE"], [(organization, day.isoformat())])
            report_put_down(organization, day, logger, metrics)
        case Unchanged():
            report_unchanged(organization, day, logger, metrics)
        case NoLongerKept():
            report_no_longer_kept(organization, day, logger, metrics)
