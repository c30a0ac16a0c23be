"""Decisions on single requests, explained."""

import re
from datetime import date, timedelta
from typing import Annotated, Any
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from gratis import moment
from gratis.account import openapi, usage
from gratis.account.api_answer import answered
from gratis.account.routes.call import Organization, Routes, ThisCall
from gratis.config import known_version
from gratis.http import Refused
from gratis.rules.explanation import explain
from gratis.rules.receipt import Decision
from gratis.rules.request import AHEAD, REQUEST_ID, RequestKey, void_of
from gratis.table.ledger import KEEP_DECISIONS, Ledger

Day = Annotated[str | None, Query(pattern=r"^\d{4}-\d\d-\d\d$", description="A UTC day, YYYY-MM-DD.")]

routes = Routes()


@routes.get("/v1/organization/requests", summary="The latest decisions, newest first", responses=openapi.DECISIONS)
def latest_requests(
    call: ThisCall, limit: Annotated[int, Query(ge=1, le=20)] = 20, organization: Organization = None
) -> Response[Any]:
    whose, today = call.whose(organization), moment.day_of(call.now)
    documents = call.ledger.days(whose, usage.groups_of(call.offer), today - timedelta(days=1), today)
    keys = {
        RequestKey(whose, date.fromisoformat(identity.slot), request_id)
        for identity, document in documents.items()
        for request_id in document.recent
    }
    found = sorted(call.ledger.decisions(keys).values(), key=lambda each: each.occurred_at)
    return answered({"object": "list", "data": [_explained(each) for each in reversed(found[-limit:])]})


@routes.get(
    "/v1/organization/requests/<request_id>", responses=openapi.DECISION, summary="Why a request was free or billed"
)
def one_request(
    call: ThisCall,
    request_id: Annotated[str, Path()],
    day: Day = None,
    organization: Organization = None,
    proof: Annotated[bool, Query(description="Prove that the decision is in its day's signed statement.")] = False,
) -> Response[Any]:
    whose, wanted = call.whose(organization), unquote(request_id)
    if not re.fullmatch(REQUEST_ID, wanted):
        raise Refused(404, "not_found", f"there is no request {wanted!r}", "id")
    latest = moment.day_of(call.now + AHEAD)
    days = (
        [_day(day)] if day is not None else [latest - timedelta(days=back) for back in range(KEEP_DECISIONS.days + 2)]
    )
    keys = [RequestKey(whose, each, wanted) for each in days]
    found = call.ledger.decisions([*keys, *map(void_of, keys)])
    decisions = {key: each for key, each in found.items() if not each.is_void}
    if not decisions:
        when = f"on {day}" if day else f"in the last {len(days) - 2} days"
        raise Refused(404, "not_found", f"there is no decision on a request {wanted!r} {when}", "id")
    decision = max(decisions.values(), key=lambda decision: decision.day)
    void = found.get(void_of(decision.key))
    taken_back = {"void": _explained(void)} if void else {}
    return answered(_explained(decision) | taken_back | (_inclusion(decision, call.ledger) if proof else {}))


def _inclusion(decision: Decision, ledger: Ledger) -> dict[str, Any]:
    from gratis.account.inclusion import inclusion_of  # noqa: PLC0415 - hashes and statements that few calls ask for

    return {"inclusion": inclusion_of(decision, ledger)}


def _explained(decision: Decision) -> dict[str, Any]:
    return decision.record() | {"explanation": explain(decision, known_version(decision.offer))}


def _day(written: str) -> date:
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise Refused(400, "invalid_value", f"day: {written!r} is no day", "day") from None
