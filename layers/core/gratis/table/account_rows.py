"""The versions that stand in an account's item, as they are stored. A module of its own: who goes by the items that the
stream carries reads nothing from the table.
"""

import json
from datetime import datetime
from typing import Any

from gratis import moment
from gratis.table.keys import Item

PARTS = ("traffic", "evals", "feedback")
Row = dict[str, Any]
"""A version as it is stored, JSON."""


def content_of(item: Item) -> dict[str, Any]:
    """What the item says of the history, JSON."""
    content: dict[str, Any] = json.loads((item.get("account") or item.get("recent") or {"S": "{}"})["S"])
    return content


def rows_of(item: Item, name: str) -> dict[int, Row]:
    """The versions of a history (`profile`, `sharing`) that are in an item, by number."""
    moved = json.loads(item["moved"]["S"]) if "moved" in item else {}
    first = moved.get(name, [0])[0] + 1
    return dict(enumerate(content_of(item).get(name, ()), start=first))


def effective_at(row: Row) -> datetime:
    """When a version took effect. An error does not show what was found there."""
    try:
        return moment.parse(row["effective_at"])
    except (TypeError, ValueError):
        raise ValueError("a version of an account took effect at no moment") from None


def described(row: Row) -> dict[str, Any]:
    """Settings in JSON. Of a list that lies beside it is said how many projects it names (`project_count`)."""
    from gratis.rules.account import Settings  # noqa: PLC0415 - settings seldom change, and models slow a cold start

    counts = {part: row[part]["list"]["names"] for part in PARTS if "list" in row.get(part, ())}
    plain = row | {part: {"mode": "selected", "projects": ()} for part in counts}
    shown = Settings.model_validate(plain, extra="allow").model_dump(mode="json")
    beside = {part: {"mode": "selected", "projects": None, "project_count": count} for part, count in counts.items()}
    return shown | beside
