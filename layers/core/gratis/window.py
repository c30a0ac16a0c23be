"""Windows: the span over which a quota counts. SPEC section 2, "Windows". Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from gratis import moment

Kind = Literal["utc_day", "rolling_24h", "utc_week"]
ROLLING = timedelta(hours=24)
KEPT = 100


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a counter. `used`: free tokens (or eval runs) so far; `overflowed`: a request did not fit.

    `announced`: that 100 % of the quota were reached has been said.
    """

    start: datetime
    used: int = 0
    overflowed: bool = False
    announced: bool = False


@dataclass(frozen=True, slots=True)
class Counter:
    """The windows of one counter, oldest first. A calendar window's counter holds at most one.

    A rolling counter keeps the latest `KEPT` windows. They do not overlap, so that is more than 100 days: far
    past the 35 days for which a late event is still accepted.
    """

    windows: tuple[Window, ...] = ()

    def having(self, window: Window) -> "Counter":
        """This counter with `window` put in, or in place of the one with the same start."""
        others = [other for other in self.windows if other.start != window.start]
        return Counter(tuple(sorted([*others, window], key=lambda each: each.start))[-KEPT:])


def start_of_day(when: datetime) -> datetime:
    """`utc_day`: 00:00:00 UTC."""
    return moment.midnight(moment.day_of(when))


def start_of_week(when: datetime) -> datetime:
    """`utc_week`: Monday 00:00 UTC."""
    return start_of_day(when) - timedelta(days=moment.day_of(when).weekday())


def calendar_window(counter: Counter, start: datetime) -> Window:
    """The window of a calendar counter; empty if nothing was counted yet."""
    return next((window for window in counter.windows if window.start == start), None) or Window(start)


def rolling_window(windows: Sequence[Window], when: datetime) -> Window | None:
    """The rolling window in which `when` counts, or None: the first free request will open one at `when`.

    A window lasts 24 h from the request that opened it. An event that arrives late, from before the start of a
    window that begins less than 24 h after it, counts in that window (the earliest such).
    """
    holding = (window for window in windows if window.start <= when < window.start + ROLLING)
    soon_after = (window for window in windows if timedelta(0) < window.start - when < ROLLING)
    return next(holding, None) or next(soon_after, None)


def name(kind: Kind, start: datetime) -> str:
    """How records name a window: its UTC day (a week: its Monday); a rolling one by the moment it opened."""
    return moment.text(start) if kind == "rolling_24h" else moment.day_of(start).isoformat()


def ends_at(window: Window) -> datetime:
    """When a daily window's quota is fresh again, if the offer does not change before: 24 h after its start."""
    return window.start + ROLLING
