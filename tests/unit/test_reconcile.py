"""`gratis reconcile`: what both sides agree on, what a difference most likely comes from, what cannot be compared."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gratis import moment
from gratis_local.cli import app
from gratis_local.reconcile.causes import BILLED_HERE
from tests.builders.events import DAY
from tests.builders.loopback import Loopback, Quiet

DAYS = [DAY + timedelta(days=number) for number in range(3)]
MODEL, SMALL = "gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"


def record(tokens: int = 1000, at: str = f"{DAY}T10:00:00Z", **fields: Any) -> dict[str, Any]:
    """A billing record, free unless it has another reason than that."""
    name = fields.pop("request_id", f"r{next(_NUMBERS)}")
    is_free = fields.get("reason", "within_quota") == "within_quota"
    cached = fields.pop("cached", 0)
    return {
        "format": 2,
        "kind": "usage.request",
        "id": f"org_a:{at[:10]}:{name}",
        "organization": "org_a",
        "project": "proj_a",
        "request_id": name,
        "model": MODEL,
        "group": "1m" if is_free else None,
        "window": at[:10] if is_free else None,
        "verdict": "free" if is_free else "billed",
        "reason": "within_quota",
        "tokens": {"input": tokens, "cached_input": cached, "cache_write": 0, "output": 0, "total": tokens},
        "unit": "tokens",
        "quota": 1_000_000 if is_free else None,
        "used_before": 0 if is_free else None,
        "used_after": tokens if is_free else None,
        "running_total": tokens if is_free else None,
        "platform_verdict": None,
        "list_amount_usd": "0.0025",
        "amount_usd": "0" if is_free else "0.0025",
        "offer": "data-sharing-2025@2025-03-06",
        "occurred_at": at,
    } | fields


_NUMBERS = iter(range(10**6))


def used(tokens: int, *, free: bool = True, model: str = MODEL, project: str | None = "proj_a", cached: int = 0) -> Any:
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": tokens,
        "output_tokens": 0,
        "input_cached_tokens": cached,
        "num_model_requests": 1,
        "project_id": project,
        "model": model,
        "service_tier": "incentivized-tier" if free else "default",
    }


def cost(line_item: str | None, value: Any, quantity: Any = None) -> Any:
    named = {"line_item": line_item, "project_id": None, "quantity": quantity}
    return {"object": "organization.costs.result", "amount": {"value": value, "currency": "usd"}} | named


def bucket(day: Any, *results: Any, start: int = 0, seconds: int = 86_400) -> Any:
    begins = int(moment.midnight(day).timestamp()) + start
    return {"object": "bucket", "start_time": begins, "end_time": begins + seconds, "results": list(results)}


def page(*buckets: Any, has_more: bool = False) -> Any:
    return {"object": "page", "data": list(buckets), "has_more": has_more, "next_page": "p2" if has_more else None}


class Desk:
    """Writes files and runs the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, name: str, content: Any) -> str:
        file = self.folder / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(file)

    def run(self, records: Sequence[Any], usage: Any = None, costs: Any = None, *more: str) -> Result:
        arguments = ["--records", self.file("records.json", records)]
        if usage is not None:
            arguments += ["--usage", self.file("usage.json", usage)]
        if costs is not None:
            arguments += ["--costs", self.file("costs.json", costs)]
        return CliRunner().invoke(app, ["reconcile", "org_a", *arguments, *more])

    def compared(self, records: Sequence[Any], usage: Any = None, costs: Any = None, *more: str) -> Any:
        result = self.run(records, usage, costs, *more, "--json")
        content = json.loads(result.stdout)
        assert result.exit_code == (0 if content["agrees"] else 1), result.output
        return content

    def cause(self, records: Sequence[Any], usage: Any, *more: str) -> str:
        """Of the one difference."""
        (difference,) = self.compared(records, usage, None, *more)["differences"]
        return str(difference["cause"])

    def refusal(self, records: Sequence[Any], usage: Any = None, costs: Any = None, *more: str) -> str:
        result = self.run(records, usage, costs, *more)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        return " ".join(result.stderr.split())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# Both sides agree -----------------------------------------------------------------------------------------------------


