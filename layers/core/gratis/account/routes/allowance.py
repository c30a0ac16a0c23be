"""What is left of the allowance, and what the offer includes."""

from typing import Any

from aws_lambda_powertools.event_handler import Response

from gratis.account import openapi
from gratis.account.allowance import allowance
from gratis.account.api_answer import answered
from gratis.account.offer import offer_for
from gratis.account.routes.call import Organization, Routes, ThisCall
from gratis.rules.eligibility import terms_at

routes = Routes()


@routes.get(
    "/v1/organization/allowance",
    summary="What is left, and when it resets",
    responses=openapi.ALLOWANCE,
)
def allowance_route(call: ThisCall, organization: Organization = None) -> Response[Any]:
    return answered(allowance(call.ledger, call.offer, call.whose(organization), call.now, call.platform))


@routes.get(
    "/v1/organization/offer",
    summary="What is included, in data and in words",
    responses=openapi.OFFER,
)
def offer_route(call: ThisCall, organization: Organization = None) -> Response[Any]:
    whose = call.whose(organization)
    return answered(offer_for(terms_at(call.now, call.offer, call.accounts.get(whose)), whose, call.now))
