"""What goes out: from the ledger's stream to the bus. A committed item is its own outbox entry. SPEC section 5.

What if this dies on any line or runs twice? The stream hands the batch over again, and what was sent already goes out
once more under the same ids, which are derived from what they name. A record that cannot be read stops no other: it is
kept as a dead letter, and its item stays in the table, to be read again when the cause is mended.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from gratis.rules.receipt import Decision
from gratis.table import keys
from gratis.table.account_rows import described, rows_of
from gratis.table.decision_items import decision_of
from gratis.table.dynamo import Pause, pause
from gratis.table.keys import Item

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "gratis"
MAX_RECORDS = 100
"""Billing records in one event."""
MAX_ENTRIES = 10
MAX_CALL_BYTES = 200_000
"""Of one call to the bus, which takes 256 KB."""
MAX_ATTEMPTS = 8


class BusEntry(NamedTuple):
    """One event for the bus. `position`: in the stream batch, of the earliest record it carries."""

    position: int
    kind: str
    detail: Mapping[str, Any]
    text: str


class Unreadable(NamedTuple):
    """A stream record that makes no sense to this release: the item's key, and why."""

    keys: Item
    error: str

    def letter(self) -> str:
        """The message that is kept among the dead letters."""
        return json.dumps({"keys": self.keys, "error": self.error})


@dataclass
class Emitted:
    """What became of a stream batch. `retry_from`: sequence number from which the stream has to come again.

    `unreadable`: records that have to be kept, since they did not go out.

    `billing`: the billing records, whether the bus took them or not.
    `statements`: of days that were closed.
    `late`: organizations and days that got a decision after they were over: they have to be closed again.
    `decided_at`: when the records that are on the bus now were decided, each moment once.
    """

    records: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    billing: list[Mapping[str, Any]] = field(default_factory=list)
    statements: list[Mapping[str, Any]] = field(default_factory=list)
    late: set[tuple[str, str]] = field(default_factory=set)
    decided_at: set[str] = field(default_factory=set)
    sent: int = 0
    failed: int = 0
    causes: list[str] = field(default_factory=list)
    first_failed: int | None = None
    retry_from: str | None = None


def emit(
    stream: Sequence[Mapping[str, Any]],
    client: "EventBridgeClient",
    bus: str,
    *,
    pause: Pause = pause,
    max_records: int = MAX_RECORDS,
) -> Emitted:
    """Put on the bus all that a batch of stream records says; each entry's own result counts.

    `max_records`: billing records in one event.
    """
    unreadable: list[Unreadable] = []
    emitted = send(list(bus_entries(stream, max_records, unreadable)), client, bus, pause)
    emitted.unreadable = unreadable
    if emitted.first_failed is not None:
        emitted.retry_from = stream[emitted.first_failed]["dynamodb"]["SequenceNumber"]
    return emitted


def send(outgoing: Sequence[BusEntry], client: "EventBridgeClient", bus: str, pause: Pause = pause) -> Emitted:
    """Put these entries on the bus."""
    billing = [record for entry in outgoing for record in entry.detail.get("records", ())]
    emitted = Emitted(records=len(billing), billing=billing)
    emitted.late = {
        (record["organization"], record["occurred_at"][:10])
        for record in billing
        if record["occurred_at"][:10] < record["decided_at"][:10]
    }
    failed: list[BusEntry] = []
    emitted.statements = [entry.detail for entry in outgoing if entry.kind == "DayClosed"]
    for call in _calls(outgoing):
        left = _put(client, bus, call, emitted, pause)
        emitted.sent += len(call) - len(left)
        sent = (entry for entry in call if entry not in left)
        emitted.decided_at |= {record["decided_at"] for entry in sent for record in entry.detail.get("records", ())}
        failed += left
    if failed:
        emitted.failed = len(failed)
        emitted.first_failed = min(entry.position for entry in failed)
    return emitted


def bus_entries(
    stream: Sequence[Mapping[str, Any]],
    max_records: int = MAX_RECORDS,
    unreadable: list[Unreadable] | None = None,
) -> Iterator[BusEntry]:
    """The bus entries of a stream batch, billing records packed by organization.

    `unreadable`: takes the records that cannot be read; without it such a record is an error.
    """
    decisions: dict[str, list[tuple[int, Decision]]] = {}
    for position, record in enumerate(stream):
        try:
            decision, entries = _news(position, record["dynamodb"])
        except Exception as error:
            if unreadable is None:
                raise
            unreadable.append(Unreadable(record["dynamodb"]["Keys"], f"{type(error).__name__}: {error}"))
            continue
        yield from entries
        if decision:
            decisions.setdefault(decision.organization, []).append((position, decision))
    for organization, of_one in decisions.items():
        for start in range(0, len(of_one), max_records):
            yield from billing_records(organization, of_one[start : start + max_records])