def test_equal_sides_agree(desk: Desk) -> None:
    records = [record(1000, cached=300), record(500), record(70, reason="over_quota"), record(5, project="proj_b")]
    usage = page(bucket(DAY, used(1500, cached=300), used(70, free=False), used(5, project="proj_b")), bucket(DAYS[1]))
    compared = desk.compared(records, usage)
    assert (compared["agrees"], compared["differences"]) == (True, [])
    assert compared["days"][0] == {
        "day": DAY.isoformat(),
        "model": MODEL,
        "project": "proj_a",
        "free": {"ours": 1500, "theirs": 1500},
        "billed": {"ours": 70, "theirs": 70},
        "cached_input": {"ours": 300, "theirs": 300},
    }


def test_for_people_it_says_so_in_a_line(desk: Desk) -> None:
    result = desk.run([record(10)], page(bucket(DAY, used(10))))
    assert (result.exit_code, result.stdout) == (0, "Agrees: 1 lines of 1 days, free and billed.\n")


def test_projects_are_added_up_where_one_side_does_not_tell_them_apart(desk: Desk) -> None:
    records = [record(10), record(20, project="proj_b"), record(30, project=None)]
    compared = desk.compared(records, page(bucket(DAY, used(60, project=None))))
    assert [(each["project"], each["free"]["ours"]) for each in compared["days"]] == [(None, 60)]
    assert compared["agrees"]


@pytest.mark.parametrize(
    ("ours", "theirs"), [("gpt-4o", MODEL), (MODEL, "gpt-4o"), ("new-model", "new-model-2030-01-02")]
)
def test_a_name_with_its_date_and_without_is_one_model(desk: Desk, ours: str, theirs: str) -> None:
    assert desk.compared([record(10, model=ours)], page(bucket(DAY, used(10, model=theirs))))["agrees"]


def test_minutes_and_hours_make_days(desk: Desk) -> None:
    hours = [bucket(DAY, used(10), start=3600 * hour, seconds=3600) for hour in range(24)]
    assert desk.compared([record(100), record(140)], page(*hours))["agrees"]


def test_pages_lines_and_arrays_are_read_and_the_same_bucket_counts_once(desk: Desk) -> None:
    first = page(bucket(DAY, used(10)), has_more=True)
    second = page(bucket(DAYS[1], used(20)))
    records = [record(10), record(20, at=f"{DAYS[1]}T10:00:00Z")]
    assert desk.compared(records, [first, second])["agrees"]
    assert desk.compared(records, f"{json.dumps(first)}\n{json.dumps(second)}\n")["agrees"]
    assert desk.compared(records, [first, second, first])["agrees"]
    files = ["--usage", desk.file("one.json", first), desk.file("two.json", second)]
    assert desk.compared(records, None, None, *files)["agrees"]


def test_other_organizations_and_other_providers_are_left_aside(desk: Desk) -> None:
    stranger = record(99) | {"organization": "org_b", "id": f"org_b:{DAY}:x"}
    records = [record(10), stranger, record(7, model=f"azure/{MODEL}", reason="model_not_listed")]
    compared = desk.compared(records, page(bucket(DAY, used(10))))
    assert compared["agrees"]
    assert compared["notes"] == ["left aside: 1 of our rows of other providers' models"]


def test_days_that_the_pages_are_not_about_are_left_aside_and_said(desk: Desk) -> None:
    compared = desk.compared([record(10), record(5, at="2025-04-01T00:00:00Z")], page(bucket(DAY, used(10))))
    assert compared["agrees"]
    assert "1 days (2025-04-01)" in compared["notes"][0]


def test_records_that_were_emitted_twice_count_once(desk: Desk) -> None:
    one = record(10)
    assert desk.compared([one, one], page(bucket(DAY, used(10))))["agrees"]


# What differs, and why ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", BILLED_HERE)
def test_what_is_billed_here_and_free_there_is_said_by_its_reason(desk: Desk, reason: str) -> None:
    records = [record(1000), record(40, reason=reason), record(7, reason="fine_tuned_model")]
    usage = page(bucket(DAY, used(1040), used(7, free=False)))
    assert desk.cause(records, usage) == BILLED_HERE[reason]


def test_an_alias_that_we_bill_is_found_under_its_dated_name(desk: Desk) -> None:
    records = [record(40, model="new-model", reason="model_not_listed", project=None)]
    (difference,) = desk.compared(records, page(bucket(DAY, used(40, model="new-model-2030-01-02"))))["differences"]
    assert difference["cause"].startswith("an alias that we bill")
    assert difference["ids"] == [records[0]["id"]]


