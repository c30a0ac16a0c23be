"""One normal form of what callers spell in many ways: endpoints, hosted tools, service tiers. Dates that miss. Pure.

Only comparisons use it; records and prices keep what was sent.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

_VARIANT = re.compile(r"(_preview)?(_\d{4}_\d{2}_\d{2})?$")
_DATED = re.compile(r"(.+)-(\d{4}-?\d{2}-?\d{2})")


@lru_cache(maxsize=4096)
def normal(name: str) -> str:
    """`Fine-Tuning`, `fine tuning` and `fine_tuning` are one name."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


@lru_cache(maxsize=4096)
def normal_tool(name: str) -> str:
    """A tool without what only says which variant it is: `web_search_preview_2025_03_11` is `web_search`."""
    return _VARIANT.sub("", normal(name))


def same_but_for_its_date(name: str, listed: Iterable[str]) -> str | None:
    """Of the listed ids the one that differs from `name` by its date alone, the nearest if there are several."""
    asked = _DATED.fullmatch(name)
    if asked is None:
        return None
    dated = [found for each in listed if (found := _DATED.fullmatch(each)) and found[1] == asked[1]]
    return min(dated, key=lambda each: abs(_number(each[2]) - _number(asked[2])))[0] if dated else None


def _number(date: str) -> int:
    return int(date.replace("-", ""))
