"""Whether a request id was decided on more than one of three neighbouring days. Pure.

Most likely that is one request, which its sender sent again with another time. Voiding one of them puts it right.
"""

from gratis.closing.check import Check, Entry
from gratis.closing.proof import Differences


class Duplicates(Check):
    """Keeps nothing: all decisions on one request id come together."""

    def add(self, entry: Entry, found: Differences) -> None:
        """Name a decision of the day whose request id has others."""
        if entry.also_on:
            elsewhere = sorted(set(entry.also_on) - {entry.decision.day})
            message = f"also decided on {' and '.join(elsewhere)}" if elsewhere else "decided twice on this day"
            found.add("duplicate", message, entry.decision.record_id)
