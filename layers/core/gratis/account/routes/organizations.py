"""Profiles, which the platform sets."""

from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gratis.account import openapi
from gratis.account.api_answer import answered
from gratis.account.routes.call import Routes, ThisCall
from gratis.http import Refused
from gratis.rules.account import IDENTIFIER, Account, Profile
from gratis.table.accounts import with_profile

Organization = Annotated[str, Path(pattern=IDENTIFIER)]

routes = Routes()


class ProfileIn(BaseModel):
    """What the platform says of an organization. In force now; the first one may be back-dated."""

    model_config = ConfigDict(extra="forbid")

    tier: Annotated[int, Field(strict=True, ge=0, le=100)]
    plan: Literal["standard", "enterprise_excluded"] = "standard"
    zero_data_retention: Annotated[bool, Field(strict=True)] = False
    eligible: Annotated[bool, Field(strict=True)] = True
    positive_balance: Annotated[bool, Field(strict=True)] = True
    effective_at: AwareDatetime | None = None


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
    return answered(
        _shown(call.accounts.append(organization, lambda account: with_profile(account, version, call.now)))
    )


@routes.get(
    "/v1/organizations/<organization>",
    summary="An organization's profile and its history",
    responses=openapi.ORGANIZATION,
    security=openapi.only("platform"),
)
def get_organization(call: ThisCall, organization: Organization) -> Response[Any]:
    account = call.accounts.get(organization)
    if account is None or not account.profile:
        raise Refused(404, "not_found", f"there is no organization {organization!r}", "organization")
    return answered(_shown(account))


def _shown(account: Account) -> dict[str, Any]:
    versions = [
        {"version": number, **profile.model_dump(mode="json")}
        for number, profile in enumerate(account.profile, start=1)
    ]
    return {"object": "organization", "id": account.id, **versions[-1], "history": versions[::-1]}
