"""Rule 7 and the fold: what fits is free, what does not is billed whole, and the books always agree."""

from collections import defaultdict
from copy import deepcopy
from dataclasses import astuple, replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gratis.rules.account import Account
from gratis.rules.decision import Books, case_of, settle
from gratis.rules.offer import Offer
from gratis.rules.offer_file import shipped
from gratis.rules.receipt import Decision
from gratis.rules.request import Request, Tokens
from gratis.rules.totals import RowKey, Sums, Totals
from gratis.rules.window import Counter, CounterId, Window
from tests.builders import organizations
from tests.builders.events import LARGE, SMALL, at, eval_run, request
from tests.builders.ledger import NOW, Desk, verdicts
from tests.builders.offers import small_offer
from tests.builders.organizations import account, profile, tiers

THE_DAY = date(2025, 3, 11)
CLOSING = {"overflow": "close"}


def used(decision: Decision) -> tuple[int | None, int | None, int | None]:
    """The counter before and after a decision, and the running total."""
    return decision.used_before, decision.used_after, decision.running_total


# The programme's example

SEED_DAY = [
    ("09:15", 120_000, "free", 120_000),
    ("12:40", 140_000, "free", 260_000),
    ("14:30", 150_000, "free", 410_000),
    ("16:00", 150_000, "free", 560_000),
    ("18:05", 150_000, "free", 710_000),
    ("20:20", 150_000, "free", 860_000),
    ("22:15", 115_000, "free", 975_000),
    ("23:10", 30_000, "billed", 1_005_000),
]


def seed_day() -> list[Request]:
    return [request(tokens, f"2025-03-11T{time}") for time, tokens, _, _ in SEED_DAY]


@pytest.mark.parametrize("tier", [3, 4, 5])
@pytest.mark.parametrize("overflow", ["skip", "close"])
def test_the_programmes_example_day_comes_out_as_printed(tier: int, overflow: str) -> None:
    offer = with_overflow(shipped("data-sharing-2025"), overflow)
    decisions = Desk(offer, account(profiles=[profile(tier=tier)])).decide(*seed_day())
    assert [(each.verdict, each.running_total) for each in decisions] == [row[2:] for row in SEED_DAY]
    assert used(decisions[-1]) == (975_000, 975_000, 1_005_000)


def test_after_the_billed_request_a_smaller_one_is_free_and_reaches_the_quota_exactly() -> None:
    *_, last = Desk().decide(*seed_day(), request(25_000, "2025-03-11T23:30"))
    assert (last.verdict, last.reason) == ("free", "within_quota")
    assert used(last) == (975_000, 1_000_000, 1_000_000)


def test_a_closing_offer_bills_the_smaller_request_after_the_billed_one() -> None:
    offer = with_overflow(shipped("data-sharing-2025"), "close")
    *_, last = Desk(offer).decide(*seed_day(), request(25_000, "2025-03-11T23:30"))
    assert (last.verdict, last.reason) == ("billed", "over_quota")
    assert used(last) == (975_000, 975_000, 1_000_000)


def with_overflow(offer: Offer, overflow: str) -> Offer:
    return replace(offer, versions=tuple(replace(version, overflow=overflow) for version in offer.versions))


def test_a_decision_becomes_the_billing_record_of_the_specification() -> None:
    organization = account(sharing=[organizations.settings(f"2025-0{month}-01T00:00:00Z") for month in (1, 2, 3)])
    asked = request(Tokens(90_000, 0, 30_000), "2025-03-11T09:15", id="req_001")
    (decision,) = Desk(organization=organization).decide(asked)
    assert decision.record() == {
        "format": 2,
        "kind": "usage.request",
        "id": "org_demo:2025-03-11:req_001",
        "organization": "org_demo",
        "project": "proj_web",
        "request_id": "req_001",
        "model": "gpt-4o-2024-08-06",
        "group": "1m",
        "window": "2025-03-11",
        "verdict": "free",
        "reason": "within_quota",
        "tokens": {"input": 90000, "cached_input": 0, "cache_write": 0, "output": 30000, "total": 120000},
        "unit": "tokens",
        "quota": 1000000,
        "used_before": 0,
        "reserved_before": 0,
        "used_after": 120000,
        "running_total": 120000,
        "voids": None,
        "reservation": None,
        "platform_verdict": None,
        "list_amount_usd": "0.525",
        "amount_usd": "0",
        "tier": 4,
        "offer": "data-sharing-2025@2025-03-06",
        "profile_version": 1,
        "settings_version": 3,
        "price_version": "2024-08-06",
        "payload_hash": "0" * 64,
        "occurred_at": "2025-03-11T09:15:00Z",
        "received_at": "2025-03-11T09:15:00Z",
        "decided_at": "2025-03-12T00:00:00Z",
    }