def test_what_is_free_here_and_billed_there_is_said(desk: Desk) -> None:
    usage = page(bucket(DAY, used(100), used(40, free=False)))
    assert "free here and billed there" in desk.cause([record(100), record(40)], usage)


def test_traffic_that_never_reached_us_is_said(desk: Desk) -> None:
    assert desk.cause([record(10)], page(bucket(DAY, used(30)))).startswith("traffic that never reached us")
    unknown = page(bucket(DAY, used(10), used(30, model=SMALL)))
    assert "no request for this model" in desk.cause([record(10)], unknown)


def test_traffic_under_another_project_is_said_on_both_sides(desk: Desk) -> None:
    usage = page(bucket(DAY, used(30, project="proj_b"), used(1)))
    compared = desk.compared([record(30), record(1)], usage)
    causes = {each["project"]: each["cause"] for each in compared["differences"]}
    assert causes == {
        "proj_a": "the other side counts it under the project proj_b",
        "proj_b": "the other side counts it under the project proj_a",
    }


def test_traffic_around_midnight_that_is_counted_on_the_next_day_is_a_windows_edge(desk: Desk) -> None:
    records = [record(30, at=f"{DAY}T23:59:59Z"), record(5)]
    usage = page(bucket(DAY, used(5)), bucket(DAYS[1], used(30)))
    causes = {each["cause"] for each in desk.compared(records, usage)["differences"]}
    assert causes == {
        f"a window's edge: the other side counts it under the day {DAYS[1]}",
        f"a window's edge: the other side counts it under the day {DAY}",
    }


def test_a_batch_that_is_counted_twice_is_said(desk: Desk) -> None:
    twice = [record(800, request_id="batch_a"), record(800, request_id="batch_b"), record(3)]
    assert desk.cause(twice, page(bucket(DAY, used(803)))).startswith("counted twice")


def test_the_lag_of_the_platform_is_said(desk: Desk) -> None:
    now = datetime.now(UTC)
    late = moment.text(now - timedelta(minutes=2))
    today = moment.day_of(moment.parse(late))
    usage = page(bucket(today))
    assert "lags 5 to 15 minutes" in desk.cause([record(30, at=late)], usage)
    assert desk.compared([record(30, at=late)], usage, None, "--as-of", moment.text(now - timedelta(minutes=20)))[
        "agrees"
    ]


def test_as_of_leaves_later_traffic_out_on_both_sides(desk: Desk) -> None:
    records = [record(10), record(20, at=f"{DAY}T14:00:00Z"), record(40, at=f"{DAY}T15:30:00Z")]
    hours = [
        bucket(DAY, used(tokens), start=3600 * hour, seconds=3600) for hour, tokens in ((10, 10), (14, 25), (15, 1))
    ]
    assert desk.compared(records, page(*hours), None, "--as-of", f"{DAY}T14:00:00Z")["agrees"]
    assert not desk.compared(records, page(*hours))["agrees"]


def test_as_of_is_a_moment_whatever_decimals_a_record_has(desk: Desk) -> None:
    records = [record(10, at=f"{DAY}T13:59:59.5Z"), record(20, at=f"{DAY}T14:00:00.500Z")]
    usage = page(bucket(DAY, used(10), start=3600 * 13, seconds=3600))
    assert desk.compared(records, usage, None, "--as-of", f"{DAY}T14:00:00Z")["agrees"]


def test_a_bucket_that_goes_on_after_as_of_is_said(desk: Desk) -> None:
    compared = desk.compared([record(10)], page(bucket(DAY, used(10))), None, "--as-of", f"{DAY}T14:00:00Z")
    assert "goes on after --as-of" in compared["notes"][0]


def test_cached_input_is_compared_apart(desk: Desk) -> None:
    compared = desk.compared([record(10, cached=4)], page(bucket(DAY, used(10, cached=5))))
    (difference,) = compared["differences"]
    assert difference["difference"] == {"free": 0, "billed": 0, "cached_input": -1}
    assert difference["cause"].startswith("cached input")


def test_the_platforms_verdict_on_a_request_is_held_against_ours(desk: Desk) -> None:
    records = [record(10, platform_verdict="billed"), record(5, platform_verdict="free")]
    compared = desk.compared(records, page(bucket(DAY, used(15))))
    (difference,) = compared["differences"]
    assert (difference["ids"], difference["difference"]) == (
        [records[0]["id"]],
        {"verdict": {"ours": "free", "theirs": "billed"}},
    )


# Voids ----------------------------------------------------------------------------------------------------------------


