"""account_api from the HTTP request to the answer: who may ask what, what is refused, and what a call costs."""

import json
import re
import tracemalloc
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote

import pytest
from aws_lambda_powertools.event_handler.api_gateway import Route
from botocore.exceptions import EndpointConnectionError
from jsonschema import Draft202012Validator

import gratis
from gratis import moment
from gratis.account import openapi
from gratis.account.event_documents import EVENTS_PATH
from gratis.account.routes.pages import SCHEMA_PATH
from gratis.intake.sources import SOURCES
from gratis.rules.request import RequestKey
from gratis.table.decision_items import KEEP_DECISIONS
from gratis_local.functions import Context
from gratis_local.places import shipped
from tests.builders.account_api import (
    ALLOWANCE,
    COSTS,
    DAY,
    NOW,
    OFFER,
    ORGANIZATIONS,
    QUARANTINE,
    REQUESTS,
    SHARING,
    USAGE,
    Api,
    Loaded,
    http,
    unix,
)
from tests.builders.aws import aws_error
from tests.builders.events import LARGE, at, billed, usage, used
from tests.unit.test_template import of_type

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
"""Powertools leaves the files of /docs to the garbage collector."""


ASKING = [USAGE, COSTS, ALLOWANCE, OFFER, SHARING, REQUESTS, f"{REQUESTS}/req_1", QUARANTINE]
"""Routes that answer about the organization of a key."""
OFF = {"mode": "disabled"}


# --- who may ask -----------------------------------------------------------------------------------------------------

NOBODY = {
    "no header": {},
    "an empty header": {"authorization": ""},
    "no key": {"authorization": "Bearer "},
    "a key of nobody": {"authorization": "Bearer gk_nobody"},
    "another scheme": {"authorization": "Basic {key}"},
    "a key without a scheme": {"authorization": "{key}"},
    "a longer key": {"authorization": "Bearer {key}x"},
    "a shorter key": {"authorization": "Bearer {shorter}"},
    "a key in another case": {"authorization": "Bearer {upper}"},
    "what is stored of a key": {"authorization": "Bearer {stored}"},
    "a key that is no ASCII": {"authorization": "Bearer gk_ключ"},
    "another header": {"x-api-key": "{key}"},
}
EVERYTHING = [
    *[("GET", path, "", None) for path in ASKING],
    ("GET", USAGE, "start_time=never&organization=org_b", None),
    ("POST", SHARING, "", "no json"),
    ("GET", f"{ORGANIZATIONS}/org_a", "", None),
    ("PUT", f"{ORGANIZATIONS}/org_a", "", '{"tier": "none"}'),
    ("GET", "/v1/nothing", "", None),
    ("DELETE", ALLOWANCE, "", None),
]


PAGES = {"/", "/page/{name}", "/docs", SCHEMA_PATH}
OPEN = PAGES | {"/v1/statement-keys"}
WEBHOOKS = "/v1/organization/webhooks"
OWNERS_WEBHOOKS = [
    *(("get", ""), ("post", ""), ("delete", "/{webhook}")),
    *(("post", "/{webhook}/test"), ("post", "/{webhook}/enable"), ("get", "/{webhook}/deliveries")),
]
"""What anybody may see."""


def routes_of(shared: Loaded) -> list[Route]:
    """Every route that the function has; /docs comes with the first request for it."""
    shared.handler(http("GET", "/docs", "", {}), Context("account_api"))
    return [*shared.module["app"].routes]


def path_of(route: Route) -> str:
    """A path that leads to it."""
    return re.sub(r"<\w+>", "x", route.path)


def span(path: str) -> dict[str, int]:
    """The parameter that usage and costs cannot do without."""
    return {"start_time": unix(NOW - DAY)} if path in (USAGE, COSTS) else {}


@pytest.mark.parametrize("headers", NOBODY.values(), ids=NOBODY)
def test_without_a_valid_key_every_route_answers_401_before_it_looks_at_anything_else(
    api: Api, headers: dict[str, str]
) -> None:
    key = api.key()
    hashed = next(item["pk"]["S"] for item in api.client.scan(TableName=api.table)["Items"] if item["sk"]["S"] == "KEY")
    words = {"key": key, "shorter": key[:-1], "upper": key.upper(), "stored": hashed.removeprefix("KEY#")}
    sent = {name: value.format(**words) for name, value in headers.items()}
    for method, path, query, body in EVERYTHING:
        answer = api.call(method, path, query, headers={"content-type": "application/json", **sent}, body=body)
        assert answer.refused() == (401, "invalid_api_key", None), path
        assert api.asked in ([], ["GetItem"])


