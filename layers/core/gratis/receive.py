"""Takes in usage events: the good ones of a body to the queue, each bad one to quarantine. SPEC section 5.

What if this dies on any line or runs twice? It answers 2xx only when everything is stored; until then the sender
sends again, and what was stored already is recognized: a quarantine entry by its key, a queued event by its decision.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gratis.errors import Rejected
from gratis.events import checked, compact
from gratis.http import Refused
from gratis.quarantine import Entry, Quarantine, entry
from gratis.queue import UsageQueue

WHENCE = "receive_usage"
MOST_EVENTS = 10_000
"""In one body: what can be stored, and answered one by one, within the time and size that a call has."""


@dataclass
class Received:
    """What became of the events of one body."""

    accepted: int = 0
    quarantined: list[dict[str, Any]] = field(default_factory=list)

    def content(self) -> dict[str, Any]:
        """The answer's body. Shape: SPEC section 5."""
        return {"accepted": self.accepted, "quarantined": self.quarantined}


def receive(
    events: Sequence[tuple[int, Any]],
    received_at: datetime,
    queue: UsageQueue,
    quarantine: Quarantine,
    worded: Callable[[str], str] = str,
) -> Received:
    """Store every event, each with its index in the body. Raises Busy unless all are stored, Refused for too many."""
    if len(events) > MOST_EVENTS:
        raise Refused(
            413, "too_many_events", f"the body holds {len(events)} events; at most {MOST_EVENTS} are accepted"
        )
    received = Received()
    good: dict[str, list[str]] = {}
    bad: list[Entry] = []
    for index, raw in events:
        try:
            text, event = compact(raw), checked(raw, received_at)
        except Rejected as rejected:
            kept = entry(raw, Rejected(rejected.code, worded(rejected.message)), received_at, WHENCE)
            bad.append(kept)
            received.quarantined.append({"index": index, "id": kept.id, "error": kept.error()})
        else:
            good.setdefault(event.subject, []).append(text)
    received.accepted = len(events) - len(bad)
    quarantine.put(bad)
    queue.send(good, received_at)
    return received
