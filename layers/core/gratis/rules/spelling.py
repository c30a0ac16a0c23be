"""One normal form of what callers spell in many ways: endpoints, hosted tools, service tiers. Pure.

Only comparisons use it; records and prices keep what was sent.
"""

import re
from functools import lru_cache

_VARIANT = re.compile(r"(_preview)?(_\d{4}_\d{2}_\d{2})?$")


@lru_cache(maxsize=4096)
def normal(name: str) -> str:
    """`Fine-Tuning`, `fine tuning` and `fine_tuning` are one name."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


@lru_cache(maxsize=4096)
def normal_tool(name: str) -> str:
    """A tool without what only says which variant it is: `web_search_preview_2025_03_11` is `web_search`."""
    return _VARIANT.sub("", normal(name))
