"""Rules 1 to 6: each reason, which of several wins, and what was in force when the request occurred."""

from decimal import Decimal
from itertools import product

import pytest
from pydantic import ValidationError

from gratis.rules.account import Account
from gratis.rules.eligibility import Ruling, judge, terms_of
from gratis.rules.figures import Figure
from gratis.rules.offer import Offer
from gratis.rules.offer_file import shipped
from gratis.rules.request import Request
from tests.builders.events import LARGE, SMALL, eval_run, request
from tests.builders.offers import small_offer, with_versions
from tests.builders.organizations import account, profile, settings

OFFER = with_versions(shipped("data-sharing-2025"), requires=("positive_balance",))
EVALS_OFFER = small_offer(
    offer={
        "starts": "2025-05-01",
        "ends": "2025-05-31",
        "evals": {"quotas": {"*": 7}, "starts": "2025-01-01", "ends": "2025-04-30"},
    },
    requires=["positive_balance"],
)
"""Gives evaluation runs on other days than tokens, of which nothing matters to them."""
BY_THE_RULES = [
    "offer_not_started",
    "offer_ended",
    "not_eligible",
    "zero_data_retention",
    "enterprise_excluded",
    "no_balance",
    "sharing_disabled",
    "project_not_shared",
    "fine_tuning_training",
    "fine_tuned_model",
    "o_series_on_assistants",
    "tool_use",
    "model_not_listed",
    "tier_not_included",
]
EVALS_BY_THE_RULES = [
    "offer_not_started",
    "offer_ended",
    "zero_data_retention",
    "eval_sharing_disabled",
    "project_not_shared",
    "eval_not_shared",
]
Judged = str | tuple[str, Figure]
"""The reason for which a request is billed, or the group and the quota that rule 7 looks at."""
LARGE_QUOTA = ("1m", 1_000_000)


def ruling_of(asked: Request, organization: Account | None, offer: Offer = OFFER) -> Ruling:
    return judge(asked, terms_of(asked, offer, organization), Decimal("0.5"))


def judged(asked: Request, organization: Account | None, offer: Offer = OFFER) -> Judged:
    ruling = ruling_of(asked, organization, offer)
    if ruling.reason is not None:
        return ruling.reason
    assert ruling.group is not None
    assert ruling.quota is not None
    return ruling.group.name, ruling.quota


def test_an_ordinary_request_is_allowed_the_quota_of_its_group_and_tier() -> None:
    assert judged(request(model=LARGE), account()) == ("1m", 1_000_000)
    assert judged(request(model=SMALL), account(profiles=[profile(tier=2)])) == ("10m", 2_500_000)


ONE_REASON = {
    "offer_not_started": (request(when="2024-12-31T23:59:59.999999"), account()),
    "offer_ended": (request(when="2025-05-01T00:00"), account()),
    "not_eligible": (request(), account(profiles=[profile(eligible=False)])),
    "zero_data_retention": (request(), account(profiles=[profile(zero_data_retention=True)])),
    "enterprise_excluded": (request(), account(profiles=[profile(plan="enterprise_excluded")])),
    "no_balance": (request(), account(profiles=[profile(positive_balance=False)])),
    "sharing_disabled": (request(), account(sharing=[settings(traffic={"mode": "disabled"})])),
    "project_not_shared": (
        request(project="proj_web"),
        account(sharing=[settings(traffic={"mode": "selected", "projects": ["proj_app"]})]),
    ),
    "fine_tuning_training": (request(endpoint="fine_tuning"), account()),
    "fine_tuned_model": (request(model=f"ft:{LARGE}:acme::abc123"), account()),
    "o_series_on_assistants": (request(model="o3-2025-04-16", endpoint="assistants"), account()),
    "tool_use": (request(tools=["get_weather", "web_search_preview"]), account()),
    "model_not_listed": (request(model="gpt-3.5-turbo"), account()),
    "tier_not_included": (request(), account(profiles=[profile(tier=0)])),
}


