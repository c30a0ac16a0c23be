"""An organization's sharing settings as its owner sees and changes them. SPEC section 4."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gratis.errors import Rejected
from gratis.http import Refused
from gratis.rules.account import Account, Profile, Settings, Sharing, in_force
from gratis.table.accounts import with_settings

PARTS = ("traffic", "evals", "feedback")
MAX_PROJECTS = 500
"""In one setting, so that all settings of a version, and of the one before, fit one event of the bus."""
EXCLUDED = {
    "zero_data_retention": "organizations with Zero Data Retention cannot opt in to sharing",
    "enterprise_excluded": "organizations on this Enterprise plan cannot opt in to sharing their traffic",
}


class SharingChange(BaseModel):
    """What an owner sends. What is left out stays as it is. Opting in needs `confirmed`: true."""

    model_config = ConfigDict(extra="forbid")

    confirmed: bool = Field(
        default=False, strict=True, description="The organization has the permissions to share the data"
    )
    traffic: Sharing | None = None
    evals: Sharing | None = None
    feedback: Sharing | None = None


def changed(account: Account, change: SharingChange, actor: str, now: datetime) -> Account:
    """The account with the settings changed, in force now. Raises Refused: 400. Opting out is always possible."""
    current = account.sharing[-1] if account.sharing else Settings(effective_at=now)
    asked = {part: setting for part in PARTS if (setting := getattr(change, part)) is not None}
    for part, setting in asked.items():
        if len(setting.projects or ()) > MAX_PROJECTS:
            said = f"{part}: names {len(setting.projects or ())} projects; at most {MAX_PROJECTS} can be selected"
            raise Refused(400, "too_many_projects", said, part)
    opting_in = [part for part, setting in asked.items() if setting.shares_more_than(getattr(current, part))]
    if opting_in:
        for part in opting_in:
            _may_opt_in(account, now, part)
        if not change.confirmed:
            raise Refused(
                400,
                "confirmation_required",
                'opting in needs "confirmed": true: the organization has the permissions to share the data',
                "confirmed",
            )
    settings = Settings(
        effective_at=now,
        actor=actor,
        confirmed=change.confirmed,
        **{part: asked.get(part, getattr(current, part)) for part in PARTS},
    )
    try:
        return with_settings(account, settings, now)
    except Rejected as rejected:
        raise Refused(400, rejected.code, rejected.message) from None


def shown(account: Account | None, organization: str) -> dict[str, Any]:
    """The settings in force and their history, newest first."""
    versions = account.sharing if account else ()
    history = [_version(number, settings) for number, settings in enumerate(versions, start=1)]
    current = history[-1] if history else {part: _setting(Sharing()) for part in PARTS} | {"version": None}
    return {
        "object": "data_sharing",
        "organization": organization,
        **{name: current[name] for name in ("version", *PARTS)},
        "history": history[::-1],
    }


def _may_opt_in(account: Account, now: datetime, part: str) -> None:
    found = in_force(account.profile, now)
    reason = cannot_share(found[1], part) if found else None
    if reason:
        raise Refused(400, reason, EXCLUDED[reason], part)


def cannot_share(profile: Profile, part: str) -> str | None:
    """Why an organization cannot opt in to sharing a part; None if it can. One that is not eligible gets no tokens."""
    if profile.zero_data_retention:
        return "zero_data_retention"
    return "enterprise_excluded" if part == "traffic" and profile.plan == "enterprise_excluded" else None


def _version(number: int, settings: Settings) -> dict[str, Any]:
    return {
        "version": number,
        "effective_at": settings.model_dump(mode="json")["effective_at"],
        "actor": settings.actor,
        "confirmed": settings.confirmed,
        **{part: _setting(getattr(settings, part)) for part in PARTS},
    }


def _setting(setting: Sharing) -> dict[str, Any]:
    return setting.model_dump(mode="json")
