"""Builders and probes for tests of the ledger and the classifier: events, clients that fail as told, and the proof
that what a table holds keeps SPEC section 3."""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from operator import add
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

from gratis.classify import Classifier, Clock
from gratis.config import QUICK
from gratis.errors import Rejected
from gratis.intake.events import parse_event
from gratis.intake.messages import Message
from gratis.rules.account import Account
from gratis.rules.decision import Books, case_of, settle
from gratis.rules.offer import Offer
from gratis.rules.offer_file import shipped
from gratis.rules.receipt import Decision
from gratis.rules.request import Request, RequestKey
from gratis.rules.totals import RowKey, Sums, Totals
from gratis.rules.window import Counter, CounterId, Span, kind_of_slot
from gratis.table import dynamo, keys, ledger
from gratis.table.ledger import Document, Ledger
from gratis.table.quarantine import Entry, Quarantine
from gratis_local.engine import create_table
from gratis_local.functions import Handler
from gratis_local.replay import event_clock
from gratis_simulation.machines.table import key_in

TABLE = "gratis-test"
BIG = "gpt-4o-2024-08-06"
"""Of group 1m; at tier 4 its quota is 1,000,000 tokens."""
MINI = "gpt-4o-mini-2024-07-18"
"""Of group 10m; at tier 4 its quota is 10,000,000 tokens."""
DAY = date(2025, 3, 11)
RECEIVED = datetime(2025, 3, 11, 23, 30, tzinfo=UTC)
DAILY = shipped("data-sharing")
"""UTC days from 2025-03-06 on, rolling windows before."""


# --- what comes in -------------------------------------------------------------------------------------------------


def usage(
    request_id: str,
    tokens: int = 1000,
    *,
    organization: str = "org_a",
    at: str = "2025-03-11T09:00:00Z",
    kind: str = "usage.request",
    model: str = BIG,
    **data: Any,
) -> dict[str, Any]:
    """A usage event of `tokens` tokens, all of them input; an evaluation run is shared unless `data` says otherwise."""
    shared = {"shared": True} if kind == "usage.eval_run" else {}
    counts = {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens}
    return {
        "specversion": "1.0",
        "type": kind,
        "source": "https://gateway.example",
        "id": request_id,
        "time": at,
        "subject": organization,
        "data": {"model": model, "usage": counts, **shared, **data},
    }


def void_of(event: Any, void_id: str) -> dict[str, Any]:
    """An event that takes back the decision on the request of another event."""
    return {
        **event,
        "type": "usage.void",
        "id": void_id,
        "data": {"request_id": event["id"], "day": event["time"][:10]},
    }


def request_of(event: Any, received_at: datetime = RECEIVED) -> Request:
    return parse_event(event, received_at)


def message(message_id: str, *events: Any, group: str = "org_a", received_at: datetime = RECEIVED) -> Message:
    return Message(message_id, group, json.dumps(events), received_at)


def record(message_id: str, *events: Any, group: str = "org_a", body: str | None = None) -> dict[str, Any]:
    """A record of Lambda's SQS event, as a FIFO queue gives it."""
    return {
        "messageId": message_id,
        "receiptHandle": f"receipt-{message_id}",
        "body": json.dumps(events) if body is None else body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(int(RECEIVED.timestamp() * 1000) + 5),
            "MessageGroupId": group,
            "MessageDeduplicationId": f"hash-{message_id}",
        },
        "messageAttributes": {"received_at": {"dataType": "String", "stringValue": "2025-03-11T23:30:00Z"}},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:usage.fifo",
        "awsRegion": "us-east-1",
    }


def account(organization: str = "org_a", tier: int = 4, evals: str = "enabled") -> Account:
    """An organization that shares its traffic since the offer began."""
    since = "2025-01-01T00:00:00Z"
    return Account.model_validate(
        {
            "id": organization,
            "profile": [{"effective_at": since, "tier": tier}],
            "sharing": [{"effective_at": since, "traffic": {"mode": "enabled"}, "evals": {"mode": evals}}],
        }
    )


def with_versions(chosen: Offer, **changes: Any) -> Offer:
    """The offer with `changes` in each of its versions."""
    return replace(chosen, versions=tuple(replace(version, **changes) for version in chosen.versions))


