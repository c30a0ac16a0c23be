"""Windows: the span over which a quota counts. SPEC section 2, "Windows" and "More windows". Pure.

All that is particular to a kind of window is in its class here. An offer names a kind, `kind_of` finds it; a counter
document is named by a slot, and `kind_of_slot` finds the kind that named it. A new kind is a class and a row.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

from gratis import moment
from gratis.rules.figures import Figure
from gratis.rules.reservation import Reservations

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

Period = Literal["day", "week", "month"]
LATE = timedelta(days=45)
"""A late event can still count in a window that ended so long before the newest one opened."""
MAX_ROLLING_HOURS = 24 * 366


class Window(NamedTuple):
    """One window of a counter. `used`: free units so far; `overflowed`: a request did not fit.

    `announced`: the quotas of which it was announced that they are used up. The first release noted only that one of
    them was: that is None, and stands for any. `crossed`: the quotas of which it was announced that 80 % are used; a
    void may lead below that again.
    """

    start: datetime
    used: Figure = 0
    overflowed: bool = False
    announced: frozenset[Figure | None] = frozenset()
    crossed: frozenset[Figure] = frozenset()

    def has_announced(self, quota: Figure) -> bool:
        """Whether it was announced that this quota is used up."""
        return quota in self.announced or None in self.announced


class Counter(NamedTuple):
    """The windows of one counter document, oldest first. A calendar window has a document of its own.

    `reservations`: room in them that is set aside; expired ones may still be among them.
    """

    windows: tuple[Window, ...] = ()
    reservations: Reservations = ()

    def having(self, window: Window, kind: "Kind") -> "Counter":
        """This counter with `window` put in, or in place of the one with the same start.

        Windows of a rolling kind are kept as long as a late event may still count in them.
        """
        others = [other for other in self.windows if other.start != window.start]
        if not others:
            return Counter((window,), self.reservations)
        windows = sorted([*others, window], key=_start)
        newest = windows[-1].start
        kept = tuple(each for each in windows if newest - kind.end(each.start) <= LATE)
        return Counter(kept, self.reservations)


class CounterId(NamedTuple):
    """One counter document. `slot`: which windows it holds, as their kind names it.

    `pool`: the project whose counter it is in a group of scope `project`, "" for requests of none; else None.
    """

    organization: str
    group: str
    slot: str
    pool: str | None = None


class Span(NamedTuple):
    """From when (inclusive) to when (exclusive) a group counted in one kind of window; None: without a limit."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, when: datetime) -> bool:
        """Whether `when` lies in it."""
        return (self.since is None or self.since <= when) and (self.until is None or when < self.until)


ALWAYS = Span()


class Kind(Protocol):
    """A kind of window."""

    @property
    def is_daily(self) -> bool:
        """Whether its quota is one for a day, as the published words say it."""
        ...

    def slot(self, when: datetime) -> str:
        """Which of a counter's documents holds the windows around `when`; part of the table's keys."""
        ...

    def window_at(self, counter: Counter, when: datetime, span: Span) -> Window | None:
        """The window in which a request at `when` counts; None if the first free request has yet to open it."""
        ...

    def name(self, start: datetime) -> str:
        """How records name the window that starts at `start`."""
        ...

    def named(self, name: str) -> datetime:
        """The start of the window that `name` named."""
        ...

    def end(self, start: datetime) -> datetime:
        """The first moment after the window, if the offer does not change before."""
        ...

    def utc_days(self, start: datetime) -> Sequence[date]:
        """The UTC days on which its decisions can lie."""
        ...

    def each(self) -> str:
        """How often its quota is fresh, in words: `a day`."""
        ...

    def stated(self) -> str | dict[str, Any]:
        """As an offer file states it; `kind_of` reads it."""
        ...


