"""Replays events through the classifier that is deployed, on an embedded engine, by a clock that follows the events."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gratis.classify import Classifier
from gratis.errors import Busy
from gratis.intake.events import moment_of
from gratis.intake.messages import Message
from gratis.rules import pricing
from gratis.rules.account import Account
from gratis.rules.offer import Offer
from gratis.rules.receipt import Decision
from gratis.rules.request import Request, RequestKey, Void
from gratis.table.accounts import Accounts
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Entry, Quarantine
from gratis_local.engine import create_table
from gratis_local.stack import client_for

TABLE = "gratis-replay"
BATCH_MESSAGES = 5000
"""Lambda's own FIFO batches hold 10; the classifier takes any number. The more, the fewer transactions."""
MAX_ATTEMPTS = 5
"""How often a batch is handed to the classifier until all of it is decided."""


@dataclass(frozen=True)
class Fate:
    """What became of an event, and when it was received. `became` is None if the event repeats an earlier one."""

    received_at: datetime
    became: Decision | Entry | None


@dataclass
class Replayed:
    """What became of the events: decisions in file order, and quarantine entries as SPEC section 5 shapes them.

    `fates`: the same, event by event.
    """

    events: int = 0
    decisions: list[Decision] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Entries of the files that are none to be decided, by reason."""

    def totals(self) -> dict[str, Any]:
        """Shape: SPEC section 5. Amounts that are not known count as nothing. Voids count off what they take back."""
        free = [decision for decision in self.decisions if decision.verdict == "free"]
        billed = [decision for decision in self.decisions if decision.verdict == "billed"]
        return {
            "events": self.events,
            "free": sum(decision.counts for decision in free),
            "billed": sum(decision.counts for decision in billed),
            "quarantined": len(self.quarantined),
            "repeats": self.events - len(self.decisions) - len(self.quarantined),
            "free_tokens": sum(decision.input + decision.output for decision in free),
            "billed_tokens": sum(decision.input + decision.output for decision in billed),
            "list_amount_usd": _sum(decision.list_amount_usd for decision in self.decisions),
            "amount_usd": _sum(decision.amount_usd for decision in self.decisions),
            "skipped": dict(self.skipped),
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

    def message(self) -> Message:
        """The event alone, as the queue would carry it."""
        organization = self.raw.get("subject") if isinstance(self.raw, dict) else None
        return Message(str(self.index), str(organization), json.dumps([self.raw]), self.received_at)


def replay(
    events: Sequence[Any],
    accounts: Sequence[Account],
    offer: Offer,
    endpoint_url: str,
    progress: Callable[[int], None] = lambda _: None,
    *,
    skipped: Mapping[str, int] | None = None,
) -> Replayed:
    """Classify `events` in order on the DynamoDB at `endpoint_url`. Raises Busy if it gives up."""
    client = client_for(endpoint_url, "dynamodb")
    create_table(client, TABLE)
    stored = Accounts(client, TABLE)
    for account in accounts:
        stored.put(account)
    ledger = Ledger(client, TABLE, expire=False)  # the events may be older than what a deployment keeps
    classifier = Classifier(ledger, Quarantine(client, TABLE), offer, event_clock)
    replayed = Replayed(skipped=skipped or {})
    decided: set[RequestKey] = set()
    received = list(arrivals(events))
    for start in range(0, len(received), BATCH_MESSAGES):
        batch = received[start : start + BATCH_MESSAGES]
        found = classified(classifier, [arrival.message() for arrival in batch])
        for arrival in batch:
            _take(replayed, arrival, found[str(arrival.index)], decided)
        progress(len(batch))
    return replayed


def event_clock(requests: Sequence[Request | Void]) -> datetime:
    """The moment at which the last of `requests` was received."""
    return max(request.received_at for request in requests)


def arrivals(events: Iterable[Any]) -> Iterator[Arrival]:
    """Each event is received at its own time; one without a usable time, when the one before it was."""
    clock = datetime.now(UTC)
    for index, raw in enumerate(events):
        clock = moment_of(raw) or clock
        yield Arrival(index, raw, clock)


def classified(classifier: Classifier, messages: Sequence[Message]) -> dict[str, Decision | Entry]:
    """What became of each message's event, by the message's id; what is unfinished is handed in again. Raises Busy."""
    found: dict[str, Decision | Entry] = {}
    for _ in range(MAX_ATTEMPTS):
        outcome = classifier.classify(messages)
        found |= outcome.fates
        unfinished = set(outcome.unfinished)
        messages = [message for message in messages if message.id in unfinished]
        if not messages:
            return found
    raise Busy(f"{len(messages)} events could not be decided: {'; '.join(outcome.causes[:10])}")


def _take(replayed: Replayed, arrival: Arrival, found: Decision | Entry, decided: set[RequestKey]) -> None:
    """Add what became of an event; `decided`: the requests whose decision is there already."""
    replayed.events += 1
    fresh: Decision | Entry | None = found
    if isinstance(found, Entry):
        replayed.quarantined.append({"index": arrival.index, "id": _id_of(arrival.raw), "error": found.error()})
    elif found.key in decided:
        fresh = None
    else:
        decided.add(found.key)
        replayed.decisions.append(found)
    replayed.fates.append(Fate(arrival.received_at, fresh))


def _id_of(raw: Any) -> Any:
    return raw.get("id") if isinstance(raw, dict) else None


def _sum(amounts: Any) -> str:
    return pricing.usd(sum((Decimal(amount) for amount in amounts if amount is not None), Decimal(0)))