def test_every_route_takes_a_key_but_the_pages_and_the_public_keys(api: Api, shared: Loaded) -> None:
    routes = routes_of(shared)
    open_to_all = [each for each in routes if api.call(each.method, path_of(each), headers={}).status != 401]
    assert {each.openapi_path for each in open_to_all} == OPEN
    assert len(open_to_all) < len(routes)


def test_no_subject_has_a_route_that_takes_the_calls_of_another(shared: Loaded) -> None:
    """So it does not matter which of them were imported before a call."""
    routes = [route for route in routes_of(shared) if route.path.startswith("/v1/")]
    for asked in routes:
        subjects = {route.func.__module__ for route in routes if route.rule.match(path_of(asked))}
        assert subjects == {asked.func.__module__}


@pytest.mark.parametrize("name", ["authorization", "Authorization", "AUTHORIZATION"])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_the_case_of_header_and_scheme_does_not_matter(api: Api, name: str, scheme: str) -> None:
    assert api.call("GET", ALLOWANCE, headers={name: f"{scheme}{api.key()}"}).status == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/page/nothing.js"])
def test_the_pages_ask_for_no_key_and_read_nothing(api: Api, path: str) -> None:
    answer = api.call("GET", path, headers={})
    assert answer.status == (404 if "nothing" in path else 200)
    assert api.asked == []


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize("other", ["org_b", "org_unknown"])
def test_another_organization_is_404_whether_it_exists_or_not(api: Api, path: str, other: str) -> None:
    for role in ("owner", "reader"):
        answer = api.get(path, api.key(role), organization=other, **span(path))
        assert answer.refused() == (404, "not_found", "organization")
        assert answer.error["message"] == f"there is no organization '{other}' for this key"
        assert api.asked == ["GetItem"]


@pytest.mark.parametrize("path", ASKING)
def test_an_organizations_key_may_name_its_own(api: Api, path: str) -> None:
    api.decide(used(id="req_1"))
    named = api.get(path, organization="org_a", **span(path))
    assert (named.status, named.text) == (200, api.get(path, **span(path)).text)


@pytest.mark.parametrize("path", ASKING)
def test_a_platform_key_names_the_organization_it_asks_about(api: Api, path: str) -> None:
    api.decide(used(id="req_1", organization="org_b"))
    assert api.get(path, api.platform, **span(path)).refused() == (400, "missing_parameter", "organization")
    asked = api.get(path, api.platform, organization="org_b", **span(path))
    own = api.get(path, api.key("reader", "org_b"), **span(path))
    assert (asked.status, asked.text) == (200, own.text)


@pytest.mark.parametrize("path", ASKING)
def test_an_organization_that_cannot_be_named_is_400(api: Api, path: str) -> None:
    for name in ("", "org b", "org#b", "org_a,org_b", "x" * 65, "org_a\n"):
        answer = api.get(path, organization=name, **span(path))
        assert answer.refused() == (400, "invalid_value", "organization"), name


def test_only_an_owner_changes_what_is_shared(api: Api) -> None:
    before = api.stored()
    for key in (api.key("reader"), api.platform):
        answer = api.post({"confirmed": True, "traffic": {"mode": "disabled"}}, key)
        assert answer.refused() == (403, "insufficient_permissions", None)
    assert api.stored() == before


REFUSED_LATER = {
    "no JSON": {"body": "{"},
    "no object": {"body": "[]"},
    "more than 4 MB": {"body": " " * 5_000_000},
    "another content type": {"body": "<a/>", "content_type": "text/xml"},
    "a parameter that there is not": {"query": "nothing=1"},
}


@pytest.mark.parametrize("sent", REFUSED_LATER.values(), ids=REFUSED_LATER)
def test_who_may_not_is_refused_before_the_body_is_read(api: Api, sent: dict[str, str]) -> None:
    kind = sent.get("content_type", "application/json")
    for key, method, path in ((api.key("reader"), "POST", SHARING), (api.key(), "PUT", f"{ORGANIZATIONS}/org_a")):
        headers = {"authorization": f"Bearer {key}", "content-type": kind}
        answer = api.call(method, path, sent.get("query", ""), headers=headers, body=sent.get("body", "{}"))
        assert answer.refused() == (403, "insufficient_permissions", None)
        allowed = {"authorization": f"Bearer {api.key() if method == 'POST' else api.platform}", "content-type": kind}
        answer = api.call(method, path, sent.get("query", ""), headers=allowed, body=sent.get("body", "{}"))
        assert answer.status in (400, 413, 415)


