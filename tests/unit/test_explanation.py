"""A decision in one sentence: every reason of SPEC section 2 has one."""

from typing import Any

import pytest

from gratis.rules.explanation import SENTENCES, explain
from gratis.rules.offer import Offer
from gratis.rules.offer_file import shipped
from gratis.rules.receipt import Decision
from gratis.rules.request import Tokens
from tests.builders.events import SMALL, eval_run, request
from tests.builders.ledger import Desk
from tests.builders.offers import small_offer
from tests.builders.organizations import account, profile, settings

# --- explanations ----------------------------------------------------------------------------------------------------

SELECTED = {"mode": "selected", "projects": ["proj_app"]}
NO_TIER = account(profiles=[])
DECIDED: dict[str, tuple[Any, Any, str]] = {
    "offer_not_started": (
        account(),
        [request(when="2024-12-31T23:59")],
        "Billed: the offer had not started on 2024-12-31 (UTC).",
    ),
    "offer_ended": (
        account(),
        [request(when="2025-05-01T00:00")],
        "Billed: the offer had ended before 2025-05-01 (UTC).",
    ),
    "not_eligible": (
        account(profiles=[profile(eligible=False)]),
        [request()],
        "Billed: the organization does not qualify for the offer.",
    ),
    "zero_data_retention": (
        account(profiles=[profile(zero_data_retention=True)]),
        [request()],
        "Billed: organizations with Zero Data Retention are not included in the offer.",
    ),
    "enterprise_excluded": (
        account(profiles=[profile(plan="enterprise_excluded")]),
        [request()],
        "Billed: organizations on this Enterprise plan are not included in the offer.",
    ),
    "sharing_disabled": (
        account(sharing=[]),
        [request()],
        "Billed: the organization did not share its traffic at 2025-03-11T09:15:00Z.",
    ),
    "project_not_shared": (
        account(sharing=[settings(traffic=SELECTED)]),
        [request()],
        "Billed: the project proj_web was not among the projects whose traffic was shared at 2025-03-11T09:15:00Z.",
    ),
    "eval_sharing_disabled": (
        account(sharing=[]),
        [eval_run()],
        "Billed: the organization did not share its evaluations at 2025-03-11T09:15:00Z.",
    ),
    "eval_not_shared": (account(), [eval_run(shared=False)], "Billed: this evaluation run was not shared."),
    "fine_tuning_training": (
        account(),
        [request(endpoint="fine_tuning")],
        "Billed: fine-tuning training is not included.",
    ),
    "fine_tuned_model": (
        account(),
        [request(model="ft:gpt-4o-2024-08-06:acme::x1")],
        "Billed: fine-tuned models are not included (ft:gpt-4o-2024-08-06:acme::x1).",
    ),
    "o_series_on_assistants": (
        account(),
        [request(model="o1-2024-12-17", endpoint="assistants")],
        "Billed: o-series models on the Assistants API are not included (o1-2024-12-17).",
    ),
    "tool_use": (
        account(),
        [request(tools=["lookup_{order}", "web_search"])],
        "Billed: requests that use a tool hosted by the platform are not included (web_search).",
    ),
    "model_not_listed": (
        account(),
        [request(model="gpt-3.5-turbo")],
        "Billed: the offer does not list the model gpt-3.5-turbo.",
    ),
    "tier_not_included": (
        account(profiles=[profile(tier=6)]),
        [request()],
        "Billed: the offer has no allowance for usage tier 6.",
    ),
    "within_quota": (
        account(),
        [request(975_000), request(25_000)],
        "Free: 25,000 tokens fit in the 25,000 left of 1,000,000 for group 1m on 2025-03-11 (UTC).",
    ),
    "over_quota": (
        account(),
        [request(975_000), request(25_001)],
        "Billed: 25,001 tokens did not fit in the 25,000 left of 1,000,000 for group 1m on 2025-03-11 (UTC).",
    ),
}
"""Every reason of SPEC section 2: the organization, its requests, and the sentence for the last of them."""
OTHERWISE = {
    "no project": (
        account(sharing=[settings(traffic=SELECTED)]),
        [request(project=None)],
        "Billed: traffic of no project was not among the projects whose traffic was shared at 2025-03-11T09:15:00Z.",
    ),
    "an evaluation run of another project": (
        account(sharing=[settings(evals=SELECTED)]),
        [eval_run()],
        "Billed: the project proj_web was not among the projects whose traffic was shared at 2025-03-11T09:15:00Z.",
    ),
    "no tier": (NO_TIER, [request()], "Billed: the offer has no allowance for usage without a usage tier."),
    "no tokens": (
        account(),
        [request(1_000_000), request(0)],
        "Free: a request of 0 tokens takes nothing from the allowance of group 1m.",
    ),
    "the first run": (
        account(),
        [eval_run()],
        "Free: run 1 of 7 shared evaluation runs in the week of 2025-03-10 (UTC).",
    ),
    "the last run": (
        account(),
        [eval_run() for _ in range(7)],
        "Free: run 7 of 7 shared evaluation runs in the week of 2025-03-10 (UTC).",
    ),
    "one run too many": (
        account(),
        [eval_run() for _ in range(8)],
        "Billed: all 7 shared evaluation runs in the week of 2025-03-10 (UTC) were used.",
    ),
    "in a rolling window": (
        account(),
        [request(400_000, "2025-02-01T07:00"), request(1, "2025-02-02T06:59")],
        "Free: 1 token fit in the 600,000 left of 1,000,000 for group 1m in the 24 hours from 2025-02-01T07:00:00Z.",
    ),
    "too large to open a rolling window": (
        account(),
        [request(1_000_001, "2025-02-01T07:00")],
        "Billed: 1,000,001 tokens did not fit in the 1,000,000 left of 1,000,000 for group 1m in a new window of "
        "24 hours.",
    ),
}