def void(voided: dict[str, Any], decided_at: str = f"{DAYS[1]}T08:00:00Z") -> dict[str, Any]:
    """The record of the void that takes a record back, as it is decided: of the day of what it takes back."""
    tokens = {name: -count for name, count in voided["tokens"].items()}
    amounts = {
        name: None if voided[name] is None else str(-Decimal(voided[name]))
        for name in ("list_amount_usd", "amount_usd")
    }
    own = {"kind": "usage.void", "id": f"{voided['id']}~void", "reason": "void", "voids": voided["id"]}
    return voided | own | amounts | {"tokens": tokens, "decided_at": decided_at}


@pytest.mark.parametrize("decided_at", [f"{DAY}T11:00:00Z", f"{DAYS[1]}T08:00:00Z"])
@pytest.mark.parametrize("reason", ["within_quota", "over_quota"])
def test_what_a_void_took_back_counts_on_neither_side(desk: Desk, decided_at: str, reason: str) -> None:
    twice = record(40, reason=reason)
    records = [record(10), twice, void(twice, decided_at), record(5, at=f"{DAYS[1]}T09:00:00Z")]
    usage = page(bucket(DAY, used(10)), bucket(DAYS[1], used(5)))
    costs = page(bucket(DAY, cost(f"{MODEL}, input", 0, 10)), bucket(DAYS[1], cost(f"{MODEL}, input", 0, 5)))
    for pages in ((usage, None), (None, costs), (usage, costs)):
        compared = desk.compared(records, *pages)
        assert (compared["agrees"], compared["notes"]) == (True, [])
        assert [(each["day"], each["free"]["ours"], each["billed"]["ours"]) for each in compared["days"]] == [
            (DAY.isoformat(), 10, 0),
            (DAYS[1].isoformat(), 5, 0),
        ]


def test_a_model_of_which_voids_took_everything_back_is_no_line(desk: Desk) -> None:
    twice = record(40, model=SMALL)
    compared = desk.compared([record(10), twice, void(twice)], page(bucket(DAY, used(10))))
    assert [each["model"] for each in compared["days"]] == [MODEL]


def test_a_void_that_was_decided_after_as_of_takes_back_all_the_same(desk: Desk) -> None:
    twice = record(40)
    usage = page(bucket(DAY, used(10)))
    assert desk.compared([record(10), twice, void(twice)], usage, None, "--as-of", f"{DAYS[1]}T00:00:00Z")["agrees"]


def test_what_the_platform_counts_although_it_was_voided_is_said(desk: Desk) -> None:
    voided, other = record(40), record(7, project="proj_b")
    records = [record(10), voided, void(voided), other, void(other)]
    (difference,) = desk.compared(records, page(bucket(DAY, used(50))))["differences"]
    assert difference["cause"] == "taken back here by a void, and the platform counts it"
    assert difference["ids"] == [voided["id"]]


def test_a_void_whose_request_is_not_among_the_records_is_said(desk: Desk) -> None:
    (difference,) = desk.compared([record(50), void(record(40))], page(bucket(DAY, used(50))))["differences"]
    assert difference["cause"].startswith("a void of a request that is not among our records")
    assert difference["difference"]["free"] == -40


def test_a_voided_request_has_no_verdict_that_could_differ(desk: Desk) -> None:
    voided = record(40, platform_verdict="billed")
    assert desk.compared([record(10), voided, void(voided)], page(bucket(DAY, used(10))))["agrees"]


def test_voided_requests_are_no_cause(desk: Desk) -> None:
    voided = record(800, request_id="batch_a")
    records = [voided, void(voided), record(800, request_id="batch_b"), record(800, request_id="batch_c")]
    (difference,) = desk.compared(records, page(bucket(DAY, used(800))))["differences"]
    assert difference["cause"].startswith("counted twice")
    assert difference["ids"] == [f"org_a:{DAY}:batch_b", f"org_a:{DAY}:batch_c"]


def test_voided_requests_lack_no_price(desk: Desk) -> None:
    unpriced = {"reason": "model_not_listed", "model": "new-model", "amount_usd": None, "list_amount_usd": None}
    voided = record(40, **unpriced)
    compared = desk.compared(
        [record(10, **unpriced), voided, void(voided)], None, page(bucket(DAY, cost("new-model, input", "0.5", 10)))
    )
    (difference,) = compared["differences"]
    assert difference["cause"] == "1 requests have no price here"


