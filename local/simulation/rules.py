"""Tiny offers and short histories: quotas so small that every edge is reached within a few requests."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from gratis.account import Account
from gratis.moment import midnight
from gratis.offer import Offer

LARGE = ("gpt-4o-2024-08-06", "o3-2025-04-16")
SMALL = ("gpt-4o-mini-2024-07-18",)
UNLISTED = ("gpt-4", "house-model", "ft:gpt-4o-2024-08-06:acme")
ALIAS = "gpt-4o"
PROJECTS = ("web", "app", None)
ON = {"mode": "enabled"}
OFF = {"mode": "disabled"}
SOME = {"mode": "selected", "projects": ["web"]}


@dataclass(frozen=True)
class Rules:
    """What a world is judged by. `quota`: of tier 4 in the group of the large models."""

    offer: Offer
    quota: int


def rules(dice: random.Random, base: date, *, roomy: bool) -> Rules:
    """An offer around `base`. `roomy`: with a quota for many small requests."""
    quota = 1000 if roomy else dice.choice((20, 50, 100))
    overflow = dice.choice(("skip", "skip", "close"))
    first, second = dice.choice(_WINDOWS)
    starts = base - timedelta(days=dice.choice((0, 1, 40, 60, 60)))
    versions = [_version(dice, starts, first, quota, overflow)]
    if second:
        switch = max(base + timedelta(days=dice.choice((0, 0, 1))), starts + timedelta(days=1))
        versions.append(_version(dice, switch, second, quota, overflow))
    ends = max(base + timedelta(days=dice.choice((0, 1))), starts) if dice.random() < 0.1 else None
    content = {"id": "tiny", "starts": starts, "ends": ends, "versions": versions}
    return Rules(Offer.model_validate(content), quota)


_WINDOWS = (
    *(("utc_day", None),) * 4,
    *(("rolling_24h", None),) * 3,
    *(("rolling_24h", "utc_day"),) * 3,
    ("utc_day", "rolling_24h"),
)


def _version(dice: random.Random, effective_at: date, window: str, quota: int, overflow: str) -> dict[str, Any]:
    groups = [
        {"name": "1m", "models": LARGE, "quotas": {1: quota // 2, 4: quota}},
        {"name": "10m", "models": SMALL, "quotas": {4: quota * 2}},
    ]
    return {
        "effective_at": effective_at,
        "window": window,
        "overflow": overflow,
        "groups": groups,
        "aliases": {ALIAS: LARGE[0]} if dice.random() < 0.5 else {},
        "hosted_tools": ["web_search", "file_search"],
        "evals": {"quota": dice.choice((1, 2, 3))},
    }


def histories(dice: random.Random, base: date, organizations: Sequence[str]) -> list[Account]:
    """An account for most organizations; the first one nearly always takes part."""
    accounts = []
    for number, organization in enumerate(organizations):
        if number and dice.random() < 0.1:
            continue
        usual = dice.random() < (0.8 if number == 0 else 0.5)
        accounts.append(_account(dice, base, organization, usual=usual))
    return accounts


def _account(dice: random.Random, base: date, organization: str, *, usual: bool) -> Account:
    since = midnight(base) - timedelta(days=60)
    profiles = [{"effective_at": since, **(_profile(dice) if not usual else {"tier": 4})}]
    sharing = [{"effective_at": since, **(_sharing(dice) if not usual else {"traffic": ON, "evals": ON})}]
    if dice.random() < 0.4:
        profiles += [{"effective_at": when, **_profile(dice)} for when in _moments(dice, base)]
    if dice.random() < 0.4:
        sharing += [{"effective_at": when, **_sharing(dice)} for when in _moments(dice, base)]
    return Account.model_validate({"id": organization, "profile": profiles, "sharing": sharing})


def _moments(dice: random.Random, base: date) -> list[datetime]:
    """When versions take effect: near midnight, at noon, two at once."""
    around = midnight(base) + timedelta(days=dice.choice((-30, -1, 0, 0, 1)))
    first = around + timedelta(hours=dice.choice((0, 0, 12, 23)), milliseconds=dice.choice((0, 0, 1)))
    return [first] if dice.random() < 0.6 else [first, first + timedelta(minutes=dice.choice((0, 0, 5)))]


def _profile(dice: random.Random) -> dict[str, Any]:
    profile: dict[str, Any] = {"tier": dice.choice((1, 2, 4, 4, 4))}
    match dice.randrange(12):
        case 0:
            profile["eligible"] = False
        case 1:
            profile["zero_data_retention"] = True
        case 2:
            profile["plan"] = "enterprise_excluded"
        case _:
            pass
    return profile


def _sharing(dice: random.Random) -> dict[str, Any]:
    return {"traffic": dice.choice((ON, ON, SOME, OFF)), "evals": dice.choice((ON, ON, SOME, OFF))}


def new_profile(dice: random.Random) -> dict[str, Any]:
    """What the platform sets while the world runs."""
    return _profile(dice)


def new_sharing(dice: random.Random) -> dict[str, Any]:
    """What an owner sets while the world runs."""
    chosen = _sharing(dice)
    left_out = dice.choice((None, None, "traffic", "evals"))
    return {"confirmed": True} | {part: setting for part, setting in chosen.items() if part != left_out}