def billing_records(organization: str, decisions: Sequence[tuple[int, Decision]]) -> Iterator[BusEntry]:
    """One event with these decisions of an organization, each with its position in the stream.

    Several events where one would be too large: a name of 128 characters can take 1,536 bytes in JSON.
    """
    records = [decision.record() for _, decision in decisions]
    entry = bus_entry(decisions[0][0], "BillingRecords", {"organization": organization, "records": records})
    if len(entry.text) <= MAX_CALL_BYTES or len(decisions) == 1:
        yield entry
        return
    half = len(decisions) // 2
    yield from billing_records(organization, decisions[:half])
    yield from billing_records(organization, decisions[half:])


def _news(position: int, change: Mapping[str, Any]) -> tuple[Decision | None, list[BusEntry]]:
    """A new decision, if a change of an item is one, and what else it says."""
    image = change.get("NewImage")
    if not image:
        return None, []
    if keys.is_decision(image):
        decision = decision_of(image)
        decision.record()  # a receipt that lacks a figure has to be found here, where its record is known
        return decision, [bus_entry(position, "QuotaThresholdReached", each) for each in thresholds(decision)]
    if "statement" in image:
        return None, [bus_entry(position, "DayClosed", json.loads(image["statement"]["S"]))]
    if keys.is_quarantined(image):
        return None, [bus_entry(position, "EventQuarantined", quarantined(image))]
    if keys.is_account(image):
        changes = sharing_changes(change.get("OldImage"), image)
        return None, [bus_entry(position, "SharingChanged", each) for each in changes]
    return None, []


def thresholds(decision: Decision) -> Iterator[dict[str, Any]]:
    """80 and 100 per cent of a quota. The id is that of counter, quota and threshold, so a repeat can be dropped.

    It names the project, too, where that has a counter of its own.
    """
    pool = "" if decision.pool is None else f":{decision.pool}"
    for threshold in decision.thresholds:
        yield {
            "id": f"{decision.organization}:{decision.group}{pool}:{decision.window}:{decision.quota}:{threshold}",
            "organization": decision.organization,
            "project": decision.pool or None,
            "unit": decision.unit,
            "group": decision.group,
            "window": decision.window,
            "threshold": threshold,
            "quota": decision.quota,
            "used": decision.used_after,
            "request_id": decision.request_id,
            "occurred_at": decision.occurred_at,
        }


def quarantined(image: Item) -> dict[str, Any]:
    """An event in quarantine, without its content."""
    names = ("organization", "code", "message", "received_at", "whence")
    named = {name: image[name]["S"] if name in image else None for name in names}
    request_id = image["id"]["S"] if "id" in image else None
    return {"id": f"{image['pk']['S']}:{image['sk']['S']}", "request_id": request_id, **named}


def sharing_changes(before: Item | None, after: Item) -> Iterator[dict[str, Any]]:
    """Each version of the sharing settings that the new image holds and the old one did not.

    A version that was moved beside the item in the write that replaced it is still in the old image.
    """
    new, known = rows_of(after, "sharing"), rows_of(before, "sharing") if before else {}
    organization = keys.organization_of_account(after)
    for number in sorted(new.keys() - known.keys()):
        if known and number < max(known):
            continue
        previous = new.get(number - 1) or known.get(number - 1)
        yield {
            "id": f"{organization}:sharing:{number}",
            "organization": organization,
            "version": number,
            "settings": described(new[number]),
            "previous": described(previous) if previous else None,
        }


def bus_entry(position: int, kind: str, detail: Mapping[str, Any]) -> BusEntry:
    """One event for the bus."""
    return BusEntry(position, kind, detail, json.dumps(detail, separators=(",", ":")))


def _calls(entries: Iterable[BusEntry]) -> Iterator[list[BusEntry]]:
    call: list[BusEntry] = []
    size = 0
    for entry in entries:
        if call and (len(call) == MAX_ENTRIES or size + len(entry.text) > MAX_CALL_BYTES):
            yield call
            call, size = [], 0
        call.append(entry)
        size += len(entry.text)
    if call:
        yield call


def _put(
    client: "EventBridgeClient", bus: str, entries: Sequence[BusEntry], emitted: Emitted, pause: Pause
) -> list[BusEntry]:
    """Send entries, and those again that the bus did not take; returns what it did not take in the end."""
    left = list(entries)
    for attempt in range(MAX_ATTEMPTS):
        if attempt:
            pause(attempt)
        try:
            answer = client.put_events(
                Entries=[
                    {"Source": SOURCE, "DetailType": entry.kind, "Detail": entry.text, "EventBusName": bus}
                    for entry in left
                ]
            )
        except (ClientError, BotoCoreError) as error:
            emitted.causes.append(str(error))
            continue
        results = answer["Entries"]
        emitted.causes += [result["ErrorCode"] for result in results if "ErrorCode" in result]
        left = [entry for entry, result in zip(left, results, strict=True) if "ErrorCode" in result]
        if not left:
            break
    return left
