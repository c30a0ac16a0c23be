"""Sends entries of quarantine through again, a page of a day at a time, over the API.

What if this dies on any line, or two of it run at once? An entry goes only when its event has a decision, or needs
none. It is sent first, and found decided by a later call; whatever is sent twice is a repeat.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from gratis.errors import Rejected
from gratis.intake.events import compact, parse_event
from gratis.intake.queue import UsageQueue
from gratis.intake.redrive import event_of, received_at, skipped
from gratis.rules.receipt import Decision, is_repeat
from gratis.rules.request import Request, RequestKey, Void
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Entry, Quarantine

GONE = ("decided", "skipped")
"""States in which an entry is out of quarantine."""


class Redriven(NamedTuple):
    """What became of an entry: `decided` or `skipped` (it is gone), `sent`, or `refused` again; and why."""

    entry: Entry
    state: str
    why: str


@dataclass(frozen=True)
class Redriving:
    """Where entries lie, and where their events go."""

    ledger: Ledger
    quarantine: Quarantine
    queue: UsageQueue
    now: datetime

    def redrive(self, entries: Sequence[Entry]) -> list[Redriven]:
        """Send each through again that has no decision yet. Raises Busy."""
        parsed = {entry: self._parsed(entry) for entry in entries}
        keys = [each.request.key for each in parsed.values() if isinstance(each, _Event)]
        decided = self.ledger.decisions(dict.fromkeys(keys))
        return [self._one(entry, event, decided) for entry, event in parsed.items()]

    def _parsed(self, entry: Entry) -> "_Event | Redriven":
        if reason := skipped(entry):
            return Redriven(entry, "skipped", reason)
        when = received_at(entry, self.now)
        try:
            event = event_of(entry)
            return _Event(compact(event), parse_event(event, when), when)
        except Rejected as rejected:
            return Redriven(entry, "refused", rejected.message)

    def _one(self, entry: Entry, event: "_Event | Redriven", decided: Mapping[RequestKey, Decision]) -> Redriven:
        if isinstance(event, Redriven):
            done = event
        elif (decision := decided.get(event.request.key)) is None:
            nonce = uuid.uuid4().hex
            self.queue.send({event.request.organization: [event.text]}, event.received_at, nonce)
            done = Redriven(entry, "sent", "it is not decided yet; ask again, and the entry goes once it is")
        elif is_repeat(event.request, decision):
            done = Redriven(entry, "decided", f"{decision.verdict}: {decision.reason}")
        else:
            done = Redriven(entry, "refused", entry.message)
        if done.state in GONE:
            self.quarantine.remove(entry)
        return done


class _Event(NamedTuple):
    """What an entry is sent through again as."""

    text: str
    request: Request | Void
    received_at: datetime
