"""The bus, in this process: takes events entry by entry."""

import json
from collections.abc import Collection
from typing import Any

from gratis_simulation.machines.table import Unknown, error

MAX_ENTRIES = 10
MAX_CALL_BYTES = 262_144


class Bus:
    """`events`: what it took, in order, as (detail type, detail)."""

    NAME = "bus"

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def put_events(self, *, refuse: Collection[int] = (), **request: Any) -> dict[str, Any]:
        """Takes the entries, each by itself. `refuse`: the places of those that it does not take this time."""
        if request.keys() != {"Entries"}:
            raise Unknown(f"parameters {sorted(request)}")
        entries = request["Entries"]
        for entry in entries:
            if entry.keys() != {"Source", "DetailType", "Detail", "EventBusName"} or entry["EventBusName"] != self.NAME:
                raise Unknown(f"an entry {entry}")
        if not 1 <= len(entries) <= MAX_ENTRIES:
            raise error("ValidationException", f"1 to {MAX_ENTRIES} entries, not {len(entries)}", "PutEvents")
        if sum(len(entry["Detail"].encode()) for entry in entries) > MAX_CALL_BYTES:
            raise error("ValidationException", "the entries are larger than 256 KB", "PutEvents")
        results = [self._result(place, entry, refuse) for place, entry in enumerate(entries)]
        return {"FailedEntryCount": sum("ErrorCode" in result for result in results), "Entries": results}

    def _result(self, place: int, entry: dict[str, Any], refuse: Collection[int]) -> dict[str, str]:
        if place in refuse:
            return {"ErrorCode": "InternalFailure", "ErrorMessage": "this entry was not taken"}
        self.events.append((entry["DetailType"], json.loads(entry["Detail"])))
        return {"EventId": str(len(self.events))}
