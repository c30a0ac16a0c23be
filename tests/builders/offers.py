"""Offers: the shipped ones with something changed in them, and a small one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gratis.rules.offer import Offer
from gratis.rules.offer_file import read_offer, shipped
from gratis.rules.window import Span
from tests.builders.events import LARGE, SMALL

DAILY = shipped("data-sharing")
"""UTC days from 2025-03-06 on, rolling windows before."""


def with_versions(chosen: Offer, **changes: Any) -> Offer:
    """The offer with `changes` in each of its versions."""
    return replace(chosen, versions=tuple(replace(version, **changes) for version in chosen.versions))


def rolling(chosen: Offer) -> Offer:
    """The offer as it began: rolling windows, for ever."""
    first = chosen.versions[0]
    groups = tuple(group._replace(span=Span()) for group in first.groups)
    return replace(chosen, versions=(replace(first, groups=groups),))


def small_offer(**fields: Any) -> Offer:
    """The offer that `small_offer_stated` states."""
    return read_offer(small_offer_stated(**fields))


def small_offer_stated(
    *,
    quota: int = 1000,
    window: Any = "utc_day",
    overflow: str = "skip",
    offer: Mapping[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """The file of an offer without an end and with one version: `quota` tokens for tier 4 and half as many for tier 1.

    `offer` replaces fields of the offer, `fields` those of its version.
    """
    version = {
        "effective_at": "2025-01-01",
        "window": window,
        "overflow": overflow,
        "groups": [
            {"name": "1m", "models": [LARGE], "quotas": {"1": quota // 2, "4": quota}},
            {"name": "10m", "models": [SMALL], "quotas": {"1": quota * 5, "4": quota * 10}},
        ],
    }
    evals = {"quotas": {"*": 7}}
    stated = {"id": "small", "starts": "2025-01-01", "evals": evals, "versions": [version | fields]}
    return stated | dict(offer or {})