@dataclass(frozen=True)
class Calendar:
    """Days, weeks from Monday, or months, by the clock of a time zone. A day of 23 or 25 hours is a day."""

    period: Period
    zone: str

    @property
    def is_daily(self) -> bool:
        """Also where a day has 23 or 25 hours."""
        return self.period == "day"

    def first_day(self, when: datetime) -> date:
        """The first local day of the window that holds `when`."""
        day = moment.day_of(when) if self.zone == "UTC" else when.astimezone(_zone(self.zone)).date()
        return _first(day, self.period)

    def slot(self, when: datetime) -> str:
        """The UTC day itself, which is where a day's totals are too; other calendars say what they are."""
        return f"{self._prefix}{self.first_day(when).isoformat()}"

    def window_at(self, counter: Counter, when: datetime, _: Span) -> Window:
        """The calendar's window; empty if nothing was counted in it yet."""
        start = self._begin(self.first_day(when))
        return next((window for window in counter.windows if window.start == start), None) or Window(start)

    def name(self, start: datetime) -> str:
        """Its first local day."""
        return self.first_day(start).isoformat()

    def named(self, name: str) -> datetime:
        """The first moment of the local day that names it."""
        return self._begin(date.fromisoformat(name))

    def end(self, start: datetime) -> datetime:
        """The first moment of the next day, week or month."""
        return self._begin(_next(self.first_day(start), self.period))

    def utc_days(self, start: datetime) -> Sequence[date]:
        """From the UTC day of its first moment to that of its last."""
        return _days(start, self.end(start) - datetime.resolution)

    def each(self) -> str:
        """`a day`; `a month (America/Los_Angeles)`."""
        return f"a {self.period}" + ("" if self.zone == "UTC" else f" ({self.zone})")

    def stated(self) -> str | dict[str, Any]:
        """By its name, where it has one."""
        return _name_of(self) or {"calendar": self.period, "zone": self.zone}

    @cached_property
    def _prefix(self) -> str:
        if self == UTC_DAY:
            return ""
        return f"{self.period.upper()}{'' if self.zone == 'UTC' else f'@{self.zone}'}#"

    def _begin(self, day: date) -> datetime:
        if self.zone == "UTC":
            return moment.midnight(day)
        return _first_moment(day, _zone(self.zone))


@dataclass(frozen=True)
class Rolling:
    """Opens at the first free request after the last refresh, and lasts so many hours."""

    hours: int

    @property
    def is_daily(self) -> bool:
        """A day from the first free request on."""
        return self.hours == 24

    @property
    def length(self) -> timedelta:
        """How long a window lasts."""
        return timedelta(hours=self.hours)

    def slot(self, _: datetime) -> str:
        """One document for all of them: when a window opened is not known before that is read."""
        return ROLLING_SLOT if self.hours == 24 else f"{ROLLING_SLOT}#{self.hours}"

    def window_at(self, counter: Counter, when: datetime, span: Span) -> Window | None:
        """The window that holds `when`, or None. Only windows that opened in `span` count.

        A late event from before the start of a window that opened within one length after it counts in that window
        (the earliest such).
        """
        windows = [window for window in counter.windows if span.holds(window.start)]
        holding = (window for window in windows if window.start <= when < window.start + self.length)
        soon_after = (window for window in windows if timedelta(0) < window.start - when < self.length)
        return next(holding, None) or next(soon_after, None)

    def name(self, start: datetime) -> str:
        """The moment at which it opened."""
        return moment.text(start)

    def named(self, name: str) -> datetime:
        """The moment that names it."""
        return moment.parse(name)

    def end(self, start: datetime) -> datetime:
        """When it has lasted its hours."""
        return start + self.length

    def utc_days(self, start: datetime) -> Sequence[date]:
        """Late events may come from up to its length before it."""
        return _days(start - self.length, self.end(start))

    def each(self) -> str:
        """`every 24 hours from the first free request on`."""
        return f"every {self.hours} hours from the first free request on"

    def stated(self) -> str | dict[str, Any]:
        """By its name, where it has one."""
        return _name_of(self) or {"rolling_hours": self.hours}


