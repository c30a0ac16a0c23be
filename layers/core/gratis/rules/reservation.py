"""Reservations: room set aside in a counter for a request that is still to come. SPEC section 2. Pure.

A counter holds its reservations; which of them count in a window, and which one a request settles, is said here.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from gratis.rules.figures import Figure
from gratis.rules.request import AHEAD

MAX_OPEN = 200
"""Open reservations of one counter."""
MAX_LIFE = timedelta(seconds=3600)
"""How long one may be open."""


class Binding(NamedTuple):
    """What a request must share with its reservation, so that the reservation is kept."""

    offer: str
    profile_version: int | None
    settings_version: int | None


class Reservation(NamedTuple):
    """`units` of a counter, from `made_at` (inclusive) to `expires_at` (exclusive).

    `window`: the start of the window whose room it is; None where none was open, so that it is the room of whichever
    one its request will open or find; `body`: a hash of what was asked for.
    """

    id: str
    units: Figure
    made_at: datetime
    expires_at: datetime
    window: datetime | None
    project: str | None
    binding: Binding
    body: str

    def counts_in(self, start: datetime, end: datetime) -> bool:
        """Whether its request may fall into the window from `start` to `end`.

        A window that was there when it was made, and could hold its request, is the one that it names.
        """
        if self.window is not None:
            return self.window == start
        return start < self.expires_at + AHEAD and self.made_at < end


Reservations = tuple[Reservation, ...]


def open_at(reservations: Sequence[Reservation], now: datetime) -> Reservations:
    """Those that have not expired."""
    return tuple(each for each in reservations if now < each.expires_at)


def reserved(reservations: Iterable[Reservation], start: datetime, end: datetime) -> Figure:
    """The units that they set aside in the window from `start` to `end`."""
    return sum((each.units for each in reservations if each.counts_in(start, end)), 0)


def settled_by(
    reservations: Sequence[Reservation], name: str, project: str | None, start: datetime, end: datetime
) -> Reservation | None:
    """The reservation of this id that a request of a project in this window settles, if it is there."""
    return next(
        (each for each in reservations if each.id == name and each.project == project and each.counts_in(start, end)),
        None,
    )
