"""What is left of the allowance."""

from typing import Any

from aws_lambda_powertools.event_handler import Response

from gratis.account import openapi
from gratis.account.allowance import allowance
from gratis.account.api_answer import answered
from gratis.account.routes.call import Organization, Routes, ThisCall

routes = Routes()


@routes.get(
    "/v1/organization/allowance",
    summary="What is left, and when it resets",
    responses=openapi.ALLOWANCE,
)
def allowance_route(call: ThisCall, organization: Organization = None) -> Response[Any]:
    return answered(allowance(call.ledger, call.offer, call.whose(organization), call.now, call.platform))