def test_a_decision_keeps_what_it_takes_to_decide_it_again() -> None:
    asked = request(endpoint="assistants", service_tier="flex", batch=True, tools=["function", "web_search_preview"])
    (decision,) = Desk().decide(asked)
    assert (decision.endpoint, decision.service_tier, decision.batch) == ("assistants", "flex", True)
    assert (decision.hosted_tool, decision.shared, decision.kind) == ("web_search", True, "usage.request")


def test_a_request_that_an_earlier_rule_bills_has_no_figures_and_no_group() -> None:
    (decision,) = Desk().decide(request(Tokens(90_000, 0, 30_000), tools=["web_search"]))
    assert (decision.verdict, decision.reason, decision.group) == ("billed", "tool_use", None)
    assert (decision.quota, decision.window, *used(decision)) == (None,) * 5
    assert (decision.list_amount_usd, decision.amount_usd) == ("0.525", "0.525")


def test_the_decision_on_an_unknown_organization_names_no_versions_and_no_tier() -> None:
    asked = request()
    case = case_of(asked, shipped("data-sharing-2025"), None)
    _, (decision,) = settle(Books(Counter(), {}), [case], NOW)
    assert (decision.verdict, decision.reason) == ("billed", "sharing_disabled")
    assert (decision.tier, decision.profile_version, decision.settings_version) == (None, None, None)


def test_a_decision_is_the_one_of_its_organization_utc_day_and_request_id() -> None:
    (decision,) = Desk().decide(request(when="2025-03-11T23:59:59.999999", id="req:1/a"))
    assert decision.key == ("org_demo", THE_DAY, "req:1/a")
    assert decision.record()["id"] == "org_demo:2025-03-11:req:1/a"


# What fits


def test_a_request_that_reaches_the_quota_exactly_is_free() -> None:
    (decision,) = Desk(small_offer(quota=1000)).decide(request(1000))
    assert decision.verdict == "free"
    assert used(decision) == (0, 1000, 1000)


def test_a_request_of_one_token_more_is_billed_whole_and_consumes_nothing() -> None:
    (decision,) = Desk(small_offer(quota=1000)).decide(request(1001))
    assert (decision.verdict, decision.reason) == ("billed", "over_quota")
    assert used(decision) == (0, 0, 1001)


def test_one_more_token_after_an_exact_fill_is_billed() -> None:
    _, decision = Desk(small_offer(quota=1000)).decide(request(1000), request(1))
    assert decision.verdict == "billed"
    assert used(decision) == (1000, 1000, 1001)


def test_cached_input_counts_once_and_output_counts_too() -> None:
    (decision,) = Desk(small_offer(quota=1000)).decide(request(Tokens(input=700, cached=600, output=300)))
    assert used(decision) == (0, 1000, 1000)


def test_the_groups_do_not_share_a_quota_and_their_models_do() -> None:
    desk = Desk()
    decisions = desk.decide(
        request(1_000_000, model="gpt-4o-2024-08-06"),
        request(1, model="o1-2024-12-17"),
        request(10_000_000, model="gpt-4o-mini-2024-07-18"),
        request(1, model="o4-mini-2025-04-16"),
    )
    assert verdicts(decisions) == ["free", "billed", "free", "billed"]


def test_the_projects_of_an_organization_share_one_pool() -> None:
    decisions = Desk(small_offer(quota=1000)).decide(
        request(600, project="proj_web"), request(600, project="proj_app"), request(400, project=None)
    )
    assert verdicts(decisions) == ["free", "billed", "free"]


def test_a_quota_of_nothing_bills_all_but_empty_requests() -> None:
    decisions = Desk(small_offer(quota=0)).decide(request(1), request(0))
    assert verdicts(decisions) == ["billed", "free"]


def test_decisions_are_taken_in_arrival_order_not_in_order_of_occurrence() -> None:
    later, earlier = Desk(small_offer(quota=1000)).decide(
        request(1000, "2025-03-11T23:00"), request(1000, "2025-03-11T01:00")
    )
    assert (later.verdict, earlier.verdict) == ("free", "billed")


