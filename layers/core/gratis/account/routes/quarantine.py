"""Refused events, as their organization sees them: what was wrong with each."""

import json
import re
from datetime import date, timedelta
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from gratis import moment
from gratis.account import openapi
from gratis.account.api_answer import answered
from gratis.account.routes.call import Call, Day, Organization, Routes, ThisCall, day_of
from gratis.account.routes.usage import PageCursor
from gratis.http import Refused
from gratis.table.quarantine import Refusal, Refusals, refusals

LATELY_DAYS = 7
"""UTC days in which a request without a decision is looked for among the refused."""
_PLACE = re.compile(r"[A-Za-z0-9._:/#-]{1,400}")

routes = Routes()


@routes.get(
    "/v1/organization/quarantine",
    summary="Events of a UTC day (of receipt) that were refused, and why",
    responses=openapi.QUARANTINE,
)
def refused_events(
    call: ThisCall,
    day: Day = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    page: PageCursor = None,
    organization: Organization = None,
) -> Response[Any]:
    whose, received = call.whose(organization), day_of(day) if day is not None else moment.day_of(call.now)
    if page is not None and not _PLACE.fullmatch(page):
        raise Refused(400, "invalid_value", f"page: {page[:100]!r} is no page of this query", "page")
    found = _refusals(call, whose, received, limit, after=page or "")
    data = [_shown(each) for each in found.found]
    more = found.following
    return answered({"object": "list", "data": data, "has_more": more is not None, "next_page": more})


def refused_lately(call: Call, organization: str, request_id: str) -> str:
    """What was wrong with a request that was refused in the last days, to end a sentence with; else nothing."""
    today = moment.day_of(call.now)
    for back in range(LATELY_DAYS):
        entries = _refusals(call, organization, today - timedelta(days=back), 1, request_id=request_id)
        for each in entries.found:
            return f"; it was refused at {each.received_at}: {each.code}: {each.message}"
    return ""


def _refusals(call: Call, organization: str, day: date, limit: int, **which: str) -> Refusals:
    return refusals(call.ledger.client, call.ledger.table, organization, day, limit, **which)


def _shown(refusal: Refusal) -> dict[str, Any]:
    return {
        "object": "quarantined",
        "id": refusal.id,
        "received_at": refusal.received_at,
        "error": {"code": refusal.code, "message": refusal.message},
        "decided": json.loads(refusal.decided) if refusal.decided else None,
    }
