"""Replays events through the real function on an embedded engine, and collects what the ledger then says."""

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby, islice
from typing import Any

from gratis import config, moment, pricing
from gratis.account import Account
from gratis.accounts import Accounts
from gratis.errors import Busy, Rejected
from gratis.events import moment_of, parse_event
from gratis.ledger import Ledger
from gratis.quarantine import Quarantine, text_of
from gratis.receipt import Decision
from gratis.request import Request, RequestKey
from local.engine import create_table
from local.functions import Context, handler_of
from local.preview.periods import period_of, start_of
from local.stack import LOCAL_CREDENTIALS, client_for, local_environment

TABLE = "gratis-replay"
BATCH = 1000
"""Messages a call of the function. Lambda's own FIFO batches hold 10; the function takes any number."""


@dataclass
class Replayed:
    """What became of the events: decisions in file order, and quarantine entries as SPEC section 5 shapes them.

    `printed`: if it was asked for, what the function printed for each batch, with the batch's moment; no batch reaches
    beyond a period of `period` seconds.
    """

    events: int = 0
    decisions: list[Decision] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    printed: list[tuple[datetime, str]] = field(default_factory=list)
    period: int = 0

    def totals(self) -> dict[str, Any]:
        """Shape: SPEC section 5. Amounts that are not known count as nothing."""
        free = [decision for decision in self.decisions if decision.verdict == "free"]
        billed = [decision for decision in self.decisions if decision.verdict == "billed"]
        return {
            "events": self.events,
            "free": len(free),
            "billed": len(billed),
            "quarantined": len(self.quarantined),
            "repeats": self.events - len(self.decisions) - len(self.quarantined),
            "free_tokens": sum(decision.input + decision.output for decision in free),
            "billed_tokens": sum(decision.input + decision.output for decision in billed),
            "list_amount_usd": _sum(decision.list_amount_usd for decision in self.decisions),
            "amount_usd": _sum(decision.amount_usd for decision in self.decisions),
        }

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        records = [decision.record() for decision in self.decisions]
        return {"decisions": records, "quarantined": self.quarantined, "totals": self.totals()}


@dataclass(frozen=True)
class Arrival:
    """One event of the files, and when the clock, which follows the events, says that it was received."""

    index: int
    raw: Any
    received_at: datetime


def replay(
    events: Sequence[Any],
    accounts: Sequence[Account],
    offer_file: str,
    endpoint_url: str,
    progress: Callable[[int], None] = lambda _: None,
    *,
    metrics: bool = False,
) -> Replayed:
    """Run `events` in order through classify_usage on the DynamoDB at `endpoint_url`. Raises Busy if it gives up.

    `metrics`: what the function prints is kept, its metrics with it.
    """
    client = client_for(endpoint_url, "dynamodb")
    create_table(client, TABLE)
    stored = Accounts(client, TABLE)
    for account in accounts:
        stored.put(account)
    arrivals = list(_arrivals(events))
    replayed = Replayed(period=period_of([arrival.received_at for arrival in arrivals]) if metrics else 0)
    seen: set[RequestKey] = set()
    reader = Reader(Ledger(client, TABLE), Quarantine(client, TABLE))
    log = io.StringIO()
    with _environment(offer_file, endpoint_url), redirect_stdout(log):
        handle = handler_of("classify_usage")
        for batch in _batches(arrivals, replayed.period):
            _invoke(handle, batch, log)
            if metrics:
                replayed.printed.append((batch[-1].received_at, log.getvalue()))
                log.seek(0)
                log.truncate()
            for arrival, found in zip(batch, reader.outcomes(batch), strict=True):
                replayed.events += 1
                if isinstance(found, dict):
                    replayed.quarantined.append({"index": arrival.index, "id": _id_of(arrival.raw), "error": found})
                elif found.key not in seen:
                    seen.add(found.key)
                    replayed.decisions.append(found)
            progress(len(batch))
    return replayed


