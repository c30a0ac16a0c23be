"""What is on the bus at the end of a run: all that the ledger says, nothing else, and every repeat word for word."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from gratis.ledger import account_of
from gratis.receipt import Decision
from local.simulation.machines.run import Broken, Run

ENTRY = ("organization", "code", "message", "received_at", "whence")
Events = dict[str, dict[str, Any]]
"""By id."""


def everything_is_on_the_bus(run: Run, decisions: Sequence[Decision]) -> None:
    """Raises Broken if something is missing on the bus, was made up, or says two things under one id."""
    on_bus = _on_bus(run, run.knobs.limits.records)
    wanted = {
        "BillingRecords": {record["id"]: record for record in map(record_of, decisions)},
        "EventQuarantined": dict(_quarantined(run)),
        "SharingChanged": dict(_sharing(run)),
        "DayClosed": dict(_statements(run)),
    }
    for kind, events in wanted.items():
        _same(kind, on_bus.pop(kind, {}), events)
    _thresholds(on_bus.pop("QuotaThresholdReached", {}), decisions)
    if on_bus:
        raise Broken("everything emitted", f"nobody knows of {sorted(on_bus)}")
    _late_days_are_named(run, decisions)
    _days_are_proved(run, wanted["BillingRecords"], wanted["DayClosed"])


def record_of(decision: Decision) -> dict[str, Any]:
    """The billing record as SPEC section 5 shapes it."""
    names = (
        *("format", "kind", "organization", "project", "request_id", "model", "group", "window", "verdict", "reason"),
        *("unit", "quota", "used_before", "used_after", "running_total", "voids", "reservation", "platform_verdict"),
        *("list_amount_usd", "amount_usd", "tier", "offer"),
        *("profile_version", "settings_version", "price_version", "payload_hash"),
        *("occurred_at", "received_at", "decided_at"),
    )
    tokens = {
        "input": decision.input,
        "cached_input": decision.cached,
        "cache_write": decision.cache_write,
        "output": decision.output,
        "total": decision.input + decision.output,
    }
    record_id = f"{decision.organization}:{decision.day}:{decision.request_id}"
    reserved = None if decision.used_before is None else decision.reserved_before
    told = {"id": record_id, "tokens": tokens, "reserved_before": reserved}
    return {name: getattr(decision, name) for name in names} | told


def _on_bus(run: Run, most: int) -> dict[str, Events]:
    """By kind and id. What comes twice must be the same, except that of a threshold the first counts."""
    found: dict[str, Events] = defaultdict(dict)
    for kind, detail in run.bus.events:
        for event in _unpacked(kind, detail, most):
            known = found[kind].setdefault(event["id"], event)
            if known != event and kind != "QuotaThresholdReached":
                raise Broken("everything emitted", f"{kind} {event['id']} is on the bus as {known} and as {event}")
    return found


def _unpacked(kind: str, detail: dict[str, Any], most: int) -> list[dict[str, Any]]:
    if kind != "BillingRecords":
        return [detail]
    records: list[dict[str, Any]] = detail["records"]
    strangers = [record["id"] for record in records if record["organization"] != detail["organization"]]
    if strangers or len(records) > most:
        raise Broken("everything emitted", f"{len(records)} records of {detail['organization']}, with {strangers}")
    return records


def _same(kind: str, on_bus: Events, wanted: Events) -> None:
    missing, made_up = wanted.keys() - on_bus.keys(), on_bus.keys() - wanted.keys()
    if missing or made_up:
        raise Broken("everything emitted", f"{kind}: not on the bus {sorted(missing)}, made up {sorted(made_up)}")
    for name, event in wanted.items():
        told = {field: on_bus[name].get(field) for field in event}
        if told != event:
            raise Broken("everything emitted", f"{kind} {name}: on the bus {told}, in the ledger {event}")


def _quarantined(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each entry as it was when it was put there first."""
    for change in run.table.log:
        if change.old is None and change.new is not None and "code" in change.new:
            name = ":".join(change.key)
            said = {field: change.new.get(field, {"S": None})["S"] for field in ENTRY}
            yield name, {"id": name, "request_id": change.new.get("id", {"S": None})["S"], **said}


