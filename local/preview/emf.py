"""What a function printed: metrics in CloudWatch's embedded format, and log lines."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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


def printed(text: str) -> Iterator[Mapping[str, Any]]:
    """Every line of a function's output, decoded. Powertools prints nothing but JSON objects."""
    return (json.loads(line) for line in text.splitlines())


def samples(text: str, when: datetime) -> Iterator[Sample]:
    """The metrics in a function's output, each under every set of dimensions that it names."""
    for blob in printed(text):
        for directive in blob.get("_aws", {}).get("CloudWatchMetrics", []):
            for names in directive["Dimensions"]:
                dimensions = frozenset((name, blob[name]) for name in names)
                for metric in directive["Metrics"]:
                    values = blob[metric["Name"]]
                    values = tuple(values) if isinstance(values, list) else (values,)
                    yield Sample(directive["Namespace"], metric["Name"], dimensions, when, values)


def contributors(rule: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, ...]]:
    """How many log lines each contributor of a Contributor Insights rule has, as far as our rule uses its language."""
    contribution = rule["Contribution"]
    keys = [key.removeprefix("$.") for key in contribution["Keys"]]
    filters = [(each["Match"].removeprefix("$."), each["In"]) for each in contribution["Filters"]]
    return Counter(
        tuple(line[key] for key in keys) for line in lines if all(line.get(name) in values for name, values in filters)
    )
