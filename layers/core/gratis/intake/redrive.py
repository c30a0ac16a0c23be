"""What an entry in quarantine is sent through again as: what a source sent is mapped anew, by what is known today."""

import json
from datetime import datetime
from typing import Any

from gratis import moment
from gratis.intake.receive import ENTRY
from gratis.intake.sources import SOURCES, Source, source_named
from gratis.table.quarantine import Entry


def event_of(entry: Entry) -> Any:
    """The event of an entry: what a source sent is mapped anew, by what is known today. Raises Rejected."""
    sent = _sent(entry)
    return json.loads(entry.raw) if sent is None else sent[0].event(sent[1])


def skipped(entry: Entry) -> str | None:
    """Why its source would skip today what it refused then; None if it would not."""
    sent = _sent(entry)
    return sent[0].skipped(sent[1]) if sent else None


def received_at(entry: Entry, now: datetime) -> datetime:
    """When the event is received: as it was, unless that was too early."""
    return now if entry.code == "in_the_future" else moment.parse(entry.received_at)


def _sent(entry: Entry) -> tuple[Source, Any] | None:
    """What a source sent, refused at the webhook or carried by its event until it was refused; None for an event."""
    raw = json.loads(entry.raw)
    if entry.source is not None:
        return source_named(entry.source), raw
    carried = isinstance(raw, dict) and ENTRY in raw
    source = next((each for each in SOURCES if carried and each.kept and each.name == raw.get("source")), None)
    return (source, raw[ENTRY]) if source else None
