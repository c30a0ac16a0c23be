"""The account's API as other people's clients meet it: OpenAI's own SDK, and schemathesis with the OpenAPI document."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openai import OpenAI
from openai.types.admin.organization import UsageCompletionsResponse, UsageCostsResponse
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from typer.testing import CliRunner

from gratis.table.api_keys import Holder, Keys
from gratis_local.cli import app
from tests.builders.events import usage
from tests.e2e.system import System

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RATES = {
    "gpt-4o-2024-08-06": ("2.5", "1.25", "10"),
    "o3-2025-04-16": ("2", "0.5", "8"),
    "gpt-4.1-nano-2025-04-14": ("0.1", "0.025", "0.4"),
    "gpt-4o-mini-2024-07-18": ("0.15", "0.075", "0.6"),
    "o4-mini-2025-04-16": ("1.1", "0.275", "4.4"),
}
"""USD per million tokens: input, cached input, output. From OpenAI's price list; batch requests are half price."""
MODELS = list(RATES)
PRIORITY = {"o4-mini-2025-04-16": ("2", "0.5", "8"), "gpt-4.1-nano-2025-04-14": ("0.2", "0.05", "0.8")}
"""The same for priority processing, of the models that are billed with it here."""
PROJECTS = ["proj_web", "proj_app", "proj_batch", None]
TIERS = ["default", "priority"]
DIMENSIONS: dict[str, Callable[["Sent"], Any]] = {
    "project_id": lambda sent: sent.project,
    "model": lambda sent: sent.model,
    "batch": lambda sent: sent.batch,
    "service_tier": lambda sent: "incentivized-tier" if sent.free else sent.tier,
    "line_item": lambda sent: f"priority | {sent.model}" if sent.tier == "priority" else sent.model,
}
Row = tuple[Any, ...]


# --- sixty requests over three days --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """One request as it was sent, and whether it has to be free."""

    number: int
    day: date
    project: str | None
    model: str
    tier: str
    batch: bool
    input: int
    cached: int
    output: int
    free: bool

    @property
    def when(self) -> datetime:
        """Spread over the day, some on the very edges of an hour."""
        midnight = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        return (
            midnight + self.number % 24 * HOUR + [timedelta(0), timedelta(minutes=59, seconds=59.999)][self.number % 2]
        )

    def event(self, organization: str) -> dict[str, Any]:
        event = usage(
            f"r{self.number}",
            organization=organization,
            at=self.when.isoformat(),
            model=self.model,
            project=self.project,
            service_tier=self.tier,
            batch=self.batch,
            tools=[] if self.free else [{"type": "web_search"}],
        )
        event["data"]["usage"] = {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": self.output,
            "total_tokens": self.input + self.output,
        }
        return event

    def amount(self) -> Decimal:
        """What it costs if it is billed."""
        rates = [Decimal(rate) for rate in (PRIORITY if self.tier == "priority" else RATES)[self.model]]
        tokens = (self.input - self.cached, self.cached, self.output)
        full = sum((rate * count for rate, count in zip(rates, tokens, strict=True)), Decimal(0)) / 1_000_000
        return full / 2 if self.batch else full


def requests_of(days: Sequence[date]) -> list[Sent]:
    return [
        Sent(
            number=number,
            day=days[number % 3],
            project=PROJECTS[number % 4],
            model=MODELS[number % 5],
            tier=TIERS[number % 7 == 0],
            batch=number % 6 == 1,
            input=1000 + 37 * number,
            cached=number % 3 * 101,
            output=13 * number,
            free=number % 4 != 2,
        )
        for number in range(60)
    ]


@dataclass
class Customer:
    """An organization whose sixty requests have all been decided, and its keys."""

    system: System
    organization: str
    sent: list[Sent]
    days: list[date]

    def key(self, role: Any = "owner") -> str:
        return key_of(self.system, role, self.organization)

    def client(self, key: str) -> OpenAI:
        return OpenAI(admin_api_key=key, base_url=self.system.up.base_url, max_retries=0)

    @property
    def span(self) -> dict[str, int]:
        """Start and end of the three days."""
        start = datetime(self.days[0].year, self.days[0].month, self.days[0].day, tzinfo=UTC)
        return {"start_time": int(start.timestamp()), "end_time": int((start + 3 * DAY).timestamp())}


