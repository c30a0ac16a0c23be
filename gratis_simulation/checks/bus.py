"""What is on the bus at the end: all that the ledger says, nothing else, and every repeat word for word."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.checks.histories import whole_of
from gratis_simulation.checks.record import record_of
from gratis_simulation.machines.releases import LAST
from gratis_simulation.machines.run import Run

THRESHOLD = "QuotaThresholdReached"
"""Which of several decisions announces a threshold is not sure: checked by itself."""
ENTRY = ("organization", "code", "message", "received_at", "whence")
Events = dict[str, dict[str, Any]]
"""By id."""


def check(ended: Ended) -> None:
    """Kind by kind: nothing is missing, nothing was made up, nothing says two things under one id."""
    on_bus = _on_bus(ended)
    wanted = {
        "BillingRecords": {record["id"]: record for record in map(record_of, ended.decisions)},
        "EventQuarantined": dict(_quarantined(ended.run)),
        "SharingChanged": dict(_sharing(ended.run)),
        "DayClosed": dict(_statements(ended.run)),
    }
    for kind, events in wanted.items():
        _same(kind, on_bus.pop(kind, {}), events)
    if on_bus:
        raise Broken("everything emitted", f"nobody knows of {sorted(on_bus)}")


def _on_bus(ended: Ended) -> dict[str, Events]:
    """By kind and id. What comes twice must be the same."""
    run, found = ended.run, defaultdict[str, Events](dict)
    first_form = _in_first_form(ended) if run.world.runs(LAST) else {}
    for kind, detail in run.bus.events:
        for each in _unpacked(kind, detail, run.limits.records) if kind != THRESHOLD else ():
            event = first_form.get(json.dumps(each, sort_keys=True), each)
            known = found[kind].setdefault(event["id"], event)
            if known != event:
                raise Broken("everything emitted", f"{kind} {event['id']} is on the bus as {known} and as {event}")
    return found


def _in_first_form(ended: Ended) -> dict[str, dict[str, Any]]:
    """Each record, by the text of it that the last release emits, which knows only its own form."""
    forms = ((record_of(each._replace(format=1)), record_of(each)) for each in ended.decisions)
    return {json.dumps(first, sort_keys=True): ours for first, ours in forms}


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
        if on_bus[name] != event:
            raise Broken("everything emitted", f"{kind} {name}: on the bus {on_bus[name]}, in the ledger {event}")


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
        account = whole_of(item, run.table)
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