def test_a_readers_post_of_four_megabytes_costs_less_memory_than_its_body_takes(api: Api) -> None:
    """Read, a body of a million values takes dozens of times its size."""
    sent = {"body": f"[{'0,' * 2_000_000}0]"}
    api.call("POST", SHARING, key=api.key("reader"), body="{}")  # what is set up once
    for key, status, least, most in ((api.key("reader"), 403, 0, 2_000_000), (api.key(), 400, 8_000_000, None)):
        tracemalloc.start()
        answer = api.call("POST", SHARING, key=key, **sent)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert answer.status == status
        assert least <= peak, peak
        assert most is None or peak <= most, peak


def test_a_refusal_says_which_role_it_takes_and_which_one_came(api: Api) -> None:
    message = api.post({}, api.key("reader")).error["message"]
    assert message == "this takes a key with the role owner; yours is reader"


def test_only_the_platform_sees_and_changes_profiles(api: Api) -> None:
    before = api.stored()
    for role in ("owner", "reader"):
        for method, body in (("GET", None), ("PUT", '{"tier": 5}')):
            own = api.call(method, f"{ORGANIZATIONS}/org_a", key=api.key(role), body=body)
            assert own.refused() == (403, "insufficient_permissions", None)
            for other in ("org_b", "org_unknown"):
                answer = api.call(method, f"{ORGANIZATIONS}/{other}", key=api.key(role), body=body)
                assert answer.refused() == (404, "not_found", "organization")
    assert api.stored() == before


def test_a_key_of_one_organization_finds_no_request_of_another(api: Api) -> None:
    api.decide(used(id="secret", organization="org_b"))
    assert api.get(f"{REQUESTS}/secret").refused() == (404, "not_found", "id")
    assert api.get(REQUESTS).content["data"] == []
    assert api.usage().results == [[], [], []]


def test_names_that_share_a_beginning_are_different_organizations(api: Api) -> None:
    api.decide(used(organization="org_ab"))
    assert api.usage().results == [[], [], []]
    assert api.get(ALLOWANCE).content["groups"][0]["used"] == 0


CALLS = [*(("GET", path, None) for path in ASKING), ("POST", SHARING, json.dumps({"traffic": OFF}))]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_a_request_in_the_middle_of_another_sees_its_own_holder_and_so_does_that_one(
    api: Api, method: str, path: str, body: str | None
) -> None:
    query = f"start_time={unix(NOW - DAY)}" if path in (USAGE, COSTS) else ""
    for tokens, organization in enumerate(("org_a", "org_b"), start=1):
        api.decide(billed(tokens, id="req_1", organization=organization))
        api.refuse({"subject": organization, "id": f"of_{organization}"})

    def ask(organization: str) -> str:
        return api.call(method, path, query, api.key("owner", organization), body=body).text

    ours, theirs = ask("org_a"), ask("org_b")
    assert ours != theirs
    asking: list[bool] = []
    answers: list[str] = []

    def meanwhile(**_: Any) -> None:
        if not asking:
            asking.append(True)
            answers.append(ask("org_b"))
            asking.clear()

    api.on("before-call", meanwhile)
    assert ask("org_a") == ours
    assert len(answers) >= 2
    assert {*answers} == {theirs}


@pytest.mark.parametrize("reads", [0, 1])
def test_a_table_that_does_not_answer_is_a_503_that_says_when_to_ask_again(api: Api, reads: int) -> None:
    key = api.key()

    def fail(**_: Any) -> None:
        if len(api.asked) > reads:
            raise EndpointConnectionError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")

    api.on("before-call", fail)
    answer = api.get(ALLOWANCE, key)
    assert answer.refused() == (503, "try_again", None)
    assert answer.headers["retry-after"] == "1"


def test_a_throttled_table_is_a_503(api: Api) -> None:
    key = api.key()

    def fail(**_: Any) -> None:
        raise aws_error("ProvisionedThroughputExceededException", "GetItem")

    api.on("before-call", fail)
    assert api.get(ALLOWANCE, key).status == 503


@pytest.mark.parametrize("operation", ["GetItem", "TransactWriteItems"])
def test_what_dynamodb_does_not_take_is_no_mistake_of_the_caller(api: Api, operation: str) -> None:
    key = api.key()

    def fail(**_: Any) -> None:
        raise aws_error("ValidationException", operation)

    api.on(f"before-call.{operation}", fail)
    assert api.post({"traffic": OFF}, key).refused() == (500, "internal_error", None)


def test_only_the_hash_of_a_key_is_stored(api: Api) -> None:
    keys = [api.key("owner"), api.key("reader"), api.platform]
    stored = json.dumps(api.client.scan(TableName=api.table)["Items"])
    assert [key for key in keys if key in stored or key.removeprefix("gk_") in stored] == []
    assert len({*keys}) == 3