@pytest.mark.parametrize("reason", BY_THE_RULES)
def test_a_request_is_billed_for_the_one_reason_that_applies(reason: str) -> None:
    asked, organization = ONE_REASON[reason]
    assert judged(asked, organization) == reason


WHEN = {"2024-12-31T12:00": "offer_not_started", "2025-03-11T12:00": None, "2025-05-01T12:00": "offer_ended"}
TRAFFIC = {
    ("enabled",): None,
    ("disabled",): "sharing_disabled",
    ("selected", "proj_app"): "project_not_shared",
    ("selected", "proj_app", "proj_web"): None,
}
MODEL_ON_ENDPOINT = {
    (LARGE, "responses"): [],
    (LARGE, "assistants"): [],
    (LARGE, "fine_tuning"): ["fine_tuning_training"],
    ("o3-2025-04-16", "responses"): [],
    ("o3-2025-04-16", "assistants"): ["o_series_on_assistants"],
    ("o9-2029-01-01", "assistants"): ["o_series_on_assistants", "model_not_listed"],
    ("ft:o3-2025-04-16", "assistants"): ["fine_tuned_model", "model_not_listed"],
    ("ft:o3-2025-04-16", "fine_tuning"): ["fine_tuning_training", "fine_tuned_model", "model_not_listed"],
    ("gpt-o3-2025-04-16", "assistants"): ["model_not_listed"],
    ("gpt-3.5-turbo", "responses"): ["model_not_listed"],
}
TIERS = {4: None, 0: "tier_not_included", None: "tier_not_included"}
YES_OR_NO = (False, True)


PROFILES = {
    (): [],
    ("eligible",): ["not_eligible"],
    ("retention",): ["zero_data_retention"],
    ("plan",): ["enterprise_excluded"],
    ("balance",): ["no_balance"],
    ("eligible", "retention", "plan", "balance"): ["not_eligible", "zero_data_retention", "enterprise_excluded"],
    ("retention", "plan", "balance"): ["zero_data_retention", "enterprise_excluded", "no_balance"],
    ("plan", "balance"): ["enterprise_excluded", "no_balance"],
}
RULED_OUT_BY = {
    "eligible": {"eligible": False},
    "retention": {"zero_data_retention": True},
    "plan": {"plan": "enterprise_excluded"},
    "balance": {"positive_balance": False},
}


def organization_of(flaws: tuple[str, ...], tier: int | None, **shared: tuple[str, ...]) -> Account:
    excluded = {name: value for flaw in flaws for name, value in RULED_OUT_BY[flaw].items()}
    modes = {what: {"mode": mode, "projects": projects or None} for what, (mode, *projects) in shared.items()}
    return account(profiles=[profile(tier=tier, **excluded)], sharing=[settings(**modes)])


def test_of_several_reasons_that_apply_the_first_by_the_rules_is_given() -> None:
    for when, flaws, traffic, (model, endpoint), hosted, tier in product(
        WHEN, PROFILES, TRAFFIC, MODEL_ON_ENDPOINT, YES_OR_NO, TIERS
    ):
        applying = [
            WHEN[when],
            *PROFILES[flaws],
            TRAFFIC[traffic],
            *MODEL_ON_ENDPOINT[model, endpoint],
            "tool_use" if hosted else None,
            TIERS[tier],
        ]
        expected = next((reason for reason in BY_THE_RULES if reason in applying), LARGE_QUOTA)
        asked = request(when=when, model=model, endpoint=endpoint, tools=["web_search"] if hosted else [])
        assert judged(asked, organization_of(flaws, tier, traffic=traffic)) == expected


def test_of_several_reasons_against_an_evaluation_run_the_first_by_the_rules_is_given() -> None:
    refused = {"sharing_disabled": "eval_sharing_disabled"}
    for when, flaws, evals, shared in product(WHEN, PROFILES, TRAFFIC, YES_OR_NO):
        missing = TRAFFIC[evals]
        applying = [
            WHEN[when],
            *PROFILES[flaws],
            refused.get(missing or "", missing),
            None if shared else "eval_not_shared",
        ]
        expected = next((reason for reason in EVALS_BY_THE_RULES if reason in applying), ("evals", 7))
        asked = eval_run(when, shared=shared)
        assert judged(asked, organization_of(flaws, None, evals=evals), EVALS_OFFER) == expected


