"""receive_usage: the webhook. Verifies who sends, validates what is sent, and queues it."""

import gratis.startup  # noqa: F401 - before all others

# isort: split
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from aws_lambda_powertools.utilities.typing import LambdaContext

from gratis import litellm
from gratis.config import QUICK, dynamodb
from gratis.errors import Busy
from gratis.http import Refused, answer, body_of, headers_of
from gratis.quarantine import Quarantine
from gratis.queue import UsageQueue
from gratis.receive import Received, receive
from gratis.signature import require_bearer, require_signature
from gratis.strict_json import parse_json
from gratis.telemetry import metrics_of, report_received, report_refused

SECRETS_SECONDS = 60
"""How long fetched secrets are used: a rotation takes effect within this time."""

logger = Logger(service="receive_usage")
metrics = metrics_of("receive_usage")


@cache
def quarantine() -> Quarantine:
    return Quarantine(dynamodb(), os.environ["LEDGER_TABLE"])


@cache
def queue() -> UsageQueue:
    return UsageQueue(boto3.client("sqs", config=QUICK), os.environ["USAGE_QUEUE"])


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
    try:
        received = _webhook(event) if not event["rawPath"].endswith("/litellm") else _litellm(event)
    except Refused as refused:
        report_refused(refused, str(refused), logger, metrics)
        return refused.answer()
    except Busy as busy:
        later = Refused(503, "try_again", "the events could not be stored; send them again")
        report_refused(later, str(busy), logger, metrics)
        return later.answer()
    report_received(received, logger, metrics)
    return answer(202, received.content())


def _webhook(event: Mapping[str, Any]) -> Received:
    body = body_of(event)
    require_signature(secrets("WEBHOOK_SECRET"), headers_of(event), body)
    try:
        decoded = parse_json(body)
    except ValueError as error:
        raise Refused(400, "invalid_json", f"the body is no JSON: {error}") from None
    events = decoded if isinstance(decoded, list) else [decoded]
    return receive(list(enumerate(events)), datetime.now(UTC), queue(), quarantine())


def _litellm(event: Mapping[str, Any]) -> Received:
    require_bearer(secrets("LITELLM_SECRET"), headers_of(event))
    try:
        entries = litellm.entries(body_of(event))
    except ValueError as error:
        raise Refused(400, "invalid_json", f"the body is no JSON: {error}") from None
    events = [
        (index, litellm.usage_event(entry)) for index, entry in enumerate(entries) if not litellm.is_skipped(entry)
    ]
    return receive(events, datetime.now(UTC), queue(), quarantine(), litellm.in_their_words)
