"""Takes in usage events: the good ones of a body to the queue or the stream, each bad one to
quarantine. SPEC section 5.

What if this dies on any line or runs twice? It answers 2xx only when everything is stored; until then the sender
sends again, and what was stored already is recognized: a quarantine entry by its key, a stored event by its decision.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from gratis.errors import Rejected
from gratis.http import Refused
from gratis.intake.events import checked, compact
from gratis.table.quarantine import Entry, Quarantine, entry, entry_of

if TYPE_CHECKING:
    from gratis.intake.sources import Source

WHENCE = "receive_usage"
ENTRY = "entry"
"""The attribute under which an event carries what its source's mapping read, should a later release map it anew."""
MAX_EVENTS = 10_000
"""In one body: what can be stored, and answered one by one, within the time and size that a call has."""
MAX_ANSWER_BYTES = 5_000_000
"""Of an answer, so that it stays within Lambda's 6 MB whatever came in."""
SHORTER = (1000, 200, 50, 0)
"""Characters to which ids and error messages are cut in an answer, one after the other, until it is short enough."""


class Intake(Protocol):
    """Where good events wait for their decision: the queue or the stream."""

    def send(self, events: Mapping[str, Sequence[str]], received_at: datetime) -> None:
        """Store events by organization, in order. Raises Busy unless every one of them is stored."""


@dataclass
class Received:
    """What became of the events of one body. `skipped`: how many were not decided, by reason."""

    accepted: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    quarantined: list[dict[str, Any]] = field(default_factory=list)

    def content(self) -> dict[str, Any]:
        """The answer's body. Shape: SPEC section 5. Of very many refused events ids and messages are cut."""
        for longest in SHORTER:
            quarantined = [_cut(each, longest) for each in self.quarantined]
            if _handed_on(quarantined) <= MAX_ANSWER_BYTES:
                break
        return {"accepted": self.accepted, "skipped": dict(self.skipped), "quarantined": quarantined}


def receive(
    source: "Source", entries: Sequence[Any], received_at: datetime, intake: Intake, quarantine: Quarantine
) -> Received:
    """Store every event of a body's entries. Raises Busy unless all are stored, Refused for too many."""
    if len(entries) > MAX_EVENTS:
        message = f"the body holds {len(entries)} events; at most {MAX_EVENTS} are accepted"
        raise Refused(413, "too_many_events", message)
    received, skipped = Received(), Counter[str]()
    good: dict[str, list[str]] = {}
    bad: list[Entry] = []
    for index, each in enumerate(entries):
        if reason := source.skipped(each):
            skipped[reason] += 1
            continue
        event: Any = None
        try:
            event = source.event(each)
            text, valid = compact(event), checked(event, received_at)
        except Rejected as rejected:
            kept = _refused(source, each, event, rejected, received_at)
            bad.append(kept)
            received.quarantined.append({"index": index, "id": kept.id, "error": kept.error()})
        else:
            good.setdefault(valid.subject, []).append(_carried(source, event, each) or text)
            received.accepted += 1
    received.skipped = skipped
    quarantine.put(bad)
    intake.send(good, received_at)
    return received


def _carried(source: "Source", event: Mapping[str, Any], each: Any) -> str | None:
    """The event for its decision, with what a later mapping of its entry needs; None where that would be too large."""
    if source.kept is None:
        return None
    try:
        return compact({**event, ENTRY: source.kept(each)})
    except Rejected:
        return None


def _refused(source: "Source", each: Any, event: Any, rejected: Rejected, received_at: datetime) -> Entry:
    worded = Rejected(rejected.code, source.worded(rejected.message))
    refused = entry(each if event is None else event, worded, received_at, WHENCE)
    return entry_of(source.name, source.kept(each), refused) if source.kept else refused


def _handed_on(content: Any) -> int:
    """How many bytes Lambda hands on: the answer is JSON as a text inside of JSON."""
    return len(json.dumps(json.dumps(content, ensure_ascii=False), ensure_ascii=False).encode())


def _cut(refused: Mapping[str, Any], longest: int) -> dict[str, Any]:
    error = refused["error"]
    message = error["message"]
    short = message if len(message) <= longest else f"{message[:longest]}…"
    request_id = refused["id"] and refused["id"][: longest or 1]
    return {**refused, "id": request_id, "error": {**error, "message": short}}
