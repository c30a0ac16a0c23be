"""The three designs that are compared: each takes the same batches of the queue and keeps the same account.

All decide by the same rules (validation, rules 1 to 6 and prices are Gratis's own code), read the organizations once a
batch, use the same client settings, and log and meter once a batch. They differ in how a decision is made to last.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from gratis import config, moment
from gratis.classify import Classifier
from gratis.intake.events import parse_event
from gratis.intake.messages import Message
from gratis.rules import pricing
from gratis.rules.decision import Case, case_of
from gratis.rules.offer import NO_GROUP
from gratis.rules.request import Request
from gratis.table.keys import NEW, decision_key
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.functions import Context, handler_of

DEDUPE = timedelta(days=35)
FITS = "attribute_not_exists(used) OR used <= :most"


class _Timed(Context):
    """The context also says how much time is left, which Powertools Idempotency asks for."""

    def get_remaining_time_in_millis(self) -> int:
        """As if the invocation had just begun."""
        return 60_000


class Design(Protocol):
    """Something that decides the usage events of a batch of queue messages."""

    client: Any
    """Its DynamoDB client."""

    def handle(self, batch: dict[str, Any]) -> None:
        """Decide every event of the batch. Raises if one of them is left."""


class Gratis:
    """The deployed function, as Lambda calls it."""

    def __init__(self) -> None:
        self.handler = handler_of("classify_usage")
        self.client = config.dynamodb()

    def handle(self, batch: dict[str, Any]) -> None:
        answer = self.handler(batch, Context("classify_usage"))
        if answer["batchItemFailures"]:
            raise AssertionError(f"messages were not decided: {answer}")


class OneDocument:
    """Gratis with all totals of a day in its document, as it was before they were spread over pages."""

    def __init__(self, client: Any, table: str) -> None:
        self.client = client
        ledger = Ledger(client, table, max_page_rows=sys.maxsize)
        self.classifier = Classifier(ledger, Quarantine(client, table), config.config().offer)

    def handle(self, batch: dict[str, Any]) -> None:
        outcome = self.classifier.classify([Message.from_record(record) for record in batch["Records"]])
        if outcome.unfinished or outcome.quarantined:
            raise AssertionError(f"events were not decided: {outcome.causes}")


class _PerEvent:
    """What the two designs that write event by event share: the batch, the organizations, the log and the metrics."""

    name: str

    def __init__(self, client: Any, table: str) -> None:
        self.client = client
        self.table = table
        self.ledger = Ledger(client, table)
        self.offer = config.config().offer
        self.logger = Logger(service=self.name)
        self.metrics = Metrics(namespace="Benchmark", service=self.name)

    def handle(self, batch: dict[str, Any]) -> None:
        context = _Timed(self.name)
        self.metrics.log_metrics(self.logger.inject_lambda_context(self._handle))(batch, context)

    def _handle(self, batch: dict[str, Any], context: Any) -> None:
        events = [each for record in batch["Records"] for each in _events(Message.from_record(record))]
        accounts = self.ledger.accounts({raw["subject"] for raw, _ in events})
        self._begin(context)
        verdicts = []
        for raw, request in events:
            case = case_of(request, self.offer, accounts.get(request.organization))
            verdicts.append(self._once(raw, case))
        for verdict in ("free", "billed"):
            self.metrics.add_metric(name=verdict, unit=MetricUnit.Count, value=verdicts.count(verdict))
        self.logger.info("batch decided", extra={"events": len(events), "free": verdicts.count("free")})

    def _begin(self, context: Any) -> None:
        """What a batch begins with."""

    def _once(self, raw: Any, case: Case) -> str | None:
        """Decide one event unless it was decided before; the verdict."""
        raise NotImplementedError


class IdempotentUpdate(_PerEvent):
    """Powertools Idempotency in front of three writes: counter, decision, total."""

    name = "idempotent_update"

    def __init__(self, client: Any, table: str, idempotency_table: str) -> None:
        super().__init__(client, table)
        self.idempotency = IdempotencyConfig(
            event_key_jmespath="[subject, time, id]", expires_after_seconds=int(DEDUPE.total_seconds())
        )
        store = DynamoDBPersistenceLayer(table_name=idempotency_table, boto3_client=client)
        self._decided = idempotent_function(
            data_keyword_argument="raw", persistence_store=store, config=self.idempotency
        )(self._decide)

    def _begin(self, context: Any) -> None:
        self.idempotency.register_lambda_context(context)

    def _once(self, raw: Any, case: Case) -> str | None:
        verdict: str = self._decided(raw=raw, case=case)
        return verdict

    def _decide(self, raw: Any, case: Case) -> str:  # noqa: ARG002 - what the decorator makes the key of
        used = self._used(case)
        verdict, reason = _verdict(case, fits=used is not None)
        self.client.put_item(TableName=self.table, Item=_decision_item(case, verdict, reason, used))
        self.client.update_item(
            TableName=self.table,
            Key=_total_key(case.request, verdict),
            UpdateExpression="ADD requests :requests, tokens_in :input, cached :cached, tokens_out :output, "
            "list_amount :listed, amount :amount",
            ExpressionAttributeValues=_numbers(_sums(case, verdict)),
        )
        return verdict

    def _used(self, case: Case) -> int | None:
        """What the counter holds with the request in it; None if it does not fit, or is not asked."""
        if case.ruling.quota is None:
            return None
        tokens = case.request.tokens.total
        try:
            answer = self.client.update_item(
                TableName=self.table,
                Key=_counter_key(case),
                UpdateExpression="ADD used :tokens",
                ConditionExpression=FITS,
                ExpressionAttributeValues=_numbers({"tokens": tokens, "most": case.ruling.quota - tokens}),
                ReturnValues="UPDATED_NEW",
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return None
        return int(answer["Attributes"]["used"]["N"])


class SingleTransaction(_PerEvent):
    """One transaction an event: the counter, with totals of its group in the same item, and the decision."""

    name = "single_transaction"

    def _once(self, raw: Any, case: Case) -> str | None:  # noqa: ARG002 - the decision's key says it all
        for fits in (True, False) if case.ruling.quota is not None else (False,):
            verdict, reason = _verdict(case, fits=fits)
            decision = {"TableName": self.table, "Item": _decision_item(case, verdict, reason, None)}
            put = {"Put": decision | {"ConditionExpression": NEW}}
            try:
                self.client.transact_write_items(TransactItems=[self._counter_update(case, verdict), put])
            except self.client.exceptions.TransactionCanceledException as cancelled:
                counter, decided = (each["Code"] for each in cancelled.response["CancellationReasons"])
                if decided == "ConditionalCheckFailed":
                    return None
                if counter != "ConditionalCheckFailed":
                    raise
            else:
                return verdict
        raise AssertionError("a billed request has no condition but its own")

    def _counter_update(self, case: Case, verdict: str) -> Any:
        """The group's sums only, not by project and model: so the item stays within one unit."""
        sums = _sums(case, verdict)
        names = ", ".join(f"{verdict}_{name} :{name}" for name in sums)
        update: Any = {
            "TableName": self.table,
            "Key": _counter_key(case),
            "UpdateExpression": f"ADD used :used, {names}",
            "ExpressionAttributeValues": _numbers(sums | {"used": 0}),
        }
        if verdict == "free" and case.ruling.quota is not None:
            tokens = case.request.tokens.total
            update["ConditionExpression"] = FITS
            update["ExpressionAttributeValues"] |= _numbers({"used": tokens, "most": case.ruling.quota - tokens})
        return {"Update": update}