# Rule 2


def test_an_organization_is_eligible_unless_its_profile_says_no() -> None:
    assert "eligible" not in profile()
    assert judged(request(), account()) == LARGE_QUOTA


def test_a_balance_is_asked_for_only_where_the_offer_requires_one() -> None:
    without = account(profiles=[profile(positive_balance=False)])
    assert judged(request(), without) == "no_balance"
    assert judged(request(), without, small_offer()) == ("1m", 1000)


def test_an_organization_has_a_balance_unless_its_profile_says_no() -> None:
    assert "positive_balance" not in profile()
    assert judged(request(), account()) == LARGE_QUOTA


# Rule 3


def test_traffic_is_not_shared_by_default() -> None:
    nothing_said = account(sharing=[{"effective_at": "2025-01-01T00:00:00Z"}])
    assert judged(request(), nothing_said) == "sharing_disabled"
    assert judged(eval_run(), nothing_said) == "eval_sharing_disabled"


def test_sharing_for_selected_projects_leaves_out_traffic_of_no_project() -> None:
    selected = account(sharing=[settings(traffic={"mode": "selected", "projects": ["proj_web"]})])
    assert judged(request(project="proj_web"), selected) == LARGE_QUOTA
    assert judged(request(project=None), selected) == "project_not_shared"


def test_sharing_for_all_covers_traffic_of_no_project() -> None:
    assert judged(request(project=None), account()) == LARGE_QUOTA


def test_an_empty_selection_of_projects_shares_nothing() -> None:
    nobody = account(sharing=[settings(traffic={"mode": "selected", "projects": []})])
    assert judged(request(), nobody) == "project_not_shared"


def test_a_selection_needs_its_projects() -> None:
    with pytest.raises(ValidationError, match="mode 'selected' needs 'projects'"):
        account(sharing=[settings(traffic={"mode": "selected"})])


def test_projects_that_were_listed_mean_nothing_while_sharing_is_off() -> None:
    off = account(sharing=[settings(traffic={"mode": "disabled", "projects": ["proj_web"]})])
    assert judged(request(project="proj_web"), off) == "sharing_disabled"


def test_sharing_evaluations_shares_no_traffic_and_the_other_way_round() -> None:
    evals_only = account(sharing=[settings(traffic={"mode": "disabled"})])
    traffic_only = account(sharing=[settings(evals={"mode": "disabled"})])
    assert judged(request(), evals_only) == "sharing_disabled"
    assert judged(eval_run(), evals_only) == ("evals", 7)
    assert judged(request(), traffic_only) == LARGE_QUOTA
    assert judged(eval_run(), traffic_only) == "eval_sharing_disabled"


def test_sharing_feedback_shares_no_traffic() -> None:
    feedback_only = account(sharing=[{"effective_at": "2025-01-01T00:00:00Z", "feedback": {"mode": "enabled"}}])
    assert judged(request(), feedback_only) == "sharing_disabled"


# Rule 4


def test_a_function_that_the_caller_runs_itself_is_not_tool_use() -> None:
    assert judged(request(tools=["function", "get_weather", "search_web"]), account()) == LARGE_QUOTA


def test_one_hosted_tool_among_functions_is_tool_use() -> None:
    assert judged(request(tools=["function", "code_interpreter"]), account()) == "tool_use"


def test_an_o_series_model_is_left_out_only_on_assistants() -> None:
    for endpoint in ("responses", "chat.completions", "something.new"):
        assert judged(request(model="o1-2024-12-17", endpoint=endpoint), account()) == LARGE_QUOTA