# A window that closes


def test_a_closed_window_bills_every_later_request_but_an_empty_one() -> None:
    desk = Desk(small_offer(quota=1000, **CLOSING))
    decisions = desk.decide(request(900), request(101), request(100), request(0), request(1))
    assert [each.reason for each in decisions] == [
        "within_quota",
        "over_quota",
        "over_quota",
        "within_quota",
        "over_quota",
    ]
    assert [used(each) for each in decisions[1:]] == [
        (900, 900, 1001),
        (900, 900, 1000),
        (900, 900, 900),
        (900, 900, 901),
    ]


def test_a_window_that_was_filled_exactly_is_not_closed_before_a_request_does_not_fit() -> None:
    desk = Desk(small_offer(quota=1000, **CLOSING), tiers(("2025-01-01T00:00", 1), ("2025-03-11T12:00", 4)))
    decisions = desk.decide(request(500, "2025-03-11T09:00"), request(500, "2025-03-11T13:00"))
    assert verdicts(decisions) == ["free", "free"]


def test_a_closed_window_stays_closed_when_a_higher_tier_would_leave_room() -> None:
    desk = Desk(small_offer(quota=1000, **CLOSING), tiers(("2025-01-01T00:00", 1), ("2025-03-11T12:00", 4)))
    decisions = desk.decide(request(501, "2025-03-11T09:00"), request(1, "2025-03-11T13:00"))
    assert [each.reason for each in decisions] == ["over_quota", "over_quota"]


def test_the_next_day_is_open_again_and_so_is_the_other_group() -> None:
    desk = Desk(small_offer(quota=1000, **CLOSING))
    decisions = desk.decide(
        request(1001), request(1), request(1, model=SMALL), request(1000, "2025-03-12T00:00"), request(1)
    )
    assert verdicts(decisions) == ["billed", "billed", "free", "free", "billed"]


def test_a_rolling_window_that_closed_is_followed_by_an_open_one() -> None:
    desk = Desk(small_offer(quota=1000, window="rolling_24h", **CLOSING))
    decisions = desk.decide(
        request(900, "2025-03-11T07:00"),
        request(101, "2025-03-11T08:00"),
        request(1, "2025-03-12T06:59:59.999999"),
        request(1, "2025-03-12T07:00"),
    )
    assert verdicts(decisions) == ["free", "billed", "billed", "free"]


def test_requests_that_earlier_rules_bill_close_no_window() -> None:
    desk = Desk(small_offer(quota=1000, **CLOSING))
    assert verdicts(desk.decide(request(5000, tools=["web_search"]), request(1))) == ["billed", "free"]


# No tokens at all


@pytest.mark.parametrize("overflow", ["skip", "close"])
@pytest.mark.parametrize("window", ["utc_day", "rolling_24h"])
@pytest.mark.parametrize(("before", "held"), [([], 0), ([400], 400), ([1000], 1000), ([1000, 1], 1000)])
def test_a_request_of_no_tokens_is_free_whatever_the_counter_holds_and_changes_nothing(
    overflow: str, window: str, before: list[int], held: int
) -> None:
    desk = Desk(small_offer(quota=1000, window=window, overflow=overflow))
    desk.decide(*map(request, before))
    counters = [books.counter for books in desk.books.values()]
    (decision,) = desk.decide(request(0))
    assert (decision.verdict, decision.reason, decision.quota) == ("free", "within_quota", 1000)
    assert used(decision) == (held, held, held)
    assert decision.thresholds == ()
    assert [books.counter for books in desk.books.values()] == (counters or [Counter()])


def test_a_request_of_no_tokens_passes_the_earlier_rules_like_any_other() -> None:
    (decision,) = Desk().decide(request(0, model="gpt-9"))
    assert (decision.verdict, decision.reason) == ("billed", "model_not_listed")


def test_a_request_of_no_tokens_announces_nothing_where_a_lowered_quota_equals_what_is_used() -> None:
    desk = Desk(small_offer(quota=1000), tiers(("2025-01-01T00:00", 4), ("2025-03-11T12:00", 1)))
    full, empty = desk.decide(request(500, "2025-03-11T11:00"), request(0, "2025-03-11T13:00"))
    assert (full.used_after, empty.quota, empty.used_before) == (500, 500, 500)
    assert (empty.verdict, empty.thresholds) == ("free", ())


