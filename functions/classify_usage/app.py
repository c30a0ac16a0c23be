"""classify_usage: decides the usage events of a batch of queue messages, once each."""

import gratis.startup  # noqa: F401 - before all others

# isort: split
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis.classify import Classifier
from gratis.config import config, dynamodb
from gratis.intake.messages import Message
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis.telemetry import metrics_of, report_batch

RESERVE_SECONDS = 30
"""What is left of a call when no commit is begun any more: as long as one that DynamoDB does not answer can take."""
SIDE_BY_SIDE = 8
"""Organizations whose commits wait for DynamoDB at one time; a batch holds ten messages."""

logger = Logger(service="classify_usage")
metrics = metrics_of("classify_usage")


@cache
def classifier() -> Classifier:
    """Built at the first batch, kept while the function is warm."""
    chosen, client = config(), dynamodb()
    ledger, quarantine = Ledger(client, chosen.table), Quarantine(client, chosen.table)
    return Classifier(ledger, quarantine, chosen.offer, spread=ThreadPoolExecutor(SIDE_BY_SIDE).map)


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """SQS FIFO batch in; out go an organization's first unfinished message and all its later ones."""

    def hurry() -> bool:
        return context.get_remaining_time_in_millis() < RESERVE_SECONDS * 1000

    outcome = classifier().classify([Message.from_record(record) for record in event["Records"]], hurry)
    report_batch(outcome, logger, metrics)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in outcome.unfinished]}