def test_an_alias_of_an_o_series_model_is_left_out_on_assistants_too() -> None:
    aliased = small_offer(
        aliases={"thinker": "o1-2024-12-17"},
        groups=[{"name": "1m", "models": ["o1-2024-12-17"], "quotas": {"4": 1000}}],
    )
    assert judged(request(model="thinker"), account(), aliased) == ("1m", 1000)
    assert judged(request(model="thinker", endpoint="assistants"), account(), aliased) == "o_series_on_assistants"


# Rules 5 and 6


def test_an_alias_counts_as_the_dated_model_it_stands_for() -> None:
    aliased = small_offer(quota=500, aliases={"gpt-4o": LARGE})
    assert judged(request(model="gpt-4o"), account(), aliased) == ("1m", 500)


def test_a_model_is_listed_also_before_its_own_date() -> None:
    assert judged(request(when="2025-03-11T12:00", model="o3-2025-04-16"), account()) == LARGE_QUOTA


def test_a_group_may_leave_out_a_tier_that_another_one_includes() -> None:
    lopsided = small_offer(
        groups=[
            {"name": "1m", "models": [LARGE], "quotas": {"4": 1000}},
            {"name": "10m", "models": [SMALL], "quotas": {"3": 10_000, "4": 10_000}},
        ]
    )
    tier_3 = account(profiles=[profile(tier=3)])
    assert judged(request(model=LARGE), tier_3, lopsided) == "tier_not_included"
    assert judged(request(model=SMALL), tier_3, lopsided) == ("10m", 10_000)


def test_a_group_is_named_where_its_tier_or_its_price_is_missing_and_not_before() -> None:
    dollars = {"name": "credit", "models": ["grok-*"], "unit": "usd", "quotas": {"4": "150"}}
    offer = small_offer(groups=[dollars])
    asked = request(model="grok-unheard-of")
    tier_3 = account(profiles=[profile(tier=3)])
    found = [judge(asked, terms_of(asked, offer, who), None) for who in (account(), tier_3, account(sharing=[]))]
    assert [(each.reason, each.group and each.group.name) for each in found] == [
        ("no_price", "credit"),
        ("tier_not_included", "credit"),
        ("sharing_disabled", None),
    ]


def test_a_quota_for_any_tier_is_one_for_none_too_and_a_tier_of_its_own_goes_before_it() -> None:
    offer = small_offer(groups=[{"name": "1m", "models": [LARGE], "quotas": {"*": 100, "4": 1000}}])
    tiers = (None, 0, 5, 4)
    quotas = [judged(request(), account(profiles=[profile(tier=tier)]), offer) for tier in tiers]
    assert quotas == [("1m", 100), ("1m", 100), ("1m", 100), ("1m", 1000)]


def test_a_quota_of_nothing_includes_the_tier() -> None:
    assert judged(request(), account(), small_offer(quota=0)) == ("1m", 0)


# Evaluation runs


@pytest.mark.parametrize(
    "anything",
    [
        {"model": "gpt-4o"},
        {"model": "ft:gpt-4o-2024-08-06:acme::abc"},
        {"endpoint": "fine_tuning"},
        {"endpoint": "assistants", "model": "o3-2025-04-16"},
        {"tools": ["web_search"]},
        {"tokens": 0},
    ],
    ids=str,
)
def test_model_endpoint_and_tools_of_an_evaluation_run_do_not_matter(anything: dict) -> None:
    assert judged(eval_run(**anything), account()) == ("evals", 7)


@pytest.mark.parametrize("tier", [None, 0, 1, 5])
def test_the_tier_does_not_matter_for_an_evaluation_run(tier: int | None) -> None:
    assert judged(eval_run(), account(profiles=[profile(tier=tier)])) == ("evals", 7)


def test_where_an_offer_gives_no_evaluation_runs_they_are_billed_as_of_a_tier_without_a_quota() -> None:
    ruling = judge(eval_run(), terms_of(eval_run(), small_offer(offer={"evals": None}), account()), None)
    assert (ruling.reason, ruling.group) == ("tier_not_included", None)