def test_a_request_of_no_tokens_is_free_even_if_the_tier_fell_below_what_is_used() -> None:
    desk = Desk(small_offer(quota=1000), tiers(("2025-01-01T00:00", 4), ("2025-03-11T12:00", 1)))
    _, empty = desk.decide(request(900, "2025-03-11T09:00"), request(0, "2025-03-11T13:00"))
    assert (empty.verdict, empty.quota) == ("free", 500)
    assert used(empty) == (900, 900, 900)


# The usage tier changes during the day


def test_a_higher_tier_adds_to_what_is_left_of_the_same_day() -> None:
    desk = Desk(organization=tiers(("2025-01-01T00:00", 2), ("2025-03-11T12:00", 3)))
    before = desk.decide(request(250_000, "2025-03-11T11:00"), request(1, "2025-03-11T11:59:59.999999"))
    assert verdicts(before) == ["free", "billed"]
    (after,) = desk.decide(request(750_000, "2025-03-11T12:00"))
    assert (after.verdict, after.tier, after.quota, after.profile_version) == ("free", 3, 1_000_000, 2)
    assert used(after) == (250_000, 1_000_000, 1_000_000)


def test_a_lower_tier_takes_nothing_back_and_frees_nothing_more() -> None:
    desk = Desk(organization=tiers(("2025-01-01T00:00", 3), ("2025-03-11T12:00", 2)))
    before, after = desk.decide(request(600_000, "2025-03-11T09:00"), request(1, "2025-03-11T12:00"))
    assert before.verdict == "free"
    assert (after.verdict, after.reason, after.quota) == ("billed", "over_quota", 250_000)
    assert used(after) == (600_000, 600_000, 600_001)


def test_a_late_request_is_measured_by_the_tier_of_when_it_occurred() -> None:
    desk = Desk(organization=tiers(("2025-01-01T00:00", 2), ("2025-03-11T12:00", 3)))
    _, late = desk.decide(request(250_000, "2025-03-11T13:00"), request(1, "2025-03-11T11:00"))
    assert (late.verdict, late.quota) == ("billed", 250_000)


# Thresholds


def announced(*tokens: int, **offer: Any) -> list[tuple[int, ...]]:
    """What each request of a day with a quota of 1000 announces."""
    return [tuple(each.thresholds) for each in Desk(small_offer(quota=1000, **offer)).decide(*map(request, tokens))]


def test_80_per_cent_is_announced_by_the_free_request_that_reaches_it() -> None:
    assert announced(799, 1, 1) == [(), (80,), ()]


def test_a_free_request_may_jump_over_80_per_cent() -> None:
    assert announced(799, 100, 1) == [(), (80,), ()]


def test_100_per_cent_is_announced_by_an_exact_fill_and_not_again() -> None:
    assert announced(900, 100, 1, 1) == [(80,), (100,), (), ()]


def test_one_request_may_reach_both_thresholds() -> None:
    assert announced(1000) == [(80, 100)]


def test_100_per_cent_is_announced_by_the_first_request_that_does_not_fit_and_not_again() -> None:
    assert announced(700, 400, 400, 5000) == [(), (100,), (), ()]
    assert announced(700, 400, 50, 400) == [(), (100,), (), ()]


def test_an_exact_fill_after_a_request_that_did_not_fit_announces_the_end_no_second_time() -> None:
    assert announced(700, 400, 300) == [(), (100,), (80,)]


def test_a_billed_request_never_announces_80_per_cent() -> None:
    assert announced(1, 1000) == [(), (100,)]


def test_a_request_that_no_quota_could_hold_announces_nothing_and_the_one_that_fills_it_does() -> None:
    assert announced(1001, 1000) == [(), (80, 100)]


def test_a_quota_that_rises_while_the_window_is_open_is_announced_too() -> None:
    raised = tiers(("2025-01-01T00:00", 1), ("2025-03-11T12:00", 4))
    morning, noon = [request(500, f"2025-03-11T0{hour}:00") for hour in (8, 9)], request(500, "2025-03-11T13:00")
    decisions = Desk(small_offer(quota=1000), raised).decide(*morning, noon)
    assert [(each.quota, tuple(each.thresholds)) for each in decisions] == [
        (500, (80, 100)),
        (500, ()),
        (1000, (80, 100)),
    ]


def test_a_closed_window_announces_its_end_once() -> None:
    assert announced(700, 400, 300, 1, **CLOSING) == [(), (100,), (), ()]


