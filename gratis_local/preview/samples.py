"""What the reports of a function say: metrics as CloudWatch takes them in, and log lines."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Dimensions = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Sample:
    """The values that a function printed for one metric at one time."""

    namespace: str
    name: str
    dimensions: Dimensions
    when: datetime
    values: tuple[float, ...]


def contributors(rule: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, ...]]:
    """How many log lines each contributor of a rule has. Knows only the part of the rule language that ours uses."""
    contribution = rule["Contribution"]
    keys = [key.removeprefix("$.") for key in contribution["Keys"]]
    filters = [(each["Match"].removeprefix("$."), each["In"]) for each in contribution["Filters"]]
    return Counter(
        tuple(line[key] for key in keys) for line in lines if all(line.get(name) in values for name, values in filters)
    )