def rolling(chosen: Offer) -> Offer:
    """The offer as it began: rolling windows, for ever."""
    first = chosen.versions[0]
    groups = tuple(replace(group, span=Span()) for group in first.groups)
    return replace(chosen, versions=(replace(first, groups=groups),))


# --- what is called ------------------------------------------------------------------------------------------------


@contextmanager
def moto_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A DynamoDB client of moto with an empty ledger table, as the environment's AWS account has it. Nobody waits."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr(dynamo, "longest_pause", lambda _: 0.0)
    with mock_aws():
        client = boto3.client("dynamodb", config=QUICK)
        create_table(client, TABLE)
        yield client


def classifier(client: Any, chosen: Offer = DAILY, clock: Clock = event_clock, table: str = TABLE) -> Classifier:
    return Classifier(Ledger(client, table), Quarantine(client, table), chosen, clock)


def by_the_events_clock(handler: Handler) -> Handler:
    """classify_usage's handler, whose clock follows the events: those of the tests are of another year.

    It settles one organization after the other: transactions of moto and of the simulation's table are not atomic.
    """
    names = inspect.unwrap(handler).__globals__
    names["Classifier"], names["SIDE_BY_SIDE"] = partial(Classifier, clock=event_clock), 1
    return handler


# --- clients that fail as told -------------------------------------------------------------------------------------

CALLS = ("batch_get_item", "batch_write_item", "transact_write_items")
"""What the code asks of DynamoDB while it classifies."""
Call = Callable[..., Any]
Fault = Callable[[Call, dict[str, Any]], Any]


class Crash(BaseException):
    """The process dies here."""


@dataclass
class _Plan:
    operation: str
    fault: Fault
    times: int
    only: Callable[[dict[str, Any]], bool]


@dataclass
class Faulty:
    """A DynamoDB client that fails as planned; every other call goes through. `calls`: what was asked of it."""

    client: Any
    plans: list[_Plan] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def on(
        self,
        operation: str,
        fault: Fault,
        times: int = 1,
        only: Callable[[dict[str, Any]], bool] = lambda _: True,
    ) -> "Faulty":
        """Let the next `times` calls of `operation` (`only`: whose arguments it holds for) meet `fault`."""
        self.plans.append(_Plan(operation, fault, times, only))
        return self

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.client, name)
        return self._call(name, real) if name in CALLS else real

    def _call(self, name: str, real: Call) -> Call:
        def call(**arguments: Any) -> Any:
            self.calls.append((name, arguments))
            for plan in self.plans:
                if plan.operation == name and plan.times and plan.only(arguments):
                    plan.times -= 1
                    return plan.fault(real, arguments)
            return real(**arguments)

        return call

    @property
    def transactions(self) -> list[list[dict[str, Any]]]:
        """The items of each transaction that was asked for."""
        return [arguments["TransactItems"] for name, arguments in self.calls if name == "transact_write_items"]


ALWAYS = 10**6


def aws_error(code: str, operation: str = "TransactWriteItems", **more: Any) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": f"injected {code}"}, **more}, operation)


def fails(error: BaseException) -> Fault:
    """The call never reaches the table."""

    def fault(_real: Call, _arguments: dict[str, Any]) -> Any:
        raise error

    return fault


def cancelled(client: Any, *codes: str) -> Fault:
    """The transaction is cancelled for these reasons, one an item, and nothing is recorded."""
    reasons = [{"Code": code} for code in codes]
    response = aws_error("TransactionCanceledException", CancellationReasons=reasons).response
    return fails(client.exceptions.TransactionCanceledException(response, "TransactWriteItems"))


def loses_response(real: Call, arguments: dict[str, Any]) -> Any:
    """The call takes effect, but its answer never comes."""
    real(**arguments)
    raise ReadTimeoutError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")


def dies_after(real: Call, arguments: dict[str, Any]) -> Any:
    """The call takes effect, and the process dies."""
    real(**arguments)
    raise Crash


def first(action: Callable[[], object]) -> Fault:
    """Something else happens just before the call."""

    def fault(real: Call, arguments: dict[str, Any]) -> Any:
        action()
        return real(**arguments)

    return fault