def test_the_first_request_that_does_not_fit_is_announced_also_if_a_lower_tier_made_the_quota_what_is_used() -> None:
    desk = Desk(small_offer(quota=1000), tiers(("2025-01-01T00:00", 4), ("2025-03-11T12:00", 1)))
    decisions = desk.decide(request(500, "2025-03-11T09:00"), request(1, "2025-03-11T13:00"))
    assert [(each.reason, tuple(each.thresholds)) for each in decisions] == [
        ("within_quota", ()),
        ("over_quota", (100,)),
    ]


def test_an_empty_request_announces_nothing() -> None:
    assert announced(0, 1000, 0) == [(), (80, 100), ()]


def test_every_day_and_every_group_announces_its_own_thresholds() -> None:
    desk = Desk(small_offer(quota=1000))
    decisions = desk.decide(request(800), request(8000, model=SMALL), request(800, "2025-03-12T00:00"))
    assert [each.thresholds for each in decisions] == [(80,), (80,), (80,)]


def test_the_sixth_evaluation_run_crosses_80_per_cent_and_the_seventh_fills_the_week() -> None:
    decisions = Desk().decide(*(eval_run() for _ in range(9)))
    assert [each.thresholds for each in decisions] == [(), (), (), (), (), (80,), (100,), (), ()]


# Evaluation runs


def test_seven_runs_a_week_are_free_and_the_eighth_is_billed() -> None:
    days = [f"2025-03-{day}T12:00" for day in (10, 10, 11, 12, 13, 14, 16, 16)]
    decisions = Desk().decide(*map(eval_run, days))
    assert verdicts(decisions) == ["free"] * 7 + ["billed"]
    assert [each.running_total for each in decisions] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (decisions[-1].reason, decisions[-1].quota) == ("over_quota", 7)
    assert used(decisions[-1]) == (7, 7, 8)


def test_runs_are_free_again_from_monday_midnight_utc() -> None:
    desk = Desk()
    desk.decide(*(eval_run("2025-03-16T23:59:59.999999") for _ in range(7)))
    sunday, monday = desk.decide(eval_run("2025-03-16T23:59:59.999999"), eval_run("2025-03-17T00:00"))
    assert (sunday.verdict, sunday.window) == ("billed", "2025-03-10")
    assert (monday.verdict, monday.window) == ("free", "2025-03-17")


def test_a_run_of_no_tokens_counts_as_a_run() -> None:
    decisions = Desk().decide(*(eval_run(tokens=0) for _ in range(8)))
    assert verdicts(decisions) == ["free"] * 7 + ["billed"]


def test_runs_touch_no_token_counter_and_requests_no_run_counter() -> None:
    desk = Desk()
    run, asked, second = desk.decide(eval_run(tokens=5_000_000), request(1_000_000), eval_run())
    assert used(run) == (0, 1, 1)
    assert used(asked) == (0, 1_000_000, 1_000_000)
    assert used(second) == (1, 2, 2)
    assert desk.books.keys() == {
        CounterId("org_demo", "1m", "2025-03-11"),
        CounterId("org_demo", "evals", "WEEK#2025-03-10"),
    }


@pytest.mark.parametrize(("earlier_runs", "amount"), [(0, "0"), (7, "0.525")])
def test_the_amounts_of_a_run_are_by_its_tokens(earlier_runs: int, amount: str) -> None:
    desk = Desk()
    desk.decide(*(eval_run() for _ in range(earlier_runs)))
    (decision,) = desk.decide(eval_run(tokens=Tokens(90_000, 0, 30_000)))
    assert decision.group == "evals"
    assert (decision.list_amount_usd, decision.amount_usd) == ("0.525", amount)


def test_a_run_that_is_not_shared_is_billed_in_the_group_of_runs_and_counts_as_none() -> None:
    desk = Desk()
    billed, free = desk.decide(eval_run(shared=False), eval_run())
    assert (billed.verdict, billed.reason, billed.group) == ("billed", "eval_not_shared", "evals")
    assert (billed.quota, billed.window, *used(billed)) == (None,) * 5
    assert used(free) == (0, 1, 1)


# Amounts


