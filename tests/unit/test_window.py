"""Windows: which one a request counts in, when it opens, and when it ends."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gratis.rules.offer_file import shipped
from gratis.rules.receipt import Decision
from gratis.rules.window import Counter, CounterId, Window, ends_at, name, rolling_window, start_of_day, start_of_week
from tests.unit.builders import LARGE, Desk, at, eval_run, request, small_offer

DAY = timedelta(hours=24)


def rolling_desk(quota: int = 1000) -> Desk:
    return Desk(small_offer(quota=quota, window="rolling_24h"))


def counted(decision: Decision) -> tuple[str | None, int | None, int | None]:
    """The window a decision was taken in, and what the counter held before and after it."""
    return decision.window, decision.used_before, decision.used_after


# UTC days


def test_the_last_moment_of_a_day_belongs_to_it_and_midnight_to_the_next() -> None:
    assert start_of_day(at("2025-03-11T23:59:59.999999")) == at("2025-03-11T00:00")
    assert start_of_day(at("2025-03-12T00:00")) == at("2025-03-12T00:00")


def test_a_day_is_one_of_utc_whatever_the_offset() -> None:
    assert start_of_day(datetime.fromisoformat("2025-03-12T00:30:00+01:00")) == at("2025-03-11T00:00")


def test_the_counter_starts_again_at_midnight_utc() -> None:
    decisions = Desk(small_offer()).decide(
        request(1000, "2025-03-11T23:59:59.999"), request(1000, "2025-03-12T00:00:00")
    )
    assert [counted(each) for each in decisions] == [("2025-03-11", 0, 1000), ("2025-03-12", 0, 1000)]


def test_an_event_that_arrives_after_midnight_counts_in_the_day_it_happened_in() -> None:
    today, late = Desk(small_offer()).decide(request(300, "2025-03-12T00:05"), request(700, "2025-03-11T23:59:59.999"))
    assert counted(today) == ("2025-03-12", 0, 300)
    assert counted(late) == ("2025-03-11", 0, 700)


# UTC weeks


@pytest.mark.parametrize(
    ("when", "monday"),
    [
        ("2025-03-10T00:00", "2025-03-10T00:00"),
        ("2025-03-16T23:59:59.999999", "2025-03-10T00:00"),
        ("2025-03-17T00:00", "2025-03-17T00:00"),
        ("2025-01-01T12:00", "2024-12-30T00:00"),
    ],
)
def test_a_week_begins_on_monday_at_midnight_utc(when: str, monday: str) -> None:
    assert start_of_week(at(when)) == at(monday)


def test_evaluation_runs_count_by_the_week_across_the_switch_to_utc_days() -> None:
    desk = Desk()
    before, after = desk.decide(eval_run("2025-03-05T12:00"), eval_run("2025-03-06T12:00"))
    assert counted(before) == ("2025-03-03", 0, 1)
    assert counted(after) == ("2025-03-03", 1, 2)


# Rolling windows


def test_the_programmes_own_example_of_rolling_windows() -> None:
    desk = Desk()
    decisions = desk.decide(
        request(600_000, "2025-01-01T07:00"),
        request(400_000, "2025-01-02T06:59:59.999999"),
        request(600_000, "2025-01-02T08:00"),
        request(400_000, "2025-01-03T07:59:59.999999"),
        request(1, "2025-01-03T08:00"),
    )
    assert [counted(each) for each in decisions] == [
        ("2025-01-01T07:00:00Z", 0, 600_000),
        ("2025-01-01T07:00:00Z", 600_000, 1_000_000),
        ("2025-01-02T08:00:00Z", 0, 600_000),
        ("2025-01-02T08:00:00Z", 600_000, 1_000_000),
        ("2025-01-03T08:00:00Z", 0, 1),
    ]


def test_a_request_exactly_24_hours_after_the_first_opens_a_window_of_its_own() -> None:
    first, second = rolling_desk().decide(request(1000, "2025-01-01T07:00"), request(1000, "2025-01-02T07:00"))
    assert counted(first) == ("2025-01-01T07:00:00Z", 0, 1000)
    assert counted(second) == ("2025-01-02T07:00:00Z", 0, 1000)


def test_a_request_that_does_not_fit_opens_no_window() -> None:
    too_large, free = rolling_desk().decide(request(1001, "2025-01-01T07:00"), request(1, "2025-01-01T09:00"))
    assert too_large.reason == "over_quota"
    assert counted(too_large) == (None, 0, 0)
    assert counted(free) == ("2025-01-01T09:00:00Z", 0, 1)


def test_a_request_of_no_tokens_opens_no_window() -> None:
    empty, free = rolling_desk().decide(request(0, "2025-01-01T07:00"), request(1, "2025-01-01T09:00"))
    assert counted(empty) == (None, 0, 0)
    assert free.window == "2025-01-01T09:00:00Z"


def test_a_request_that_an_earlier_rule_bills_opens_no_window() -> None:
    unlisted, free = rolling_desk().decide(
        request(1, "2025-01-01T07:00", model="gpt-4o"), request(1, "2025-01-01T09:00")
    )
    assert unlisted.reason == "model_not_listed"
    assert free.window == "2025-01-01T09:00:00Z"


def test_the_groups_have_rolling_windows_of_their_own() -> None:
    large, small = rolling_desk().decide(
        request(900, "2025-01-01T07:00", model=LARGE),
        request(900, "2025-01-01T09:00", model="gpt-4o-mini-2024-07-18"),
    )
    assert counted(large) == ("2025-01-01T07:00:00Z", 0, 900)
    assert counted(small) == ("2025-01-01T09:00:00Z", 0, 900)


def test_a_late_event_from_before_an_open_window_counts_in_it_and_does_not_move_it() -> None:
    desk = rolling_desk()
    _, late, last = desk.decide(
        request(500, "2025-01-02T07:00"), request(300, "2025-01-01T22:00"), request(200, "2025-01-03T06:59:59.999999")
    )
    assert counted(late) == ("2025-01-02T07:00:00Z", 500, 800)
    assert counted(last) == ("2025-01-02T07:00:00Z", 800, 1000)


def test_a_late_event_counts_in_the_window_only_from_less_than_24_hours_before_it() -> None:
    just_inside = rolling_desk()
    _, late = just_inside.decide(request(500, "2025-01-02T07:00"), request(300, "2025-01-01T07:00:00.000001"))
    assert late.window == "2025-01-02T07:00:00Z"
    outside = rolling_desk()
    _, late = outside.decide(request(500, "2025-01-02T07:00"), request(300, "2025-01-01T07:00"))
    assert counted(late) == ("2025-01-01T07:00:00Z", 0, 300)


def test_a_late_event_counts_in_a_window_that_has_ended_if_it_happened_in_it() -> None:
    desk = rolling_desk()
    desk.decide(request(500, "2025-01-01T07:00"), request(100, "2025-01-05T07:00"))
    (late,) = desk.decide(request(300, "2025-01-02T06:00"))
    assert counted(late) == ("2025-01-01T07:00:00Z", 500, 800)


def test_a_late_event_from_the_gap_before_a_window_counts_in_the_later_one() -> None:
    desk = rolling_desk()
    desk.decide(request(500, "2025-01-01T07:00"), request(100, "2025-01-02T12:00"))
    (late,) = desk.decide(request(300, "2025-01-02T07:00"))
    assert counted(late) == ("2025-01-02T12:00:00Z", 100, 400)


def test_a_late_event_from_a_long_gap_opens_a_window_that_overlaps_no_other() -> None:
    desk = rolling_desk()
    desk.decide(request(500, "2025-01-01T07:00"), request(100, "2025-01-05T07:00"))
    (late,) = desk.decide(request(300, "2025-01-03T10:00"))
    assert counted(late) == ("2025-01-03T10:00:00Z", 0, 300)
    (in_order,) = desk.decide(request(1, "2025-01-04T09:59:59.999999"))
    assert in_order.window == "2025-01-03T10:00:00Z"
    (between,) = desk.decide(request(1, "2025-01-04T10:00"))
    assert between.window == "2025-01-05T07:00:00Z"


MINUTES = st.integers(min_value=0, max_value=20 * 24 * 60)


@settings(deadline=None, max_examples=60)
@given(minutes=st.lists(MINUTES, min_size=1, max_size=25))
def test_rolling_windows_never_overlap_in_whatever_order_events_arrive(minutes: list[int]) -> None:
    desk = rolling_desk(quota=10**9)
    moments = [at("2025-01-01T00:00") + timedelta(minutes=each) for each in minutes]
    decisions = desk.decide(*(request(1, moment) for moment in moments))
    (books,) = desk.books.values()
    opened = [window.start for window in books.counter.windows]
    assert all(later - earlier >= DAY for earlier, later in pairwise(opened))
    for moment, decision in zip(moments, decisions, strict=True):
        start = datetime.fromisoformat(decision.window or "")
        assert start in opened
        assert -DAY < moment - start < DAY
    assert sum(window.used for window in books.counter.windows) == len(minutes)


# The switch of 6 March 2025


def test_an_open_rolling_window_ends_where_utc_days_begin() -> None:
    desk = Desk()
    decisions = desk.decide(
        request(900_000, "2025-03-05T20:00"),
        request(100_000, "2025-03-05T23:59:59.999999"),
        request(1_000_000, "2025-03-06T00:00"),
        request(1, "2025-03-06T19:59"),
    )
    assert [counted(each) for each in decisions] == [
        ("2025-03-05T20:00:00Z", 0, 900_000),
        ("2025-03-05T20:00:00Z", 900_000, 1_000_000),
        ("2025-03-06", 0, 1_000_000),
        ("2025-03-06", 1_000_000, 1_000_000),
    ]
    assert decisions[-1].reason == "over_quota"


def test_an_event_of_before_the_switch_that_arrives_after_it_counts_in_its_rolling_window() -> None:
    desk = Desk()
    desk.decide(request(900_000, "2025-03-05T20:00"), request(1, "2025-03-06T00:00"))
    inside, before = desk.decide(request(60_000, "2025-03-05T23:00"), request(40_000, "2025-03-05T08:00"))
    assert counted(inside) == ("2025-03-05T20:00:00Z", 900_000, 960_000)
    assert counted(before) == ("2025-03-05T20:00:00Z", 960_000, 1_000_000)


def test_an_event_of_before_the_switch_never_counts_in_the_first_utc_day() -> None:
    desk = Desk()
    _, late = desk.decide(request(1_000_000, "2025-03-06T01:00"), request(5, "2025-03-05T23:59:59.999999"))
    assert counted(late) == ("2025-03-05T23:59:59.999999Z", 0, 5)
    assert CounterId("org_demo", "1m", "ROLLING") in desk.books


@pytest.mark.parametrize("offer", ["data-sharing-2025", "data-sharing"])
def test_both_shipped_offers_switch_at_the_same_moment(offer: str) -> None:
    before, after = Desk(shipped(offer)).decide(
        request(1, "2025-03-05T23:59:59.999999"), request(1, "2025-03-06T00:00")
    )
    assert (before.window, after.window) == ("2025-03-05T23:59:59.999999Z", "2025-03-06")


# A counter's document


def test_a_counter_keeps_its_windows_in_order_and_each_once() -> None:
    first, second = Window(at("2025-01-01T07:00"), 1), Window(at("2025-01-05T07:00"), 2)
    between = Window(at("2025-01-03T07:00"), 3)
    counter = Counter().having(second).having(first).having(between)
    assert counter.windows == (first, between, second)
    grown = Window(between.start, 30, overflowed=True)
    assert counter.having(grown).windows == (first, grown, second)


def test_a_rolling_counter_keeps_its_latest_100_windows_so_at_least_100_days() -> None:
    starts = [datetime(2025, 1, 1, tzinfo=UTC) + n * DAY for n in range(101)]
    counter = Counter()
    for start in starts:
        counter = counter.having(Window(start, 1))
    assert [window.start for window in counter.windows] == starts[1:]


def test_no_window_holds_a_moment_long_before_or_after_all_of_them() -> None:
    windows = [Window(at("2025-01-05T07:00"), 1)]
    assert rolling_window(windows, at("2025-01-04T07:00")) is None
    assert rolling_window(windows, at("2025-01-06T07:00")) is None


def test_a_window_of_a_day_ends_24_hours_after_its_start() -> None:
    assert ends_at(Window(at("2025-03-11T00:00"))) == at("2025-03-12T00:00")
    assert ends_at(Window(at("2025-01-01T07:00"))) == at("2025-01-02T07:00")


def test_a_window_is_named_by_its_day_a_week_by_its_monday_and_a_rolling_one_by_its_moment() -> None:
    assert name("utc_day", at("2025-03-11T00:00")) == "2025-03-11"
    assert name("utc_week", at("2025-03-10T00:00")) == "2025-03-10"
    assert name("rolling_24h", at("2025-01-01T07:00:00.25")) == "2025-01-01T07:00:00.250Z"
