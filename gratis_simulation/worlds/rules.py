"""Tiny offers and short histories: quotas so small that every edge is reached within a few requests."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from gratis.moment import midnight
from gratis.rules.account import Account
from gratis.rules.offer import Offer
from gratis.rules.offer_file import read_offer

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
    """What a world is judged by. `stated`: the offer as its file says it; `quota`: tokens that fill it, about."""

    offer: Offer
    stated: dict[str, Any]
    quota: int


def rules(dice: random.Random, base: date, *, roomy: bool) -> Rules:
    """An offer around `base`. `roomy`: with a quota for many small requests, and nothing else that is special."""
    quota = 1000 if roomy else dice.choice((20, 50, 100))
    overflow = dice.choice(("skip", "skip", "close"))
    first, second = dice.choice(_WINDOWS)
    starts = base - timedelta(days=dice.choice((0, 1, 40, 60, 60)))
    groups = _groups(dice, quota, plain=roomy or dice.random() < 0.5)
    versions = [_version(dice, starts, first, groups, overflow)]
    if second:
        switch = max(base + timedelta(days=dice.choice((0, 0, 1))), starts + timedelta(days=1))
        versions.append(_version(dice, switch, second, groups, overflow))
        if dice.random() < 0.2:  # and back: what rolled before is over
            versions.append(_version(dice, switch + timedelta(days=1), first, groups, overflow))
    ends = max(base + timedelta(days=dice.choice((0, 1))), starts) if dice.random() < 0.1 else None
    stated = {"id": "tiny", "starts": _text(starts), "ends": _text(ends), "versions": versions}
    stated |= _evals(dice, versions, starts, base)
    return Rules(read_offer(stated), stated, quota)


_WINDOWS = (
    *(("utc_day", None),) * 4,
    *(("rolling_24h", None),) * 3,
    *(("rolling_24h", "utc_day"),) * 3,
    ("utc_day", "rolling_24h"),
    ({"rolling_hours": 6}, None),
    ({"rolling_hours": 50}, "utc_day"),
    ({"calendar": "day", "zone": "America/Los_Angeles"}, None),
    ({"calendar": "month", "zone": "Asia/Tokyo"}, None),
)
_OWN_WINDOWS = (
    "utc_week",
    {"calendar": "day", "zone": "Asia/Kolkata"},
    {"calendar": "week", "zone": "America/Los_Angeles"},
    {"calendar": "month", "zone": "UTC"},
    {"rolling_hours": 30},
)
"""Of a group that does not count in the version's: each the same in all versions."""