def test_a_model_without_a_price_never_blocks_a_decision() -> None:
    (billed,) = Desk().decide(request(model="mystery-1"))
    assert (billed.reason, billed.list_amount_usd, billed.amount_usd) == ("model_not_listed", None, None)
    assert billed.price_version is None
    (free,) = Desk().decide(eval_run(model="mystery-1"))
    assert (free.verdict, free.list_amount_usd, free.amount_usd) == ("free", None, "0")


def test_a_batch_request_is_listed_at_half_price_and_counts_in_full() -> None:
    desk = Desk()
    (decision,) = desk.decide(request(Tokens(90_000, 0, 30_000), batch=True))
    assert decision.list_amount_usd == "0.2625"
    assert used(decision) == (0, 120_000, 120_000)


# The books


def test_the_totals_of_a_day_keep_free_and_billed_apart() -> None:
    desk = Desk(small_offer(quota=100_000))
    desk.decide(request(Tokens(60_000, 20_000, 10_000)), request(Tokens(20_000, 0, 40_000)), request(10_000))
    key = RowKey("proj_web", LARGE, "default", False, "free")
    assert desk.day("1m", THE_DAY).totals[THE_DAY].rows == {
        key: Sums(2, 70_000, 20_000, 10_000, Decimal("0.25"), Decimal(0)),
        key._replace(verdict="billed"): Sums(1, 20_000, 0, 40_000, Decimal("0.45"), Decimal("0.45")),
    }


def test_what_no_group_lists_is_totalled_by_the_day_without_a_group() -> None:
    desk = Desk()
    desk.decide(request(Tokens(90_000, 0, 30_000), tools=["web_search"]), request(1000, model="mystery-1"))
    books = desk.day("-", THE_DAY)
    assert books.counter == Counter()
    assert books.totals[THE_DAY].rows == {
        RowKey("proj_web", LARGE, "default", False, "billed"): Sums(
            1, 90_000, 0, 30_000, Decimal("0.525"), Decimal("0.525")
        ),
        RowKey("proj_web", "mystery-1", "default", False, "billed"): Sums(1, 1000, unpriced=1),
    }


def test_settling_leaves_the_books_it_was_given_as_they_were() -> None:
    totals = Totals()
    totals.add(request(300), "free", Decimal("0.1"))
    books = Books(Counter((Window(at("2025-03-11T00:00"), 300),)), {THE_DAY: totals})
    before = deepcopy(books)
    offer = small_offer(quota=1000)
    new, _ = settle(books, [case_of(request(tokens), offer, account()) for tokens in (700, 1, 0)], NOW)
    assert books == before
    quota = frozenset({1000})
    window = Window(at("2025-03-11T00:00"), 1000, overflowed=True, announced=quota, crossed=quota)
    assert new.counter == Counter((window,))
    assert sum(sums.requests for sums in new.totals[THE_DAY].rows.values()) == 4


def test_settling_nothing_changes_nothing() -> None:
    books = Books(Counter((Window(at("2025-03-11T00:00"), 300),)), {THE_DAY: Totals()})
    assert settle(books, [], NOW) == (books, [])


# Promises, for any traffic

TOKENS = st.integers(0, 40).map(lambda each: each * 25) | st.integers(0, 1300) | st.just(12_000)
MOMENTS = st.integers(0, 4 * 24 * 60).map(lambda minutes: at("2025-03-03T00:00") + timedelta(minutes=minutes))
OFFERS = st.builds(
    small_offer,
    quota=st.sampled_from([1, 500, 1000]),
    window=st.sampled_from(["utc_day", "rolling_24h"]),
    overflow=st.sampled_from(["skip", "close"]),
)
ORGANIZATIONS = st.sampled_from(
    [
        account(),
        tiers(("2025-01-01T00:00", 1), ("2025-03-04T12:00", 4)),
        tiers(("2025-01-01T00:00", 4), ("2025-03-03T12:00", 1), ("2025-03-05T06:00", 4)),
    ]
)
REQUESTS = st.lists(
    st.builds(
        request,
        st.builds(Tokens, TOKENS, st.just(0), st.integers(0, 50)),
        MOMENTS,
        kind=st.sampled_from(["usage.request", "usage.request", "usage.request", "usage.eval_run"]),
        model=st.sampled_from([LARGE, LARGE, SMALL, "gpt-4o"]),
        project=st.sampled_from(["proj_web", None]),
        batch=st.booleans(),
    ),
    max_size=40,
)
ANY_TRAFFIC = {"offer": OFFERS, "organization": ORGANIZATIONS, "requests": REQUESTS}


