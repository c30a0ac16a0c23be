"""account_api: what an organization's people and tools see of its account. Routes: SPEC section 5."""

import gratis.startup  # noqa: F401 - before all others

# isort: split
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Body, Query
from aws_lambda_powertools.event_handler.openapi.params import Path as PathParam
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gratis import moment
from gratis.account import openapi, sharing, usage
from gratis.account.allowance import allowance
from gratis.account.api_request import normalized, unknown_parameter, unreadable_body
from gratis.account.explanation import explain
from gratis.config import config, dynamodb, known_version
from gratis.errors import Busy, Rejected
from gratis.http import Refused, headers_of
from gratis.rules.account import IDENTIFIER, Account, Profile
from gratis.rules.request import AHEAD, REQUEST_ID, RequestKey
from gratis.table.accounts import Accounts, with_profile
from gratis.table.api_keys import Holder, Keys
from gratis.table.ledger import KEEP_DECISIONS, Ledger
from gratis.telemetry import metrics_of, report_answered

PAGE = Path(__file__).parent / "page"
"""The account page's files."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
DOCS_SECURITY = SECURITY | {
    "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
"""Swagger UI comes whole in one file, its scripts and styles inline."""
MOST_ANSWER = 5_500_000
"""Bytes of an answer: Lambda hands on 6 MB."""

logger = Logger(service="account_api")
metrics = metrics_of("account_api")
app = openapi.Api(enable_validation=True, debug=False)  # whatever POWERTOOLS_DEV says: it would print every request


def secured(app: openapi.Api, following: Callable[[openapi.Api], Response[Any]]) -> Response[Any]:
    """The page of Powertools, with what our own pages say about themselves."""
    answer = following(app)
    answer.headers.update(DOCS_SECURITY)
    return answer


@cache
def ledger() -> Ledger:
    return Ledger(dynamodb(), config().table)


@cache
def accounts() -> Accounts:
    return Accounts(dynamodb(), config().table)


@cache
def keys() -> Keys:
    return Keys(dynamodb(), config().table)


# Who asks ---------------------------------------------------------------------------------------------------------


def holder_of(event: dict[str, Any]) -> Holder:
    """Whose key came with a request. Raises Refused: 401, Busy."""
    scheme, _, key = headers_of(event).get("authorization", "").partition(" ")
    found = keys().find(key.strip()) if scheme.lower() == "bearer" and key.strip() else None
    if found is None:
        raise nobody()
    return found


def nobody() -> Refused:
    return Refused(401, "invalid_api_key", "the Authorization header holds no valid API key")


def holder() -> Holder:
    """Who asks; known before anything else of a request is looked at. Raises Refused: 401 if nobody was asked who."""
    by: Holder | None = app.context.get("holder")
    if by is None:
        raise nobody()
    return by


def asked(organization: str | None) -> str:
    """The organization asked about: the key's own, or the one that a platform key names. Raises Refused."""
    by = holder()
    if by.organization is None:
        if organization is None:
            raise Refused(
                400, "missing_parameter", "a platform key names the organization it asks about", "organization"
            )
        return organization
    if organization not in (None, by.organization):
        raise Refused(404, "not_found", f"there is no organization {organization!r} for this key", "organization")
    return by.organization


def platform_only(organization: str) -> Holder:
    """The platform's own key. Raises Refused: 404 for another organization's, 403 for the organization's own."""
    by = holder()
    if by.role != "platform":
        if by.organization != organization:
            raise Refused(404, "not_found", f"there is no organization {organization!r} for this key", "organization")
        raise Refused(403, "insufficient_permissions", "only the platform may see and change profiles")
    return by


# Routes -----------------------------------------------------------------------------------------------------------

Organization = Annotated[
    str | None, Query(pattern=IDENTIFIER, description="With a platform key: whose data; else the key's own.")
]
Unix = Annotated[int, Query(ge=0, le=usage.MOST_UNIX, description="Unix seconds, inclusive.")]
UnixEnd = Annotated[
    int | None, Query(ge=0, le=usage.MOST_UNIX, description="Unix seconds, exclusive; now if left out.")
]
PageCursor = Annotated[str | None, Query(description="`next_page` of the page before.")]
Names = list[str] | None
Day = Annotated[str | None, Query(pattern=r"^\d{4}-\d\d-\d\d$", description="A UTC day, YYYY-MM-DD.")]


