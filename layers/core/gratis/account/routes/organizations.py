"""Profiles, which the platform sets; and the organizations of a day, for it to look after."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Path, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gratis import moment
from gratis.account import openapi
from gratis.account.api_answer import answered
from gratis.account.organizations import MAX_BLOCK, Organizations, Sort
from gratis.account.routes.call import Day, HistoryPage, Routes, ThisCall, day_of
from gratis.account.routes.usage import PageCursor
from gratis.account.sharing import history_page
from gratis.account.usage import groups_of
from gratis.http import Refused
from gratis.rules.account import Profile
from gratis.rules.names import IDENTIFIER
from gratis.table.account_items import StoredAccount
from gratis.table.accounts import with_profile

Organization = Annotated[str, Path(pattern=IDENTIFIER)]
BEGINNING = r"^[A-Za-z0-9._-]{0,64}$"
"""Of an organization's name."""
PLACE = r"^[A-Za-z0-9._:/-]{1,256}$"
"""After which a block begins: a name, or what an event in quarantine calls its organization."""
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""No event is older."""

routes = Routes()


class ProfileIn(BaseModel):
    """What the platform says of an organization. In force now; the first one may be back-dated."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    tier: Annotated[int, Field(strict=True, ge=0, le=100)]
    plan: Literal["standard", "enterprise_excluded"] = "standard"
    zero_data_retention: Annotated[bool, Field(strict=True)] = False
    eligible: Annotated[bool, Field(strict=True)] = True
    positive_balance: Annotated[bool, Field(strict=True)] = True
    effective_at: Annotated[AwareDatetime, Field(ge=EARLIEST)] | None = None


@routes.get(
    "/v1/organizations",
    summary="The organizations of a UTC day, decided or refused, in blocks sorted within themselves",
    responses=openapi.ORGANIZATIONS,
    security=openapi.only("platform"),
)
def list_organizations(
    call: ThisCall,
    day: Day = None,
    prefix: Annotated[str, Query(pattern=BEGINNING, description="How their names begin.")] = "",
    sort: Annotated[Sort, Query(description="What a block is sorted by.")] = "organization",
    limit: Annotated[int, Query(ge=1, le=MAX_BLOCK)] = 100,
    page: PageCursor = None,
) -> Response[Any]:
    if page is not None and not (re.fullmatch(PLACE, page) and page.startswith(prefix)):
        raise Refused(400, "invalid_value", f"page: {page[:100]!r} is no page of this query", "page")
    of_day = Organizations(call.ledger, call.offer, day_of(day) if day else moment.day_of(call.now), call.now)
    rows, following = of_day.block(prefix, page or "", sort, limit)
    shown = {"day": of_day.day.isoformat(), "as_of": moment.text(of_day.when), "data": rows}
    return answered({"object": "list", **shown, "has_more": following is not None, "next_page": following})


@routes.put(
    "/v1/organizations/<organization>",
    summary="Set a profile; only the platform may",
    responses=openapi.ORGANIZATION,
    security=openapi.only("platform"),
)
def put_organization(
    call: ThisCall, organization: Organization, profile: Annotated[ProfileIn, Body()]
) -> Response[Any]:
    fields = profile.model_dump(exclude={"effective_at"})
    actor, effective_at = call.holder.name or "platform", profile.effective_at or call.now
    version = Profile(effective_at=effective_at, actor=actor, **fields)
    stored = call.accounts.append(
        organization, lambda account: with_profile(account, version, call.now), groups_of(call.offer)
    )
    return answered(_shown(stored))


@routes.get(
    "/v1/organizations/<organization>",
    summary="An organization's profile and its history",
    responses=openapi.ORGANIZATION,
    security=openapi.only("platform"),
)
def get_organization(call: ThisCall, organization: Organization, page: HistoryPage = None) -> Response[Any]:
    stored = call.accounts.read(organization)
    if not stored.profile.count:
        raise Refused(404, "not_found", f"there is no organization {organization!r}", "organization")
    return answered(_shown(stored, page))


def _shown(stored: StoredAccount, page: str | None = None) -> dict[str, Any]:
    """The latest profile, and a page of the history, newest first."""
    rows, following = history_page(stored.profile, page)
    history = [_version(number, stored.profile.model(row)) for number, row in rows]
    latest = stored.profile.latest()
    current = _version(stored.profile.count, latest) if latest else {}
    return {"object": "organization", "id": stored.id, **current, "history": history, **following}


def _version(number: int, profile: Profile) -> dict[str, Any]:
    return {"version": number, **profile.model_dump(mode="json")}