def explained(desk: Desk, decision: Decision) -> str:
    return explain(decision, desk.offer.version_named(decision.offer))


@pytest.mark.parametrize(
    ("history", "asked", "sentence"), [*DECIDED.values(), *OTHERWISE.values()], ids=[*DECIDED, *OTHERWISE]
)
def test_a_decision_is_explained_in_one_sentence(history: Any, asked: Any, sentence: str) -> None:
    desk = Desk(shipped("data-sharing-2025"), history)
    assert explained(desk, desk.decide(*asked)[-1]) == sentence


@pytest.mark.parametrize("reason", DECIDED)
def test_the_examples_above_are_of_the_reason_they_are_listed_under(reason: str) -> None:
    history, asked, _ = DECIDED[reason]
    assert Desk(shipped("data-sharing-2025"), history).decide(*asked)[-1].reason == reason


def offering(window: Any = "utc_day", quota: Any = 1000, **group: Any) -> Offer:
    """An offer with one group that counts in its own way."""
    return small_offer(groups=[{"name": "own", "models": ["*"], "quotas": {"4": quota}, "window": window} | group])


GROK, PACIFIC = "grok-unheard-of", {"calendar": "day", "zone": "America/Los_Angeles"}
OF_OTHER_OFFERS: dict[str, tuple[Offer, Any, str]] = {
    "no_balance": (
        small_offer(requires=["positive_balance"]),
        [request()],
        "Billed: the offer requires a positive balance, which the organization did not have at 2025-03-11T09:15:00Z.",
    ),
    "no_price": (
        offering(unit="usd", quota="150"),
        [request(model=GROK)],
        f"Billed: the allowance counts dollars, and the model {GROK} has no price.",
    ),
    "dollars": (
        offering(unit="usd", quota="1.5"),
        [request(500_000), request(100_000)],
        "Free: $0.25 fit in the $0.25 left of $1.5 for group own on 2025-03-11 (UTC).",
    ),
    "a millionth of a dollar, and a whole one": (
        offering(unit="usd", quota="1"),
        [request(Tokens(0, 0, output=100_000)), request(Tokens(1, 0, output=0))],
        "Billed: $0.0000025 did not fit in the $0 left of $1 for group own on 2025-03-11 (UTC).",
    ),
    "a project's own quota": (
        offering(scope="project"),
        [request(600), request(600)],
        "Billed: 600 tokens did not fit in the 400 left of 1,000 for group own of the project proj_web "
        "on 2025-03-11 (UTC).",
    ),
    "the quota of traffic of no project": (
        offering(scope="project"),
        [request(600, project=None)],
        "Free: 600 tokens fit in the 1,000 left of 1,000 for group own of traffic of no project on 2025-03-11 (UTC).",
    ),
    "one request": (
        offering(unit="requests", quota=1500, window=PACIFIC),
        [request(when="2025-03-11T06:59")],
        "Free: 1 request fit in the 1,500 left of 1,500 for group own on 2025-03-10 (America/Los_Angeles).",
    ),
    "tokens that were not cached": (
        offering(unit="uncached_tokens", window={"calendar": "month", "zone": "UTC"}),
        [request(Tokens(1500, cached=400, output=0))],
        "Billed: 1,100 tokens that were not cached did not fit in the 1,000 left of 1,000 for group own "
        "in the month of 2025-03-01 (UTC).",
    ),
    "a long rolling window": (
        offering(window={"rolling_hours": 720}),
        [request(600), request(600)],
        "Billed: 600 tokens did not fit in the 400 left of 1,000 for group own "
        "in the 720 hours from 2025-03-11T09:15:00Z.",
    ),
    "an exclusion of the offer's own": (
        small_offer(excludes=[{"reason": "no_flex", "sentence": "flex is left out", "service_tiers": ["flex"]}]),
        [request(service_tier="flex")],
        "Billed: flex is left out (flex).",
    ),
    "the second of two exclusions with one reason": (
        small_offer(
            excludes=[
                {"reason": "not_here", "sentence": "this is left out", "models": ["ft:*"]},
                {"reason": "not_here", "sentence": "this is left out", "service_tiers": ["flex"]},
            ]
        ),
        [request(service_tier="flex")],
        "Billed: this is left out (flex).",
    ),
    "an exclusion that names nothing of the request": (
        small_offer(excludes=[{"reason": "no_batches", "sentence": "batches are left out", "batch": True}]),
        [request(batch=True)],
        "Billed: batches are left out.",
    ),
}
WITHOUT_BALANCE = account(profiles=[profile(positive_balance=False)])