def holding(*request_ids: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a transaction holds the decision of one of these requests."""
    keys = {f"REQ#{request_id}" for request_id in request_ids}
    return lambda arguments: any(key_in(each)[1] in keys for each in arguments["TransactItems"])


def of_organization(organization: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a transaction is one of this organization's."""
    prefix = f"COUNTER#{organization}#"
    return lambda arguments: arguments["TransactItems"][0]["Put"]["Item"]["pk"]["S"].startswith(prefix)


# --- what a table holds --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """All that a ledger table holds."""

    items: dict[tuple[str, str], dict[str, Any]]
    decisions: dict[RequestKey, Decision]
    documents: dict[CounterId, Document]
    markers: set[tuple[str, str]]
    """Without the shard in which each lies."""
    quarantine: list[Entry]

    def verdicts(self) -> dict[str, tuple[str, str]]:
        """Verdict and reason by request id."""
        return {key.request_id: (decision.verdict, decision.reason) for key, decision in self.decisions.items()}

    def used(self, group: str = "1m", slot: str = "2025-03-11", organization: str = "org_a") -> int:
        """What a counter document holds."""
        return sum(each.used for each in self.documents[CounterId(organization, group, slot)].counter.windows)


def stored(client: Any, table: str = TABLE) -> Stored:
    """Read it all, whoever wrote it."""
    pages = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    items = {(item["pk"]["S"], item["sk"]["S"]): item for page in pages for item in page["Items"]}
    decisions = [plain(ledger.decision_of(item)) for (_, sk), item in items.items() if sk.startswith("REQ#")]
    days = {date.fromisoformat(pk.removeprefix("QUARANTINE#")) for pk, _ in items if pk.startswith("QUARANTINE#")}
    return Stored(
        items=items,
        decisions={decision.key: decision for decision in decisions},
        documents=_whole(dict(map(ledger._document, filter(keys.is_document, items.values()))), client, table),
        markers={(pk.rpartition("#")[0], sk) for pk, sk in items if pk.startswith("DAY#") and sk.startswith("ORG#")},
        quarantine=[entry for day in sorted(days) for entry in Quarantine(client, table).of_day(day)],
    )


def _whole(documents: dict[CounterId, Document], client: Any, table: str) -> dict[CounterId, Document]:
    """The documents with all pages of their totals."""
    whole = dict(documents)
    for each in documents:
        if ledger.is_day(each):
            day = date.fromisoformat(each.slot)
            whole |= Ledger(client, table).days(each.organization, [each.group], day, day)
    assert not any(document.is_damaged for document in whole.values())
    return whole


def plain(decision: Decision) -> Decision:
    """The decision as it is compared, whether it comes from the fold or from the table."""
    return decision._replace(thresholds=tuple(decision.thresholds))


def timeless(decision: Decision) -> Decision:
    """The decision without the moment it was taken at."""
    return plain(decision)._replace(decided_at="")


# --- the proof -----------------------------------------------------------------------------------------------------


def prove(found: Stored, *, overflow: str = "skip") -> None:
    """SPEC section 3 on all that a table holds: nothing over-granted, nothing wrongly billed, totals = Σ decisions."""
    decisions = list(found.decisions.values())
    assert _used_by_tiles(decisions) == _used_by_documents(found.documents)
    assert _summed(decisions) == {
        (identity.organization, identity.group, identity.slot): document.totals.rows
        for identity, document in found.documents.items()
        if document.totals.rows
    }
    for decision in decisions:
        units = 1 if decision.kind == "usage.eval_run" else decision.input + decision.output
        if decision.reason == "within_quota":
            assert decision.used_after == decision.used_before + units
            assert decision.used_after <= decision.quota or not units  # of 0 tokens: free in whatever window it meets
        if decision.reason == "over_quota" and overflow == "skip":
            room = decision.quota - decision.used_before - decision.reserved_before
            assert units > room, f"it would have fitted: {decision}"
    expected = {
        (f"DAY#{identity.slot}", f"ORG#{identity.organization}#{identity.group}")
        for identity in found.documents
        if identity.slot[0].isdigit()
    }
    assert found.markers == expected


def _used_by_tiles(decisions: Iterable[Decision]) -> dict[tuple[str, str | None, str | None], int]:
    """What the free decisions of each window, and the voids of such, add up to, each beginning where another ended."""
    steps: dict[tuple[str, str | None, str | None], list[tuple[int, int]]] = {}
    for each in decisions:
        if each.verdict == "free" and each.used_before != each.used_after:  # of 0 tokens: takes nothing
            window = (each.organization, each.group, each.window)
            steps.setdefault(window, []).append((each.used_before, each.used_after))
    used = {window: sum(after - before for before, after in taken) for window, taken in steps.items()}
    for window, taken in steps.items():
        begun = sorted([*(before for before, _ in taken), used[window]])
        ended = sorted([*(after for _, after in taken), 0])
        assert begun == ended, f"a gap or an overlap in {window}: {taken}"
    return {window: each for window, each in used.items() if each}


def _used_by_documents(documents: Mapping[CounterId, Document]) -> dict[tuple[str, str | None, str | None], int]:
    used: dict[tuple[str, str | None, str | None], int] = {}
    for identity, document in documents.items():
        for window in document.counter.windows:
            name = kind_of_slot(identity.slot).name(window.start)
            if window.used:
                used[identity.organization, identity.group, name] = window.used
    return used


def _summed(decisions: Iterable[Decision]) -> dict[tuple[str, str, str], dict[RowKey, Sums]]:
    """The totals of each organization, group and day, added up from the decisions."""
    sums: dict[tuple[str, str, str], dict[RowKey, Sums]] = {}
    for decision in decisions:
        rows = sums.setdefault((decision.organization, decision.group or "-", decision.day), {})
        key = RowKey(decision.project, decision.model, decision.service_tier, decision.batch, decision.verdict)
        row = rows.setdefault(key, Sums())
        row.requests += -1 if decision.is_void else 1
        row.input += decision.input
        row.cached += decision.cached
        row.output += decision.output
        row.list_amount += Decimal(decision.list_amount_usd or 0)
        row.amount += Decimal(decision.amount_usd or 0)
        row.unpriced += (-1 if decision.is_void else 1) * (decision.list_amount_usd is None)
    return sums


@dataclass(frozen=True)
class Serial:
    """What one after the other, in arrival order and without any table, comes out. `refused`: code and raw event."""

    decisions: dict[RequestKey, Decision]
    counters: dict[CounterId, Books]
    refused: set[tuple[str, str]]


def decided_serially(
    events: Sequence[Any], chosen: Offer, accounts: Mapping[str, Account], received_at: datetime = RECEIVED
) -> Serial:
    """The fold that SPEC section 2 describes, over the events in arrival order: the first of each key counts."""
    requests: dict[RequestKey, Request] = {}
    refused: set[tuple[str, str]] = set()
    for event in events:
        raw = json.dumps(event, separators=(",", ":"))
        try:
            request = request_of(event, received_at)
        except Rejected as rejected:
            refused.add((rejected.code, raw))
            continue
        earlier = requests.setdefault(request.key, request)
        if earlier.payload_hash != request.payload_hash:
            refused.add(("conflict", raw))
    counters: dict[CounterId, Books] = {}
    decisions: list[Decision] = []
    for request in requests.values():
        case = case_of(request, chosen, accounts.get(request.organization))
        books = counters.get(case.counter, Books(Counter(), {}))
        counters[case.counter], taken = settle(books, [case], received_at)
        decisions += taken
    return Serial({decision.key: decision for decision in decisions}, counters, refused)


def totals_by_day(counters: Mapping[CounterId, Books]) -> dict[CounterId, Totals]:
    """The totals of each day's document, in which several counters of a group are counted together."""
    found: dict[CounterId, Totals] = {}
    for counter, books in counters.items():
        for day, totals in books.totals.items():
            rows = found.setdefault(ledger.totals_of(counter, day), Totals()).rows
            for key, sums in totals.rows.items():
                before = rows.get(key, Sums())
                rows[key] = Sums(*map(add, astuple(before), astuple(sums)))
    return found
