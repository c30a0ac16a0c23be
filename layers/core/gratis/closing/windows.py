"""The counters in which decisions were taken, and where they are kept. Pure.

All that a proof has to know of the kinds of windows is here: which document holds a window, how a window of a document
is named, and on which UTC days decisions of a window can lie.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from gratis import moment
from gratis.decision import Case, CounterId, window_kind
from gratis.figures import Figure
from gratis.offer import Offer
from gratis.window import Kind
from gratis.window import name as window_name

if TYPE_CHECKING:
    from gratis.ledger import Document

OfferOf = Callable[[str], Offer]
"""The offer of an id, as receipts name it. Raises LookupError for one that nobody knows."""


class CounterWindow(NamedTuple):
    """A counter: one window of those that a counter document holds, by its name in records."""

    document: CounterId
    window: str

    def __str__(self) -> str:
        return f"counter {self.document.group} {self.window}"

    @classmethod
    def of(cls, content: Sequence[Any]) -> "CounterWindow":
        """The counter that is written as JSON arrays."""
        document, window = content
        return cls(CounterId(*document), window)


class Counters:
    """Finds the counters of decisions: the offer's version that a decision names says what kind of windows it has."""

    def __init__(self, offer_of: OfferOf) -> None:
        self._offer_of = offer_of
        self.kind = cache(self._kind)
        """The kind of a group's windows in the version that `offer` names; None if nobody knows that version."""

    def of(self, organization: str, offer: str, group: str | None, window: str | None) -> CounterWindow | None:
        """The counter of a decision; None if it was taken without one, by rules 1 to 6 or on an empty request.

        Where nobody knows the offer, which is a difference in itself, the window is taken for a UTC day.
        """
        if not group or not window:
            return None
        return CounterWindow(CounterId(organization, group, _slot(self.kind(offer, group), window)), window)

    def _kind(self, named: str, group: str) -> Kind | None:
        try:
            offer = self._offer_of(named.partition("@")[0])
        except LookupError:
            return None
        versions = (version for version in offer.versions if offer.name_of(version) == named)
        return next((window_kind(group, version) for version in versions), None)


def window_of(case: Case, stated: str | None) -> str | None:
    """The window that a case counts in. Of rolling ones only the decision says which it was: `stated`."""
    return stated if case.window_kind == "rolling_24h" else case.counter.window.removeprefix("WEEK#")


def used_of(documents: Mapping[CounterId, "Document"]) -> dict[CounterWindow, Figure]:
    """What the counters in these documents hold."""
    return {
        CounterWindow(identity, window_name(_kind_of_slot(identity.window), window.start)): window.used
        for identity, document in documents.items()
        for window in document.counter.windows
    }


def utc_days(counter: CounterWindow) -> Sequence[date]:
    """The UTC days on which decisions in this counter can lie; none if no window has such a name.

    A rolling window can hold late events from up to its length before it opened.
    """
    try:
        match _kind_of_slot(counter.document.window):
            case "utc_day":
                return [date.fromisoformat(counter.window)]
            case "utc_week":
                return _days(date.fromisoformat(counter.window), 7)
            case "rolling_24h":
                return _days(moment.day_of(moment.parse(counter.window)) - moment.DAY, 3)
    except ValueError:
        return []


def _slot(kind: Kind | None, window: str) -> str:
    """Under what name a counter document is stored."""
    return "ROLLING" if kind == "rolling_24h" else f"WEEK#{window}" if kind == "utc_week" else window


def _kind_of_slot(slot: str) -> Kind:
    return "rolling_24h" if slot == "ROLLING" else "utc_week" if slot.startswith("WEEK#") else "utc_day"


def _days(first: date, number: int) -> list[date]:
    return [first + timedelta(days=each) for each in range(number)]