def by_window(decisions: list[Decision]) -> dict[tuple[str | None, str | None], list[Decision]]:
    """The decisions that rule 7 took, by group and window, in arrival order."""
    windows = defaultdict(list)
    for each in decisions:
        if each.quota is not None:
            windows[each.group, each.window].append(each)
    return windows


def asks_for(decision: Decision) -> int:
    return 1 if decision.kind == "usage.eval_run" else decision.input + decision.output


@settings(deadline=None, max_examples=80)
@given(**ANY_TRAFFIC)
def test_free_decisions_tile_what_is_used_and_never_exceed_their_quota(
    offer: Offer, organization: Account, requests: list[Request]
) -> None:
    desk = Desk(offer, organization)
    windows = by_window(desk.decide(*requests))
    granted = {}
    for window, decisions in windows.items():
        free = [each for each in decisions if each.verdict == "free" and asks_for(each)]
        free.sort(key=lambda each: each.used_before or 0)
        edges = [(each.used_before, each.used_after) for each in free]
        assert all(start == 0 for start, _ in edges[:1])
        assert all(earlier[1] == later[0] for earlier, later in pairwise(edges))
        assert all((each.used_after or 0) <= (each.quota or 0) for each in free)
        granted[window] = sum(map(asks_for, free))
        assert granted[window] == (edges[-1][1] if edges else 0)
    held = sum(window.used for books in desk.books.values() for window in books.counter.windows)
    assert held == sum(granted.values())


@settings(deadline=None, max_examples=80)
@given(**ANY_TRAFFIC)
def test_over_quota_is_given_only_where_the_request_did_not_fit_and_free_only_where_it_did(
    offer: Offer, organization: Account, requests: list[Request]
) -> None:
    closes = offer.versions[0].overflow == "close"
    for (_, window), decisions in by_window(Desk(offer, organization).decide(*requests)).items():
        held, missed = 0, False
        for each in decisions:
            fits = held + asks_for(each) <= (each.quota or 0)
            closed = closes and missed
            assert each.used_before == held
            assert each.running_total == held + asks_for(each)
            assert each.verdict == ("free" if not asks_for(each) or (fits and not closed) else "billed")
            if each.verdict == "free":
                held += asks_for(each)
            else:
                missed = window is not None
            assert each.used_after == held


@settings(deadline=None, max_examples=60)
@given(**ANY_TRAFFIC)
def test_the_totals_are_the_sums_over_the_decisions(
    offer: Offer, organization: Account, requests: list[Request]
) -> None:
    desk = Desk(offer, organization)
    expected: dict[tuple[str, RowKey], Sums] = defaultdict(Sums)
    for each in desk.decide(*requests):
        sums = expected[each.day, RowKey(each.project, each.model, each.service_tier, each.batch, each.verdict)]
        sums.requests += 1
        sums.input += each.input
        sums.cached += each.cached
        sums.output += each.output
        sums.list_amount += Decimal(each.list_amount_usd or 0)
        sums.amount += Decimal(each.amount_usd or 0)
        sums.unpriced += each.list_amount_usd is None
    found = {}
    for books in desk.books.values():
        for day, totals in books.totals.items():
            for key, sums in totals.rows.items():
                found.setdefault((day.isoformat(), key), []).append(sums)
    assert {place: added(*sums) for place, sums in found.items()} == expected


def added(*several: Sums) -> Sums:
    """One row where the same project and model occur in more than one counter (requests and evaluation runs)."""
    return Sums(*(sum(column) for column in zip(*map(astuple, several), strict=True)))


@settings(deadline=None, max_examples=60)
@given(**ANY_TRAFFIC, sizes=st.lists(st.integers(1, 7), min_size=40, max_size=40))
def test_settling_in_chunks_comes_to_the_same_as_settling_in_one_go(
    offer: Offer, organization: Account, requests: list[Request], sizes: list[int]
) -> None:
    cases = defaultdict(list)
    for each in requests:
        case = case_of(each, offer, organization)
        cases[case.counter].append(case)
    for of_one_counter in cases.values():
        at_once, decisions = settle(Books(Counter(), {}), of_one_counter, NOW)
        books, in_chunks, rest = Books(Counter(), {}), [], list(of_one_counter)
        for size in sizes:
            books, decided = settle(books, rest[:size], NOW)
            in_chunks += decided
            rest = rest[size:]
        assert (books, in_chunks) == (at_once, decisions)