NOWHERE = [
    ("GET", "/v1/nothing"),
    ("GET", "/v1/organization"),
    ("GET", "/v1/organization/usage/embeddings"),
    ("GET", f"{REQUESTS}/"),
    ("GET", f"{ALLOWANCE}/"),
    ("DELETE", ALLOWANCE),
    ("POST", "/v1/organization/nothing"),
    ("PUT", SHARING),
]


@pytest.mark.parametrize("query", ["", "start_time=1", "organization=org_b"])
@pytest.mark.parametrize(("method", "path"), NOWHERE)
def test_a_route_that_is_not_there_is_404_in_the_envelope(api: Api, method: str, path: str, query: str) -> None:
    for body in ("{}", "no JSON"):
        assert api.call(method, path, query, body=body).refused() == (404, "not_found", None)


def test_the_gateway_leads_to_every_route_and_to_nothing_else(shared: Loaded) -> None:
    gateway = of_type("AWS::ApiGatewayV2::Route").values()
    keys = [each["RouteKey"] for each in gateway if "AccountIntegration" in each["Target"]["Fn::Sub"]]
    patterns = [re.sub(r"\{\w+\}", "[^/]+", key.replace("ANY", r"\w+").replace("{proxy+}", ".+")) for key in keys]
    led = [
        {pattern for pattern in patterns if re.fullmatch(pattern, f"{route.method} {path_of(route)}")}
        for route in routes_of(shared)
    ]
    assert all(led)
    assert set().union(*led) == {*patterns}


@pytest.mark.parametrize("path", [*ASKING, f"{ORGANIZATIONS}/org_a"])
def test_no_answer_about_an_organization_is_kept_by_a_cache(api: Api, path: str) -> None:
    api.decide(used(id="req_1"))
    key = api.platform if path.startswith(ORGANIZATIONS) else None
    answer = api.get(path, key, **span(path))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "no-store"


def test_no_error_is_kept_by_a_cache(api: Api) -> None:
    answers = [
        api.get(ALLOWANCE, nothing=1),
        api.usage(start_time="never"),
        api.get(ALLOWANCE, "gk_nobody"),
        api.post({}, api.key("reader")),
        api.get(f"{REQUESTS}/unknown"),
        api.get("/v1/nothing"),
        api.call("GET", "/page/nothing.js", headers={}),
    ]
    assert [each.status for each in answers] == [400, 400, 401, 403, 404, 404, 404]
    assert {each.headers["cache-control"] for each in answers} == {"no-store"}


# --- parameters ------------------------------------------------------------------------------------------------------

INVALID = [
    (USAGE, "", "start_time"),
    (COSTS, "", "start_time"),
    *[(path, f"start_time={bad}", "start_time") for path in (USAGE, COSTS) for bad in ("", "x", "-1", "1.5", "1e9")],
    *[(USAGE, f"start_time={bad}", "start_time") for bad in ("253402300800", "1,2", "1&start_time=2", "NaN", "0x10")],
    *[
        (path, f"start_time=100&end_time={bad}", "end_time")
        for path in (USAGE, COSTS)
        for bad in ("x", "-1", "100", "99")
    ],
    *[(USAGE, f"start_time=0&bucket_width={bad}", "bucket_width") for bad in ("2d", "1D", "", "1d,1h", "day")],
    *[(COSTS, f"start_time=0&bucket_width={bad}", "bucket_width") for bad in ("1h", "1m", "")],
    *[(USAGE, f"start_time=0&limit={bad}", "limit") for bad in ("0", "-1", "32", "x", "", "7.5")],
    *[(USAGE, f"start_time=0&bucket_width=1h&limit={bad}", "limit") for bad in ("0", "169")],
    *[(COSTS, f"start_time=0&limit={bad}", "limit") for bad in ("0", "181", "x")],
    *[(USAGE, f"start_time=0&batch={bad}", "batch") for bad in ("maybe", "", "2", "true,false")],
    *[(REQUESTS, f"limit={bad}", "limit") for bad in ("0", "101", "x", "")],
    *[
        (f"{REQUESTS}/a", f"day={bad}", "day")
        for bad in ("yesterday", "2025-02-30", "2025-3-1", "", "2025-03-11T09:00Z")
    ],
]


@pytest.mark.parametrize(("path", "query", "param"), INVALID)
def test_an_invalid_parameter_is_400_and_named(api: Api, path: str, query: str, param: str) -> None:
    answer = api.call("GET", path, query)
    assert answer.refused() == (400, "invalid_value", param)
    assert param in answer.error["message"]
    assert api.asked == ["GetItem"]


