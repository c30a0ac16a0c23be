"""Windows: which one a request counts in, when it opens, when it ends, and how its document is called."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gratis.rules.offer_file import read_offer, shipped
from gratis.rules.receipt import Decision
from gratis.rules.window import (
    ALWAYS,
    LATE,
    MAX_ROLLING_HOURS,
    ROLLING_24H,
    UTC_DAY,
    Counter,
    CounterId,
    Kind,
    Rolling,
    Span,
    Window,
    day_of_slot,
    kind_of,
    kind_of_slot,
    last_day_of_slot,
)
from tests.builders.events import LARGE, at, eval_run, request
from tests.builders.ledger import Desk
from tests.builders.offers import small_offer

MOMENT = timedelta(microseconds=1)
"""The shortest there is."""
UTC_MONTH = {"calendar": "month", "zone": "UTC"}


def rolling_desk(quota: int = 1000, window: Any = "rolling_24h") -> Desk:
    return Desk(small_offer(quota=quota, window=window))


def counted(decision: Decision) -> tuple[Any, ...]:
    """The window a decision was taken in, and what the counter held before and after it."""
    return decision.window, decision.used_before, decision.used_after


def local(period: str, zone: str) -> dict[str, str]:
    """A calendar window as an offer states it."""
    return {"calendar": period, "zone": zone}


# Calendars

LOS_ANGELES, HAVANA, TOKYO = "America/Los_Angeles", "America/Havana", "Asia/Tokyo"
CALENDARS: dict[str, tuple[Any, str, str, str]] = {
    "a UTC day": ("utc_day", "2025-03-11", "2025-03-11T00:00", "2025-03-12T00:00"),
    "a UTC week begins on Monday": ("utc_week", "2025-03-10", "2025-03-10T00:00", "2025-03-17T00:00"),
    "a week over the new year": ("utc_week", "2024-12-30", "2024-12-30T00:00", "2025-01-06T00:00"),
    "a UTC month": (UTC_MONTH, "2025-02-01", "2025-02-01T00:00", "2025-03-01T00:00"),
    "a February of 29 days": (UTC_MONTH, "2028-02-01", "2028-02-01T00:00", "2028-03-01T00:00"),
    "the last month of a year": (UTC_MONTH, "2025-12-01", "2025-12-01T00:00", "2026-01-01T00:00"),
    "a day of a zone": (local("day", LOS_ANGELES), "2026-01-15", "2026-01-15T08:00", "2026-01-16T08:00"),
    "a day of 23 hours": (local("day", LOS_ANGELES), "2026-03-08", "2026-03-08T08:00", "2026-03-09T07:00"),
    "a day of 25 hours": (local("day", LOS_ANGELES), "2026-11-01", "2026-11-01T07:00", "2026-11-02T08:00"),
    "a day whose midnight does not exist": (
        local("day", HAVANA),
        "2026-03-08",
        "2026-03-08T05:00",
        "2026-03-09T04:00",
    ),
    "a day that has two midnights": (local("day", HAVANA), "2026-11-01", "2026-11-01T04:00", "2026-11-02T05:00"),
    "a day before one that does not exist": (
        local("day", "Pacific/Apia"),
        "2011-12-29",
        "2011-12-29T10:00",
        "2011-12-30T10:00",
    ),
    "a week that begins on Sunday in UTC": (
        local("week", TOKYO),
        "2026-03-09",
        "2026-03-08T15:00",
        "2026-03-15T15:00",
    ),
    "a week with a change of the clocks": (
        local("week", LOS_ANGELES),
        "2026-03-02",
        "2026-03-02T08:00",
        "2026-03-09T07:00",
    ),
    "a month that ends when UTC is in the next one": (
        local("month", LOS_ANGELES),
        "2026-11-01",
        "2026-11-01T07:00",
        "2026-12-01T08:00",
    ),
    "a month that ends when UTC is still in it": (
        local("month", TOKYO),
        "2026-11-01",
        "2026-10-31T15:00",
        "2026-11-30T15:00",
    ),
}


@pytest.mark.parametrize(("stated", "name", "begins", "ends"), CALENDARS.values(), ids=CALENDARS)
def test_a_calendar_window_lasts_from_its_first_moment_to_just_before_the_next(
    stated: Any, name: str, begins: str, ends: str
) -> None:
    kind = kind_of(stated)
    for when in (at(begins), at(ends) - MOMENT):
        window = kind.window_at(Counter(), when, ALWAYS)
        assert window == Window(at(begins))
        assert (kind.name(at(begins)), kind.named(name), kind.end(at(begins))) == (name, at(begins), at(ends))
    assert kind.window_at(Counter(), at(begins) - MOMENT, ALWAYS) != Window(at(begins))
    assert kind.window_at(Counter(), at(ends), ALWAYS) == Window(at(ends))


def test_a_day_is_one_of_utc_whatever_the_offset() -> None:
    offset = datetime.fromisoformat("2025-03-12T00:30:00+01:00")
    assert kind_of("utc_day").window_at(Counter(), offset, ALWAYS) == Window(at("2025-03-11T00:00"))


@settings(deadline=None, max_examples=300)
@given(
    period=st.sampled_from(["day", "week", "month"]),
    zone=st.sampled_from(sorted(available_timezones())),
    when=st.datetimes(datetime(2015, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_in_every_zone_there_is_just_one_window_for_each_moment(period: str, zone: str, when: datetime) -> None:
    kind = kind_of(local(period, zone))
    window = kind.window_at(Counter(), when, ALWAYS)
    assert window is not None
    assert window.start <= when < kind.end(window.start)
    for inside in (window.start, kind.end(window.start) - MOMENT):
        assert kind.window_at(Counter(), inside, ALWAYS) == window
    assert kind.named(kind.name(window.start)) == window.start
    assert kind_of_slot(kind.slot(when)) == kind
    assert kind.slot(when) == kind.slot(window.start) != kind.slot(kind.end(window.start))
    days = kind.utc_days(window.start)
    assert (days[0], days[-1]) == (window.start.date(), (kind.end(window.start) - MOMENT).date())


def test_the_counter_starts_again_at_midnight_utc() -> None:
    decisions = Desk(small_offer()).decide(
        request(1000, "2025-03-11T23:59:59.999"), request(1000, "2025-03-12T00:00:00")
    )
    assert [counted(each) for each in decisions] == [("2025-03-11", 0, 1000), ("2025-03-12", 0, 1000)]


def test_an_event_that_arrives_after_midnight_counts_in_the_day_it_happened_in() -> None:
    today, late = Desk(small_offer()).decide(request(300, "2025-03-12T00:05"), request(700, "2025-03-11T23:59:59.999"))
    assert counted(today) == ("2025-03-12", 0, 300)
    assert counted(late) == ("2025-03-11", 0, 700)


def test_a_counter_of_a_zone_starts_again_at_its_own_midnight_and_its_decisions_stay_on_their_utc_days() -> None:
    desk = Desk(small_offer(window=local("day", LOS_ANGELES)))
    decisions = desk.decide(
        request(600, "2026-11-01T23:00"), request(400, "2026-11-02T07:59:59.999999"), request(1000, "2026-11-02T08:00")
    )
    assert [counted(each) for each in decisions] == [
        ("2026-11-01", 0, 600),
        ("2026-11-01", 600, 1000),
        ("2026-11-02", 0, 1000),
    ]
    assert [each.day for each in decisions] == ["2026-11-01", "2026-11-02", "2026-11-02"]


def test_a_month_is_one_quota_across_its_days() -> None:
    desk = Desk(small_offer(window=UTC_MONTH))
    decisions = desk.decide(
        request(600, "2026-02-01T00:00"), request(401, "2026-02-28T23:59"), request(1, "2026-03-01")
    )
    assert [(each.window, each.verdict) for each in decisions] == [
        ("2026-02-01", "free"),
        ("2026-02-01", "billed"),
        ("2026-03-01", "free"),
    ]


def test_a_group_may_count_in_a_window_of_its_own() -> None:
    groups = [
        {"name": "1m", "models": [LARGE], "quotas": {"4": 1000}},
        {"name": "10m", "models": ["o3"], "quotas": {"4": 1000}, "window": UTC_MONTH},
    ]
    decisions = Desk(small_offer(groups=groups)).decide(
        request(700, "2026-02-01T09:00"),
        request(700, "2026-02-02T09:00"),
        request(700, "2026-02-01T09:00", model="o3"),
        request(700, "2026-02-02T09:00", model="o3"),
    )
    assert [(each.window, each.verdict) for each in decisions] == [
        ("2026-02-01", "free"),
        ("2026-02-02", "free"),
        ("2026-02-01", "free"),
        ("2026-02-01", "billed"),
    ]


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
        request(1, "2025-01-01T07:00", model="gpt-3.5-turbo"), request(1, "2025-01-01T09:00")
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


@pytest.mark.parametrize(("hours", "ends"), [(1, "2025-01-01T08:00"), (720, "2025-01-31T07:00")])
def test_a_rolling_window_of_other_hours_lasts_just_as_long(hours: int, ends: str) -> None:
    desk = rolling_desk(window={"rolling_hours": hours})
    decisions = desk.decide(
        request(600, "2025-01-01T07:00"), request(400, at(ends) - MOMENT), request(1000, ends), request(1, ends)
    )
    first, second = "2025-01-01T07:00:00Z", f"{ends}:00Z"
    assert [counted(each) for each in decisions] == [
        (first, 0, 600),
        (first, 600, 1000),
        (second, 0, 1000),
        (second, 1000, 1000),
    ]


@pytest.mark.parametrize("hours", [1, 24, 720])
@settings(deadline=None, max_examples=60)
@given(steps=st.lists(st.integers(min_value=0, max_value=20 * 24 * 60), min_size=1, max_size=25))
def test_rolling_windows_never_overlap_in_whatever_order_events_arrive(hours: int, steps: list[int]) -> None:
    length = timedelta(hours=hours)
    desk = rolling_desk(quota=10**9, window={"rolling_hours": hours})
    moments = [at("2025-01-01T00:00") + each * length / 1440 for each in steps if each * length / 1440 <= LATE]
    decisions = desk.decide(*(request(1, moment) for moment in moments))
    windows = [window for books in desk.books.values() for window in books.counter.windows]
    opened = [window.start for window in windows]
    assert all(later - earlier >= length for earlier, later in pairwise(opened))
    for moment, decision in zip(moments, decisions, strict=True):
        start = datetime.fromisoformat(decision.window or "")
        assert start in opened
        assert -length < moment - start < length
    assert sum(window.used for window in windows) == len(moments)


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


# Spans: rolling windows that something else came between


def taking_turns(*stated: tuple[str, Any]) -> Desk:
    """An offer whose one group counts in other windows from each of these days on."""
    groups = [{"name": "1m", "models": [LARGE], "quotas": {"*": 1000}}]
    versions = [{"effective_at": day, "window": window, "groups": groups} for day, window in stated]
    return Desk(read_offer({"id": "turns", "starts": "2025-01-01", "versions": versions}))


def test_a_rolling_window_that_something_else_came_after_counts_for_nothing_that_comes_later() -> None:
    month = {"rolling_hours": 720}
    desk = taking_turns(("2025-01-01", month), ("2025-01-06", "utc_day"), ("2025-01-07", month))
    first, between, after, late, late_before = desk.decide(
        request(900, "2025-01-05T20:00"),
        request(900, "2025-01-06T12:00"),
        request(900, "2025-01-07T08:00"),
        request(100, "2025-01-05T23:00"),
        request(100, "2025-01-05T19:00"),
    )
    assert counted(first) == ("2025-01-05T20:00:00Z", 0, 900)
    assert counted(between) == ("2025-01-06", 0, 900)
    assert counted(after) == ("2025-01-07T08:00:00Z", 0, 900)
    assert counted(late) == ("2025-01-05T20:00:00Z", 900, 1000)
    assert (late_before.verdict, late_before.window) == ("billed", "2025-01-05T20:00:00Z")


def test_a_late_event_counts_in_no_window_that_opened_after_something_else_came() -> None:
    month = {"rolling_hours": 720}
    desk = taking_turns(("2025-01-01", month), ("2025-01-06", "utc_day"), ("2025-01-07", month))
    after, late = desk.decide(request(900, "2025-01-07T08:00"), request(900, "2025-01-05T20:00"))
    assert (counted(after), counted(late)) == (("2025-01-07T08:00:00Z", 0, 900), ("2025-01-05T20:00:00Z", 0, 900))


def test_a_rolling_window_goes_on_where_the_next_version_counts_in_the_same_kind() -> None:
    desk = taking_turns(("2025-01-01", "rolling_24h"), ("2025-01-06", "rolling_24h"))
    before, after = desk.decide(request(900, "2025-01-05T20:00"), request(100, "2025-01-06T19:59"))
    assert counted(after) == (before.window, 900, 1000)


def test_rolling_windows_of_other_lengths_have_documents_of_their_own() -> None:
    desk = taking_turns(("2025-01-01", {"rolling_hours": 720}), ("2025-01-06", "rolling_24h"))
    desk.decide(request(900, "2025-01-05T20:00"), request(900, "2025-01-06T08:00"))
    assert {counter.slot for counter in desk.books} == {"ROLLING#720", "ROLLING"}


@pytest.mark.parametrize(
    ("span", "holds"),
    [
        (ALWAYS, (True, True, True)),
        (Span(since=at("2025-03-06T00:00")), (False, True, True)),
        (Span(until=at("2025-03-06T00:00")), (True, False, False)),
        (Span(at("2025-03-06T00:00"), at("2025-03-07T00:00")), (False, True, False)),
    ],
)
def test_a_span_holds_its_first_moment_and_not_its_last(span: Span, holds: tuple[bool, ...]) -> None:
    moments = at("2025-03-06T00:00") - MOMENT, at("2025-03-06T00:00"), at("2025-03-07T00:00")
    assert tuple(map(span.holds, moments)) == holds


# A counter's document


def test_a_counter_keeps_its_windows_in_order_and_each_once() -> None:
    first, second = Window(at("2025-01-01T07:00"), 1), Window(at("2025-01-05T07:00"), 2)
    between = Window(at("2025-01-03T07:00"), 3)
    counter = Counter().having(second, ROLLING_24H).having(first, ROLLING_24H).having(between, ROLLING_24H)
    assert counter.windows == (first, between, second)
    grown = Window(between.start, 30, overflowed=True)
    assert counter.having(grown, ROLLING_24H).windows == (first, grown, second)


@pytest.mark.parametrize("hours", [1, 24, 720])
def test_a_rolling_counter_keeps_a_window_until_45_days_after_it_ended(hours: int) -> None:
    kind, start = Rolling(hours), at("2025-01-01T07:00")
    newest = kind.end(start) + timedelta(days=45)
    counter = Counter().having(Window(start, 1), kind)
    assert [each.start for each in counter.having(Window(newest, 1), kind).windows] == [start, newest]
    assert [each.start for each in counter.having(Window(newest + MOMENT, 1), kind).windows] == [newest + MOMENT]


def test_a_late_event_from_the_end_of_a_long_rolling_window_finds_it() -> None:
    desk = rolling_desk(window={"rolling_hours": 720})
    first, newest, late = desk.decide(
        request(1000, "2025-01-01T07:00"), request(1, "2025-03-09T07:00"), request(1, "2025-01-30T07:00")
    )
    assert (first.verdict, newest.verdict) == ("free", "free")
    assert (late.verdict, late.window) == ("billed", first.window)


def test_no_rolling_window_holds_a_moment_long_before_or_after_all_of_them() -> None:
    counter = Counter((Window(at("2025-01-05T07:00"), 1),))
    assert ROLLING_24H.window_at(counter, at("2025-01-04T07:00"), ALWAYS) is None
    assert ROLLING_24H.window_at(counter, at("2025-01-06T07:00"), ALWAYS) is None


SLOTS: dict[str, tuple[Any, str, str | None]] = {
    "a UTC day": ("utc_day", "2025-03-11", "2025-03-11"),
    "a UTC day, stated as a calendar": (local("day", "UTC"), "2025-03-11", "2025-03-11"),
    "a UTC week": ("utc_week", "WEEK#2025-03-10", "2025-03-16"),
    "a UTC month": (UTC_MONTH, "MONTH#2025-03-01", "2025-03-31"),
    "a day of a zone west of UTC": (local("day", LOS_ANGELES), "DAY@America/Los_Angeles#2025-03-11", "2025-03-12"),
    "a day of a zone east of UTC": (local("day", TOKYO), "DAY@Asia/Tokyo#2025-03-11", "2025-03-11"),
    "a zone with an offset": (local("week", "Etc/GMT+12"), "WEEK@Etc/GMT+12#2025-03-10", "2025-03-17"),
    "24 hours": ("rolling_24h", "ROLLING", None),
    "24 hours, stated as hours": ({"rolling_hours": 24}, "ROLLING", None),
    "one hour": ({"rolling_hours": 1}, "ROLLING#1", None),
    "30 days": ({"rolling_hours": 720}, "ROLLING#720", None),
}


@pytest.mark.parametrize(("stated", "slot", "last_day"), SLOTS.values(), ids=SLOTS)
def test_a_slot_says_which_kind_of_window_named_it_and_when_the_last_one_is_over(
    stated: Any, slot: str, last_day: str | None
) -> None:
    kind: Kind = kind_of(stated)
    assert kind.slot(at("2025-03-11T12:00")) == slot
    assert kind_of_slot(slot) == kind
    assert last_day_of_slot(slot) == (date.fromisoformat(last_day) if last_day else None)
    assert day_of_slot(slot) == (date(2025, 3, 11) if kind == UTC_DAY else None)


@pytest.mark.parametrize("slot", ["", "YEAR#2025-01-01", "DAY@#2025-03-11", "ROLLING#", "2025-03-11T00:00:00Z", "WEEK"])
def test_a_slot_that_no_kind_of_window_names_is_refused(slot: str) -> None:
    with pytest.raises(ValueError, match="no kind of window has the slot"):
        kind_of_slot(slot)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("utc_month", 'must be "utc_day", "utc_week", "rolling_24h", '),
        (None, 'must be "utc_day"'),
        ({"calendar": "day"}, 'must be "utc_day"'),
        ({"calendar": "year", "zone": "UTC"}, 'calendar must be "day", "week" or "month"'),
        (local("day", "Mars/Olympus"), "zone must be an IANA time zone like"),
        (local("day", "../../etc/passwd"), "zone must be an IANA time zone like"),
        (local("day", ""), "zone must be an IANA time zone like"),
        ({"calendar": "day", "zone": None}, "zone must be an IANA time zone like"),
        *(
            ({"rolling_hours": hours}, f"rolling_hours must be a whole number from 1 to {MAX_ROLLING_HOURS}")
            for hours in (0, MAX_ROLLING_HOURS + 1, 1.5, True, "24", None)
        ),
    ],
)
def test_a_kind_of_window_that_there_is_not_is_refused_with_what_was_expected(stated: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        kind_of(stated)


def test_a_window_is_named_by_its_first_local_day_and_a_rolling_one_by_its_moment() -> None:
    opened = at("2025-01-01T07:00:00.25")
    assert ROLLING_24H.name(opened) == "2025-01-01T07:00:00.250Z"
    assert ROLLING_24H.named("2025-01-01T07:00:00.250Z") == opened
    assert kind_of(local("day", TOKYO)).name(at("2025-01-01T15:00")) == "2025-01-02"


def test_the_decisions_of_a_rolling_window_lie_on_the_days_it_lasts_and_late_ones_before() -> None:
    days = ROLLING_24H.utc_days(at("2025-01-05T07:00"))
    assert days == [date(2025, 1, 4), date(2025, 1, 5), date(2025, 1, 6)]
    assert len(Rolling(720).utc_days(at("2025-02-01T07:00"))) == 61


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("utc_day", "a day"),
        (UTC_MONTH, "a month"),
        (local("week", TOKYO), "a week (Asia/Tokyo)"),
        ({"rolling_hours": 720}, "every 720 hours from the first free request on"),
    ],
)
def test_a_kind_of_window_says_how_often_its_quota_is_fresh(stated: Any, words: str) -> None:
    assert kind_of(stated).each() == words
