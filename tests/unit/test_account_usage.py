"""Usage and costs in the shapes of OpenAI's API: they add up to what was sent, bucket by bucket and page by page."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gratis import moment
from gratis.account.api_answer import exact_json
from gratis.rules import pricing
from gratis.rules.decision import Books
from gratis.rules.line_items import line_items
from gratis.rules.request import Tokens
from gratis.rules.totals import RowKey, Sums, Totals
from gratis.rules.window import Counter, CounterId
from tests.builders.account_api import COSTS, DAY, HOUR, NOW, USAGE, Answer, Api, unix
from tests.builders.events import LARGE, SMALL, billed, used

NANO = "gpt-4.1-nano-2025-04-14"
"""0.1 / 0.025 / 0.4 USD per million tokens."""
LAMBDA_ANSWER_BYTES = 6 * 1024 * 1024


# --- usage -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spent:
    """A request as a test sends it, and all that usage and costs have to say of it."""

    at: str
    project_id: str | None
    model: str
    tier: str
    batch: bool
    input: int
    cached: int
    output: int
    free: bool
    amount: str = "0"

    @property
    def service_tier(self) -> str:
        return "incentivized-tier" if self.free else self.tier

    @property
    def costs(self) -> dict[str, tuple[int, Decimal]]:
        """Its line items: tokens and USD, by hand."""
        rates = {LARGE: ("2.5", "1.25", "10"), SMALL: ("0.15", "0.075", "0.6")}[self.model]
        if self.tier == "priority":
            rates = ("0.25", "0.125", "1")
        counts = (self.input - self.cached, self.cached, self.output)
        name = self.model if self.tier == "default" else f"{self.tier} | {self.model}"
        factor = Decimal(0) if self.free else Decimal("0.5" if self.batch else 1) / 10**6
        return {
            f"{name}, {kind}": (count, count * Decimal(rate) * factor)
            for kind, count, rate in zip(("input", "cached input", "output"), counts, rates, strict=True)
            if count
        }

    def event(self) -> dict[str, Any]:
        data = {"project": self.project_id, "service_tier": self.tier, "batch": self.batch}
        tools = [] if self.free else ["file_search"]
        return used(self.input, self.output, cached=self.cached, at=self.at, model=self.model, tools=tools, **data)


SPENT = [
    Spent("2025-03-10T00:00:00Z", "proj_web", LARGE, "default", False, 1000, 200, 50, free=True),
    Spent("2025-03-10T00:59:59.999Z", "proj_web", LARGE, "default", False, 2000, 0, 70, free=True),
    Spent("2025-03-10T01:00:00Z", "proj_app", LARGE, "default", False, 4000, 400, 90, free=True),
    Spent("2025-03-10T23:59:59.999999Z", None, SMALL, "flex", False, 8000, 0, 11, free=True),
    Spent("2025-03-12T00:00:00Z", "proj_web", SMALL, "default", True, 16000, 0, 13, free=True),
    Spent("2025-03-12T09:15:00Z", "proj_web", LARGE, "default", False, 40_000, 0, 0, free=False, amount="0.1"),
    Spent("2025-03-12T09:45:00+00:00", "proj_app", LARGE, "default", False, 80_000, 0, 0, free=False, amount="0.2"),
    Spent("2025-03-12T12:00:00+02:00", "proj_app", SMALL, "priority", False, 1, 0, 0, free=False, amount="0.00000025"),
    Spent("2025-03-12T10:29:59Z", None, SMALL, "default", True, 3, 0, 5, free=False, amount="0.000001725"),
]
"""10 March: free; 11 March: nothing; 12 March: free and billed."""
DIMENSIONS = ("project_id", "model", "batch", "service_tier")
GROUPINGS = [by for size in range(5) for by in combinations(DIMENSIONS, size)]
FILTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "a project": {"project_ids": ["proj_web"]},
    "two projects": {"project_ids": ["proj_web", "proj_app"]},
    "a model": {"models": [SMALL]},
    "two models": {"models": [LARGE, SMALL]},
    "batch": {"batch": "true"},
    "not batch": {"batch": "false"},
    "project, model and batch": {"project_ids": ["proj_web"], "models": [SMALL], "batch": "true"},
    "nobody": {"project_ids": ["proj_nobody"]},
    "no name": {"project_ids": [""]},
}


def kept(spent: Iterable[Spent], filters: Mapping[str, Any]) -> list[Spent]:
    return [
        each
        for each in spent
        if each.project_id in filters.get("project_ids", [each.project_id])
        and each.model in filters.get("models", [each.model])
        and str(each.batch).lower() == filters.get("batch", str(each.batch).lower())
    ]


def by_bucket(spent: Iterable[Spent], width: timedelta, by: Sequence[str]) -> dict[Any, list[int]]:
    """What each bucket and group has to hold: requests, input, cached and output tokens."""
    sums: dict[Any, list[int]] = {}
    for each in spent:
        start = unix(moment.parse(each.at)) // int(width.total_seconds()) * int(width.total_seconds())
        row = sums.setdefault((start, *(getattr(each, name) for name in by)), [0, 0, 0, 0])
        for place, figure in enumerate((1, each.input, each.cached, each.output)):
            row[place] += figure
    return sums


def shown(pages: Iterable[Answer], by: Sequence[str]) -> dict[Any, list[int]]:
    """The same of what the pages say; what is not grouped by has to be null."""
    rows: dict[Any, list[int]] = {}
    for bucket in chain.from_iterable(page.content["data"] for page in pages):
        for result in bucket["results"]:
            assert result["object"] == "organization.usage.completions.result"
            assert [
                name for name in (*DIMENSIONS, "user_id", "api_key_id") if result[name] is not None and name not in by
            ] == []
            key = (bucket["start_time"], *(result[name] for name in by))
            assert key not in rows
            names = ("num_model_requests", "input_tokens", "input_cached_tokens", "output_tokens")
            rows[key] = [result[name] for name in names]
    return rows


@pytest.mark.parametrize("by", GROUPINGS, ids="+".join)
def test_usage_adds_up_to_what_was_sent_however_it_is_grouped_and_filtered(api: Api, by: Sequence[str]) -> None:
    api.decide(*(each.event() for each in SPENT))
    for name, filters in FILTERS.items():
        asked = {"start_time": unix("2025-03-10"), "group_by": by} | filters
        days, hours = api.usage(**asked), api.usage(**asked, bucket_width="1h", limit=168)
        assert shown([days], by) == by_bucket(kept(SPENT, filters), DAY, by), name
        assert shown([hours], by) == by_bucket(kept(SPENT, filters), HOUR, by), name


def test_a_page_of_usage_has_the_shape_of_openais(api: Api) -> None:
    api.decide(used(1000, 500, cached=800, at="2025-03-11T09:00:00Z"), used(10, at="2025-03-11T10:00:00Z"))
    page = api.usage(start_time=unix("2025-03-11"), limit=1).content
    result = {
        "object": "organization.usage.completions.result",
        "input_tokens": 1010,
        "output_tokens": 500,
        "input_cached_tokens": 800,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": 2,
        "saved_usd": "0.006525",
        "project_id": None,
        "user_id": None,
        "api_key_id": None,
        "model": None,
        "batch": None,
        "service_tier": None,
        "list_amount": {"value": Decimal("0.006525"), "currency": "usd"},
    }
    start = unix("2025-03-11")
    bucket = {"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": [result]}
    assert page == {"object": "page", "data": [bucket], "has_more": True, "next_page": page["next_page"]}


@pytest.mark.parametrize("width", ["1d", "1h"])
def test_usage_says_what_it_costs_at_the_normal_rate_and_of_how_many_requests_nobody_knows(
    api: Api, width: str
) -> None:
    api.decide(used(40_000), used(80_000, model=SMALL), billed(40_000), billed(1, model="in-house"))
    answer = api.usage(start_time=unix("2025-03-12T09:00"), group_by="service_tier", bucket_width=width)
    found = {
        each["service_tier"]: (each["list_amount"]["value"], each.get("unpriced_requests"))
        for each in answer.results[0]
    }
    assert found == {"incentivized-tier": (Decimal("0.112"), None), "default": (Decimal("0.1"), 1)}
    everything = api.usage(start_time=unix("2025-03-12T09:00"), bucket_width=width).results[0][0]
    assert (everything["list_amount"]["value"], everything["unpriced_requests"]) == (Decimal("0.212"), 1)


@pytest.mark.parametrize("width", ["1d", "1h"])
def test_free_traffic_is_of_the_incentivized_tier_and_billed_traffic_of_its_own(api: Api, width: str) -> None:
    api.decide(
        used(1, service_tier="flex"), billed(2, service_tier="flex"), billed(4, service_tier="priority"), used(8)
    )
    answer = api.usage(start_time=unix("2025-03-12T09:00"), group_by="service_tier", bucket_width=width)
    found = {each["service_tier"]: each["input_tokens"] for each in answer.results[0]}
    assert found == {"incentivized-tier": 9, "flex": 2, "priority": 4}


@pytest.mark.parametrize("width", ["1d", "1h"])
def test_evaluation_runs_count_as_usage(api: Api, width: str) -> None:
    api.decide(used(100, 20, kind="usage.eval_run"))
    answer = api.usage(start_time=unix("2025-03-12T09:00"), bucket_width=width)
    assert [
        (each["num_model_requests"], each["input_tokens"], each["output_tokens"]) for each in answer.results[0]
    ] == [(1, 100, 20)]


def test_both_spellings_of_arrays_and_their_mixture_ask_the_same(api: Api) -> None:
    api.decide(*(each.event() for each in SPENT))
    head = f"start_time={unix('2025-03-10')}&"
    spellings = [
        "group_by=model&group_by=batch&models=M1&models=M2",
        "group_by[]=model&group_by[]=batch&models[]=M1&models[]=M2",
        "group_by%5B%5D=model&group_by%5B%5D=batch&models%5B%5D=M1&models%5B%5D=M2",
        "group_by=model&group_by[]=batch&models[]=M1&models=M2",
        "group_by=model,batch&models=M1,M2",
    ]
    texts = {api.call("GET", USAGE, head + each.replace("M1", LARGE).replace("M2", SMALL)).text for each in spellings}
    assert len(texts) == 1
    assert "proj_web" not in texts.pop()


WITH_COMMAS = ("CN=ml,OU=groups", "CN=ml", "OU=groups", "a,b", ",", "a, b")
"""Projects, and models of other providers, as gateways name them."""


@pytest.mark.parametrize("spelled", ["project_ids", "project_ids[]"])
@pytest.mark.parametrize("name", WITH_COMMAS)
def test_a_project_whose_name_holds_commas_is_found_by_day_by_hour_and_in_costs(
    api: Api, name: str, spelled: str
) -> None:
    api.decide(*(billed(number, project=each) for number, each in enumerate(WITH_COMMAS, start=1)))
    asked = {spelled: [name, "none"], "group_by": "project_id"}
    for answer in (
        api.usage(start_time=unix("2025-03-12"), **asked),
        api.usage(start_time=unix("2025-03-12T09:00"), bucket_width="1h", **asked),
        api.costs(start_time=unix("2025-03-12"), **asked),
    ):
        assert [each["project_id"] for each in answer.results[0]] == [name]
    alone = api.usage(start_time=unix("2025-03-12"), **{spelled: name}, group_by="project_id").results[0]
    assert name in [each["project_id"] for each in alone]


def test_a_model_whose_name_holds_commas_is_found_in_usage_and_in_line_items(api: Api) -> None:
    api.decide(used(1, model="vertex_ai/a,b@1"), used(2, model="vertex_ai/a, b"), used(4, model=LARGE))
    for name, tokens in (("vertex_ai/a,b@1", 1), ("vertex_ai/a, b", 2)):
        assert [each["input_tokens"] for each in api.usage(models=name).results[-1]] == [tokens]
        (item,) = api.costs(line_items=name, group_by="line_item").results[-1]
        assert (item["line_item"], item["quantity"]) == (name, tokens)


def test_a_group_that_is_asked_for_twice_counts_once(api: Api) -> None:
    api.decide(used())
    assert api.usage(group_by=["model", "model"]).text == api.usage(group_by="model").text


def test_days_before_and_after_the_move_from_rolling_windows_are_counted_alike(api: Api) -> None:
    """On 2025-03-06 the offer moved to UTC days: counters change, days of usage do not."""
    api.decide(used(1, at="2025-03-05T23:59:59Z"), used(2, at="2025-03-06T00:00:00Z"))
    results = api.usage(start_time=unix("2025-03-05"), end_time=unix("2025-03-07")).results
    assert [[each["input_tokens"] for each in bucket] for bucket in results] == [[1], [2]]


# --- buckets and pages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [USAGE, COSTS])
def test_buckets_lie_on_utc_days_and_empty_ones_are_there(api: Api, path: str) -> None:
    api.decide(billed(at="2025-03-11T12:00:00Z"))
    answer = api.get(path, start_time=unix("2025-03-10T15:45"), end_time=unix("2025-03-12T00:00"))
    assert answer.starts == [datetime(2025, 3, 10, tzinfo=UTC), datetime(2025, 3, 11, tzinfo=UTC)]
    assert [len(results) for results in answer.results] == [0, 1]
    assert [each["end_time"] - each["start_time"] for each in answer.content["data"]] == [86_400, 86_400]


def test_hours_lie_on_utc_hours_and_empty_ones_are_there(api: Api) -> None:
    api.decide(used(at="2025-03-11T23:59:59.999Z"), used(at="2025-03-12T00:00:00Z"))
    answer = api.usage(start_time=unix("2025-03-11T22:30"), end_time=unix("2025-03-12T00:01"), bucket_width="1h")
    assert answer.starts == [datetime(2025, 3, 11, 22, tzinfo=UTC) + after * HOUR for after in range(3)]
    assert [len(results) for results in answer.results] == [0, 1, 1]
    assert [each["end_time"] - each["start_time"] for each in answer.content["data"]] == [3600] * 3


@pytest.mark.parametrize(("end", "buckets"), [("2025-03-12T00:00:00", 1), ("2025-03-12T00:00:01", 2)])
def test_the_end_is_exclusive(api: Api, end: str, buckets: int) -> None:
    assert len(api.usage(start_time=unix("2025-03-11"), end_time=unix(end)).starts) == buckets


@pytest.mark.parametrize("width", [HOUR, DAY])
def test_without_an_end_the_current_bucket_is_the_last(api: Api, width: timedelta) -> None:
    api.decide(used(at="2025-03-12T10:29:00Z"))
    answer = api.usage(start_time=unix(NOW - width), bucket_width="1h" if width == HOUR else "1d")
    assert answer.starts[-1] <= NOW < answer.starts[-1] + width
    assert len(answer.starts) == 2
    assert answer.results[-1][0]["num_model_requests"] == 1
    assert (answer.content["has_more"], answer.content["next_page"]) == (False, None)


def test_at_midnight_a_bucket_that_has_not_begun_is_not_shown(api: Api) -> None:
    api.set_clock(datetime(2025, 3, 12, tzinfo=UTC))
    assert api.usage(start_time=unix("2025-03-11")).starts == [datetime(2025, 3, 11, tzinfo=UTC)]


@pytest.mark.parametrize("path", [USAGE, COSTS])
def test_a_start_in_the_future_without_an_end_is_an_empty_page(api: Api, path: str) -> None:
    page = api.get(path, start_time=unix(NOW + DAY)).content
    assert page == {"object": "page", "data": [], "has_more": False, "next_page": None}


@pytest.mark.parametrize("path", [USAGE, COSTS])
def test_a_day_that_is_no_longer_kept_is_a_400_that_says_so(api: Api, path: str) -> None:
    """It would be empty only because what was in it is gone."""
    kept = unix("2024-02-06")  # 400 days before NOW
    assert api.get(path, start_time=kept, end_time=kept + 1).results == [[]]
    for start in (0, kept - 1):
        answer = api.get(path, start_time=start, end_time=kept + 86_400)
        assert answer.refused() == (400, "not_recorded", "start_time")
        assert "used before 2024-02-06T00:00:00Z is no longer kept" in answer.error["message"]


LIMITS = [(USAGE, "1d", 7, 31), (USAGE, "1h", 24, 168), (COSTS, "1d", 7, 180)]


@pytest.mark.parametrize(("path", "width", "usual", "most"), LIMITS)
def test_a_page_has_as_many_buckets_as_asked_for(api: Api, path: str, width: str, usual: int, most: int) -> None:
    for limit in (None, 1, most):
        start = unix(NOW - 40 * DAY) if width == "1h" else unix(NOW - 300 * DAY)
        parameters = {"start_time": start, "bucket_width": width} | ({"limit": limit} if limit else {})
        answer = api.get(path, **parameters)
        assert len(answer.starts) == (limit or usual)
        assert answer.content["has_more"] is True


def pages_of(api: Api, path: str, **parameters: Any) -> list[Answer]:
    """Every page, as a client reads them."""
    pages = [api.get(path, **parameters)]
    while pages[-1].content["has_more"]:
        pages.append(api.get(path, **parameters, page=pages[-1].content["next_page"]))
    return pages


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 31])
def test_the_pages_of_days_together_are_the_whole_span_once(api: Api, limit: int) -> None:
    api.decide(*(each.event() for each in SPENT))
    asked = {"start_time": unix("2025-03-01"), "group_by": ["project_id", "model"]}
    pages = pages_of(api, USAGE, **asked, limit=limit)
    starts = [start for page in pages for start in page.starts]
    assert starts == [datetime(2025, 3, 1, tzinfo=UTC) + after * DAY for after in range(12)]
    assert shown(pages, asked["group_by"]) == by_bucket(SPENT, DAY, asked["group_by"])
    assert [page.content["next_page"] is None for page in pages] == [False] * (len(pages) - 1) + [True]


@pytest.mark.parametrize("limit", [1, 5, 24, 168])
def test_the_pages_of_hours_together_are_the_whole_span_once(api: Api, limit: int) -> None:
    api.decide(*(each.event() for each in SPENT))
    pages = pages_of(api, USAGE, start_time=unix("2025-03-10T00:30"), bucket_width="1h", limit=limit)
    starts = [start for page in pages for start in page.starts]
    assert starts == [datetime(2025, 3, 10, tzinfo=UTC) + after * HOUR for after in range(59)]
    assert shown(pages, ()) == by_bucket(SPENT, HOUR, ())


def test_the_pages_of_costs_together_are_the_whole_span_once(api: Api) -> None:
    api.decide(*(each.event() for each in SPENT))
    pages = pages_of(api, COSTS, start_time=unix("2025-03-01"), limit=5)
    assert [len(page.starts) for page in pages] == [5, 5, 2]
    amounts = [each["amount"]["value"] for page in pages for results in page.results for each in results]
    assert amounts == [0, Decimal("0.300001975")]


@pytest.mark.parametrize("path", [USAGE, COSTS])
@pytest.mark.parametrize(
    "bad", ["p2", "page_", "page_x", "page_-1", "page_1.5", "page_٣", "_1741651200", "next", "page_0"]
)
def test_what_is_no_cursor_is_400(api: Api, path: str, bad: str) -> None:
    assert api.get(path, start_time=unix("2025-03-01"), page=bad).refused() == (400, "invalid_value", "page")


def test_a_cursor_of_another_query_is_400(api: Api) -> None:
    start, end = unix("2025-03-01"), unix("2025-03-10")
    of_hours = api.usage(start_time=start, bucket_width="1h", limit=1).content["next_page"]
    too_late = api.usage(start_time=unix("2025-03-10"), limit=1).content["next_page"]
    too_early = api.usage(start_time=unix("2025-02-01"), limit=1).content["next_page"]
    for page in (of_hours, too_late, too_early):
        answer = api.usage(start_time=start, end_time=end, page=page)
        assert answer.refused() == (400, "invalid_value", "page"), page


@pytest.mark.parametrize("seconds", ["253402300800", "999999999999"])
def test_a_cursor_past_all_time_is_400(api: Api, seconds: str) -> None:
    assert api.usage(page=f"page_{seconds}").refused() == (400, "invalid_value", "page")


def test_an_empty_cursor_is_400(api: Api) -> None:
    assert api.usage(page="").refused() == (400, "invalid_value", "page")


# --- costs -----------------------------------------------------------------------------------------------------------


def amounts(answer: Answer, *by: str) -> list[dict[Any, Decimal]]:
    """The amount of each group, bucket by bucket."""
    return [
        {tuple(each[name] for name in by): Decimal(each["amount"]["value"]) for each in results}
        for results in answer.results
    ]


def items(answer: Answer) -> list[tuple[str, int, Decimal]]:
    """Line item, quantity and amount of each result of the last bucket, in their order."""
    found = answer.results[-1]
    assert {each["quantity_unit"] for each in found} <= {"tokens"}
    return [(each["line_item"], each["quantity"], Decimal(each["amount"]["value"])) for each in found]


def test_free_requests_cost_nothing(api: Api) -> None:
    api.decide(used(1_000, at="2025-03-11T09:00:00Z"), used(40_000), billed(80_000))
    assert amounts(api.costs()) == [{}, {(): Decimal(0)}, {(): Decimal("0.2")}]


def test_what_was_free_stands_beside_what_was_billed_with_its_tokens_and_amount_zero(api: Api) -> None:
    """The billed one last: a tool that keeps one result by its line item keeps the money."""
    api.decide(used(1_000, 7, cached=100), billed(80_000, 20, cached=30_000))
    assert items(api.costs(group_by="line_item")) == [
        (f"{LARGE}, cached input", 100, Decimal(0)),
        (f"{LARGE}, cached input", 30_000, Decimal("0.0375")),
        (f"{LARGE}, input", 900, Decimal(0)),
        (f"{LARGE}, input", 50_000, Decimal("0.125")),
        (f"{LARGE}, output", 7, Decimal(0)),
        (f"{LARGE}, output", 20, Decimal("0.0002")),
    ]


LONG = "gpt-5.4-2026-03-05"
"""Costs more above 272,000 input tokens."""
WRITING = "gpt-5.6-sol"
"""So does this one, and what is written to the cache has a price of its own."""


@pytest.mark.parametrize(
    ("events", "expected"),
    {
        "a request of long context": (
            [billed(300_000, model=LONG), billed(1_000, model=LONG)],
            [(f"{LONG}, input", 1_000, Decimal("0.0025")), (f"{LONG}, input, long context", 300_000, Decimal("1.5"))],
        ),
        "a request of long context, and a small one of the cache": (
            [billed(300_000, 10, model=LONG), billed(1_000, cached=1_000, model=LONG)],
            [
                (f"{LONG}, cached input", 1_000, Decimal("0.00025")),
                (f"{LONG}, input, long context", 300_000, Decimal("1.5")),
                (f"{LONG}, output, long context", 10, Decimal("0.000225")),
            ],
        ),
        "requests that wrote to the cache": (
            [billed(1_000, 10, model=WRITING, cache_write=400), billed(300_000, model=WRITING, cache_write=100_000)],
            [
                (f"{WRITING}, cache writes", 400, Decimal("0.0025")),
                (f"{WRITING}, cache writes, long context", 100_000, Decimal("1.25")),
                (f"{WRITING}, input", 600, Decimal("0.003")),
                (f"{WRITING}, input, long context", 200_000, Decimal(2)),
                (f"{WRITING}, output", 10, Decimal("0.0003")),
            ],
        ),
        "one request without a price": (
            [billed(40_000), billed(1_000, endpoint="fine_tuning")],
            [(LARGE, 41_000, Decimal("0.1"))],
        ),
        "another tier": (
            [billed(40_000, service_tier="flex", model="o3-2025-04-16"), billed(40_000, model="o3-2025-04-16")],
            [("flex | o3-2025-04-16, input", 40_000, Decimal("0.2")), ("o3-2025-04-16, input", 40_000, Decimal("0.4"))],
        ),
        "nothing was used": ([billed(0), billed(0, 5)], [(f"{LARGE}, output", 5, Decimal("0.00005"))]),
    }.values(),
    ids=("long context", "long context and cached input", "cache writes", "no price", "tier", "nothing"),
)
def test_each_kind_of_token_has_a_line_item_and_a_row_without_a_price_has_one_for_the_whole(
    api: Api, events: list[dict[str, Any]], expected: list[tuple[str, int, Decimal]]
) -> None:
    api.decide(*events)
    assert items(api.costs(group_by="line_item")) == expected


def test_requests_that_are_all_of_long_context_have_line_items_that_say_so(api: Api) -> None:
    api.decide(billed(300_000, 10, cached=100_000, model=LONG), billed(272_001, model=LONG))
    assert items(api.costs(group_by="line_item")) == [
        (f"{LONG}, cached input, long context", 100_000, Decimal("0.05")),
        (f"{LONG}, input, long context", 472_001, Decimal("2.360005")),
        (f"{LONG}, output, long context", 10, Decimal("0.000225")),
    ]


COUNTS = st.tuples(st.sampled_from([0, 7, 1_000, 272_000, 272_001, 300_000]), *[st.integers(0, 1_000)] * 3)


@settings(deadline=None)
@given(model=st.sampled_from([LARGE, LONG, WRITING]), sent=st.lists(COUNTS, min_size=1, max_size=4))
def test_line_items_add_up_to_the_row_and_never_say_what_was_not(model: str, sent: list[tuple[int, ...]]) -> None:
    """Of a row as the first release left it, which counted no tokens by what more they cost."""
    key = RowKey("proj_web", model, "default", False, "billed")
    price = pricing.price(model, NOW, endpoint="responses", service_tier="default", batch=False)
    assert price is not None
    writes = model == WRITING
    requests = [
        Tokens(entire, min(cached, entire), output, writes * min(written, entire - min(cached, entire)))
        for entire, cached, output, written in sent
    ]
    listed = sum((price.amount(each) or Decimal(0) for each in requests), Decimal(0))
    names = ("input", "cached", "output")
    sums = Sums(len(requests), *(sum(getattr(each, name) for each in requests) for name in names), listed, listed)
    found = list(line_items(key, sums, NOW))
    assert sum((each.amount for each in found), Decimal(0)) == listed
    assert sum(each.quantity for each in found) == sums.input + sums.output
    if any(each.name != model for each in found):
        are_long = {each.input > 272_000 and model != LARGE for each in requests if each.input or each.output}
        assert are_long == {found[0].name.endswith(", long context")}
        assert not any(each.cache_write for each in requests)


def test_a_row_decided_by_other_prices_keeps_its_amount_to_the_last_digit(api: Api) -> None:
    """As a release with another price table left it."""
    sums = Sums(3, 1_000, 400, 50, Decimal("0.0123456"), Decimal("0.0123456"))
    books = Books(Counter(), {NOW.date(): Totals({RowKey("proj_web", LARGE, "default", False, "billed"): sums})})
    api.ledger.commit({}, CounterId("org_a", "1m", NOW.date().isoformat()), books, [])
    assert items(api.costs(group_by="line_item")) == [(LARGE, 1_050, Decimal("0.0123456"))]


def test_costs_can_be_asked_for_single_line_items_by_their_whole_name_or_for_all_of_a_model(api: Api) -> None:
    api.decide(billed(40_000, 10), billed(9, model=NANO))
    whole = items(api.costs(group_by="line_item"))
    assert [name for name, *_ in whole] == [f"{NANO}, input", f"{LARGE}, input", f"{LARGE}, output"]
    assert items(api.costs(group_by="line_item", line_items=[f"{LARGE}, output"])) == whole[2:]
    assert items(api.costs(group_by="line_item", line_items=[f"{LARGE}, output", f"{NANO}, input"])) == [
        whole[0],
        whole[2],
    ]
    assert items(api.costs(group_by="line_item", line_items=[LARGE])) == whole[1:]
    assert amounts(api.costs(line_items=[f"{LARGE}, output"]))[-1] == {(): Decimal("0.0001")}
    assert items(api.costs(group_by="line_item", line_items=["output"])) == []


@pytest.mark.parametrize("name", ["user_id", "api_key_id", "api_source"])
def test_costs_by_what_is_not_recorded_are_a_400_that_says_so(api: Api, name: str) -> None:
    assert api.costs(group_by=name).refused() == (400, "not_recorded", "group_by")


def test_what_was_voided_costs_nothing_and_has_no_line_item(api: Api) -> None:
    api.decide(billed(40_000, id="r1"), used(7, id="r2"))
    for name in ("r1", "r2"):
        data = {"request_id": name, "day": NOW.date().isoformat()}
        api.decide({**used(1, id=f"v_{name}"), "type": "usage.void", "time": moment.text(NOW), "data": data})
    assert items(api.costs(group_by="line_item")) == []
    assert amounts(api.costs())[-1] == {}


def test_cache_writes_and_long_context_cost_more_than_the_normal_rate() -> None:
    """Or a sum that agrees would not prove how it came about. A request of long context has input, cached or not."""
    table = pricing.table()
    for model in chain(*(each.values() for each in (table.ids, table.dated, table.prefixes))):
        for row in chain.from_iterable((each, *each.tiers.values()) for each in model.rows):
            for rates in filter(None, (row.rates, row.long_context)):
                assert rates.cache_write is None or rates.cache_write > rates.input
            if row.long_context:
                pairs = zip(row.rates.parts(Tokens(0, 0, 0)), row.long_context.parts(Tokens(0, 0, 0)), strict=True)
                rated = [(one, other) for (_, _, one), (_, _, other) in pairs if one is not None]
                assert all(other is not None and other > one for one, other in rated)


def test_costs_say_of_how_many_requests_the_price_is_not_known(api: Api) -> None:
    """The sum is that of the others."""
    api.decide(billed(400_000), *(used(9, model="gpt-99") for _ in range(3)))
    (result,) = api.costs().results[-1]
    assert (result["amount"]["value"], result["unpriced_requests"]) == (1, 3)
    api.decide(used(5, at="2025-03-11T09:00:00Z"), billed(400_000, at="2025-03-11T09:00:00Z"))
    (result,) = api.costs().results[-2]
    assert "unpriced_requests" not in result


def test_a_page_of_costs_has_the_shape_of_openais(api: Api) -> None:
    api.decide(billed(400_000))
    result = {"object": "organization.costs.result", "amount": {"value": 1, "currency": "usd"}}
    result |= dict.fromkeys(("line_item", "project_id", "quantity", "quantity_unit"))
    page = api.costs(start_time=unix("2025-03-12")).content
    start = unix("2025-03-12")
    bucket = {"object": "bucket", "start_time": start, "end_time": start + 86_400}
    assert page == {
        "object": "page",
        "data": [bucket | {"results": [result]}],
        "has_more": False,
        "next_page": None,
    }


COST_GROUPINGS = [(), ("project_id",), ("line_item",), ("project_id", "line_item"), ("line_item", "project_id")]


@pytest.mark.parametrize("filters", [{}, {"project_ids": ["proj_app"]}, {"project_ids[]": ["proj_app", "proj_web"]}])
@pytest.mark.parametrize("by", COST_GROUPINGS, ids="+".join)
def test_costs_add_up_to_the_last_decimal_however_they_are_grouped(
    api: Api, by: Sequence[str], filters: dict[str, Any]
) -> None:
    api.decide(*(each.event() for each in SPENT))
    expected: dict[Any, tuple[int, Decimal]] = {}
    for each in SPENT:
        if each.project_id in next(iter(filters.values()), [each.project_id]):
            for item, (count, amount) in each.costs.items():
                named = {"project_id": each.project_id, "line_item": item}
                is_apart = "line_item" in by and each.free
                key = each.at[:10], is_apart, *(named[name] for name in by)
                counted, summed = expected.get(key, (0, Decimal(0)))
                expected[key] = counted + count, summed + amount
    answer = api.costs(start_time=unix("2025-03-10"), **{"group_by[]": by}, **filters)
    found = {}
    for start, results in zip(answer.starts, answer.results, strict=True):
        for each in results:
            quantity, amount = each["quantity"], Decimal(each["amount"]["value"])
            key = f"{start:%Y-%m-%d}", "line_item" in by and not amount, *(each[name] for name in by)
            found[key] = quantity, amount
    counted = "line_item" in by
    assert found == {key: (count if counted else None, amount) for key, (count, amount) in expected.items()}
    assert sum(amount for _, amount in expected.values()) == sum(
        Decimal(each.amount)
        for each in kept(SPENT, {"project_ids": next(iter(filters.values()), [None, "proj_web", "proj_app"])})
    )


def test_a_sum_that_floats_would_spoil_is_exact_in_the_very_text_of_the_answer(api: Api) -> None:
    assert 0.1 + 0.2 != 0.3
    api.decide(billed(40_000), billed(80_000))
    assert '"value": 0.3,' in api.costs().text


def test_large_and_tiny_amounts_are_plain_numbers_that_lose_nothing(api: Api) -> None:
    large = [billed(10**12 - 1, model="gpt-4.5-preview-2025-02-27") for _ in range(20)]
    api.decide(billed(1, model=NANO), *large)
    exact = "1499999999.9985001"
    assert str(float(exact)) != exact
    assert f'"value": {exact},' in api.costs().text
    assert '"value": 0.0000001,' in api.costs(group_by="line_item").text


TEXTS = ['{"": "1"}', "@decimal:1", "0.3", '"', "{", "\\", '{\\"\\": \\"1\\"}', "\x00", "\ud800"]


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_passes_for_a_number_whatever_it_says(text: str) -> None:
    for content in ([text, "1"], {"a": text, "b": "1"}, {text: text}, {"a": {text: "1"}}):
        assert json.loads(exact_json([content, Decimal("-0.10")]), parse_float=Decimal) == [content, Decimal("-0.10")]


@pytest.mark.parametrize("odd", [{1}, datetime(2025, 3, 12, tzinfo=UTC)])
def test_what_is_no_json_is_not_written_as_some(odd: Any) -> None:
    with pytest.raises(TypeError):
        exact_json({"a": odd})


def test_a_thousand_small_amounts_add_up_exactly(api: Api) -> None:
    api.decide(*(billed(1, model=NANO) for _ in range(90)))
    assert '"value": 0.000009,' in api.costs().text


def test_a_model_without_a_price_costs_nothing_that_is_known(api: Api) -> None:
    api.decide(used(1_000, model="in-house-model"), billed(40_000))
    assert amounts(api.costs(group_by="line_item"), "line_item")[-1] == {
        (f"{LARGE}, input",): Decimal("0.1"),
        ("in-house-model",): Decimal(0),
    }


def rows(number: int) -> Totals:
    """A day's totals as an organization with many projects has them."""
    counts = Sums(10**6, 10**9, 10**8, 10**8, Decimal("123.456789"), Decimal("123.456789"))
    projects = [f"proj_{place:020}" for place in range(number)]
    return Totals({RowKey(project, LARGE, "default", False, "billed"): counts for project in projects})


@pytest.mark.parametrize(("path", "days"), [(USAGE, 31), (COSTS, 60)])
def test_a_page_that_passes_what_lambda_hands_on_is_a_400_that_says_so(api: Api, path: str, days: int) -> None:
    for back in range(days):
        day = NOW.date() - timedelta(days=back)
        api.ledger.commit({}, CounterId("org_a", "1m", day.isoformat()), Books(Counter(), {day: rows(1000)}), [])
    asked = {"start_time": unix(NOW - (days - 1) * DAY), "group_by": "project_id"}
    assert api.get(path, **asked, limit=days).refused() == (400, "answer_too_large", "limit")
    answer = api.get(path, **asked, limit=10)
    assert (answer.status, sum(map(len, answer.results))) == (200, 10_000)
    assert len(answer.text) < LAMBDA_ANSWER_BYTES
