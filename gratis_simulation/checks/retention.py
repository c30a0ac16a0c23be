"""Decisions live as long as a repeat of their event may come; counters as long as their decisions."""

from datetime import date, datetime, timedelta
from typing import Any

from gratis import moment
from gratis.table.keys import counter_of_key
from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.worlds.traffic import KEPT


def check(ended: Ended) -> None:
    """Whatever is in the table at the end and expires; a page with its document."""
    for key, item in ended.run.table.items.items():
        if "expires" not in item:
            continue
        if key[1].startswith("REQ#"):
            decision = ended.told.taken[_key(key)].decision
            _outlives(item, moment.parse(decision.occurred_at) + KEPT, key)
        elif key[0].startswith("COUNTER#"):
            slot = key[1].split("#")[1] if key[1].startswith("PAGE#") else counter_of_key(item).slot
            _outlives(item, _last_moment(slot) + KEPT, key)


def _last_moment(slot: str) -> datetime:
    """The end of the window that a counter document holds: of the day, week or month that begins on its slot's day."""
    if slot.startswith("ROLLING"):
        raise Broken("exactly once", "the document of all rolling windows expires")
    days = 31 if slot.startswith("MONTH") else 7 if slot.startswith("WEEK") else 1
    return moment.midnight(date.fromisoformat(slot[-10:])) + timedelta(days=days)


def _outlives(item: dict[str, Any], until: Any, key: Any) -> None:
    if int(item["expires"]["N"]) < until.timestamp():
        raise Broken("exactly once", f"{key} expires before {until}")


def _key(key: tuple[str, str]) -> tuple[str, str, str]:
    _, organization, day, _ = key[0].split("#")
    return organization, day, key[1].removeprefix("REQ#")