@pytest.mark.parametrize(("offer", "asked", "sentence"), OF_OTHER_OFFERS.values(), ids=OF_OTHER_OFFERS)
def test_a_decision_under_any_offer_is_explained_in_its_own_units_and_windows(
    offer: Offer, asked: Any, sentence: str
) -> None:
    desk = Desk(offer, WITHOUT_BALANCE)
    assert explained(desk, desk.decide(*asked)[-1]) == sentence


def test_every_reason_has_a_sentence_and_no_sentence_is_left_over() -> None:
    excluded = {each.reason for version in shipped("data-sharing-2025").versions for each in version.excludes}
    rules = DECIDED.keys() - excluded | {"no_balance", "no_price"}
    assert rules == SENTENCES.keys() | {"within_quota", "over_quota"}


def test_of_a_version_that_nobody_knows_any_more_only_the_figures_are_told() -> None:
    desk = Desk()
    left_out, fits = desk.decide(request(tools=["web_search"]), request())
    assert explain(left_out, None) == (
        "Billed: the offer data-sharing-2025@2025-03-06 left such requests out (tool_use)."
    )
    assert explain(fits, None) == (
        "Free: 1,000 tokens fit in the 1,000,000 left of 1,000,000 for group 1m in the window 2025-03-11."
    )


def test_a_request_that_would_fit_into_a_closed_window_is_told_so() -> None:
    desk = Desk(small_offer(quota=1000, overflow="close"))
    decision = desk.decide(request(600), request(500), request(100))[-1]
    assert explained(desk, decision) == (
        "Billed: an earlier request that did not fit had closed the allowance of group 1m on 2025-03-11 (UTC)."
    )


def test_a_run_that_would_fit_into_a_closed_window_is_told_so() -> None:
    """A void gave a run back, and the window stays closed."""
    desk = Desk(small_offer(overflow="close", offer={"evals": {"quotas": {"*": 1}}}))
    billed = desk.decide(*[request(kind="usage.eval_run", shared=True)] * 2)[-1]
    said = "Billed: all 1 shared evaluation runs in the week of 2025-03-10 (UTC) were used."
    assert explained(desk, billed) == said
    assert explained(desk, billed._replace(used_before=0, used_after=0, running_total=1)) == (
        "Billed: an earlier request that did not fit had closed the allowance of group evals "
        "in the week of 2025-03-10 (UTC)."
    )


def test_the_group_of_another_model_is_named() -> None:
    desk = Desk()
    assert "of 10,000,000 for group 10m on 2025-03-11 (UTC)." in explained(
        desk, desk.decide(request(1, model=SMALL))[-1]
    )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gpt-4o-2024-08-07", " Did you mean gpt-4o-2024-08-06?"),
        ("gpt-4o-20241120", " Did you mean gpt-4o-2024-11-20?"),
        ("gpt-4o-2023-01-01", " Did you mean gpt-4o-2024-05-13?"),
        ("gpt-4o-mini-2024-07-19", " Did you mean gpt-4o-mini-2024-07-18?"),
        ("gpt-4-2024-08-06", ""),
        ("gpt-9", ""),
    ],
)
def test_an_id_that_misses_by_its_date_is_told_the_one_that_is_listed(model: str, said: str) -> None:
    offer = shipped("data-sharing-2025")
    (decision,) = Desk().decide(request(model=model))
    version = offer.version_named(decision.offer)
    assert explain(decision, version) == f"Billed: the offer does not list the model {model}.{said}"
