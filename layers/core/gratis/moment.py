"""Moments and days: always UTC, always passed in, written one way."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

DAY = timedelta(days=1)


@lru_cache(maxsize=1024)  # the events of a batch share most of their moments
def text(moment: datetime) -> str:
    """RFC 3339 in UTC, with as many decimals of a second as it has: `2025-03-11T09:15:00Z`."""
    decimals = "auto" if moment.microsecond % 1000 else "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=decimals).removesuffix("+00:00") + "Z"


def parse(written: str) -> datetime:
    """The moment that `text` wrote."""
    return datetime.fromisoformat(written)


def day_of(moment: datetime) -> date:
    """The UTC day in which `moment` lies."""
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).date()


def midnight(day: date) -> datetime:
    """00:00:00 UTC, the first moment of `day`."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