@pytest.mark.parametrize("spelled", ["group_by", "group_by[]"])
@pytest.mark.parametrize(("path", "bad"), [(USAGE, "line_item"), (USAGE, ""), (USAGE, "Model"), (COSTS, "model")])
def test_an_unknown_group_is_400_in_both_spellings(api: Api, path: str, bad: str, spelled: str) -> None:
    answer = api.get(path, **{"start_time": 0, spelled: ["project_id", bad]})
    assert answer.refused() == (400, "invalid_value", "group_by")


def test_the_value_that_was_found_is_part_of_the_message(api: Api) -> None:
    assert '"soon"' in api.get(USAGE, start_time="soon").error["message"]
    assert api.usage(limit=32).error["message"] == "limit 32 is over 31, the most for this bucket_width"


NOT_RECORDED = [
    (USAGE, "bucket_width=1m", "bucket_width"),
    (USAGE, "user_ids=user_1", "user_ids"),
    (USAGE, "user_ids[]=user_1", "user_ids"),
    (USAGE, "api_key_ids=key_1", "api_key_ids"),
    (USAGE, "group_by=user_id", "group_by"),
    (USAGE, "group_by[]=model&group_by[]=api_key_id", "group_by"),
    (COSTS, "api_key_ids[]=key_1", "api_key_ids"),
    (COSTS, "group_by=project_id&group_by=api_key_id", "group_by"),
]


@pytest.mark.parametrize(("path", "query", "param"), NOT_RECORDED)
def test_what_is_not_recorded_is_a_400_that_says_so(api: Api, path: str, query: str, param: str) -> None:
    answer = api.call("GET", path, f"start_time=0&{query}")
    assert answer.refused() == (400, "not_recorded", param)
    assert answer.error["message"].endswith("is not recorded")


@pytest.mark.parametrize("width", ["1d", "1h"])
@pytest.mark.parametrize("query", ["end_time=253370764800", "end_time=253370764800&limit=1"])
def test_the_last_moment_that_can_be_asked_for_is_answered(api: Api, width: str, query: str) -> None:
    start = unix("9998-12-31T23:00")
    assert api.call("GET", USAGE, f"start_time={start}&bucket_width={width}&{query}").status == 200


def test_hours_whose_decisions_are_gone_are_refused_and_not_answered_as_no_usage(api: Api) -> None:
    first = unix(moment.midnight((NOW - KEEP_DECISIONS).date()))
    assert api.usage(bucket_width="1h", start_time=first, limit=1).status == 200
    answer = api.usage(bucket_width="1h", start_time=first - 1, limit=1)
    assert answer.refused() == (400, "not_recorded", "start_time")


@pytest.mark.parametrize("name", ["group_by[0]", "groupby", "project_id", "limit[]"])
def test_a_parameter_that_no_route_knows_is_400(api: Api, name: str) -> None:
    assert api.get(USAGE, **{"start_time": 0, name: "model"}).refused() == (400, "unknown_parameter", name)


def test_no_route_takes_a_parameter_that_it_does_not_have(api: Api, shared: Loaded) -> None:
    asked = [route for route in routes_of(shared) if route.openapi_path not in OPEN]
    for route in asked:
        roles = openapi.roles_of(route) or ["owner"]
        key = api.platform if roles == ["platform"] else api.key(roles[0])
        others = {name for each in asked for name in names_of(each)} - names_of(route)
        for name in ("nothing", *re.findall(r"<(\w+)>", route.path), *others):
            answer = api.call(route.method, path_of(route), f"{name}=1", key, body="{}")
            assert answer.refused() == (400, "unknown_parameter", name), route.path


def names_of(route: Route) -> set[str]:
    """The query parameters that a route names in its function."""
    return {field.alias for field in route.dependant.query_params}


@pytest.mark.parametrize(
    ("path", "name"), [(COSTS, "models"), (COSTS, "batch"), (USAGE, "line_items"), (REQUESTS, "line_items")]
)
def test_a_parameter_that_only_another_route_knows_is_400(api: Api, path: str, name: str) -> None:
    assert api.get(path, **span(path) | {name: "2025-03-11"}).refused() == (400, "unknown_parameter", name)


# --- one request -----------------------------------------------------------------------------------------------------


