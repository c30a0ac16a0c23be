"""Whose key a call was made with, so that a page offers only what the key may do."""

from typing import Any

from aws_lambda_powertools.event_handler import Response

from gratis.account import openapi
from gratis.account.api_answer import answered
from gratis.account.routes.call import Routes, ThisCall

routes = Routes()


@routes.get("/v1/key", summary="Whose key this is, and its role", responses=openapi.KEY)
def this_key(call: ThisCall) -> Response[Any]:
    holder = call.holder
    whose = {"role": holder.role, "organization": holder.organization, "name": holder.name}
    return answered({"object": "key", **whose})