def key_of(system: System, role: Any, organization: str | None) -> str:
    return Keys(system.client("dynamodb"), system.table).create(
        Holder(role, organization, f"an {role} of the tests"), datetime.now(UTC)
    )


@pytest.fixture(scope="module")
def customer(system: System) -> Customer:
    organization = system.new_organization()
    days = [system.days_ago(back) for back in (3, 2, 1)]
    sent = requests_of(days)
    for start in range(0, 60, 20):
        system.accepted(*(each.event(organization) for each in sent[start : start + 20]))
    decisions = system.decisions([each.event(organization) for each in sent])
    assert {name: each.verdict for name, each in decisions.items()} == {
        f"r{each.number}": "free" if each.free else "billed" for each in sent
    }
    return Customer(system, organization, sent, days)


@pytest.fixture
def client(customer: Customer) -> Iterator[OpenAI]:
    with customer.client(customer.key()) as client:
        yield client


# --- OpenAI's SDK --------------------------------------------------------------------------------------------------


def all_pages(ask: Callable[..., Any], **parameters: Any) -> list[Any]:
    """The buckets of every page, as OpenAI's documentation says to read them."""
    page = ask(**parameters)
    buckets = list(page.data)
    while page.has_more:
        page = ask(**parameters, page=page.next_page)
        buckets += page.data
    assert page.next_page is None
    return buckets


def used_by(buckets: Sequence[Any], by: Sequence[str]) -> dict[Row, list[int]]:
    """Requests, input, cached and output tokens by start of the bucket and by group."""
    rows: dict[Row, list[int]] = {}
    for bucket in buckets:
        assert bucket.object == "bucket"
        for result in bucket.results:
            assert result.object == "organization.usage.completions.result"
            key = (bucket.start_time, *(getattr(result, name) for name in by))
            assert key not in rows
            counts = (result.num_model_requests, result.input_tokens, result.input_cached_tokens, result.output_tokens)
            rows[key] = list(counts)
    return rows


def sent_by(sent: Sequence[Sent], width: timedelta, by: Sequence[str]) -> dict[Row, list[int]]:
    """The same of what was sent."""
    rows: dict[Row, list[int]] = {}
    seconds = int(width.total_seconds())
    for each in sent:
        start = int(each.when.timestamp()) // seconds * seconds
        row = rows.setdefault((start, *(DIMENSIONS[name](each) for name in by)), [0, 0, 0, 0])
        for place, count in enumerate((1, each.input, each.cached, each.output)):
            row[place] += count
    return rows


GROUPINGS = [
    [],
    ["project_id"],
    ["model"],
    ["batch"],
    ["service_tier"],
    ["project_id", "model", "batch", "service_tier"],
]


@pytest.mark.parametrize("by", GROUPINGS, ids="+".join)
@pytest.mark.parametrize(("width", "limit"), [("1d", 31), ("1d", 1), ("1h", 168), ("1h", 20)])
def test_usage_through_the_sdk_adds_up_to_what_was_sent(
    customer: Customer, client: OpenAI, by: Any, width: Any, limit: int
) -> None:
    ask = client.admin.organization.usage.completions
    buckets = all_pages(ask, **customer.span, bucket_width=width, limit=limit, **({"group_by": by} if by else {}))
    assert len(buckets) == {"1d": 3, "1h": 72}[width]
    assert used_by(buckets, by) == sent_by(customer.sent, {"1d": DAY, "1h": HOUR}[width], by)


FILTERS: dict[str, tuple[dict[str, Any], Callable[[Sent], bool]]] = {
    "a project": ({"project_ids": ["proj_web"]}, lambda sent: sent.project == "proj_web"),
    "two projects": ({"project_ids": ["proj_web", "proj_app"]}, lambda sent: sent.project in PROJECTS[:2]),
    "two models": ({"models": MODELS[1:3]}, lambda sent: sent.model in MODELS[1:3]),
    "batch": ({"batch": True}, lambda sent: sent.batch),
    "not batch": ({"batch": False}, lambda sent: not sent.batch),
    "all at once": (
        {"project_ids": ["proj_app"], "models": MODELS[:4], "batch": True},
        lambda sent: sent.project == "proj_app" and sent.model in MODELS[:4] and sent.batch,
    ),
    "nothing": ({"models": ["gpt-4o"]}, lambda sent: False),
}