@app.get(
    "/v1/organization/usage/completions",
    summary="Usage as in OpenAI's API, free tokens included",
    responses=openapi.PAGE,
)
def completions_usage(
    start_time: Unix,
    end_time: UnixEnd = None,
    bucket_width: Annotated[Literal["1m", "1h", "1d"], Query()] = "1d",
    limit: Annotated[
        int | None, Query(ge=1, description="Buckets a page: 1d 7, at most 31; 1h 24, at most 168.")
    ] = None,
    page: PageCursor = None,
    project_ids: Annotated[Names, Query()] = None,
    user_ids: Annotated[Names, Query()] = None,
    api_key_ids: Annotated[Names, Query()] = None,
    models: Annotated[Names, Query()] = None,
    batch: Annotated[bool | None, Query()] = None,
    group_by: Annotated[
        list[Literal["project_id", "user_id", "api_key_id", "model", "batch", "service_tier"]] | None, Query()
    ] = None,
    organization: Organization = None,
) -> Response[Any]:
    whose = asked(organization)
    _not_recorded(bucket_width == "1m", "bucket_width", "usage by the minute")
    _not_recorded(user_ids is not None, "user_ids", "usage by user")
    _not_recorded(api_key_ids is not None, "api_key_ids", "usage by API key")
    _not_recorded(bool({"user_id", "api_key_id"} & set(group_by or ())), "group_by", "usage by user or API key")
    span = usage.Span.of(start_time, end_time, bucket_width, datetime.now(UTC))
    usual, most = {"1d": (7, 31), "1h": (24, 168)}[bucket_width]
    starts, next_page = span.page(page, _limit(limit, usual, most))
    daily = bucket_width == "1d"
    kept = moment.midnight(moment.day_of(datetime.now(UTC)) - KEEP_DECISIONS)
    _not_recorded(not daily and span.start < kept, "start_time", f"usage by the hour before {moment.text(kept)}")
    rows_of = usage.day_rows if daily else usage.hour_rows
    rows = rows_of(ledger(), config().offer, whose, starts)
    filters = usage.Filters(_any_of(project_ids), _any_of(models), batch)
    return _json(usage.usage_page(rows, span.width, next_page, filters, _distinct(group_by)))


@app.get(
    "/v1/organization/costs",
    summary="Costs as in OpenAI's API; free requests cost nothing",
    responses=openapi.PAGE,
)
def costs(
    start_time: Unix,
    end_time: UnixEnd = None,
    bucket_width: Annotated[Literal["1d"], Query()] = "1d",
    limit: Annotated[int, Query(ge=1, le=180)] = 7,
    page: PageCursor = None,
    project_ids: Annotated[Names, Query()] = None,
    api_key_ids: Annotated[Names, Query()] = None,
    line_items: Annotated[Names, Query()] = None,
    group_by: Annotated[
        list[Literal["project_id", "line_item", "api_key_id"]] | None, Query(description="A line item is a model.")
    ] = None,
    organization: Organization = None,
) -> Response[Any]:
    whose = asked(organization)
    _not_recorded(api_key_ids is not None, "api_key_ids", "costs by API key")
    _not_recorded("api_key_id" in (group_by or ()), "group_by", "costs by API key")
    span = usage.Span.of(start_time, end_time, bucket_width, datetime.now(UTC))
    starts, next_page = span.page(page, limit)
    rows = usage.day_rows(ledger(), config().offer, whose, starts)
    return _json(
        usage.costs_page(rows, next_page, usage.Filters(_any_of(project_ids), _any_of(line_items)), _distinct(group_by))
    )


@app.get(
    "/v1/organization/allowance",
    summary="What is left, and when it resets",
    responses=openapi.ALLOWANCE,
)
def allowance_route(organization: Organization = None) -> Response[Any]:
    platform = os.environ.get("PLATFORM_NAME", "OpenAI")
    return _json(allowance(ledger(), config().offer, asked(organization), datetime.now(UTC), platform))


@app.get(
    "/v1/organization/data_sharing",
    summary="The sharing settings and their history",
    responses=openapi.SHARING,
)
def data_sharing(organization: Organization = None) -> Response[Any]:
    whose = asked(organization)
    return _json(sharing.shown(accounts().get(whose), whose))


@app.post(
    "/v1/organization/data_sharing",
    summary="Change what is shared; only an owner may",
    responses=openapi.SHARING,
)
def change_data_sharing(
    change: Annotated[sharing.SharingChange, Body()], organization: Organization = None
) -> Response[Any]:
    by = holder()
    if by.role != "owner" or by.organization is None:
        raise Refused(403, "insufficient_permissions", "only an owner of the organization may change what it shares")
    asked(organization)
    actor, now = by.name or "owner", datetime.now(UTC)
    account = accounts().append(by.organization, lambda account: sharing.changed(account, change, actor, now))
    return _json(sharing.shown(account, by.organization))


