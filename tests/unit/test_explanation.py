"""A decision in one sentence: every reason of SPEC section 2 has one."""

from typing import Any

import pytest

from gratis.account.explanation import SENTENCES, explain
from gratis.rules.offer_file import shipped
from tests.unit.builders import SMALL, Desk, account, eval_run, profile, request, settings, small_offer

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
        "Billed: fine-tuning training is not included in the offer.",
    ),
    "fine_tuned_model": (
        account(),
        [request(model="ft:gpt-4o-2024-08-06:acme::x1")],
        "Billed: fine-tuned models are not included in the offer (ft:gpt-4o-2024-08-06:acme::x1).",
    ),
    "o_series_on_assistants": (
        account(),
        [request(model="o1-2024-12-17", endpoint="assistants")],
        "Billed: o-series models on the Assistants API are not included in the offer (o1-2024-12-17).",
    ),
    "tool_use": (
        account(),
        [request(tools=["lookup_{order}", "web_search"])],
        "Billed: requests that use a tool hosted by the platform are not included in the offer (web_search).",
    ),
    "model_not_listed": (account(), [request(model="gpt-4o")], "Billed: the offer does not list the model gpt-4o."),
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
        "Free: a request without tokens takes nothing from the allowance of group 1m.",
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
        "Billed: all 7 shared evaluation runs of the week of 2025-03-10 (UTC) were used.",
    ),
    "in a rolling window": (
        account(),
        [request(400_000, "2025-02-01T07:00"), request(1, "2025-02-02T06:59")],
        "Free: 1 tokens fit in the 600,000 left of 1,000,000 for group 1m in the 24 hours from 2025-02-01T07:00:00Z.",
    ),
    "too large to open a rolling window": (
        account(),
        [request(1_000_001, "2025-02-01T07:00")],
        "Billed: 1,000,001 tokens did not fit in the 1,000,000 left of 1,000,000 for group 1m in a new 24-hour window.",
    ),
}


@pytest.mark.parametrize(
    ("history", "asked", "sentence"), [*DECIDED.values(), *OTHERWISE.values()], ids=[*DECIDED, *OTHERWISE]
)
def test_a_decision_is_explained_in_one_sentence(history: Any, asked: Any, sentence: str) -> None:
    decision = Desk(shipped("data-sharing-2025"), history).decide(*asked)[-1]
    assert explain(decision) == sentence


@pytest.mark.parametrize("reason", DECIDED)
def test_the_examples_above_are_of_the_reason_they_are_listed_under(reason: str) -> None:
    history, asked, _ = DECIDED[reason]
    assert Desk(shipped("data-sharing-2025"), history).decide(*asked)[-1].reason == reason


def test_every_reason_has_a_sentence_and_no_sentence_is_left_over() -> None:
    assert set(DECIDED) == SENTENCES.keys() | {"within_quota", "over_quota"}


def test_a_request_that_would_fit_into_a_closed_window_is_told_so() -> None:
    desk = Desk(small_offer(quota=1000, overflow="close"))
    decision = desk.decide(request(600), request(500), request(100))[-1]
    assert explain(decision) == (
        "Billed: an earlier request that did not fit had closed the allowance of group 1m on 2025-03-11 (UTC)."
    )


def test_the_group_of_another_model_is_named() -> None:
    decision = Desk().decide(request(1, model=SMALL))[-1]
    assert "of 10,000,000 for group 10m on 2025-03-11 (UTC)." in explain(decision)
