"""Organizations: the versions of a profile and of the sharing settings, and accounts of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from gratis.rules.account import Account


def profile(effective_at: str = "2024-01-01T00:00:00Z", **fields: Any) -> dict[str, Any]:
    """One version of a profile: tier 4."""
    return {"effective_at": effective_at, "tier": 4} | fields


def settings(effective_at: str = "2024-01-01T00:00:00Z", **fields: Any) -> dict[str, Any]:
    """One version of the sharing settings: traffic and evaluations are shared."""
    return {"effective_at": effective_at, "traffic": {"mode": "enabled"}, "evals": {"mode": "enabled"}} | fields


def account(
    organization: str = "org_a",
    *,
    profiles: Iterable[Mapping[str, Any]] | None = None,
    sharing: Iterable[Mapping[str, Any]] | None = None,
    **fields: Any,
) -> Account:
    """An organization of tier 4 that shares everything; or with these histories, or one profile with these fields."""
    history = {
        "id": organization,
        "profile": [profile(**fields)] if profiles is None else list(profiles),
        "sharing": [settings()] if sharing is None else list(sharing),
    }
    return Account.model_validate(history)


def tiers(*changes: tuple[str, int]) -> Account:
    """An organization whose usage tier changed: (from when, tier)."""
    return account(profiles=[profile(f"{when}:00Z", tier=tier) for when, tier in changes])
