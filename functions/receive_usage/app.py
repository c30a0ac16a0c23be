"""receive_usage: the webhook. Verifies who sends, validates what is sent, and stores it for its decision."""

import gratis.startup  # noqa: F401 - before all others

# isort: split
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
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
from gratis.intake.receive import Intake, Received, receive
from gratis.intake.sources import Source, source_at
from gratis.intake.stream import UsageStream
from gratis.table.dynamo import Spread, side_by_side
from gratis.table.quarantine import Quarantine
from gratis.telemetry import metrics_of, report_received, report_refused

SECRETS_SECONDS = 60
"""How long fetched secrets are used: a rotation takes effect within this time."""

SIDE_BY_SIDE = 16
"""Calls to the queue, the stream or the table at one time. A body of ten thousand organizations makes a thousand of
them, a body of ten thousand bad events as many puts, and there are 30 seconds."""

logger = Logger(service="receive_usage")
metrics = metrics_of("receive_usage")


@cache
def threads() -> Spread:
    return side_by_side(SIDE_BY_SIDE)


@cache
def quarantine() -> Quarantine:
    return Quarantine(dynamodb(), os.environ["LEDGER_TABLE"], spread=threads())


@cache
def intake() -> Intake:
    """Where events wait for their decision: the stream, if there is one, else the queue."""
    if stream := os.environ.get("USAGE_STREAM"):
        client, keys = boto3.client("kinesis", config=QUICK), int(os.environ["STREAM_KEYS"])
        return UsageStream(client, stream, spread=threads(), keys=keys)
    return UsageQueue(boto3.client("sqs", config=QUICK), os.environ["USAGE_QUEUE"], spread=threads())


@cache
def secrets_provider() -> SecretsProvider:
    return SecretsProvider(boto3_client=boto3.client("secretsmanager", config=QUICK))


def secrets(variable: str) -> list[str]:
    """The active secrets: one, or several with whitespace between them while one replaces another."""
    try:
        stored = secrets_provider().get(os.environ[variable], max_age=SECRETS_SECONDS)
    except GetParameterError as error:
        raise Busy(f"the secret cannot be read: {error}") from error
    return _listed(stored)


@lru_cache(maxsize=8)
def replaced_secrets(variable: str, _minute: int) -> list[str]:
    """The secrets before the last rotation, looked up at most once a minute however many requests are refused; none
    where there was no rotation, or they cannot be read: only an alarm depends on them."""
    try:
        stored = secrets_provider().get(os.environ[variable], force_fetch=True, max_age=0, VersionStage="AWSPREVIOUS")
    except GetParameterError:
        return []
    return _listed(stored)


def _listed(stored: Any) -> list[str]:
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
    _authenticate(source, headers, body, now)
    try:
        return receive(source, source.read(body, headers), now, intake(), quarantine())
    except Refused as refused:
        refused.known_sender = True
        raise


def _authenticate(source: Source, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    try:
        source.authenticate(secrets(source.secret), headers, body, now)
    except Refused as refused:
        refused.known_sender |= _still_has_the_old_secret(source, headers, body, now)
        raise


def _still_has_the_old_secret(source: Source, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    try:
        source.authenticate(replaced_secrets(source.secret, int(now.timestamp()) // 60), headers, body, now)
    except Refused:
        return False
    return True