def test_a_decision_is_shown_in_full_and_explained(api: Api) -> None:
    events = [used(975_000), used(22_500, 7_500, id="req_008", project="proj_web", at="2025-03-11T23:10:00Z")]
    events[0]["time"] = "2025-03-11T09:15:00Z"
    api.decide(*events, received_at=datetime(2025, 3, 11, 23, 10, 1, tzinfo=UTC))
    key = RequestKey("org_a", date(2025, 3, 11), "req_008")
    expected = {
        "format": 2,
        "kind": "usage.request",
        "id": "org_a:2025-03-11:req_008",
        "organization": "org_a",
        "project": "proj_web",
        "request_id": "req_008",
        "model": LARGE,
        "group": "1m",
        "window": "2025-03-11",
        "verdict": "billed",
        "reason": "over_quota",
        "tokens": {"input": 22_500, "cached_input": 0, "cache_write": 0, "output": 7_500, "total": 30_000},
        "unit": "tokens",
        "quota": 1_000_000,
        "used_before": 975_000,
        "reserved_before": 0,
        "used_after": 975_000,
        "running_total": 1_005_000,
        "voids": None,
        "reservation": None,
        "platform_verdict": None,
        "list_amount_usd": "0.13125",
        "amount_usd": "0.13125",
        "tier": 4,
        "offer": "data-sharing@2025-03-06",
        "profile_version": 1,
        "settings_version": 1,
        "price_version": "2024-08-06",
        "payload_hash": api.ledger.decisions([key])[key].payload_hash,
        "occurred_at": "2025-03-11T23:10:00Z",
        "received_at": "2025-03-11T23:10:01Z",
        "decided_at": "2025-03-11T23:10:01Z",
        "explanation": "Billed: 30,000 tokens did not fit in the 25,000 left of 1,000,000 for group 1m "
        "on 2025-03-11 (UTC).",
    }
    assert api.get(f"{REQUESTS}/req_008").content == expected


def test_figures_that_do_not_apply_are_null(api: Api) -> None:
    api.decide(used(id="a", model="in-house"))
    found = api.get(f"{REQUESTS}/a").content
    names = ("group", "window", "quota", "used_before", "used_after", "running_total", "list_amount_usd", "amount_usd")
    assert {name: found[name] for name in (*names, "price_version")} == dict.fromkeys((*names, "price_version"))


def test_the_newest_day_that_has_the_id_is_shown_unless_a_day_is_named(api: Api) -> None:
    for day in ("2025-02-10", "2025-03-09", "2025-03-11"):
        api.decide(used(id="daily", at=f"{day}T12:00:00Z"))
    assert api.get(f"{REQUESTS}/daily").content["id"] == "org_a:2025-03-11:daily"
    for day in ("2025-02-10", "2025-03-09"):
        assert api.get(f"{REQUESTS}/daily", day=day).content["id"] == f"org_a:{day}:daily"
    answer = api.get(f"{REQUESTS}/daily", day="2025-03-10")
    assert answer.refused() == (404, "not_found", "id")
    assert "on 2025-03-10" in answer.error["message"]


@pytest.mark.parametrize("days", [0, 35, 39, 41])
def test_a_decision_is_found_for_as_long_as_it_is_kept(api: Api, days: int) -> None:
    api.decide(used(id="old", at="2025-03-12T00:00:00Z"))
    api.set_clock(at("2025-03-12T23:59:59") + days * DAY)
    assert api.get(f"{REQUESTS}/old").status == 200


def test_a_request_of_a_sender_whose_clock_is_ahead_past_midnight_is_found(api: Api) -> None:
    api.set_clock(at("2025-03-12T23:56"))
    api.decide(used(id="ahead", at="2025-03-13T00:00:59Z"))
    assert api.get(f"{REQUESTS}/ahead").content["window"] == "2025-03-13"


ODD_IDS = [
    "a/b",
    "a:b",
    "https://x.example/1",
    "a//b",
    "/a",
    "a/",
    "a.b-c_d",
    "x" * 256,
    "data_sharing",
    "completions/1",
]


@pytest.mark.parametrize("request_id", ODD_IDS)
@pytest.mark.parametrize("encoded", [True, False], ids=["percent-encoded", "as it is"])
def test_ids_with_slashes_and_colons_are_found(api: Api, request_id: str, encoded: bool) -> None:
    api.decide(used(id=request_id), used(id="other"))
    path = f"{REQUESTS}/{quote(request_id, safe='') if encoded else request_id}"
    answer = api.get(path)
    assert (answer.status, answer.content.get("request_id")) == (200, request_id)


@pytest.mark.parametrize(
    "request_id", ["unknown", "REQ_1", "req_1/", "x" * 257, "a b", "a%20b", "é", "%ff", "a#b", "*"]
)
def test_an_unknown_or_impossible_id_is_404(api: Api, request_id: str) -> None:
    api.decide(used(id="req_1"))
    assert api.get(f"{REQUESTS}/{request_id}").refused() == (404, "not_found", "id")


@pytest.mark.parametrize("day", ["1741651200", "2025-03-11T00:00:00"])
def test_a_day_is_written_in_one_way(api: Api, day: str) -> None:
    api.decide(used(id="a", at="2025-03-11T09:00:00Z"))
    assert api.get(f"{REQUESTS}/a", day=day).refused() == (400, "invalid_value", "day")


