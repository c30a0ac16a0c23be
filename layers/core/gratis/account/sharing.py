"""An organization's sharing settings as its owner sees and changes them. SPEC section 4."""

import json
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gratis import moment
from gratis.http import Refused
from gratis.rules.account import Account, Profile, Settings, Sharing, in_force
from gratis.table.account_items import Place, StoredAccount, Versions
from gratis.table.account_rows import PARTS, described, effective_at
from gratis.table.accounts import with_settings

MAX_LISTS_BYTES = 3_500_000
"""Of all selected projects of a version together, as JSON: so that an answer can show them."""
MAX_HISTORY = 100
"""Versions in one answer."""
EXCLUDED = {
    "zero_data_retention": "organizations with Zero Data Retention cannot opt in to sharing",
    "enterprise_excluded": "organizations on this Enterprise plan cannot opt in to sharing their traffic",
}


class SharingChange(BaseModel):
    """What an owner sends. What is left out stays as it is. Opting in needs `confirmed`: true."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

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
    asked = {part: _without_idle_list(setting) for part, setting in asked.items()}
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
    if opting_in:
        _require_lists_to_fit(settings, opting_in[0])
    return with_settings(account, settings, now)


def _without_idle_list(setting: Sharing) -> Sharing:
    """Only who shares selected projects has a list of them."""
    return setting if setting.mode == "selected" else Sharing(mode=setting.mode)


def _require_lists_to_fit(settings: Settings, part: str) -> None:
    lists = [getattr(settings, each).projects or () for each in PARTS]
    if (size := sum(len(json.dumps(each)) for each in lists)) > MAX_LISTS_BYTES:
        names = sum(map(len, lists))
        said = f"{part}: with it {names} projects are selected, {size} bytes; at most {MAX_LISTS_BYTES} bytes are kept"
        raise Refused(413, "too_many_projects", said, part)


def shown(stored: StoredAccount, *, as_of: datetime | None = None, page: str | None = None) -> dict[str, Any]:
    """The settings in force, or those of `as_of`, and a page of the history, newest first.

    In the history a long list is told by how many projects it names; `as_of` shows it. Raises Refused: 400; Busy.
    """
    if as_of is None:
        latest = stored.sharing.latest()
        found = (stored.sharing.count, latest) if latest else None
    else:
        found = stored.sharing.at(as_of)
    current = {part: Sharing().model_dump(mode="json") for part in PARTS} | {"version": None}
    if found:
        current = _version(found[0], found[1].model_dump(mode="json"))
    history, following = history_page(stored.sharing, page)
    return {
        "object": "data_sharing",
        "organization": stored.id,
        **{name: current[name] for name in ("version", *PARTS)},
        "history": [_version(number, described(row)) for number, row in history],
        **following,
    }


def history_page(versions: Versions[Any], page: str | None) -> tuple[list[tuple[int, Any]], dict[str, Any]]:
    """A page of versions, newest first, and where the next one begins. Raises Refused: 400; Busy."""
    rows = list(islice(versions.newest_first(_place(page) if page is not None else None), MAX_HISTORY + 1))
    shown, more = rows[:MAX_HISTORY], len(rows) > MAX_HISTORY
    cursor = f"{shown[-1][0]}-{moment.text(effective_at(shown[-1][1]))}" if more else None
    return shown, {"has_more": more, "next_page": cursor}


def _place(page: str) -> Place:
    number, _, when = page.partition("-")
    try:
        place = Place(moment.parse(when), int(number))
        place.effective_at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(400, "invalid_value", f"page: {page!r} is no page of this history", "page") from None
    if place.effective_at.tzinfo is None or not 0 < place.number < 10**12:
        raise Refused(400, "invalid_value", f"page: {page!r} is no page of this history", "page")
    return place


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


def _version(number: int, settings: dict[str, Any]) -> dict[str, Any]:
    return {"version": number} | {name: settings[name] for name in ("effective_at", "actor", "confirmed", *PARTS)}
