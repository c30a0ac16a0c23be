"""What the next release wrote is kept: attributes of items that this one replaces, fields of records on the bus."""

import json
from typing import Any

from gratis.rules.formats import RESERVING
from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.machines.releases import LATER
from gratis_simulation.machines.run import Run
from gratis_simulation.machines.table import Change, Item


def check(ended: Ended) -> None:
    """Where releases change: every item that this one replaced, and every record of a decision of a later format."""
    for change in ended.run.table.log:
        if change.old is not None and change.new is not None and _by_this_release(change):
            _keeps(change, change.old, change.new)
    _records_are_whole(ended.run)


def _by_this_release(change: Change) -> bool:
    return change.actor is not None and change.actor.work.release.name == "this"


def _keeps(change: Change, old: Item, new: Item) -> None:
    if not change.key[0].startswith(("COUNTER#", "ORG#", "QUARANTINE#")):
        return
    noted = {**old, "version": new.get("version"), "account_version": new.get("account_version")}
    if change.key[0].startswith("COUNTER#") and new == noted:
        return  # a change of the account may note its version on any document: it decides nothing
    if change.key[0].startswith("COUNTER#") and _format(old) > RESERVING:
        raise Broken("read by another release", f"{change.key} says that others must not decide on it: {old}")
    was_settled = "reservations" in old and "reservations" not in new
    if new.get(LATER) != old.get(LATER) or (_format(new) < _format(old) and not was_settled):
        raise Broken("read by another release", f"{change.key}: {old} became {new}")


def _format(item: Item) -> int:
    return int(item.get("format", {"N": "1"})["N"])


def _records_are_whole(run: Run) -> None:
    written: dict[str, Any] = {}
    for key, item in run.table.items.items():
        if key[1].startswith("REQ#") and LATER in json.loads(item.get("added", {"S": "{}"})["S"]):
            _, organization, day, _ = key[0].split("#")
            written[f"{organization}:{day}:{key[1].removeprefix('REQ#')}"] = key[1]
    for kind, detail in run.bus.events:
        for record in detail["records"] if kind == "BillingRecords" else ():
            if record.get(LATER) != written.get(record["id"]):
                raise Broken("read by another release", f"the record lacks what the next release wrote: {record}")