def _sharing(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, item in run.table.items.items():
        if key[1] != "ACCOUNT":
            continue
        account = account_of(item)
        versions = [settings.model_dump(mode="json") for settings in account.sharing]
        for number, settings in enumerate(versions, start=1):
            name = f"{account.id}:sharing:{number}"
            previous = versions[number - 2] if number > 1 else None
            said = {"organization": account.id, "version": number, "settings": settings, "previous": previous}
            yield name, {"id": name, **said}


def _statements(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, item in run.table.items.items():
        if key[1].startswith("STATEMENT#"):
            stated = json.loads(item["statement"]["S"])
            yield stated["id"], stated


# Thresholds ---------------------------------------------------------------------------------------------------------


def _thresholds(on_bus: Events, decisions: Sequence[Decision]) -> None:
    """Each threshold of a counter under one id, as one of the decisions that announce it says."""
    announced: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for decision in decisions:
        for threshold in decision.thresholds:
            pool = "" if decision.pool is None else f":{decision.pool}"
            counter = f"{decision.organization}:{decision.group}{pool}:{decision.window}"
            name = f"{counter}:{decision.quota}:{threshold}"
            announced[name].append(_announcement(decision, threshold))
    if announced.keys() != on_bus.keys():
        missing, made_up = announced.keys() - on_bus.keys(), on_bus.keys() - announced.keys()
        message = f"not on the bus {sorted(missing)}, made up {sorted(made_up)}"
        raise Broken("thresholds announced once and right", message)
    for name, event in on_bus.items():
        if {field: event.get(field) for field in announced[name][0]} not in announced[name]:
            raise Broken("thresholds announced once and right", f"{event} is none of {announced[name]}")


def _announcement(decision: Decision, threshold: int) -> dict[str, Any]:
    return {
        "organization": decision.organization,
        "group": decision.group,
        "project": decision.pool or None,
        "unit": decision.unit,
        "window": decision.window,
        "threshold": threshold,
        "quota": decision.quota,
        "used": decision.used_after,
        "request_id": decision.request_id,
        "occurred_at": decision.occurred_at,
    }


# Days ---------------------------------------------------------------------------------------------------------------


def _late_days_are_named(run: Run, decisions: Sequence[Decision]) -> None:
    """A decision that came after its day was over: the function says that the day has to be closed again."""
    over = {
        (f"REQ#{decision.request_id}", decision.organization, decision.day)
        for decision in decisions
        if decision.decided_at[:10] > decision.day
    }
    for batch, emitted in run.seen.emitted:
        for record in batch:
            keys = record["dynamodb"]["Keys"]
            _, *day = keys["pk"]["S"].split("#")[:3]
            if (keys["sk"]["S"], *day) in over and tuple(day) not in emitted.late:
                raise Broken("proved", f"{day} has to be closed again, and nobody says so")


def _days_are_proved(run: Run, records: Events, statements: Events) -> None:
    """The newest statement of every day is what anybody makes of the day's records, and says that they hold."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for stated in sorted(statements.values(), key=lambda each: each["revision"]):
        day = (stated["organization"], stated["day"])
        if stated["revision"] != newest.get(day, {"revision": 0})["revision"] + 1:
            raise Broken("proved", f"a revision is missing before {stated['id']}")
        newest[day] = stated
    of_days: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in records.values():
        of_days[record["organization"], record["id"].split(":")[1]].append(record)
    for day in run.closed:
        _is_proved(newest.get(day), sorted(of_days[day], key=lambda record: str(record["id"])))


def _is_proved(stated: dict[str, Any] | None, records: Sequence[dict[str, Any]]) -> None:
    if stated is None:
        raise Broken("proved", f"the day of {records[0]['id']} has no statement")
    digest = bytes(32)
    for record in records:
        written = json.dumps(record, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(digest + written.encode()).digest()
    free = [record for record in records if record["verdict"] == "free"]
    sums = {
        "decisions": len(records),
        "free": len(free),
        "free_tokens": sum(record["tokens"]["total"] for record in free),
        "billed_tokens": sum(record["tokens"]["total"] for record in records if record["verdict"] == "billed"),
        "hash": digest.hex(),
    }
    told = {name: stated[name] for name in sums}
    amounts = [Decimal(record["amount_usd"] or 0) for record in records]
    if told != sums or Decimal(stated["amount_usd"]) != sum(amounts):
        raise Broken("proved", f"the statement {stated['id']} says {told}, the records make {sums}")
    wrong = [each for each in stated["differences"] if each["kind"] != "duplicate"]
    if wrong:
        raise Broken("proved", f"{stated['id']}: {wrong}")