class Reader:
    """Reads back what the ledger and the quarantine hold for each event."""

    def __init__(self, ledger: Ledger, quarantine: Quarantine) -> None:
        self.ledger = ledger
        self.quarantine = quarantine

    def outcomes(self, batch: Sequence[Arrival]) -> Iterator[Decision | dict[str, str]]:
        """For each event its decision, or the error it is in quarantine for."""
        requests = [_request(arrival) for arrival in batch]
        decisions = self.ledger.decisions(dict.fromkeys(request.key for request in requests if request))
        days = {arrival.received_at.date() for arrival in batch}
        errors = {entry.raw: entry.error() for day in days for entry in self.quarantine.of_day(day)}
        for arrival, request in zip(batch, requests, strict=True):
            decision = decisions.get(request.key) if request else None
            if decision and request and decision.payload_hash == request.payload_hash:
                yield decision
            else:
                yield errors[text_of(arrival.raw)]


def _arrivals(events: Sequence[Any]) -> Iterator[Arrival]:
    """Each event is received at its own time; one without a usable time, when the one before it was."""
    clock = datetime.now(UTC)
    for index, raw in enumerate(events):
        clock = moment_of(raw) or clock
        yield Arrival(index, raw, clock)


def _batches(arrivals: Sequence[Arrival], period: int) -> Iterator[list[Arrival]]:
    """Arrivals in order, at most `BATCH` at once, and none of two periods together (0: there are no periods)."""
    for _, together in groupby(arrivals, lambda each: period and start_of(each.received_at, period)):
        rest = iter(together)
        while batch := list(islice(rest, BATCH)):
            yield batch


def _invoke(
    handle: Callable[[dict[str, Any], Any], dict[str, Any]], batch: Sequence[Arrival], log: io.StringIO
) -> None:
    """Hand a batch to the function as SQS would, and again what it could not finish."""
    records = {str(arrival.index): _sqs_record(arrival) for arrival in batch}
    for _ in range(5):
        answer = handle({"Records": list(records.values())}, Context("classify_usage"))
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        records = {message_id: record for message_id, record in records.items() if message_id in failed}
        if not records:
            return
    raise Busy(f"{len(records)} events could not be decided; the function's last words: {log.getvalue()[-800:]}")


def _sqs_record(arrival: Arrival) -> dict[str, Any]:
    organization = arrival.raw.get("subject") if isinstance(arrival.raw, dict) else None
    return {
        "messageId": str(arrival.index),
        "eventSource": "aws:sqs",
        "body": json.dumps([arrival.raw]),
        "attributes": {"MessageGroupId": str(organization)},
        "messageAttributes": {"received_at": {"dataType": "String", "stringValue": moment.text(arrival.received_at)}},
    }


def _request(arrival: Arrival) -> Request | None:
    try:
        return parse_event(arrival.raw, arrival.received_at)
    except Rejected:
        return None


def _id_of(raw: Any) -> Any:
    return raw.get("id") if isinstance(raw, dict) else None


def _sum(amounts: Any) -> str:
    return pricing.usd(sum((Decimal(amount) for amount in amounts if amount is not None), Decimal(0)))


@contextmanager
def _environment(offer_file: str, endpoint_url: str) -> Iterator[None]:
    """What the function is configured with here; as it was before, afterwards."""
    ours = {
        "LEDGER_TABLE": TABLE,
        "OFFER": offer_file,
        "KEEP": "forever",
        "CLOCK": "events",
        "AWS_ENDPOINT_URL": endpoint_url,
        "POWERTOOLS_METRICS_DISABLED": "false",  # or they pile up from batch to batch
    }
    before = dict(os.environ)
    _become(local_environment() | LOCAL_CREDENTIALS | ours)
    try:
        yield
    finally:
        _become(before)


def _become(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    config.config.cache_clear()
    config.dynamodb.cache_clear()
