"""The ledger: classifiers, with a table and without, what a table holds, and the proof that it keeps SPEC section 3."""

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from operator import add
from typing import Any

from gratis.classify import Classifier, Clock
from gratis.errors import Rejected
from gratis.rules.account import Account
from gratis.rules.decision import Books, case_of, settle
from gratis.rules.offer import Offer
from gratis.rules.offer_file import shipped
from gratis.rules.receipt import Decision
from gratis.rules.request import Request, RequestKey
from gratis.rules.totals import RowKey, Sums, Totals
from gratis.rules.window import Counter, CounterId, kind_of_slot
from gratis.table import keys, ledger
from gratis.table.decision_items import decision_of
from gratis.table.ledger import Document, Ledger
from gratis.table.quarantine import Entry, Quarantine
from gratis_local.functions import Handler
from gratis_local.replay import event_clock
from tests.builders.aws import TABLE
from tests.builders.events import RECEIVED, request_of
from tests.builders.offers import DAILY
from tests.builders.organizations import account

# --- what decides --------------------------------------------------------------------------------------------------


def classifier(client: Any, chosen: Offer = DAILY, clock: Clock = event_clock, table: str = TABLE) -> Classifier:
    return Classifier(Ledger(client, table), Quarantine(client, table), chosen, clock)


def by_the_events_clock(handler: Handler) -> Handler:
    """classify_usage's handler, whose clock follows the events: those of the tests are of another year.

    It settles one organization after the other: transactions of moto and of the simulation's table are not atomic.
    """
    names = inspect.unwrap(handler).__globals__
    names["Classifier"], names["SIDE_BY_SIDE"] = partial(Classifier, clock=event_clock), 1
    return handler


NOW = datetime(2025, 3, 12, tzinfo=UTC)
"""When a desk decides."""


class Desk:
    """Decides requests one by one, each against the books of its own counter: the ledger without the database."""

    def __init__(self, offer: Offer | None = None, organization: Account | None = None) -> None:
        self.offer = offer or shipped("data-sharing-2025")
        self.organization = organization or account("org_demo")
        self.books: dict[CounterId, Books] = {}

    def decide(self, *requests: Request) -> list[Decision]:
        """One decision for each request, in arrival order."""
        decisions = []
        for each in requests:
            case = case_of(each, self.offer, self.organization)
            books = self.books.get(case.counter, Books(Counter(), {}))
            self.books[case.counter], decided = settle(books, [case], NOW)
            decisions += decided
        return decisions

    def day(self, group: str, day: date) -> Books:
        """The books of a group's calendar day."""
        return self.books[CounterId("org_demo", group, day.isoformat())]


def verdicts(decisions: Iterable[Decision]) -> list[str]:
    """The verdicts, for tests that look at nothing else."""
    return [decision.verdict for decision in decisions]


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
    decisions = [plain(decision_of(item)) for (_, sk), item in items.items() if sk.startswith("REQ#")]
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