# Costs ----------------------------------------------------------------------------------------------------------------


def test_costs_are_compared_by_day_and_model(desk: Desk) -> None:
    records = [
        record(10),
        record(70, reason="over_quota"),
        record(5, model="ft:gpt-4o-2024-08-06:acme::x", reason="tool_use"),
    ]
    costs = page(
        bucket(
            DAY,
            cost(f"{MODEL}, input", 0, 10),
            cost(f"flex | {MODEL}, cached input", "0.0005", 20),
            cost("gpt-4o, output", 0.0020, 50.0),
            cost("ft-gpt-4o-2024-08-06, input", "0.0025", 5),
            cost("web search tool calls", 0.01, 1),
            cost("Vector storage", "0.02"),
        )
    )
    for usage in (
        None,
        page(bucket(DAY, used(10), used(70, free=False), used(5, free=False, model=records[2]["model"]))),
    ):
        compared = desk.compared(records, usage, costs)
        assert [each["amount_usd"] for each in compared["costs"]] == [{"ours": "0.0025", "theirs": "0.0025"}] * 2
        assert compared["notes"] == ["not metered here: Vector storage, web search tool calls"]
        assert [each["difference"] for each in compared["differences"]] == (
            [{"free": 0, "billed": 0, "cached_input": -20}] if usage is None else []
        )


def test_an_amount_that_differs_alone_is_another_price(desk: Desk) -> None:
    usage = page(bucket(DAY, used(70, free=False)))
    compared = desk.compared(
        [record(70, reason="over_quota")], usage, page(bucket(DAY, cost(f"{MODEL}, input", "0.9")))
    )
    (difference,) = compared["differences"]
    assert difference["difference"] == {"amount_usd": "-0.8975"}
    assert difference["cause"].startswith("another price")


@pytest.mark.parametrize("marked", [True, False], ids=["said to be unpriced", "of a model that nobody prices"])
def test_what_has_no_price_is_not_free(desk: Desk, marked: bool) -> None:
    model = SMALL if marked else "omni-moderation-latest"
    unpriced = record(40, model=model, reason="tool_use", amount_usd=None, list_amount_usd=None)
    line = cost(model, 0, 40) | ({"unpriced_requests": 1} if marked else {})
    compared = desk.compared([record(10), unpriced], None, page(bucket(DAY, cost(f"{MODEL}, input", 0, 10), line)))
    assert compared["agrees"]
    figures = {each["model"]: (each["free"], each["billed"]) for each in compared["days"]}
    assert figures[model] == ({"ours": 0, "theirs": 0}, {"ours": 40, "theirs": 40})
    assert figures[MODEL] == ({"ours": 10, "theirs": 10}, {"ours": 0, "theirs": 0})


def test_line_items_of_cache_writes_and_long_context_are_tokens_of_their_model(desk: Desk) -> None:
    tokens = {"input": 900, "cached_input": 300, "cache_write": 200, "output": 100, "total": 1000}
    records = [record(model="gpt-5.6-sol", reason="over_quota") | {"tokens": tokens}]
    costs = page(
        bucket(
            DAY,
            cost("gpt-5.6-sol, input", "0.0005", 150),
            cost("gpt-5.6-sol, cached input", "0.0001", 200),
            cost("gpt-5.6-sol, cached input, long context", "0.0002", 100),
            cost("gpt-5.6-sol, cache writes", "0.0006", 200),
            cost("priority | gpt-5.6-sol, input, long context", "0.0006", 250),
            cost("gpt-5.6-sol, output, long context", 0.0005, 100),
        )
    )
    compared = desk.compared(records, None, costs)
    assert compared["agrees"]
    assert compared["days"][0]["cached_input"] == {"ours": 300, "theirs": 300}


def test_what_is_billed_here_and_has_no_price_there_is_said(desk: Desk) -> None:
    line = cost(MODEL, 0, 70) | {"unpriced_requests": 2}
    compared = desk.compared([record(70, reason="over_quota")], None, page(bucket(DAY, line)))
    (difference,) = compared["differences"]
    assert (difference["difference"], difference["cause"]) == (
        {"amount_usd": "0.0025"},
        "1 line items have no price there",
    )


def test_a_fine_tuned_model_of_amount_0_was_given_away(desk: Desk) -> None:
    mine = record(5, model="ft:gpt-4o-2024-08-06:acme::x", group="1m")
    assert desk.compared([mine], None, page(bucket(DAY, cost("ft-gpt-4o-2024-08-06, input", 0, 5))))["agrees"]