# --- what a call costs -----------------------------------------------------------------------------------------------

GROUPS = 4
"""The offer's two, evaluation runs, and what belongs to no group."""
READS: dict[str, tuple[str, dict[str, Any], dict[str, int]]] = {
    "allowance": (ALLOWANCE, {}, {"GetItem": 1, "BatchGetItem": 1, "Query": GROUPS - 1}),
    "usage by day": (USAGE, {"start_time": unix(NOW - 30 * DAY), "limit": 31}, {"GetItem": 1, "Query": GROUPS}),
    "costs": (COSTS, {"start_time": unix(NOW - 179 * DAY), "limit": 180}, {"GetItem": 1, "Query": GROUPS}),
    "one request": (f"{REQUESTS}/r0", {}, {"GetItem": 1, "BatchGetItem": 1}),
    "one request of a day": (f"{REQUESTS}/r0", {"day": "2025-03-12"}, {"GetItem": 1, "BatchGetItem": 1}),
    "settings": (SHARING, {}, {"GetItem": 2}),
}


@pytest.mark.parametrize(("path", "parameters", "expected"), READS.values(), ids=READS)
def test_the_calls_and_items_that_an_answer_takes_do_not_grow_with_the_number_of_requests(
    api: Api, path: str, parameters: dict[str, Any], expected: dict[str, int]
) -> None:
    api.decide(*(used(1, id=f"r{number}") for number in range(5)))
    assert api.get(path, **parameters).status == 200
    few = api.items
    api.decide(*(used(1, id=f"more{number}") for number in range(60)))
    assert api.get(path, **parameters).status == 200
    assert Counter(api.asked) == expected
    assert api.items == few


def test_only_hours_read_every_decision_of_their_days(api: Api) -> None:
    asked = {"start_time": unix("2025-03-11T00:00"), "bucket_width": "1h", "limit": 48}
    for number in (10, 40):
        api.decide(*(used(1) for _ in range(number)))
        api.usage(**asked)
        assert Counter(api.asked) == {"GetItem": 1, "Query": GROUPS + 2 * 8}
    assert api.items == 1 + 1 + 50  # the key, the totals of the day that has any, the decisions


def test_an_hour_reads_one_day_and_no_other(api: Api) -> None:
    api.usage(start_time=unix("2025-03-11T23:00"), end_time=unix("2025-03-12T00:00"), bucket_width="1h")
    assert Counter(api.asked) == {"GetItem": 1, "Query": GROUPS + 8}


WRITES = {"GetItem": 2, "BatchGetItem": 1, "TransactWriteItems": 1}


def test_a_change_reads_key_account_and_documents_and_writes_once(api: Api) -> None:
    api.post({"traffic": OFF})
    assert Counter(api.asked) == WRITES
    api.put("org_a", tier=5)
    assert Counter(api.asked) == WRITES
    api.get(f"{ORGANIZATIONS}/org_a", api.platform)
    assert Counter(api.asked) == {"GetItem": 2}


def test_a_bad_key_costs_one_read_and_none_without_a_key(api: Api) -> None:
    api.get(USAGE, "gk_nobody")
    assert api.asked == ["GetItem"]
    api.call("GET", USAGE, headers={})
    assert api.asked == []


# --- the document ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def document(shared: Loaded) -> Any:
    answer = shared.handler(http("GET", "/docs", "format=json", {}), Context("account_api"))
    return json.loads(answer["body"])


def operations(document: Any) -> list[tuple[str, str, Any]]:
    return [(method, path, each) for path, methods in document["paths"].items() for method, each in methods.items()]


def test_the_document_has_every_route_but_the_pages_and_those_for_events(document: Any, shared: Loaded) -> None:
    routes = {(route.method.lower(), route.openapi_path) for route in routes_of(shared)}
    assert {path for _, path in routes} > PAGES
    listed = {(method, path) for method, path, _ in operations(document)}
    events_in = {("post", f"{EVENTS_PATH}{source.path}") for source in SOURCES}
    assert listed == {(method, path) for method, path in routes if path not in PAGES} | events_in


