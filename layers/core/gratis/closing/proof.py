"""What a proof comes to: a statement, and the differences that were found. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

MAX_IDS, MAX_DIFFERENCES = 100, 100
"""What a statement lists: it has to fit an event of the bus. The counts are those of all."""


class Difference(NamedTuple):
    """Something that does not hold. `ids`: of the billing records that show it, as far as a proof lists any."""

    kind: str
    message: str
    ids: Sequence[str] = ()


class Differences:
    """All that does not hold: the first hundred, with a hundred ids between them, and the count of all."""

    def __init__(self, found: Iterable[Difference] = (), count: int = 0) -> None:
        self.count = count
        self._found = {(each.kind, each.message): list(each.ids) for each in found}
        self._room = MAX_IDS - sum(map(len, self._found.values()))

    def add(self, kind: str, message: str, *ids: str) -> None:
        """One more occurrence; ids of the same kind and message go together."""
        self.count += 1
        known = self._found.get((kind, message))
        if known is None and len(self._found) < MAX_DIFFERENCES:
            known = self._found[kind, message] = []
        if known is not None:
            listed = ids[: self._room]
            known += listed
            self._room -= len(listed)

    def listed(self) -> list[Difference]:
        """In the order in which they were found."""
        return [Difference(kind, message, tuple(ids)) for (kind, message), ids in self._found.items()]

    def content(self) -> list[Any]:
        """All of it, as JSON values."""
        return [self.count, [each._asdict() for each in self.listed()]]

    @classmethod
    def of(cls, content: Sequence[Any]) -> Self:
        """What `content` gave."""
        count, found = content
        return cls([Difference(**each) for each in found], count)


@dataclass(frozen=True)
class Proof:
    """A day's statement, and what does not hold: `difference_count` times, of which `differences` are listed."""

    statement: dict[str, Any]
    differences: Sequence[Difference] = ()
    difference_count: int = 0

    @classmethod
    def of(cls, statement: dict[str, Any], found: Differences) -> Self:
        """What was stated, and what was found to differ."""
        return cls(statement, found.listed(), found.count)

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not self.difference_count

    def content(self) -> dict[str, Any]:
        """As the bus and the statement item carry it."""
        return self.statement | {
            "holds": self.holds,
            "difference_count": self.difference_count,
            "differences": [each._asdict() | {"ids": list(each.ids)} for each in self.differences],
        }
