"""The periods that a chart's time is cut into."""

from collections.abc import Sequence
from datetime import datetime

PERIODS = (300, 900, 3600, 6 * 3600, 86400, 7 * 86400)
MAX_POINTS = 300


def period_of(moments: Sequence[datetime]) -> int:
    """Seconds of a period, so that the time between the first and the last moment takes at most `MAX_POINTS`."""
    span = (max(moments) - min(moments)).total_seconds() if moments else 0
    return next((period for period in PERIODS if span / period <= MAX_POINTS), PERIODS[-1])


def start_of(when: datetime, period: int) -> int:
    """The unix time at which the period begins that `when` lies in."""
    return int(when.timestamp()) // period * period
