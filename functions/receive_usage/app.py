"""receive_usage: the webhook. Verifies who sends, validates what is sent, and queues it."""

import gratis.startup  # noqa: F401 - before all others

# isort: split
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis.config import QUICK, dynamodb
from gratis.errors import Busy
from gratis.http import Refused, body_of, headers_of
from gratis.intake.queue import UsageQueue
from gratis.intake.receive import Received, receive
from gratis.intake.sources import Source, source_at
from gratis.table.quarantine import Quarantine
from gratis.telemetry import metrics_of, report_received, report_refused

SECRETS_SECONDS = 60
"""How long fetched secrets are used: a rotation takes effect within this time."""

SIDE_BY_SIDE = 16
"""Calls to the queue at one time: a body of ten thousand organizations makes a thousand, and has 30 seconds."""

logger = Logger(service="receive_usage")
metrics = metrics_of("receive_usage")


@cache
def quarantine() -> Quarantine:
    return Quarantine(dynamodb(), os.environ["LEDGER_TABLE"])


@cache
def queue() -> UsageQueue:
    spread = ThreadPoolExecutor(SIDE_BY_SIDE).map
    return UsageQueue(boto3.client("sqs", config=QUICK), os.environ["USAGE_QUEUE"], spread=spread)


@cache
def secrets_provider() -> SecretsProvider:
    return SecretsProvider(boto3_client=boto3.client("secretsmanager", config=QUICK))


def secrets(variable: str) -> list[str]:
    """The active secrets: one, or several with whitespace between them while one replaces another."""
    try:
        stored = secrets_provider().get(os.environ[variable], max_age=SECRETS_SECONDS)
    except GetParameterError as error:
        raise Busy(f"the secret cannot be read: {error}") from error
    return stored.split() if isinstance(stored, str) else []  # what is stored as bytes is none of ours


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """HTTP API request in, answer out. 2xx only when everything is stored."""
    source, headers = source_at(event["rawPath"]), headers_of(event)
    try:
        received = _received(event, source, headers)
    except Refused as refused:
        report_refused(refused, str(refused), logger, metrics)
        return source.refusal(refused, headers)
    except Busy as busy:
        later = Refused(503, "try_again", "the events could not be stored; send them again")
        report_refused(later, str(busy), logger, metrics)
        return source.refusal(later, headers)
    report_received(received, logger, metrics)
    return source.answer(received, headers)


def _received(event: Mapping[str, Any], source: Source, headers: Mapping[str, str]) -> Received:
    now = datetime.now(UTC)
    body = body_of(event, source.max_body_bytes)
    source.authenticate(secrets(source.secret), headers, body, now)
    return receive(source, source.read(body, headers), now, queue(), quarantine())
