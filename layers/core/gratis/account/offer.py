"""What the offer includes for an organization, in data and in words. SPEC section 5."""

from datetime import datetime
from typing import Any

from gratis import moment
from gratis.rules.eligibility import Terms
from gratis.rules.explanation import stated
from gratis.rules.figures import written
from gratis.rules.offer import Dates, Exclusion, Group
from gratis.rules.offer_words import included


def offer_for(terms: Terms, organization: str, now: datetime) -> dict[str, Any]:
    """The version in force. Quotas are those of the organization's usage tier; null where it has none."""
    version, tier = terms.version, terms.profile.tier
    return {
        "object": "offer",
        "organization": organization,
        "version": version.name,
        **_dates(version.dates),
        "source": version.source,
        "seen": version.seen.isoformat() if version.seen else None,
        "tier": tier,
        "requires": list(version.requires),
        "overflow": version.overflow,
        "groups": [_group(group, tier) for group in version.groups],
        "evals": _group(version.evals, tier) | _dates(terms.evals_dates) if version.evals else None,
        "excludes": [_exclusion(exclusion) for exclusion in version.excludes],
        "aliases": dict(version.aliases),
        "words": [line.strip() for line in included(version, moment.day_of(now))],
    }


def _group(group: Group, tier: int | None) -> dict[str, Any]:
    quota = group.quota(tier)
    return {
        "group": group.name,
        "models": list(group.models),
        "unit": group.unit,
        "scope": group.scope,
        "window": group.window.stated(),
        "quota": None if quota is None else written(quota),
        "words": None if quota is None else stated(group, quota),
    }


def _exclusion(exclusion: Exclusion) -> dict[str, Any]:
    """With its conditions, as the offer file states them."""
    return {"reason": exclusion.reason, "sentence": exclusion.sentence, **exclusion.conditions}


def _dates(dates: Dates) -> dict[str, str | None]:
    return {"starts": dates.starts.isoformat(), "ends": dates.ends.isoformat() if dates.ends else None}