def test_the_document_says_which_roles_may_do_what_not_every_key_may(document: Any) -> None:
    asked = [each for each in operations(document) if not each[1].startswith(EVENTS_PATH)]
    restricted = {(method, path): each["security"] for method, path, each in asked if "security" in each}
    held = "/v1/organization/reservations"
    reserving = [("post", held), ("get", held), ("delete", f"{held}/{{request_id}}")]
    assert restricted == {
        ("post", SHARING): [{"key": ["owner"]}],
        **{each: [{"key": ["owner"]}, {"key": ["gateway"]}] for each in reserving},
        ("get", f"{ORGANIZATIONS}/{{organization}}"): [{"key": ["platform"]}],
        ("put", f"{ORGANIZATIONS}/{{organization}}"): [{"key": ["platform"]}],
        ("get", "/v1/quarantine"): [{"key": ["platform"]}],
        ("post", "/v1/quarantine/redrive"): [{"key": ["platform"]}],
        ("get", ORGANIZATIONS): [{"key": ["platform"]}],
        ("get", "/v1/keys"): [{"key": ["platform"]}],
        ("delete", "/v1/keys/{key_id}"): [{"key": ["platform"]}],
        **{(method, f"{WEBHOOKS}{path}"): [{"key": ["owner"]}] for method, path in OWNERS_WEBHOOKS},
    }


def test_the_document_has_the_version_of_the_package(document: Any) -> None:
    assert document["info"]["version"] == gratis.__version__


def test_the_document_says_how_to_authenticate(document: Any) -> None:
    schemes = document["components"]["securitySchemes"]
    assert schemes["key"] == {"type": "http", "scheme": "bearer"}
    assert document["security"] == [{"key": []}]
    events_in = {path: each["security"] for _, path, each in operations(document) if path.startswith(EVENTS_PATH)}
    assert events_in == {
        EVENTS_PATH: [{"signature": []}],
        f"{EVENTS_PATH}/litellm": [{"sender": []}],
        f"{EVENTS_PATH}/otlp/v1/traces": [{"sender": []}],
    }
    assert (schemes["signature"]["name"], schemes["sender"]["scheme"]) == ("webhook-signature", "bearer")


def test_the_document_says_what_a_sender_posts_and_is_told(document: Any) -> None:
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert {"UsageEvent", "UsageData", "Usage"} <= set(references) <= document["components"]["schemas"].keys()
    for _, path, each in operations(document):
        if path.startswith(EVENTS_PATH):
            told = "200" if path.endswith("traces") else "202"
            assert each["responses"].keys() == {told, "400", "401", "413", "415", "503"}
            assert each["requestBody"]["content"]


def test_the_schema_of_an_event_takes_what_the_webhook_takes_and_nothing_without_a_model(api: Api) -> None:
    answer = api.call("GET", SCHEMA_PATH, headers={})
    assert answer.status == 200
    validator = Draft202012Validator(answer.content, format_checker=Draft202012Validator.FORMAT_CHECKER)
    Draft202012Validator.check_schema(answer.content)
    (example,) = answer.content["examples"]
    samples = json.loads((shipped("events") / "seed-day.json").read_text())
    for event in (example, *samples, usage("r1")):
        assert [*validator.iter_errors(event)] == []
        wrong = {**event, "data": {name: value for name, value in event["data"].items() if name != "model"}}
        assert [each.message for each in validator.iter_errors(wrong)] == ["'model' is a required property"]
        assert not validator.is_valid({**event, "id": ""})


def test_the_document_promises_no_answer_that_is_never_given(document: Any) -> None:
    assert [path for _, path, each in operations(document) if "422" in each["responses"]] == []


def test_the_document_describes_the_errors(document: Any) -> None:
    missing = [(path, {"400", "401", "503"} - each["responses"].keys()) for _, path, each in operations(document)]
    assert [path for path, codes in missing if codes] == []


def test_the_document_describes_what_is_answered(document: Any) -> None:
    good = [
        each["responses"][code] for _, _, each in operations(document) for code in each["responses"] if code < "300"
    ]
    assert len(good) >= len(operations(document))
    schemas = [content["schema"] for each in good for content in each.get("content", {}).values()]
    assert [schema for schema in schemas if not schema.keys() & {"$ref", "type", "anyOf", "oneOf"}] == []


def test_the_document_describes_what_is_refused_of_a_body(document: Any) -> None:
    asked = [each for _, path, each in operations(document) if not path.startswith(EVENTS_PATH)]
    taking = [each["responses"].keys() for each in asked if "requestBody" in each]
    assert len(taking) == 6
    assert [codes for codes in taking if not {"413", "415"} <= codes] == []


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_runs_no_script_but_its_own(api: Api) -> None:
    answer = api.call("GET", "/", headers={})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
    for name in re.findall(r'(?:src|href)="\.?/?page/([^"]+)"', answer.text):
        assert api.call("GET", f"/page/{name}", headers={}).status == 200, name


@pytest.mark.parametrize("name", ["..%2Fapp.py", "%2E%2E/app.py", "app.py", "..", "index", ".", "uPlot.LICENSE.txt"])
def test_no_file_but_the_pages_is_served(api: Api, name: str) -> None:
    assert api.call("GET", f"/page/{name}", headers={}).refused() == (404, "not_found", None)