@app.get("/v1/organization/requests", summary="The latest decisions, newest first", responses=openapi.DECISIONS)
def latest_requests(limit: Annotated[int, Query(ge=1, le=20)] = 20, organization: Organization = None) -> Response[Any]:
    whose, today = asked(organization), moment.day_of(datetime.now(UTC))
    offer = config().offer
    groups = usage.groups_of(offer)
    documents = ledger().days(whose, groups, today - timedelta(days=1), today)
    keys_of = {
        RequestKey(whose, date.fromisoformat(identity.slot), request_id)
        for identity, document in documents.items()
        for request_id in document.recent
    }
    found = sorted(ledger().decisions(keys_of).values(), key=lambda each: each.occurred_at)
    data = [
        each.record() | {"explanation": explain(each, known_version(each.offer))} for each in reversed(found[-limit:])
    ]
    return _json({"object": "list", "data": data})


@app.get(
    "/v1/organization/requests/<request_id>", responses=openapi.DECISION, summary="Why a request was free or billed"
)
def one_request(
    request_id: Annotated[str, PathParam()], day: Day = None, organization: Organization = None
) -> Response[Any]:
    whose, wanted = asked(organization), unquote(request_id)
    if not re.fullmatch(REQUEST_ID, wanted):
        raise Refused(404, "not_found", f"there is no request {wanted!r}", "id")
    latest = moment.day_of(datetime.now(UTC) + AHEAD)
    days = (
        [_day(day)] if day is not None else [latest - timedelta(days=back) for back in range(KEEP_DECISIONS.days + 2)]
    )
    decisions = ledger().decisions([RequestKey(whose, each, wanted) for each in days])
    if not decisions:
        when = f"on {day}" if day else f"in the last {len(days) - 2} days"
        raise Refused(404, "not_found", f"there is no decision on a request {wanted!r} {when}", "id")
    newest = max(decisions.values(), key=lambda decision: decision.day)
    return _json(newest.record() | {"explanation": explain(newest, known_version(newest.offer))})


class ProfileIn(BaseModel):
    """What the platform says of an organization. In force now; the first one may be back-dated."""

    model_config = ConfigDict(extra="forbid")

    tier: Annotated[int, Field(strict=True, ge=0, le=100)]
    plan: Literal["standard", "enterprise_excluded"] = "standard"
    zero_data_retention: Annotated[bool, Field(strict=True)] = False
    eligible: Annotated[bool, Field(strict=True)] = True
    positive_balance: Annotated[bool, Field(strict=True)] = True
    effective_at: AwareDatetime | None = None


OrganizationPath = Annotated[str, PathParam(pattern=IDENTIFIER)]


@app.put(
    "/v1/organizations/<organization>",
    summary="Set a profile; only the platform may",
    responses=openapi.ORGANIZATION,
)
def put_organization(organization: OrganizationPath, profile: Annotated[ProfileIn, Body()]) -> Response[Any]:
    by, now = platform_only(organization), datetime.now(UTC)
    fields = profile.model_dump(exclude={"effective_at"})
    version = Profile(effective_at=profile.effective_at or now, actor=by.name or "platform", **fields)
    return _json(_organization(accounts().append(organization, lambda account: with_profile(account, version, now))))


@app.get(
    "/v1/organizations/<organization>",
    summary="An organization's profile and its history",
    responses=openapi.ORGANIZATION,
)
def get_organization(organization: OrganizationPath) -> Response[Any]:
    platform_only(organization)
    account = accounts().get(organization)
    if account is None or not account.profile:
        raise Refused(404, "not_found", f"there is no organization {organization!r}", "organization")
    return _json(_organization(account))


@app.get("/", include_in_schema=False)
def page() -> Response[Any]:
    return _file("index.html")


@app.get("/page/<name>", include_in_schema=False)
def page_file(name: str) -> Response[Any]:
    return _file(name)


# Answers ----------------------------------------------------------------------------------------------------------


def _organization(account: Account) -> dict[str, Any]:
    versions = [
        {"version": number, **profile.model_dump(mode="json")}
        for number, profile in enumerate(account.profile, start=1)
    ]
    return {"object": "organization", "id": account.id, **versions[-1], "history": versions[::-1]}


def _day(written: str) -> date:
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise Refused(400, "invalid_value", f"day: {written!r} is no day", "day") from None