def _groups(dice: random.Random, quota: int, *, plain: bool) -> list[dict[str, Any]]:
    """The two groups; not `plain`: of other units, scopes and windows, with patterns, and quotas for any tier."""
    large: dict[str, Any] = {"name": "1m", "models": list(LARGE), "quotas": {"1": quota // 2, "4": quota}}
    small: dict[str, Any] = {"name": "10m", "models": list(SMALL), "quotas": {"4": quota * 2}}
    if plain:
        return [large, small]
    for group in (large, small):
        group.update(dice.choice(({}, {}, {"unit": "uncached_tokens"}, _requests(group), _dollars(group, quota))))
        group.update(dice.choice(({}, {}, {"scope": "project"})))
        group.update(dice.choice(({}, {}, {"window": dice.choice(_OWN_WINDOWS)})))
    if dice.random() < 0.3:
        small["models"] = ["gpt-4o-mini-*", "house-*"]
    return [large, small]


def _requests(group: dict[str, Any]) -> dict[str, Any]:
    return {"unit": "requests", "quotas": dict.fromkeys([*group["quotas"], "*"], 3)}


def _dollars(group: dict[str, Any], quota: int) -> dict[str, Any]:
    """What the tokens of the quota cost, about: 2.5 dollars a million."""
    dollars = Decimal(quota) * Decimal("2.5") / 1_000_000
    return {"unit": "usd", "quotas": dict.fromkeys(group["quotas"], f"{dollars:f}")}


def first_rules(dice: random.Random, base: date) -> Rules:
    """An offer of which the first release decides just as this one does: one quota for all tiers, nothing left out."""
    quota, overflow = dice.choice((20, 50, 100)), dice.choice(("skip", "close"))
    first, second = dice.choice([(first, second) for first, second in _WINDOWS if isinstance(first, str)])
    starts = base - timedelta(days=40)
    versions = [
        {
            "effective_at": _text(effective_at),
            "window": window,
            "overflow": overflow,
            "groups": [
                {"name": name, "models": list(models), "quotas": dict.fromkeys("12345", quota)}
                for name, models in (("1m", LARGE), ("10m", SMALL))
            ],
            "aliases": {},
            "hosted_tools": ["web_search", "file_search"],
            "evals": {"quota": 1},
        }
        for effective_at, window in ((starts, first), (base, second))
        if window
    ]
    stated = {"id": "tiny", "starts": _text(starts), "ends": None, "versions": versions}
    return Rules(read_offer(stated), stated, quota)


def _version(
    dice: random.Random, effective_at: date, window: Any, groups: list[dict[str, Any]], overflow: str
) -> dict[str, Any]:
    version = {
        "effective_at": _text(effective_at),
        "window": window,
        "overflow": overflow,
        "groups": groups,
        "aliases": {ALIAS: LARGE[0]} if dice.random() < 0.5 else {},
    }
    if dice.random() < 0.6:
        return version | {"hosted_tools": ["web_search", "file_search"]}
    return version | {"excludes": _excludes(dice), "requires": dice.choice(([], ["positive_balance"]))}


def _excludes(dice: random.Random) -> list[dict[str, Any]]:
    known: tuple[dict[str, Any], ...] = (
        {"reason": "tool_use", "hosted_tools": ["web_search"]},
        {"reason": "not_in_batches", "batch": True, "service_tiers": ["default"]},
        {"reason": "no_flex", "service_tiers": ["Flex"]},
        {"reason": "no_o_series", "models": ["o*-2025-*"], "endpoints": ["Assistants"]},
        {"reason": "fine_tuned_model", "models": ["ft:*"]},
    )
    chosen = dice.sample(known, dice.randrange(len(known) + 1))
    return [each | {"sentence": f"{each['reason']} is left out"} for each in chosen]


def _evals(dice: random.Random, versions: list[dict[str, Any]], starts: date, base: date) -> dict[str, Any]:
    """Evaluation runs: as the first release's files stated them, as a group with dates of their own, or none."""
    quota = dice.choice((1, 2, 3))
    chance = dice.random()
    if chance < 0.5:
        for version in versions:
            version["evals"] = {"quota": quota}
        return {}
    if chance < 0.6:
        return {}
    ends = dice.choice((None, base, base + timedelta(days=1)))
    window = dice.choice(("utc_week", "utc_week", "utc_day", {"rolling_hours": 24}))
    own = dice.choice((starts, base - timedelta(days=70)))
    return {"evals": {"quotas": {"*": quota}, "window": window, "starts": _text(own), "ends": _text(ends)}}


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None


def histories(dice: random.Random, base: date, organizations: Sequence[str]) -> list[Account]:
    """An account for most organizations; the first one nearly always takes part."""
    accounts = []
    for number, organization in enumerate(organizations):
        if number and dice.random() < 0.1:
            continue
        usual = dice.random() < (0.8 if number == 0 else 0.5)
        accounts.append(_account(dice, base, organization, usual=usual))
    return accounts


def beginners(base: date, organizations: Iterable[str]) -> list[Account]:
    """Accounts of organizations that have a tier, and share nothing yet."""
    profile = {"effective_at": midnight(base) - timedelta(days=60), "tier": 4}
    return [Account.model_validate({"id": each, "profile": [profile]}) for each in sorted(organizations)]


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
        case 3:
            profile["positive_balance"] = False
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
