"""Would a request be free, and keep it free until it comes."""

from typing import Annotated, Any
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from gratis.account import openapi
from gratis.account.api_answer import answered
from gratis.account.asked import Asked, Wanted
from gratis.account.reservations import Reservations
from gratis.account.routes.call import Call, Organization, Routes, ThisCall

routes = Routes()
RESERVES = openapi.only("owner", "gateway")


def _reservations(call: Call, organization: str | None) -> Reservations:
    return Reservations(call.ledger, call.offer, call.whose(organization), call.now)


@routes.post(
    "/v1/organization/allowance/check",
    summary="Would this request be free if it came now? Records nothing",
    responses=openapi.CHECK,
)
def check(call: ThisCall, asked: Annotated[Asked, Body()], organization: Organization = None) -> Response[Any]:
    return answered(_reservations(call, organization).check(asked))


@routes.post(
    "/v1/organization/reservations",
    summary="Set room aside for a request that is still to come",
    responses=openapi.RESERVATION,
    security=RESERVES,
)
def reserve(call: ThisCall, wanted: Annotated[Wanted, Body()], organization: Organization = None) -> Response[Any]:
    content, is_new = _reservations(call, organization).reserve(wanted)
    answer = answered(content)
    answer.status_code = 201 if is_new else 200
    return answer


@routes.get(
    "/v1/organization/reservations",
    summary="The open reservations, the next to expire first",
    responses=openapi.RESERVATIONS,
    security=RESERVES,
)
def reservations(call: ThisCall, organization: Organization = None) -> Response[Any]:
    return answered({"object": "list", "data": _reservations(call, organization).listed()})


@routes.delete(
    "/v1/organization/reservations/<request_id>",
    summary="Give the room of a reservation back; also answered when there is none",
    responses=openapi.NOTHING,
    security=RESERVES,
)
def release(call: ThisCall, request_id: str, organization: Organization = None) -> Response[Any]:
    _reservations(call, organization).release(unquote(request_id))
    return Response(204, body="")
