"""The counters in which decisions were taken: which document holds a window, and where its decisions lie. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any, NamedTuple

from gratis.rules.figures import Figure
from gratis.rules.offer import Group, Offer
from gratis.rules.window import UTC_DAY, Calendar, CounterId, Kind, kind_of_slot
from gratis.table.ledger import Document

OfferOf = Callable[[str], Offer]
"""The offer of an id, as receipts name it. Raises LookupError for one that nobody knows."""


class CounterWindow(NamedTuple):
    """A counter: one window of those that a counter document holds, by its name in records."""

    document: CounterId
    window: str

    def __str__(self) -> str:
        pool = "" if self.document.pool is None else f" of {self.document.pool or 'no project'}"
        return f"counter {self.document.group}{pool} {self.window}"

    @classmethod
    def of(cls, content: Sequence[Any]) -> "CounterWindow":
        """The counter that is written as JSON arrays."""
        document, window = content
        return cls(CounterId(*document), window)


class Counters:
    """Finds the counters of decisions: the offer's version that a decision names says what kind of windows it has."""

    def __init__(self, offer_of: OfferOf) -> None:
        self._offer_of = offer_of
        self.group = cache(self._group)
        """A group in the version that `offer` names; None if nobody knows that version."""

    def of(
        self, organization: str, offer: str, group: str | None, window: str | None, pool: str | None
    ) -> CounterWindow | None:
        """The counter of a decision; None if it was taken without one, by rules 1 to 6 or on an empty request.

        Where nobody knows the offer, which is a difference in itself, the window is taken for a UTC day.
        """
        if not group or not window:
            return None
        known = self.group(offer, group)
        return CounterWindow(
            CounterId(organization, group, _slot(known.window if known else UTC_DAY, window), pool), window
        )

    def pool(self, offer: str, group: str, project: str | None) -> str | None:
        """Whose counter of a group a project's requests count in, as far as anybody knows the offer."""
        known = self.group(offer, group)
        return known.pool(project) if known else None

    def _group(self, named: str, name: str) -> Group | None:
        try:
            version = self._offer_of(named.partition("@")[0]).version_named(named)
        except LookupError:
            return None
        return next((group for group in version.all_groups() if group.name == name), None)


def window_of(group: Group, stated: str | None, occurred_at: datetime) -> str | None:
    """The window that a request counts in. Of rolling ones only the decision says which it was: `stated`."""
    return group.window.name(occurred_at) if isinstance(group.window, Calendar) else stated


def used_of(documents: Mapping[CounterId, Document]) -> dict[CounterWindow, Figure]:
    """What the counters in these documents hold."""
    return {
        CounterWindow(identity, kind_of_slot(identity.slot).name(window.start)): window.used
        for identity, document in documents.items()
        for window in document.counter.windows
    }


def utc_days(counter: CounterWindow) -> Sequence[date]:
    """The UTC days on which decisions in this counter can lie; none if no window has such a name.

    A rolling window can hold late events from up to its length before it opened.
    """
    try:
        kind = kind_of_slot(counter.document.slot)
        return kind.utc_days(kind.named(counter.window))
    except ValueError:
        return []


def _slot(kind: Kind, window: str) -> str:
    """The slot of the document that holds a window; an invalid name of a window stands for itself."""
    try:
        return kind.slot(kind.named(window))
    except ValueError:
        return window
