"""close_day: proves each organization's closed days. The schedule lists them, a queue message closes one."""

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis import moment
from gratis.closing import Statements, prove
from gratis.config import QUICK, config, dynamodb
from gratis.days import day_of_message, send_days
from gratis.errors import Busy
from gratis.ledger import Ledger
from gratis.offer import Offer, shipped
from gratis.telemetry import NAMESPACE, report_closed, report_not_closed, report_queued

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = Logger(service="close_day")
metrics = Metrics(namespace=NAMESPACE, service="close_day")


@cache
def ledger() -> Ledger:
    return Ledger(dynamodb(), config().table)


@cache
def statements() -> Statements:
    return Statements(dynamodb(), config().table)


@cache
def queue() -> "SQSClient":
    return boto3.client("sqs", config=QUICK)


def offer_of(offer_id: str) -> Offer:
    """The offer that a receipt names: the one in force here, or another one that ships."""
    return config().offer if config().offer.id == offer_id else shipped(offer_id)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """From the schedule: queue yesterday for every organization that had decisions. From the queue: close days."""
    if "Records" not in event:
        yesterday = moment.day_of(datetime.now(UTC)) - moment.DAY
        organizations = {organization for organization, _ in ledger().marked(yesterday)}
        send_days(queue(), os.environ["CLOSE_QUEUE"], {(each, yesterday.isoformat()) for each in organizations})
        report_queued(len(organizations), yesterday, logger, metrics)
        return {"queued": len(organizations)}
    return {"batchItemFailures": [failure for record in event["Records"] if (failure := _closed(record))]}


def _closed(record: Mapping[str, Any]) -> dict[str, str] | None:
    organization, day = day_of_message(record)
    try:
        close(organization, day)
    except Busy as busy:
        report_not_closed(organization, day, busy, logger)
        return {"itemIdentifier": record["messageId"]}
    return None


def close(organization: str, day: date) -> None:
    """Prove the day and write the statement, unless it says what the last one said."""
    proof = prove(ledger(), organization, day, offer_of)
    report_closed(proof, statements().write(proof, datetime.now(UTC)), logger, metrics)
