"""The shipped offers against the words of the programme, and what an offer may say."""

from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta
from typing import Any

import pytest

from gratis.rules.offer import Version
from gratis.rules.offer_file import shipped
from gratis.rules.window import UTC_WEEK, Span, kind_of
from tests.builders.events import at, request
from tests.builders.ledger import Desk
from tests.builders.offers import small_offer
from tests.builders.organizations import account, profile

OFFERS = ("data-sharing-2025", "data-sharing")
LARGE_MODELS = [
    "gpt-4.5-preview-2025-02-27",
    "gpt-4.1-2025-04-14",
    "gpt-4o-2024-05-13",
    "gpt-4o-2024-08-06",
    "gpt-4o-2024-11-20",
    "o3-2025-04-16",
    "o1-preview-2024-09-12",
    "o1-2024-12-17",
]
SMALL_MODELS = [
    "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano-2025-04-14",
    "gpt-4o-mini-2024-07-18",
    "o4-mini-2025-04-16",
    "o1-mini-2024-09-12",
    "o3-mini-2025-01-31",
]
HOSTED = [
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "file_search",
    "computer_use",
    "computer_use_preview",
    "code_interpreter",
    "Web_Search",
    "web-search",
    " File Search\n",
]
THE_CALLERS_OWN = [
    "",
    "function",
    "get_weather",
    "my_web_search",
    "web_search_tool",
    "web_searches",
    "web_search_preview_2025",
]


@pytest.fixture(params=[(offer, number) for offer in OFFERS for number in (0, 1)], ids=str)
def version(request: pytest.FixtureRequest) -> Version:
    offer, number = request.param
    return shipped(offer).versions[number]


def test_the_groups_are_the_two_of_the_programme(version: Version) -> None:
    assert [group.name for group in version.groups] == ["1m", "10m"]


@pytest.mark.parametrize(("group", "models"), [("1m", LARGE_MODELS), ("10m", SMALL_MODELS)])
def test_a_group_lists_the_models_of_the_programme_and_no_other(version: Version, group: str, models: list) -> None:
    (listed,) = [each.models for each in version.groups if each.name == group]
    assert sorted(listed) == sorted(models)


@pytest.mark.parametrize(
    ("tier", "large", "small"),
    [
        (1, 250_000, 2_500_000),
        (2, 250_000, 2_500_000),
        (3, 1_000_000, 10_000_000),
        (4, 1_000_000, 10_000_000),
        (5, 1_000_000, 10_000_000),
    ],
)
def test_the_quotas_follow_the_usage_tier(version: Version, tier: int, large: int, small: int) -> None:
    assert [group.quota(tier) for group in version.groups] == [large, small]


@pytest.mark.parametrize("tier", [None, 0, 6])
def test_no_other_tier_has_a_quota(version: Version, tier: int | None) -> None:
    assert [group.quota(tier) for group in version.groups] == [None, None]


@pytest.mark.parametrize("tier", [None, 0, 5])
def test_seven_evaluation_runs_a_week_are_given(version: Version, tier: int | None) -> None:
    evals = version.evals
    assert evals is not None
    assert (evals.quota(tier), evals.window, evals.unit) == (7, UTC_WEEK, "runs")


def test_a_request_that_does_not_fit_leaves_the_window_open(version: Version) -> None:
    assert version.overflow == "skip"


@pytest.mark.parametrize(
    ("undated", "dated"), [("gpt-4o", "gpt-4o-2024-08-06"), ("gpt-4.1", "gpt-4.1-2025-04-14"), ("o3", "o3-2025-04-16")]
)
def test_an_undated_model_stands_for_the_dated_one_of_the_alias_table(
    version: Version, undated: str, dated: str
) -> None:
    group = version.group_of(undated)
    assert group is not None
    assert group == version.group_of(dated)


def test_a_name_that_no_alias_knows_is_not_listed(version: Version) -> None:
    assert version.group_of("chatgpt-4o-latest") is None


@pytest.mark.parametrize("tool", HOSTED)
def test_a_tool_is_hosted_by_the_platform_in_its_preview_and_dated_variants_however_it_is_spelled(
    version: Version, tool: str
) -> None:
    assert version.hosted([tool])


@pytest.mark.parametrize("tool", THE_CALLERS_OWN)
def test_a_tool_that_only_resembles_a_hosted_one_is_the_callers_own(version: Version, tool: str) -> None:
    assert not version.hosted([tool])


def test_an_offer_that_names_no_hosted_tools_hosts_none() -> None:
    (version,) = small_offer(hosted_tools=[]).versions
    assert not version.hosted([*HOSTED, *THE_CALLERS_OWN])


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize(
    ("when", "window", "name"),
    [
        ("2025-01-01T00:00:00+00:00", "rolling_24h", "2025-01-01"),
        ("2025-03-05T23:59:59.999999+00:00", "rolling_24h", "2025-01-01"),
        ("2025-03-06T00:00:00+00:00", "utc_day", "2025-03-06"),
        ("2025-03-06T00:59:59+01:00", "rolling_24h", "2025-01-01"),
        ("2025-03-05T19:00:00-05:00", "utc_day", "2025-03-06"),
    ],
)
def test_rolling_windows_give_way_to_utc_days_at_midnight_utc_of_6_march_2025(
    offer: str, when: str, window: str, name: str
) -> None:
    in_force = shipped(offer).version_at(datetime.fromisoformat(when))
    assert in_force.groups[0].window == kind_of(window)
    assert in_force.name == f"{offer}@{name}"


