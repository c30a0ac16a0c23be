"""Decisions on single requests, explained."""

import re
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Header, Path, Query

from gratis import moment
from gratis.account import listing, openapi
from gratis.account.api_answer import answered
from gratis.account.routes.call import Day, Organization, Routes, ThisCall, day_of
from gratis.account.routes.quarantine import refused_lately
from gratis.account.routes.usage import Names, PageCursor, named
from gratis.config import known_version
from gratis.http import Refused
from gratis.rules.explanation import explain
from gratis.rules.receipt import Decision, Verdict
from gratis.rules.request import AHEAD, REQUEST_ID, RequestKey, void_of
from gratis.table.decision_items import KEEP_DECISIONS
from gratis.table.ledger import Ledger

routes = Routes()


@routes.get(
    "/v1/organization/requests", summary="Decisions of a day, the newest decided first", responses=openapi.DECISIONS
)
def requests_of_day(
    call: ThisCall,
    day: Day = None,
    project_ids: Names = None,
    models: Names = None,
    verdict: Annotated[Verdict | None, Query()] = None,
    reason: Annotated[str | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    page: PageCursor = None,
    organization: Organization = None,
    accept: Annotated[str, Header(description="`text/csv`: a table in place of JSON.")] = "",
) -> Response[Any]:
    whose = call.whose(organization)
    names = named(project_ids), named(models)
    asked = listing.Asked(day_of(day) if day is not None else None, *names, verdict, reason, limit, page)
    found = listing.found(asked, call.ledger, whose, call.now)
    if "text/csv" in accept:
        following = {"link": f'<?{asked.query(found.next_page, organization)}>; rel="next"'} if found.next_page else {}
        return Response(200, "text/csv; charset=utf-8", listing.csv_of(found.decisions), headers=following)
    data = [_explained(each) for each in found.decisions]
    return answered(
        {"object": "list", "data": data, "has_more": found.next_page is not None, "next_page": found.next_page}
    )


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
        [day_of(day)] if day is not None else [latest - timedelta(days=back) for back in range(KEEP_DECISIONS.days + 2)]
    )
    keys = [RequestKey(whose, each, wanted) for each in days]
    found = call.ledger.decisions([*keys, *map(void_of, keys)])
    decisions = {key: each for key, each in found.items() if not each.is_void}
    if not decisions:
        when = f"on {day}" if day else f"in the last {len(days) - 2} days"
        why = refused_lately(call, whose, wanted)
        said = f"there is no decision on a request {wanted!r} {when}{why}"
        raise Refused(404, "refused" if why else "not_found", said, "id")
    decision = max(decisions.values(), key=lambda decision: decision.day)
    void = found.get(void_of(decision.key))
    taken_back = {"void": _explained(void)} if void else {}
    return answered(_explained(decision) | taken_back | (_inclusion(decision, call.ledger) if proof else {}))


def _inclusion(decision: Decision, ledger: Ledger) -> dict[str, Any]:
    from gratis.account.inclusion import inclusion_of  # noqa: PLC0415 - hashes and statements that few calls ask for

    return {"inclusion": inclusion_of(decision, ledger)}


def _explained(decision: Decision) -> dict[str, Any]:
    return decision.record() | {"explanation": explain(decision, known_version(decision.offer))}
