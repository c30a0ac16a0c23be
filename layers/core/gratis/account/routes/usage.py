"""Usage and costs: which buckets and rows a call asks for, and what it may not ask for."""

import re
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from gratis import moment
from gratis.account import openapi, usage
from gratis.account.api_answer import answered
from gratis.account.routes.call import Organization, Routes, ThisCall
from gratis.http import Refused
from gratis.table.decision_items import KEEP_DECISIONS
from gratis.table.ledger import KEEP_DOCUMENTS

Unix = Annotated[int, Query(ge=0, le=usage.MAX_UNIX_SECONDS, description="Unix seconds, inclusive.")]
UnixEnd = Annotated[
    int | None, Query(ge=0, le=usage.MAX_UNIX_SECONDS, description="Unix seconds, exclusive; now if left out.")
]
PageCursor = Annotated[str | None, Query(description="`next_page` of the page before.")]
Names = Annotated[list[str] | None, Query()]

BUCKETS = {"1d": (7, 31), "1h": (24, 168)}
"""How many buckets of this width a page of usage has unless a call says otherwise, and how many it may ask for."""

routes = Routes()


@routes.get(
    "/v1/organization/usage/completions",
    summary="Usage as in OpenAI's API, free tokens included",
    responses=openapi.PAGE,
)
def completions_usage(
    call: ThisCall,
    start_time: Unix,
    end_time: UnixEnd = None,
    bucket_width: Annotated[Literal["1m", "1h", "1d"], Query()] = "1d",
    limit: Annotated[
        int | None, Query(ge=1, description="Buckets a page: 1d 7, at most 31; 1h 24, at most 168.")
    ] = None,
    page: PageCursor = None,
    project_ids: Names = None,
    user_ids: Names = None,
    api_key_ids: Names = None,
    models: Names = None,
    batch: Annotated[bool | None, Query()] = None,
    group_by: Annotated[
        list[Literal["project_id", "user_id", "api_key_id", "model", "batch", "service_tier"]] | None, Query()
    ] = None,
    organization: Organization = None,
) -> Response[Any]:
    whose = call.whose(organization)
    _not_recorded(bucket_width == "1m", "bucket_width", "usage by the minute")
    _not_recorded(user_ids is not None, "user_ids", "usage by user")
    _not_recorded(api_key_ids is not None, "api_key_ids", "usage by API key")
    _not_recorded(bool({"user_id", "api_key_id"} & set(group_by or ())), "group_by", "usage by user or API key")
    span = usage.Span.of(start_time, end_time, bucket_width, call.now)
    starts, next_page = span.page(page, _limit(limit, *BUCKETS[bucket_width]))
    daily = bucket_width == "1d"
    _require_kept(span, call)
    rows_of = usage.day_rows if daily else usage.hour_rows
    rows = rows_of(call.ledger, call.offer, whose, starts)
    filters = usage.Filters(_any_of(project_ids), _any_of(models), batch)
    return answered(usage.usage_page(rows, span.width, next_page, filters, _distinct(group_by)))


@routes.get(
    "/v1/organization/costs",
    summary="Costs as in OpenAI's API, by model and kind of token; what was free has amount 0",
    responses=openapi.PAGE,
)
def costs(
    call: ThisCall,
    start_time: Unix,
    end_time: UnixEnd = None,
    bucket_width: Annotated[Literal["1d"], Query()] = "1d",
    limit: Annotated[int, Query(ge=1, le=180)] = 7,
    page: PageCursor = None,
    project_ids: Names = None,
    api_key_ids: Names = None,
    line_items: Annotated[list[str] | None, Query(description="Whole names, or models for all of theirs.")] = None,
    group_by: Annotated[
        list[Literal["project_id", "user_id", "line_item", "api_key_id", "api_source"]] | None,
        Query(description="A line item is a model and a kind of token: `gpt-4o-2024-08-06, cached input`."),
    ] = None,
    organization: Organization = None,
) -> Response[Any]:
    whose = call.whose(organization)
    _not_recorded(api_key_ids is not None, "api_key_ids", "costs by API key")
    unknown = {"user_id", "api_key_id", "api_source"} & set(group_by or ())
    _not_recorded(bool(unknown), "group_by", "costs by user, API key or API source")
    span = usage.Span.of(start_time, end_time, bucket_width, call.now)
    _require_kept(span, call)
    starts, next_page = span.page(page, limit)
    rows = usage.day_rows(call.ledger, call.offer, whose, starts)
    filters, names = usage.Filters(_any_of(project_ids)), _any_of(line_items, ",(?! )")
    return answered(usage.costs_page(rows, next_page, filters, _distinct(group_by), names))


def _not_recorded(wanted: bool, param: str, what: str) -> None:
    if wanted:
        raise Refused(400, "not_recorded", f"{what} is not recorded", param)


def _require_kept(span: usage.Span, call: ThisCall) -> None:
    """Raises Refused: 400 for buckets that would be empty only because what was in them is gone."""
    by, kept_for = ("day", KEEP_DOCUMENTS) if span.width == moment.DAY else ("hour", KEEP_DECISIONS)
    kept = moment.midnight(moment.day_of(call.now) - kept_for)
    if span.start < kept:
        said = f"what was used before {moment.text(kept)} is no longer kept by the {by}: only {kept_for.days} days are"
        raise Refused(400, "not_recorded", said, "start_time")


def _limit(limit: int | None, usual: int, most: int) -> int:
    if limit is not None and limit > most:
        raise Refused(400, "invalid_value", f"limit {limit} is over {most}, the most for this bucket_width", "limit")
    return limit or usual


def _any_of(names: list[str] | None, comma: str = ",") -> frozenset[str] | None:
    found = named(names, comma)
    return None if found is None else frozenset(found)


def named(names: list[str] | None, comma: str = ",") -> list[str] | None:
    """The names that a list in the query holds. A name may hold commas, so each of several values is one.

    A single value is a name, and its parts are names too. `comma`: what stands between them, as a regular expression;
    the comma in a line item's name has a blank behind it.
    """
    if names is None or len(names) > 1:
        return names
    return list(dict.fromkeys([*names, *re.split(comma, names[0])]))


def _distinct(names: list[Any] | None) -> list[str]:
    return list(dict.fromkeys(names or ()))
