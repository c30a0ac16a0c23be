"""What an organization shares: the settings and their history."""

from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from gratis.account import openapi
from gratis.account.api_answer import answered
from gratis.account.routes.call import Organization, Routes, ThisCall
from gratis.account.sharing import SharingChange, changed, shown

routes = Routes()


@routes.get(
    "/v1/organization/data_sharing",
    summary="The sharing settings and their history",
    responses=openapi.SHARING,
)
def data_sharing(call: ThisCall, organization: Organization = None) -> Response[Any]:
    whose = call.whose(organization)
    return answered(shown(call.accounts.get(whose), whose))


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
    account = call.accounts.append(whose, lambda account: changed(account, change, actor, call.now))
    return answered(shown(account, whose))