@pytest.mark.parametrize(("asked", "keeps"), FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("width", ["1d", "1h"])
def test_filters_through_the_sdk_keep_just_what_they_name(
    customer: Customer, client: OpenAI, asked: dict[str, Any], keeps: Callable[[Sent], bool], width: Any
) -> None:
    ask = client.admin.organization.usage.completions
    buckets = all_pages(ask, **customer.span, bucket_width=width, group_by=["model", "project_id"], **asked)
    kept = [each for each in customer.sent if keeps(each)]
    expected = sent_by(kept, {"1d": DAY, "1h": HOUR}[width], ["model", "project_id"])
    assert used_by(buckets, ["model", "project_id"]) == expected


@pytest.mark.parametrize("by", [[], ["project_id"], ["line_item"], ["project_id", "line_item"]], ids="+".join)
@pytest.mark.parametrize("limit", [180, 2])
def test_costs_through_the_sdk_are_those_of_the_billed_requests_to_the_last_decimal(
    customer: Customer, client: OpenAI, by: Any, limit: int
) -> None:
    expected: dict[Row, Decimal] = {}
    for each in customer.sent:
        start = int(each.when.timestamp()) // 86_400 * 86_400
        key = (start, *(DIMENSIONS[name](each) for name in by))
        expected[key] = expected.get(key, Decimal(0)) + (0 if each.free else each.amount())
    ask = client.admin.organization.usage.costs
    buckets = all_pages(ask, **customer.span, limit=limit, **({"group_by": by} if by else {}))
    found: dict[Row, float] = {}
    for bucket in buckets:
        for each in bucket.results:
            assert each.quantity_unit == ("tokens" if "line_item" in by else None)
            named = {"project_id": each.project_id, "line_item": (each.line_item or "").partition(", ")[0]}
            key = (bucket.start_time, *(named[name] for name in by))
            found[key] = found.get(key, 0) + each.amount.value
    assert found == pytest.approx({key: float(amount) for key, amount in expected.items()}, rel=1e-12)
    raw = client.admin.organization.usage.with_raw_response.costs(**customer.span)
    days = json.loads(raw.content, parse_float=Decimal)["data"]
    total = sum((Decimal(each["amount"]["value"]) for day in days for each in day["results"]), Decimal(0))
    assert total == sum(expected.values())


def test_costs_through_the_sdk_can_be_asked_for_single_models(customer: Customer, client: OpenAI) -> None:
    ask = client.admin.organization.usage.costs
    buckets = all_pages(ask, **customer.span, group_by=["line_item"], line_items=[MODELS[0]])
    named = {each.line_item for bucket in buckets for each in bucket.results}
    assert named
    assert {name.partition(", ")[0].removeprefix("priority | ") for name in named} == {MODELS[0]}
    one = sorted(named)[0]
    buckets = all_pages(ask, **customer.span, group_by=["line_item"], line_items=[one])
    assert {each.line_item for bucket in buckets for each in bucket.results} == {one}


def test_usage_and_costs_differ_by_what_was_free(customer: Customer, client: OpenAI) -> None:
    ask = client.admin.organization.usage.completions
    buckets = all_pages(ask, **customer.span, group_by=["service_tier"])
    free = sum(
        each.num_model_requests for day in buckets for each in day.results if each.service_tier == "incentivized-tier"
    )
    assert free == sum(each.free for each in customer.sent) == 45


def test_a_readers_and_the_platforms_key_see_the_same(customer: Customer, client: OpenAI) -> None:
    mine = client.admin.organization.usage.completions(**customer.span).to_json()
    with customer.client(customer.key("reader")) as reader:
        assert reader.admin.organization.usage.completions(**customer.span).to_json() == mine
    with customer.client(customer.system.up.platform_key) as platform:
        ask = platform.admin.organization.usage.completions
        assert ask(**customer.span, extra_query={"organization": customer.organization}).to_json() == mine


def test_another_organizations_key_sees_nothing_of_it(customer: Customer) -> None:
    other = key_of(customer.system, "owner", customer.system.new_organization())
    with customer.client(other) as stranger:
        ask = stranger.admin.organization.usage
        assert all(not bucket.results for bucket in ask.completions(**customer.span).data)
        with pytest.raises(openai.NotFoundError) as refusal:
            ask.costs(**customer.span, extra_query={"organization": customer.organization})
        assert (refusal.value.code, refusal.value.param) == ("not_found", "organization")


def test_the_sdk_reads_our_errors(customer: Customer, client: OpenAI) -> None:
    ask = client.admin.organization.usage
    with customer.client("gk_nobody") as nobody, pytest.raises(openai.AuthenticationError) as refusal:
        nobody.admin.organization.usage.completions(start_time=0)
    assert (refusal.value.status_code, refusal.value.code) == (401, "invalid_api_key")
    with pytest.raises(openai.BadRequestError) as refusal:
        ask.completions(start_time=0, user_ids=["user_1"])
    assert (refusal.value.code, refusal.value.param, refusal.value.type) == (
        "not_recorded",
        "user_ids",
        "invalid_request_error",
    )
    with pytest.raises(openai.BadRequestError) as refusal:
        ask.costs(start_time=0, limit=181)
    assert (refusal.value.code, refusal.value.param) == ("invalid_value", "limit")


# --- tools made for OpenAI's export --------------------------------------------------------------------------------
#
# What they expect is what is known of OpenAI's own pages: which fields are there and of which type, that free traffic
# is of the incentivized tier, that a line item is `model, kind of token` with a quantity and `tier | ` before it where
# the tier is not the usual one, and that what was free has rows of amount 0.

LINE_ITEM = re.compile(r"(?:(flex|priority) \| )?([^\s,|]+), (input|cached input|output|cache writes)(, long context)?")
KINDS = {"input", "cached input", "output"}


def priced_rows(client: OpenAI, span: dict[str, int], *by: Any) -> list[tuple[int, Any]]:
    """The results of costs by line item, each with the start of its bucket."""
    buckets = all_pages(client.admin.organization.usage.costs, **span, limit=1, group_by=["line_item", *by])
    return [(bucket.start_time, result) for bucket in buckets for result in bucket.results]


def test_a_tool_that_validates_what_it_reads_finds_every_field_of_its_type(customer: Customer, client: OpenAI) -> None:
    """Not as the SDK reads, which takes what comes: by the SDK's own models, strictly."""
    raw = client.admin.organization.usage.with_raw_response
    by = ["project_id", "model", "batch", "service_tier"]
    usage = raw.completions(**customer.span, group_by=by)  # type: ignore[arg-type]
    costs = raw.costs(**customer.span, group_by=["line_item", "project_id"])
    strictly = {"strict": True}
    completions = UsageCompletionsResponse.model_validate_json(usage.content, **strictly)  # type: ignore[arg-type]
    priced = UsageCostsResponse.model_validate_json(costs.content, **strictly)  # type: ignore[arg-type]
    used = [each for bucket in completions.data for each in bucket.results]
    cost = [each for bucket in priced.data for each in bucket.results]
    assert {type(each).__name__ for each in used} == {"DataResultOrganizationUsageCompletionsResult"}
    assert {type(each).__name__ for each in cost} == {"DataResultOrganizationCostsResult"}
    for page in (completions, priced):
        assert [bucket.end_time - bucket.start_time for bucket in page.data] == [86_400] * 3
        assert [bucket.start_time for bucket in page.data] == sorted(bucket.start_time for bucket in page.data)
    for result in json.loads(costs.content)["data"][0]["results"]:
        assert {"object", "amount", "line_item", "project_id", "quantity", "quantity_unit"} <= result.keys()
        assert (result["amount"]["currency"], type(result["quantity"])) == ("usd", int)


def test_a_tool_that_takes_line_items_apart_finds_model_kind_and_quantity(customer: Customer, client: OpenAI) -> None:
    """As trackers of the programme read costs: tokens by day, model and kind of token."""
    found: Counter[tuple[int, str, str]] = Counter()
    for start, each in priced_rows(client, customer.span):
        parsed = LINE_ITEM.fullmatch(each.line_item)
        assert parsed, each.line_item
        found[start, parsed[2], parsed[3]] += each.quantity
        assert (parsed[1] == "priority") == each.line_item.startswith("priority | ")
    expected: Counter[tuple[int, str, str]] = Counter()
    for sent in customer.sent:
        start = int(sent.when.timestamp()) // 86_400 * 86_400
        kinds = {"input": sent.input - sent.cached, "cached input": sent.cached, "output": sent.output}
        assert kinds.keys() == KINDS
        expected.update({(start, sent.model, kind): count for kind, count in kinds.items()})
    assert +found == +expected


def test_a_tracker_of_free_tokens_finds_the_same_in_usage_and_in_costs(customer: Customer, client: OpenAI) -> None:
    """The one reads `incentivized-tier`, the other rows of amount 0: tokens by day, model and project."""
    ask = client.admin.organization.usage.completions
    in_usage: Counter[Row] = Counter()
    for bucket in all_pages(ask, **customer.span, group_by=["service_tier", "model", "project_id"]):
        for used in bucket.results:
            if used.service_tier == "incentivized-tier":
                in_usage[bucket.start_time, used.model, used.project_id] += used.input_tokens + used.output_tokens
    in_costs: Counter[Row] = Counter()
    for start, each in priced_rows(client, customer.span, "project_id"):
        if not each.amount.value:
            model = each.line_item.rpartition(" | ")[2].partition(", ")[0]
            in_costs[start, model, each.project_id] += each.quantity
    assert sum(in_usage.values()) == sum(sent.input + sent.output for sent in customer.sent if sent.free)
    assert in_costs == in_usage


def test_a_tool_that_asks_day_by_day_finds_empty_buckets_and_the_sum_of_the_span(
    customer: Customer, client: OpenAI
) -> None:
    """From midnight to midnight, the shortest span that OpenAI's costs take. A day before is empty, but there."""
    first = customer.span["start_time"]
    amounts = []
    for start in range(first - 86_400, customer.span["end_time"], 86_400):
        page = client.admin.organization.usage.costs(start_time=start, end_time=start + 86_400)
        assert [(bucket.start_time, bucket.end_time) for bucket in page.data] == [(start, start + 86_400)]
        assert (page.has_more, page.next_page) == (False, None)
        amounts.append(sum(each.amount.value for each in page.data[0].results))  # type: ignore[union-attr]
    assert amounts[0] == 0
    assert sum(amounts) == pytest.approx(float(sum(sent.amount() for sent in customer.sent if not sent.free)))


@pytest.mark.parametrize("spelling", ["group_by", "group_by[]"])
def test_a_tool_without_the_sdk_may_repeat_a_parameter_with_brackets_or_without(
    customer: Customer, client: OpenAI, spelling: str
) -> None:
    by = ["model", "service_tier"]
    wanted = client.admin.organization.usage.completions(**customer.span, group_by=by)  # type: ignore[arg-type]
    fields = [*((name, str(value)) for name, value in customer.span.items()), *((spelling, name) for name in by)]
    answer = customer.system.http.request(
        "GET",
        f"{customer.system.up.base_url}/organization/usage/completions",
        fields=fields,
        headers={"authorization": f"Bearer {customer.key('reader')}"},
    )
    assert json.loads(answer.data)["data"] == json.loads(wanted.to_json())["data"]


@pytest.mark.parametrize("kinds", [("usage",), ("costs",), ("usage", "costs")], ids="+".join)
def test_our_own_reconcile_reads_our_export_as_the_platforms_and_agrees(
    customer: Customer, client: OpenAI, kinds: Sequence[str], tmp_path: Path
) -> None:
    ask = client.admin.organization.usage.with_raw_response
    by: Any = {"usage": ["model", "service_tier", "project_id"], "costs": ["line_item", "project_id"]}
    arguments = ["reconcile", customer.organization, "--endpoint-url", customer.system.up.endpoint_url]
    for kind in kinds:
        route = ask.completions if kind == "usage" else ask.costs
        (tmp_path / kind).write_bytes(route(**customer.span, group_by=by[kind]).content)
        arguments += [f"--{kind}", str(tmp_path / kind)]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    total = sum(each[verdict]["theirs"] for each in told["days"] for verdict in ("free", "billed"))
    assert total == sum(sent.input + sent.output for sent in customer.sent)
    assert told["notes"] == []


# --- schemathesis --------------------------------------------------------------------------------------------------

EXAMPLES = 20
"""For each operation and each way to generate them."""
OPERATIONS = [
    "GET /v1/organization/usage/completions",
    "GET /v1/organization/costs",
    "GET /v1/organization/allowance",
    "POST /v1/organization/allowance/check",
    "POST /v1/organization/reservations",
    "GET /v1/organization/reservations",
    "DELETE /v1/organization/reservations/{request_id}",
    "GET /v1/organization/offer",
    "GET /v1/organization/data_sharing",
    "POST /v1/organization/data_sharing",
    "GET /v1/organization/requests",
    "GET /v1/organization/requests/{request_id}",
    "GET /v1/organization/quarantine",
    "GET /v1/quarantine",
    "POST /v1/quarantine/redrive",
    "GET /v1/key",
    "GET /v1/keys",
    "DELETE /v1/keys/{key_id}",
    "GET /v1/organizations",
    "GET /v1/organizations/{organization}",
    "PUT /v1/organizations/{organization}",
    "GET /v1/organization/webhooks",
    "POST /v1/organization/webhooks",
    "DELETE /v1/organization/webhooks/{webhook}",
    "POST /v1/organization/webhooks/{webhook}/test",
    "POST /v1/organization/webhooks/{webhook}/enable",
    "GET /v1/organization/webhooks/{webhook}/deliveries",
]
OF_THE_PLATFORM = ("/v1/organizations", "/v1/quarantine", "/v1/keys")
"""How the paths begin that only the platform may call."""
WITHOUT_A_KEY = {
    "GET /v1/statement-keys",
    "POST /v1/usage-events",
    "POST /v1/usage-events/litellm",
    "POST /v1/usage-events/otlp/v1/traces",
}
"""What the document holds beside the account: senders have secrets of their own."""


@pytest.fixture(scope="module")
def schema(system: System) -> Any:
    """The document as the deployed API serves it."""
    answer = system.http.request("GET", f"{system.up.page_url}docs?format=json")
    assert answer.status == 200
    paths = answer.json()["paths"].items()
    found = {f"{method.upper()} {path}" for path, methods in paths for method in methods}
    assert found == WITHOUT_A_KEY.union(OPERATIONS)
    schema = schemathesis.openapi.from_dict(answer.json())
    schema.config.update(base_url=system.up.page_url)
    return schema


def answered_by_the_platform(response: Any) -> bool:
    """No route leads to us (an engine's or a gateway's own reading of a path): then nothing of ours is promised."""
    return response.status_code == 404 and response.json() == {"message": "Not Found"}


def checked(operation: Any, mode: GenerationMode, headers: dict[str, str], *checks: Any) -> None:
    """Send what schemathesis makes of an operation, the same on every run, and check each answer."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        response = case.call(headers=headers)
        if not answered_by_the_platform(response):
            case.validate_response(response, checks=[*checks])

    send()


def in_our_envelope(_context: Any, response: Any, _case: Any) -> None:
    """Every error of ours is in the envelope that OpenAI's clients know."""
    if response.status_code >= 400:
        error = response.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert response.headers["content-type"] == ["application/json"]


def refused(_context: Any, response: Any, _case: Any) -> None:
    """Nobody's key opens nothing."""
    assert response.status_code == 401


def operation_of(schema: Any, name: str) -> Any:
    method, path = name.split(" ")
    return schema[path][method]


def headers_for(system: System, name: str) -> dict[str, str]:
    """A key that may do this: the platform's where only it may, else that of an owner of an organization of its own."""
    key = (
        system.up.platform_key
        if name.split(" ")[1].startswith(OF_THE_PLATFORM)
        else key_of(system, "owner", system.new_organization())
    )
    return {"Authorization": f"Bearer {key}"}


MODES = {"as documented": GenerationMode.POSITIVE, "not as documented": GenerationMode.NEGATIVE}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_input_makes_the_account_fail_or_answer_in_an_undocumented_shape(
    system: System, schema: Any, name: str, mode: GenerationMode
) -> None:
    checks = (not_a_server_error, response_schema_conformance, content_type_conformance, in_our_envelope)
    checked(operation_of(schema, name), mode, headers_for(system, name), *checks)


@pytest.mark.parametrize("name", OPERATIONS)
def test_without_a_key_every_operation_is_401_whatever_is_sent(schema: Any, name: str) -> None:
    checked(operation_of(schema, name), GenerationMode.POSITIVE, {"Authorization": "Bearer gk_nobody"}, refused)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_status_that_is_answered_is_documented(system: System, schema: Any, name: str) -> None:
    for mode in MODES.values():
        for headers in (headers_for(system, name), {"Authorization": "Bearer gk_nobody"}):
            checked(operation_of(schema, name), mode, headers, status_code_conformance)
