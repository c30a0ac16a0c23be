"""The allowance under any offer: why there is none, evaluation runs, units, windows, and projects of their own."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gratis.rules.account import Account
from tests.builders.account_api import ALLOWANCE, Api, Clock
from tests.builders.events import used
from tests.builders.offers import small_offer_stated
from tests.builders.organizations import account, settings
from tests.unit.test_allowance import with_offer

UseOffer = Callable[..., None]


@pytest.fixture
def use(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UseOffer:
    """Deploys an offer of its own; its fields are those of `small_offer`. Depends on `api`, whose offer it replaces."""

    def deployed(**fields: Any) -> None:
        file = tmp_path / "own.json"
        file.write_text(json.dumps(small_offer_stated(**fields)))
        with_offer(monkeypatch, str(file))

    return deployed


# --- evaluation runs -------------------------------------------------------------------------------------------------

EVAL_RUNS: dict[str, tuple[Account, int]] = {
    "sharing": (account(), 7),
    "not sharing evaluations": (account(sharing=[settings(evals={"mode": "disabled"})]), 0),
    "sharing of one project": (
        account(sharing=[settings(evals={"mode": "selected", "projects": ["proj_web"]})]),
        7,
    ),
    "sharing of no project": (account(sharing=[settings(evals={"mode": "selected", "projects": []})]), 0),
    "sharing evaluations only": (account(sharing=[settings(traffic={"mode": "disabled"})]), 7),
    "not eligible": (account(eligible=False), 7),
    "enterprise": (account(plan="enterprise_excluded"), 7),
    "tier 0": (account(tier=0), 7),
    "zero data retention": (account(zero_data_retention=True), 0),
    "nobody knows it": (account().model_copy(update={"profile": (), "sharing": ()}), 0),
}


@pytest.mark.parametrize(("history", "left"), EVAL_RUNS.values(), ids=EVAL_RUNS)
def test_evaluation_runs_are_left_for_who_may_share_them_and_does(api: Api, history: Account, left: int) -> None:
    api.store(history)
    found = api.get(ALLOWANCE).content["eval_runs"]
    assert (found["quota"], found["remaining"]) == (left, left)


def test_of_runs_that_were_used_before_sharing_ended_nothing_is_left(api: Api) -> None:
    api.decide(*(used(kind="usage.eval_run") for _ in range(2)))
    api.store(account(sharing=[settings(evals={"mode": "disabled"})]))
    found = api.get(ALLOWANCE).content["eval_runs"]
    assert (found["quota"], found["used"], found["remaining"]) == (0, 2, 0)


@pytest.mark.parametrize(
    ("evals", "now", "left"),
    [
        ({"ends": "2025-03-12"}, "2025-03-12T23:59:59", 7),
        ({"ends": "2025-03-12"}, "2025-03-13T00:00:00", None),
        ({"starts": "2025-03-13"}, "2025-03-12T23:59:59", 0),
        ({"starts": "2025-03-13"}, "2025-03-13T00:00:00", 7),
        (None, "2025-03-12T12:00:00", None),
    ],
)
def test_of_evaluation_runs_there_is_nothing_to_say_once_they_ended_and_none_is_left_before_they_start(
    api: Api, use: UseOffer, monkeypatch: pytest.MonkeyPatch, evals: Any, now: str, left: int | None
) -> None:
    use(offer={"evals": evals and {"quotas": {"*": 7}} | evals, "ends": "2025-04-30"})
    monkeypatch.setattr(Clock, "moment", datetime.fromisoformat(now).replace(tzinfo=UTC))
    api.store(account())
    found = api.get(ALLOWANCE).content["eval_runs"]
    assert (found and found["remaining"]) == left


def test_evaluation_runs_may_outlast_the_tokens(api: Api, use: UseOffer) -> None:
    use(offer={"ends": "2025-03-11", "evals": {"quotas": {"*": 7}, "ends": "2025-06-30"}})
    api.store(account())
    found = api.get(ALLOWANCE).content
    assert (found["status"], found["eval_runs"]["remaining"]) == ("ended", 7)


# --- other offers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (account(eligible=False), "not_eligible"),
        (account(zero_data_retention=True), "zero_data_retention"),
        (account(plan="enterprise_excluded"), "enterprise_excluded"),
        (account(positive_balance=False), "no_balance"),
        (account(tier=0), "tier_not_included"),
        (account(), None),
    ],
)
def test_an_organization_that_is_not_eligible_is_told_why(
    api: Api, use: UseOffer, history: Account, why: str | None
) -> None:
    use(requires=["positive_balance"], offer={"ends": "2025-04-30"})
    api.store(history)
    found = api.get(ALLOWANCE).content
    assert (found["status"], found["why"]) == ("ineligible" if why else "enrolled", why)
    assert found["ends"] == "2025-04-30"


ALL_MODELS = {"models": ["*"], "quotas": {"*": 1000}}
WORDS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "tokens a day of a zone": (
        [{"window": {"calendar": "day", "zone": "America/Los_Angeles"}, "quotas": {"*": 2_000_000}}],
        "2 million complimentary tokens per day",
    ),
    "tokens a month": ([{"window": {"calendar": "month", "zone": "UTC"}}], "1,000 tokens a month for group own"),
    "requests by project": (
        [{"unit": "requests", "scope": "project"}],
        "1,000 requests a day and project for group own",
    ),
    "dollars": (
        [{"unit": "usd", "quotas": {"*": "5"}, "window": {"rolling_hours": 720}}],
        "$5 every 720 hours from the first free request on for group own",
    ),
}


@pytest.mark.parametrize(("groups", "words"), WORDS.values(), ids=WORDS)
def test_the_quotas_of_any_other_offer_are_listed(api: Api, use: UseOffer, groups: list[Any], words: str) -> None:
    use(groups=[ALL_MODELS | {"name": "own"} | group for group in groups])
    api.store(account())
    assert api.get(ALLOWANCE).content["message"] == f"You're enrolled for up to {words}"


def test_a_group_that_counts_by_project_has_a_row_for_each_project_that_used_it(api: Api, use: UseOffer) -> None:
    own = ALL_MODELS | {"name": "own", "scope": "project"}
    use(groups=[own])
    api.decide(used(10, project="proj_web"), used(20, project="#1 / blue"), used(30))
    rows = api.get(ALLOWANCE).content["groups"]
    assert [(each["project"], each["used"], each["remaining"]) for each in rows] == [
        (None, 30, 970),
        ("#1 / blue", 20, 980),
        ("proj_web", 10, 990),
    ]


def test_dollars_are_decimals_as_text(api: Api, use: UseOffer) -> None:
    use(groups=[ALL_MODELS | {"name": "own", "unit": "usd", "quotas": {"*": "5"}}])
    api.decide(used(100_000))
    (row,) = api.get(ALLOWANCE).content["groups"]
    assert [row[name] for name in ("unit", "quota", "used", "reserved", "remaining")] == [
        "usd",
        "5",
        "0.25",
        "0",
        "4.75",
    ]


def test_a_window_of_a_zone_is_named_by_its_day_and_resets_at_its_midnight(api: Api, use: UseOffer) -> None:
    use(window={"calendar": "day", "zone": "America/Los_Angeles"})
    api.store(account())
    row = api.get(ALLOWANCE).content["groups"][0]
    assert (row["window"], row["resets_at"]) == ("2025-03-12", "2025-03-13T07:00:00Z")
