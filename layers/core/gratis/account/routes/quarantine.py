"""Refused events, as their organization sees them: what was wrong with each; and sent through again by the platform."""

import json
import os
import re
from datetime import date, timedelta
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query
from pydantic import BaseModel, ConfigDict, Field

from gratis import moment
from gratis.account import openapi
from gratis.account.api_answer import answered
from gratis.account.routes.call import Call, Day, Organization, Routes, ThisCall, day_of
from gratis.account.routes.usage import PageCursor
from gratis.http import Refused
from gratis.rules.names import IDENTIFIER
from gratis.table.quarantine import Entry, Quarantine, Refusal, Refusals, refusals

LATELY_DAYS = 7
"""UTC days in which a request without a decision is looked for among the refused."""
_PLACE = re.compile(r"[A-Za-z0-9._:/#-]{1,500}")

Limit = Annotated[int, Query(ge=1, le=100)]
Code = Annotated[str | None, Query(max_length=64, description="Only those with this reason; a page may be short.")]

routes = Routes()


@routes.get(
    "/v1/organization/quarantine",
    summary="Events of a UTC day (of receipt) that were refused, and why",
    responses=openapi.QUARANTINE,
)
def refused_events(
    call: ThisCall,
    day: Day = None,
    code: Code = None,
    limit: Limit = 20,
    page: PageCursor = None,
    organization: Organization = None,
) -> Response[Any]:
    return _page(call, call.whose(organization), day, code, limit, page)


@routes.get(
    "/v1/quarantine",
    summary="The same of all organizations, and of events that name none",
    security=openapi.only("platform"),
    responses=openapi.QUARANTINE,
)
def every_refused_event(
    call: ThisCall, day: Day = None, code: Code = None, limit: Limit = 20, page: PageCursor = None
) -> Response[Any]:
    return _page(call, None, day, code, limit, page)


class RedriveIn(BaseModel):
    """Which entries are sent through again: those received on a day, of one organization, id or code, or of all."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    day: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    organization: Annotated[str, Field(pattern=IDENTIFIER)] | None = None
    id: Annotated[str, Field(max_length=256)] | None = None
    code: Annotated[str, Field(max_length=64)] | None = None
    limit: Annotated[int, Field(strict=True, ge=1, le=100)] = 20
    page: Annotated[str, Field(pattern=f"^{_PLACE.pattern}$")] | None = None

    def wants(self, entry: Entry) -> bool:
        """Whether an entry of the page is sent through again."""
        return self.id in (None, entry.id) and self.code in (None, entry.code)


@routes.post(
    "/v1/quarantine/redrive",
    summary="Send refused events of a UTC day through again, a page at a time; an entry goes once it has a decision",
    security=openapi.only("platform"),
    responses=openapi.REDRIVEN,
)
def redrive_refused(call: ThisCall, which: Annotated[RedriveIn, Body()]) -> Response[Any]:
    import boto3  # noqa: PLC0415

    from gratis.account.redriving import Redriving  # noqa: PLC0415 - all sources, which no other route needs
    from gratis.config import QUICK  # noqa: PLC0415
    from gratis.intake.queue import UsageQueue  # noqa: PLC0415

    quarantine = Quarantine(call.ledger.client, call.ledger.table)
    entries, more = quarantine.page(day_of(which.day), which.organization, which.limit, which.page or "")
    queue = UsageQueue(boto3.client("sqs", config=QUICK), os.environ["USAGE_QUEUE"])
    redriving = Redriving(call.ledger, quarantine, queue, call.now)
    done = redriving.redrive([entry for entry in entries if which.wants(entry)])
    data = [
        {
            "object": "redriven",
            "organization": each.entry.organization,
            "id": each.entry.id,
            "received_at": each.entry.received_at,
            "error": each.entry.error(),
            "state": each.state,
            "why": each.why,
        }
        for each in done
    ]
    return answered({"object": "list", "data": data, "has_more": more is not None, "next_page": more})


def _page(
    call: Call, whose: str | None, day: str | None, code: str | None, limit: int, page: str | None
) -> Response[Any]:
    received = day_of(day) if day is not None else moment.day_of(call.now)
    if page is not None and not _PLACE.fullmatch(page):
        raise Refused(400, "invalid_value", f"page: {page[:100]!r} is no page of this query", "page")
    found = _refusals(call, whose, received, limit, after=page or "")
    data = [_shown(each) for each in found.found if code in (None, each.code)]
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


def _refusals(call: Call, organization: str | None, day: date, limit: int, **which: str) -> Refusals:
    return refusals(call.ledger.client, call.ledger.table, organization, day, limit, **which)


def _shown(refusal: Refusal) -> dict[str, Any]:
    return {
        "object": "quarantined",
        "organization": refusal.organization,
        "id": refusal.id,
        "received_at": refusal.received_at,
        "error": {"code": refusal.code, "message": refusal.message},
        "decided": json.loads(refusal.decided) if refusal.decided else None,
    }
