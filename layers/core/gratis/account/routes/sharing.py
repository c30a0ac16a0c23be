"""What an organization shares: the settings and their history."""

from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query
from pydantic import AwareDatetime

from gratis.account import openapi
from gratis.account.api_answer import answered
from gratis.account.routes.call import HistoryPage, Organization, Routes, ThisCall
from gratis.account.sharing import SharingChange, changed, shown
from gratis.account.usage import groups_of

AsOf = Annotated[AwareDatetime | None, Query(description="Show the settings that were in force at this moment.")]

routes = Routes()


@routes.get(
    "/v1/organization/data_sharing",
    summary="The sharing settings and their history",
    responses=openapi.SHARING,
)
def data_sharing(
    call: ThisCall, as_of: AsOf = None, page: HistoryPage = None, organization: Organization = None
) -> Response[Any]:
    return answered(shown(call.accounts.read(call.whose(organization)), as_of=as_of, page=page))


@routes.post(
    "/v1/organization/data_sharing",
    summary="Change what is shared; only an owner may",
    responses=openapi.SHARING,
    security=openapi.only("owner"),
)
def change_data_sharing(
    call: ThisCall, change: Annotated[SharingChange, Body()], organization: Organization = None
) -> Response[Any]:
    whose, actor = call.whose(organization), call.holder.name or "owner"
    stored = call.accounts.append(
        whose, lambda account: changed(account, change, actor, call.now), groups_of(call.offer)
    )
    return answered(shown(stored))