def _events(message: Message) -> Iterator[tuple[Any, Request]]:
    for raw in message.events():
        request = parse_event(raw, message.received_at)
        if isinstance(request, Request):  # the other designs know no voids
            yield raw, request


def _verdict(case: Case, *, fits: bool) -> tuple[str, str]:
    if case.ruling.reason is not None:
        return "billed", case.ruling.reason
    return ("free", "within_quota") if fits else ("billed", "over_quota")


def _decision_item(case: Case, verdict: str, reason: str, used_after: int | None) -> dict[str, Any]:
    """The billing record as JSON text: one attribute, so that it stays within 1 KB and costs little to serialize."""
    request, terms = case.request, case.terms
    listed = None if case.list_amount is None else pricing.usd(case.list_amount)
    record = {
        "project": request.project,
        "model": request.model,
        "group": None if case.group == NO_GROUP else case.group,
        "verdict": verdict,
        "reason": reason,
        "tokens": [request.tokens.input, request.tokens.cached, request.tokens.output],
        "quota": case.ruling.quota,
        "used_after": used_after,
        "list_amount_usd": listed,
        "amount_usd": "0" if verdict == "free" else listed,
        "tier": terms.profile.tier,
        "offer": terms.version.name,
        "profile_version": terms.profile_version,
        "settings_version": terms.settings_version,
        "price_version": case.price.version if case.price else None,
        "payload_hash": request.payload_hash,
        "occurred_at": moment.text(request.occurred_at),
        "received_at": moment.text(request.received_at),
        "decided_at": moment.text(datetime.now(UTC)),
    }
    expires = int((request.occurred_at + DEDUPE).timestamp())
    text = json.dumps(record, separators=(",", ":"))
    return decision_key(request.key) | {"receipt": {"S": text}, "expires": {"N": str(expires)}}


def _counter_key(case: Case) -> dict[str, Any]:
    return {"pk": {"S": f"COUNTER#{case.request.organization}#{case.group}"}, "sk": {"S": case.counter.slot}}


def _total_key(request: Request, verdict: str) -> dict[str, Any]:
    row = f"{request.project}#{request.model}#{request.service_tier}#{verdict}"
    return {"pk": {"S": f"TOTAL#{request.organization}"}, "sk": {"S": f"{request.key.day.isoformat()}#{row}"}}


def _sums(case: Case, verdict: str) -> dict[str, int | Decimal]:
    tokens, listed = case.request.tokens, case.list_amount or Decimal(0)
    return {
        "requests": 1,
        "input": tokens.input,
        "cached": tokens.cached,
        "output": tokens.output,
        "listed": listed,
        "amount": listed if verdict == "billed" else Decimal(0),
    }


def _numbers(values: Mapping[str, int | Decimal]) -> dict[str, Any]:
    return {f":{name}": {"N": str(value)} for name, value in values.items()}