def test_evaluation_runs_without_dates_of_their_own_have_those_of_the_offer() -> None:
    ended = small_offer(offer={"ends": "2025-03-11", "evals": {"quotas": {"*": 7}, "ends": "2025-03-11"}})
    assert judged(eval_run("2025-03-11T23:59:59.999999"), account(), ended) == ("evals", 7)
    assert judged(eval_run("2025-03-12T00:00"), account(), ended) == "offer_ended"
    assert judged(eval_run("2024-12-31T23:59:59.999999"), account(), ended) == "offer_not_started"


def test_whether_members_share_a_run_does_not_matter_for_other_traffic() -> None:
    assert judged(request(shared=False), account()) == LARGE_QUOTA


# What was in force


def test_an_organization_that_nobody_knows_shares_nothing() -> None:
    terms = terms_of(request(), OFFER, None)
    assert judged(request(), None) == "sharing_disabled"
    assert judged(eval_run(), None) == "eval_sharing_disabled"
    assert (terms.profile.tier, terms.profile.plan) == (None, "standard")
    assert (terms.profile_version, terms.settings_version) == (None, None)


def test_an_organization_that_was_not_known_yet_shares_nothing() -> None:
    later = account(profiles=[profile("2025-03-12T00:00:00Z")], sharing=[settings("2025-03-12T00:00:00Z")])
    asked = request(when="2025-03-11T23:59:59.999999")
    terms = terms_of(asked, OFFER, later)
    assert judged(asked, later) == "sharing_disabled"
    assert (terms.profile_version, terms.settings_version) == (None, None)


def test_the_offers_dates_come_before_that_an_organization_is_unknown() -> None:
    assert judged(request(when="2025-05-01T00:00"), None) == "offer_ended"


def test_an_organization_may_share_before_it_has_a_profile() -> None:
    assert judged(request(), account(profiles=[])) == "tier_not_included"
    assert judged(eval_run(), account(profiles=[])) == ("evals", 7)


@pytest.mark.parametrize(
    ("when", "expected", "versions"),
    [
        ("2025-03-11T11:59:59.999999", LARGE_QUOTA, (1, 1)),
        ("2025-03-11T12:00:00", "sharing_disabled", (1, 2)),
        ("2025-03-11T17:59:59.999999", "sharing_disabled", (1, 2)),
        ("2025-03-11T18:00:00", ("1m", 250_000), (2, 3)),
    ],
)
def test_a_version_is_in_force_from_its_exact_moment_to_just_before_the_next(
    when: str, expected: Judged, versions: tuple[int, int]
) -> None:
    organization = account(
        profiles=[profile("2025-01-01T00:00:00Z", tier=4), profile("2025-03-11T19:00:00+01:00", tier=1)],
        sharing=[
            settings("2025-01-01T00:00:00Z"),
            settings("2025-03-11T12:00:00Z", traffic={"mode": "disabled"}),
            settings("2025-03-11T13:00:00-05:00"),
        ],
    )
    terms = terms_of(request(when=when), OFFER, organization)
    assert judged(request(when=when), organization) == expected
    assert (terms.profile_version, terms.settings_version) == versions


def test_of_two_versions_of_one_moment_the_later_one_is_in_force() -> None:
    organization = account(profiles=[profile(tier=4), profile(tier=1)])
    terms = terms_of(request(), OFFER, organization)
    assert (terms.profile.tier, terms.profile_version) == (1, 2)


def test_a_back_dated_version_does_not_hide_one_that_took_effect_later() -> None:
    organization = account(profiles=[profile("2025-02-01T00:00:00Z", tier=4), profile("2025-01-01T00:00:00Z", tier=1)])
    assert terms_of(request(when="2025-03-11T12:00"), OFFER, organization).profile.tier == 4
    assert terms_of(request(when="2025-01-15T12:00"), OFFER, organization).profile.tier == 1


def test_terms_name_the_offer_and_its_version_in_force() -> None:
    assert terms_of(request(when="2025-03-05T23:59"), OFFER, None).version.name == "data-sharing-2025@2025-01-01"
    assert terms_of(request(when="2025-03-06T00:00"), OFFER, None).version.name == "data-sharing-2025@2025-03-06"
