"""classify_usage: decides the usage events of a batch, of the queue or of the stream, once each."""

import gratis.startup  # noqa: F401 - before all others

# isort: split
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis.classify import Classifier
from gratis.config import config, dynamodb
from gratis.errors import Busy
from gratis.intake.messages import Message
from gratis.intake.stream import first_unfinished, message_of
from gratis.table.dynamo import side_by_side
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis.telemetry import metrics_of, report_batch

RESERVE_SECONDS = 30
"""What is left of a call when no commit is begun any more: as long as one that DynamoDB does not answer can take."""
SIDE_BY_SIDE = 8
"""Organizations whose commits wait for DynamoDB at one time; a batch of the queue holds ten messages, one of the stream
thousands of records."""

logger = Logger(service="classify_usage")
metrics = metrics_of("classify_usage")


@cache
def classifier() -> Classifier:
    """Built at the first batch, kept while the function is warm."""
    chosen, client = config(), dynamodb()
    refusing = side_by_side(SIDE_BY_SIDE)  # not those that settle: they wait for what these put
    ledger, quarantine = Ledger(client, chosen.table), Quarantine(client, chosen.table, spread=refusing)
    return Classifier(ledger, quarantine, chosen.offer, spread=side_by_side(SIDE_BY_SIDE))


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """SQS FIFO or Kinesis batch in; out goes what has to come again. Raises Busy for all of it."""

    def hurry() -> bool:
        return context.get_remaining_time_in_millis() < RESERVE_SECONDS * 1000

    records = event["Records"]
    is_stream = bool(records) and "kinesis" in records[0]
    messages = [message_of(each) if is_stream else Message.from_record(each) for each in records]
    outcome = classifier().classify(messages, hurry)
    report_batch(outcome, logger, metrics)
    again = first_of(outcome.unfinished) if is_stream else outcome.unfinished
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}


def first_of(unfinished: Sequence[str]) -> Sequence[str]:
    """What Lambda is told of a shard. Raises Busy for a local engine."""
    if unfinished and "AWS_ENDPOINT_URL" in os.environ:
        raise Busy("only AWS takes a part of a batch as failed; a local engine would take all of it as done")
    return first_unfinished(unfinished)