@pytest.mark.parametrize("offer", OFFERS)
def test_a_moment_before_the_offer_is_judged_by_its_first_version(offer: str) -> None:
    assert shipped(offer).version_at(at("2024-06-01T12:00")).effective_at.isoformat() == "2025-01-01"


@pytest.mark.parametrize("offer", OFFERS)
def test_an_offer_starts_with_the_first_moment_of_2025(offer: str) -> None:
    dates = shipped(offer).versions[0].dates
    assert dates.outside(at("2024-12-31T23:59:59.999999")) == "offer_not_started"
    assert dates.outside(at("2025-01-01T00:00")) is None


def test_the_dated_offer_holds_to_the_last_moment_of_30_april_2025() -> None:
    dates = shipped("data-sharing-2025").versions[-1].dates
    assert dates.outside(at("2025-04-30T23:59:59.999999")) is None
    assert dates.outside(at("2025-05-01T00:00")) == "offer_ended"


def test_the_offer_of_a_deployment_has_no_end() -> None:
    assert shipped("data-sharing").versions[-1].dates.outside(at("2099-12-31T23:59")) is None


def test_a_group_counts_in_its_windows_until_another_kind_takes_over() -> None:
    spans = [version.groups[0].span for version in shipped("data-sharing-2025").versions]
    assert spans == [Span(until=at("2025-03-06T00:00")), Span(since=at("2025-03-06T00:00"))]


def test_an_alias_leads_to_the_dated_model_of_the_offers_own_table() -> None:
    (version,) = small_offer(aliases={"gpt-4o": "gpt-4o-2024-08-06"}).versions
    group = version.group_of("gpt-4o")
    assert group is not None
    assert group.name == "1m"


def test_an_alias_for_a_model_that_no_group_lists_leads_nowhere() -> None:
    (version,) = small_offer(aliases={"gpt-4o": "gpt-4o-2030-01-01"}).versions
    assert version.group_of("gpt-4o") is None


def test_an_unknown_offer_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(KeyError, match=r"no offer 'free-lunch'; there are data-sharing, data-sharing-2025"):
        shipped("free-lunch")


def test_an_offer_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        shipped("data-sharing").versions[0].overflow = "close"  # type: ignore[misc]


def test_an_offer_of_one_single_day_is_accepted() -> None:
    dates = small_offer(offer={"ends": "2025-01-01"}).versions[0].dates
    assert dates.outside(at("2025-01-01T23:59:59.999999")) is None


ARRIVED = [
    ("codex-mini-latest", "2025-07-01", "10m"),
    ("gpt-5", "2025-09-14", "1m"),
    ("gpt-5-chat-latest", "2025-09-14", "1m"),
    ("gpt-5-codex", "2025-09-14", "1m"),
    ("gpt-5-nano", "2025-09-14", "10m"),
    ("gpt-5.1", "2026-02-01", "1m"),
    ("gpt-5.1-codex-mini", "2026-02-01", "10m"),
    ("gpt-5.2", "2026-05-01", "1m"),
    ("gpt-5.4", "2026-05-01", "1m"),
    ("gpt-5.4-nano", "2026-05-01", "10m"),
    ("gpt-5.5", "2026-06-01", "1m"),
    ("gpt-5.6-sol", "2026-08-21", "1m"),
    ("gpt-5.6-luna", "2026-08-21", "10m"),
    ("gpt-6-astra", "2026-09-27", "1m"),
]


@pytest.mark.parametrize(("model", "day", "group"), ARRIVED, ids=[model for model, *_ in ARRIVED])
def test_a_model_of_the_later_programme_is_free_from_its_day_on(model: str, day: str, group: str) -> None:
    first = at(f"{day}T00:00")
    asked = (request(when=first - timedelta(seconds=1), model=model), request(when=first, model=model))
    before, after = Desk(shipped("data-sharing")).decide(*asked)
    assert (before.verdict, before.reason) == ("billed", "model_not_listed")
    assert (after.verdict, after.group) == ("free", group)


TERMS = [
    ("2025-07-13T23:59", {"model": "gpt-4.5-preview"}, "within_quota"),
    ("2025-07-14T00:00", {"model": "gpt-4.5-preview"}, "model_not_listed"),
    ("2026-04-30T23:59", {"model": "o3", "endpoint": "assistants"}, "o_series_on_assistants"),
    ("2026-05-01T00:00", {"model": "o3", "endpoint": "assistants"}, "within_quota"),
    ("2026-04-30T23:59", {"endpoint": "evals"}, "within_quota"),
    ("2026-05-01T00:00", {"endpoint": "evals"}, "evals"),
    ("2026-11-28T12:00", {"tools": ["web_search"]}, "tool_use"),
    ("2026-11-28T12:00", {"endpoint": "fine_tuning"}, "fine_tuning_training"),
    ("2026-11-28T12:00", {"model": "ft:gpt-4o-2024-08-06:acme::x1"}, "fine_tuned_model"),
]


@pytest.mark.parametrize(("when", "asked", "reason"), TERMS)
def test_the_terms_of_the_programme_are_those_of_the_day(when: str, asked: dict[str, Any], reason: str) -> None:
    (decision,) = Desk(shipped("data-sharing")).decide(request(when=when, **asked))
    assert decision.reason == reason


@pytest.mark.parametrize(("when", "reason"), [("2026-04-30T23:59", "within_quota"), ("2026-05-01T00:00", "no_balance")])
def test_a_positive_balance_is_required_from_the_later_terms_on(when: str, reason: str) -> None:
    without = account(profiles=[profile(positive_balance=False)])
    (decision,) = Desk(shipped("data-sharing"), without).decide(request(when=when))
    assert decision.reason == reason