ROLLING_SLOT = "ROLLING"
UTC_DAY = Calendar("day", "UTC")
UTC_WEEK = Calendar("week", "UTC")
ROLLING_24H = Rolling(24)
NAMES: dict[str, Kind] = {"utc_day": UTC_DAY, "utc_week": UTC_WEEK, "rolling_24h": ROLLING_24H}
"""Kinds that an offer can name by one word."""
_SLOT = re.compile(r"(?:(DAY|WEEK|MONTH)(?:@([^#]+))?#)?(\d{4}-\d\d-\d\d)")
_ROLLING = re.compile(rf"{ROLLING_SLOT}(?:#(\d+))?")


def kind_of(stated: Any) -> Kind:
    """The kind that an offer states: a name, `{"calendar": ..., "zone": ...}` or `{"rolling_hours": ...}`.

    Raises ValueError, which says what was expected.
    """
    if isinstance(stated, str) and stated in NAMES:
        return NAMES[stated]
    if isinstance(stated, dict) and stated.keys() == {"calendar", "zone"}:
        return _calendar(stated["calendar"], stated["zone"])
    if isinstance(stated, dict) and stated.keys() == {"rolling_hours"}:
        hours = stated["rolling_hours"]
        if type(hours) is not int or not 1 <= hours <= MAX_ROLLING_HOURS:
            raise ValueError(f"rolling_hours must be a whole number from 1 to {MAX_ROLLING_HOURS}")
        return Rolling(hours)
    known = ", ".join(f'"{name}"' for name in NAMES)
    raise ValueError(f'must be {known}, {{"calendar": "day", "zone": "Europe/Paris"}} or {{"rolling_hours": 720}}')


def kind_of_slot(slot: str) -> Kind:
    """The kind that named a slot. Raises ValueError for what no kind names."""
    if rolling := _ROLLING.fullmatch(slot):
        return Rolling(int(rolling[1] or 24))
    if calendar := _SLOT.fullmatch(slot):
        period: Any = (calendar[1] or "day").lower()
        return Calendar(period, calendar[2] or "UTC")
    raise ValueError(f"no kind of window has the slot {slot!r}")


def day_of_slot(slot: str) -> date | None:
    """The UTC day whose document this is; None for every other kind's."""
    return date.fromisoformat(slot) if slot[0].isdigit() else None


@lru_cache(maxsize=256)
def last_day_of_slot(slot: str) -> date | None:
    """The UTC day on which the last window of a slot is over; None for a rolling kind, whose document stays."""
    calendar = _SLOT.fullmatch(slot)
    if calendar is None:
        return None
    kind = kind_of_slot(slot)
    return kind.utc_days(kind.named(calendar[3]))[-1]


def _name_of(kind: Kind) -> str | None:
    return next((name for name, named in NAMES.items() if named == kind), None)


def _calendar(period: Any, zone: Any) -> Calendar:
    if period not in get_args(Period):
        raise ValueError('calendar must be "day", "week" or "month"')
    try:
        _zone(zone)
    except (KeyError, ValueError, TypeError, OSError):
        raise ValueError('zone must be an IANA time zone like "America/Los_Angeles"') from None
    return Calendar(period, zone)


@cache
def _zone(name: str) -> "ZoneInfo":
    """Imported by whoever has an offer that names one. Raises ValueError or KeyError for what is no zone."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    return ZoneInfo(name)


@cache
def _first_moment(day: date, zone: "ZoneInfo") -> datetime:
    """When a local day begins, in UTC: at midnight, or when the clock is put forward over it, at what comes next."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _first(day: date, period: Period) -> date:
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def _next(first: date, period: Period) -> date:
    if period == "month":
        return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return first + timedelta(days=7 if period == "week" else 1)


def _days(first: datetime, last: datetime) -> list[date]:
    begin, end = moment.day_of(first), moment.day_of(last)
    return [begin + timedelta(days=number) for number in range((end - begin) // moment.DAY + 1)]


def _start(window: Window) -> datetime:
    return window.start