def _not_recorded(wanted: bool, param: str, what: str) -> None:
    if wanted:
        raise Refused(400, "not_recorded", f"{what} is not recorded", param)


def _limit(limit: int | None, usual: int, most: int) -> int:
    if limit is not None and limit > most:
        raise Refused(400, "invalid_value", f"limit {limit} is over {most}, the most for this bucket_width", "limit")
    return limit or usual


def _any_of(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _distinct(names: list[Any] | None) -> list[str]:
    return list(dict.fromkeys(names or ()))


def _json(content: Any, status: int = 200) -> Response[Any]:
    """Decimals go out as the exact numbers they are."""
    text = json.dumps(content, default=lambda value: f"@decimal:{value:f}")
    body = re.sub(r'"@decimal:([0-9.]+)"', r"\1", text)
    if len(body) > MOST_ANSWER:
        raise Refused(400, "answer_too_large", "the answer is too large; ask for fewer buckets or groups", "limit")
    return Response(status, "application/json", body, headers={"cache-control": "no-store"})


@cache
def _files() -> dict[str, Path]:
    """The page's files by name: a name that a request brings is looked up here and never becomes a path."""
    return {file.name: file for file in PAGE.iterdir() if file.suffix in TYPES}


def _file(name: str) -> Response[Any]:
    file = _files().get(name)
    if file is None:
        raise NotFoundError
    return Response(200, TYPES[file.suffix], file.read_text(encoding="utf-8"), headers=SECURITY)


@app.exception_handler(Refused)  # type: ignore[untyped-decorator]
def refused(error: Refused) -> Response[Any]:
    return _refusal(error)


@app.exception_handler(Rejected)  # type: ignore[untyped-decorator]
def rejected(error: Rejected) -> Response[Any]:
    if error.code == "internal_error":  # what the table does not take is no mistake of the caller
        logger.error("the table does not take it", extra={"cause": error.message})
        return _refusal(Refused(500, "internal_error", "the answer cannot be given; it is not your mistake"))
    return _refusal(Refused(400, error.code, error.message, error.message.partition(":")[0]))


@app.exception_handler(Busy)  # type: ignore[untyped-decorator]
def busy(error: Busy) -> Response[Any]:
    return _refusal(_unreadable(error))


@app.exception_handler(RequestValidationError)  # type: ignore[untyped-decorator]
def invalid(error: RequestValidationError) -> Response[Any]:
    """The first thing that is wrong, by name and value: 400, never clamped."""
    problem = error.errors()[0]
    param = ".".join(str(part) for part in problem["loc"][1:] if isinstance(part, str)) or "body"
    found = "" if problem["type"] == "missing" else f": {json.dumps(problem.get('input'), default=str)[:120]}"
    message = problem["msg"].removeprefix("Value error, ")
    return _refusal(Refused(400, "invalid_value", f"{param}: {message}{found}", param))


@app.not_found
def not_found(_: NotFoundError) -> Response[Any]:
    return _refusal(Refused(404, "not_found", "there is nothing here"))


def _unreadable(error: Busy) -> Refused:
    logger.warning("the table does not answer", extra={"cause": str(error)})
    return Refused(503, "try_again", "the answer cannot be read right now; ask again")


def _refusal(error: Refused) -> Response[Any]:
    answer = error.answer()
    headers = answer["headers"]
    return Response(answer["statusCode"], headers.pop("content-type"), answer["body"], headers=headers)


@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """HTTP API request in, answer out."""
    answer = _answered(event, context)
    report_answered(answer["statusCode"], logger, metrics)
    return answer


def _answered(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    app.clear_context()  # type: ignore[no-untyped-call]  # a key lets in its own request only
    if event["rawPath"] == "/docs":
        openapi.document(app, secured)
    if event["rawPath"].startswith("/v1/"):
        try:
            app.append_context(holder=holder_of(event))  # type: ignore[no-untyped-call]
        except Refused as error:
            return error.answer()
        except Busy as error:
            return _unreadable(error).answer()
        if problem := unreadable_body(event) or unknown_parameter(event, QUERIES):
            return problem.answer()
    return app.resolve(normalized(event), context)


QUERIES: dict[str, Callable[..., Any]] = {
    "/v1/organization/usage/completions": completions_usage,
    "/v1/organization/costs": costs,
    "/v1/organization/allowance": allowance_route,
    "/v1/organization/data_sharing": data_sharing,
    "/v1/organization/requests/": one_request,
    "/v1/organization/requests": latest_requests,
}
"""Routes that take query parameters, each by how its path begins; the first that fits."""
