"""What the webhook answered is true: accepted events reached the queue, refused ones the quarantine."""

import json

from gratis import moment
from gratis.intake.receive import Received
from gratis_simulation.broken import Broken
from gratis_simulation.checks.arrivals import not_accepted
from gratis_simulation.checks.ended import Ended
from gratis_simulation.machines.seen import Posted
from gratis_simulation.worlds.payload import content_of


def check(ended: Ended) -> None:
    """Whatever was answered with 2xx."""
    kept = {(entry.code, entry.received_at[:10], content_of(json.loads(entry.raw))) for entry in ended.entries}
    for posted in ended.run.seen.posted:
        if posted.received is not None:
            _answer_holds(ended, posted, posted.received, kept)


def _answer_holds(ended: Ended, posted: Posted, received: Received, kept: set[tuple[str, str, str]]) -> None:
    events = posted.step.events
    refused = {each["index"]: each["error"]["code"] for each in received.quarantined}
    if [each["id"] for each in received.quarantined] != [
        events[each["index"]].raw.get("id") for each in received.quarantined
    ]:
        raise Broken("nothing lost", f"{received} does not name the events {events}")
    for index, event in enumerate(events):
        code = not_accepted(event, posted.received_at)
        if refused.get(index) != code:
            raise Broken("nothing lost", f"answered {refused.get(index)} to {event.raw}, must be {code}")
        if code and (code, moment.text(posted.received_at)[:10], event.content) not in kept:
            raise Broken("nothing lost", f"not in quarantine as {code}: {event.raw}")
        if not code and event.content not in ended.arrivals.contents:
            raise Broken("nothing lost", f"accepted, but never in the queue: {event.raw}")
    if received.accepted + len(refused) != len(events):
        raise Broken("nothing lost", f"{received} for {len(events)} events")