def test_a_line_item_without_a_quantity_says_nothing_of_tokens(desk: Desk) -> None:
    compared = desk.compared([record(10)], None, page(bucket(DAY, cost(f"{MODEL}, input", 0))))
    assert compared["agrees"]
    assert compared["days"][0]["free"] == {"ours": 10, "theirs": None}


# What is unusable -----------------------------------------------------------------------------------------------------

UNUSABLE: dict[str, tuple[Any, str]] = {
    "more pages": (page(bucket(DAY), has_more=True), "usage.json: has_more is true, and the next page is not there"),
    "no model": (page(bucket(DAY, used(1) | {"model": None})), "is not grouped by model"),
    "no tier": (page(bucket(DAY, used(1) | {"service_tier": None})), "is not grouped by service_tier"),
    "other figures": ([page(bucket(DAY, used(1))), page(bucket(DAY, used(2)))], "page 2: bucket 2025-03-11T00:00Z"),
    "overlap": (page(bucket(DAY, used(1)), bucket(DAY, used(1), seconds=3600)), "overlaps the bucket"),
    "costs": (
        page(bucket(DAY, cost("x, input", 1))),
        "object: is 'organization.costs.result', not organization.usage.*",
    ),
    "no page": ({"object": "list"}, "usage.json: object"),
    "no JSON": ("{", "usage.json:1: is no JSON"),
    "negative": (page(bucket(DAY, used(-1))), "results.0: input_tokens"),
}


@pytest.mark.parametrize(("usage", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_pages_that_cannot_be_compared_are_refused_by_name(desk: Desk, usage: Any, said: str) -> None:
    assert said in desk.refusal([record(1)], usage)


COSTS: dict[str, tuple[Any, str]] = {
    "no line item": (cost(None, 1), "is not grouped by line_item"),
    "another currency": (cost("x, input", 1) | {"amount": {"value": 1, "currency": "eur"}}, "is 'eur', not 'usd'"),
    "no amount": (cost("x, input", "much"), "amount.value"),
}


@pytest.mark.parametrize(("line", "said"), COSTS.values(), ids=COSTS)
def test_costs_that_cannot_be_compared_are_refused_by_name(desk: Desk, line: Any, said: str) -> None:
    assert said in desk.refusal([record(1)], None, page(bucket(DAY, line)))


OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "no word": ((), "name the platform's pages"),
    "a day without openai": (("--day", "2025-03-11"), "--day: only for pages that are fetched"),
    "a ledger beside records": (("--stack", "x"), "--stack: there is a ledger only without"),
    "no key": (("--openai",), "needs a key in the environment, as OPENAI_ADMIN_KEY"),
    "no time": (("--as-of", "noon"), "--as-of: must be a time with an offset"),
}


@pytest.mark.parametrize(("options", "said"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_make_no_sense_are_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    assert said in desk.refusal([record(1)], None, None, *options)


class AccountApi(Quiet):
    """The API of a deployment in which `org_b` has an account and no traffic."""

    def do_GET(self) -> None:
        allowance = {"object": "allowance", "is_known": "organization=org_b" in self.path}
        self.answer(json.dumps(allowance if "/allowance" in self.path else page(bucket(DAY))).encode())


def test_an_organization_that_a_deployed_api_does_not_know_is_said_to_be_unknown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRATIS_API_KEY", "gk_platform")
    usage = desk.file("usage.json", page(bucket(DAY, used(10))))
    with Loopback(AccountApi) as api:
        ours = ("--usage", usage, "--url", f"{api.url}/v1", "--json")
        said = [CliRunner().invoke(app, ["reconcile", name, *ours]) for name in ("org_a", "org_b")]
    assert [each.exit_code for each in said] == [1, 1]
    notes = [json.loads(each.stdout)["notes"] for each in said]
    assert notes == [["org_a is unknown here: it has no account"], []]


def test_a_record_with_two_contents_is_refused(desk: Desk) -> None:
    one = record(10)
    assert "is there twice, with another content" in desk.refusal([one, one | {"model": SMALL}], page(bucket(DAY)))


def test_the_page_has_all_days_and_what_differs(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "reconciled.html"
    assert desk.run([record(10)], page(bucket(DAY, used(30))), None, "--report", str(file)).exit_code == 1
    text = file.read_text()
    assert "What differs" in text
    assert "traffic that never reached us" in text
