"""What is left of the allowance."""

from typing import Any

from aws_lambda_powertools.event_handler import Response

from gratis import openapi
from gratis.allowance import allowance
from gratis.api_answer import answered
from gratis.routes.call import Organization, Routes, ThisCall

routes = Routes()


@routes.get(
    "/v1/organization/allowance",
    summary="What is left, and when it resets",
    responses=openapi.ALLOWANCE,
)
def allowance_route(call: ThisCall, organization: Organization = None) -> Response[Any]:
    return answered(allowance(call.ledger, call.offer, call.whose(organization), call.now, call.platform))
