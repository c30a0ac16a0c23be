"""API keys: whose one is, so that a page offers only what it may do; and to the platform, all that there are."""

import re
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from gratis.account import openapi
from gratis.account.api_answer import answered
from gratis.account.routes.call import Call, Organization, Routes, ThisCall
from gratis.account.routes.usage import PageCursor
from gratis.http import Refused
from gratis.table.api_keys import Holder, Keys, Listed

_PLACE = re.compile(r"[A-Za-z0-9._-]{0,64}#[0-9a-f]{16}")

routes = Routes()


@routes.get("/v1/key", summary="Whose key this is, and its role", responses=openapi.KEY)
def this_key(call: ThisCall) -> Response[Any]:
    return answered({"object": "key", **_whose(call.holder)})


@routes.get(
    "/v1/keys",
    summary="The keys of all organizations, or of one; never the keys themselves",
    responses=openapi.KEYS,
    security=openapi.only("platform"),
)
def list_keys(
    call: ThisCall,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    page: PageCursor = None,
    organization: Organization = None,
) -> Response[Any]:
    if page is not None and not _PLACE.fullmatch(page):
        raise Refused(400, "invalid_value", f"page: {page[:100]!r} is no page of this query", "page")
    if page and organization and page.partition("#")[0] != organization:
        raise Refused(400, "invalid_value", f"page: {page!r} is no page of the keys of {organization!r}", "page")
    found, following = _keys(call).listed_page(organization, limit, page or "")
    data = [_shown(each) for each in found]
    return answered({"object": "list", "data": data, "has_more": following is not None, "next_page": following})


@routes.delete(
    "/v1/keys/<key_id>",
    summary="Revoke a key by its id in the list; the next call with it is a 401",
    responses=openapi.REVOKED,
    security=openapi.only("platform"),
)
def revoke_key(call: ThisCall, key_id: Annotated[str, Path()]) -> Response[Any]:
    if _keys(call).revoke_listed(key_id) is None:
        raise Refused(404, "not_found", f"there is no key {key_id!r} in the list", "key_id")
    return Response(204, body="")


def _keys(call: Call) -> Keys:
    return Keys(call.ledger.client, call.ledger.table)


def _whose(holder: Holder) -> dict[str, Any]:
    return {"role": holder.role, "organization": holder.organization, "name": holder.name}


def _shown(key: Listed) -> dict[str, Any]:
    times = {"created_at": key.created, "last_used": key.last_used, "expires_at": key.expires}
    return {"object": "key", "id": key.id, **_whose(key.holder), "last_four": key.last_four, **times}
