"""What is left of the allowance, as the API shows it: status, the published words, and figures per group."""

from typing import Any

import pytest

from gratis import config
from gratis.rules.account import Account
from tests.builders.account_api import ALLOWANCE, Api, unix
from tests.builders.events import SMALL, at, billed, used
from tests.builders.organizations import account, settings

# --- allowance -------------------------------------------------------------------------------------------------------


def with_offer(monkeypatch: pytest.MonkeyPatch, offer: str, ends: str = "", platform: str = "") -> None:
    """What the deployment's parameters name."""
    monkeypatch.setenv("OFFER", offer)
    monkeypatch.setenv("OFFER_ENDS", ends)
    if platform:
        monkeypatch.setenv("PLATFORM_NAME", platform)
    config.config.cache_clear()


NOT_ELIGIBLE = ("ineligible", "You are not eligible for the complimentary tokens at this time")
ELIGIBLE = ("eligible", "You're eligible for free daily usage on traffic shared with OpenAI")
ENROLLED = ("enrolled", "You're enrolled for up to 11 million complimentary tokens per day")
ENROLLED_LOW = ("enrolled", "You're enrolled for up to 2.75 million complimentary tokens per day")
STATUSES: dict[str, tuple[Account, tuple[str, str]]] = {
    "tier 1": (account(tier=1), ENROLLED_LOW),
    "tier 2": (account(tier=2), ENROLLED_LOW),
    "tier 3": (account(tier=3), ENROLLED),
    "tier 4": (account(tier=4), ENROLLED),
    "tier 5": (account(tier=5), ENROLLED),
    "not sharing": (account(sharing=[]), ELIGIBLE),
    "not sharing, tier 1": (account(sharing=[], tier=1), ELIGIBLE),
    "sharing one project": (
        account(sharing=[settings(traffic={"mode": "selected", "projects": ["proj_web"]})]),
        ENROLLED,
    ),
    "sharing of no project": (account(sharing=[settings(traffic={"mode": "selected", "projects": []})]), ELIGIBLE),
    "sharing switched off": (account(sharing=[settings(traffic={"mode": "disabled"})]), ELIGIBLE),
    "tier 0": (account(tier=0), NOT_ELIGIBLE),
    "tier 6": (account(tier=6), NOT_ELIGIBLE),
    "not eligible": (account(eligible=False), NOT_ELIGIBLE),
    "zero data retention": (account(zero_data_retention=True), NOT_ELIGIBLE),
    "enterprise": (account(plan="enterprise_excluded"), NOT_ELIGIBLE),
    "no profile": (account().model_copy(update={"profile": ()}), NOT_ELIGIBLE),
}


@pytest.mark.parametrize(("history", "expected"), STATUSES.values(), ids=STATUSES)
def test_the_status_has_the_published_words(api: Api, history: Account, expected: tuple[str, str]) -> None:
    api.store(history)
    found = api.get(ALLOWANCE).content
    assert (found["status"], found["message"]) == expected
    assert [each["group"] for each in found["groups"]] == ([] if expected == NOT_ELIGIBLE else ["1m", "10m"])


def test_an_organization_that_nobody_knows_is_not_eligible(api: Api) -> None:
    found = api.get(ALLOWANCE, api.key("reader", "org_new")).content
    assert (found["organization"], found["status"], found["groups"]) == ("org_new", "ineligible", [])


def test_the_allowance_has_the_documented_shape(api: Api) -> None:
    api.decide(used(300_000, 110_000), used(5_000, model=SMALL), *(used(kind="usage.eval_run") for _ in range(2)))
    found = api.get(ALLOWANCE).content
    assert [each.pop("used_up_at") for each in found["groups"]] == [None, None]
    assert found == {
        "object": "allowance",
        "organization": "org_a",
        "is_known": True,
        "status": "enrolled",
        "message": ENROLLED[1],
        "why": None,
        "ends": None,
        "as_of": "2025-03-12T10:30:00Z",
        "groups": [
            group("1m", 1_000_000, 410_000, "2025-03-12", "2025-03-13T00:00:00Z"),
            group("10m", 10_000_000, 5_000, "2025-03-12", "2025-03-13T00:00:00Z"),
        ],
        "eval_runs": {"quota": 7, "used": 2, "remaining": 5, "resets_at": "2025-03-17T00:00:00Z"},
        "saved_usd": {"today": "1.85575", "month": "1.85575"},
    }


def test_what_was_saved_is_what_free_requests_of_the_day_and_the_month_would_have_cost(api: Api) -> None:
    assert api.get(ALLOWANCE).content["saved_usd"] == {"today": "0", "month": "0"}
    last_month, first = (used(100_000, at=f"2025-{day}T23:59:59Z") for day in ("02-28", "03-01"))
    api.decide(last_month, first, used(200_000), billed(1_000_000))
    assert api.get(ALLOWANCE).content["saved_usd"] == {"today": "0.5", "month": "0.75"}
    [yesterday, today] = api.usage(start_time=unix("2025-03-11T00:00:00Z")).results
    assert (yesterday, [each["saved_usd"] for each in today]) == ([], ["0.5"])
    hours = api.usage(start_time=unix("2025-03-12T00:00:00Z"), bucket_width="1h").results
    assert [each["saved_usd"] for results in hours for each in results] == ["0.5"]


def rows(api: Api) -> list[dict[str, Any]]:
    """The groups, without the forecast, which has tests of its own."""
    return [{name: value for name, value in row.items() if name != "used_up_at"} for row in groups_of(api)]


def groups_of(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(ALLOWANCE).content["groups"]
    return found


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(875_000, "2025-03-12T12:00:00Z"), (437_500, None), (1_000_000, None), (0, None)],
)
def test_the_forecast_goes_on_at_the_pace_of_the_window_so_far(api: Api, tokens: int, expected: str | None) -> None:
    api.decide(used(tokens))
    assert groups_of(api)[0]["used_up_at"] == expected


def group(name: str, quota: int, used_tokens: int, window: str | None, resets_at: str | None) -> dict[str, Any]:
    return {
        "group": name,
        "unit": "tokens",
        "quota": quota,
        "used": used_tokens,
        "reserved": 0,
        "remaining": quota - used_tokens,
        "window": window,
        "resets_at": resets_at,
    }


def test_what_is_billed_takes_nothing_from_the_allowance(api: Api) -> None:
    api.decide(used(1_000_000), used(1), billed(5), used(7, model="gpt-4o"))
    assert rows(api)[0] == group("1m", 1_000_000, 1_000_000, "2025-03-12", "2025-03-13T00:00:00Z")


def test_what_is_left_is_never_below_zero_after_a_lower_tier(api: Api) -> None:
    api.decide(used(600_000))
    api.put("org_a", tier=1)
    found = api.get(ALLOWANCE).content["groups"][0]
    assert (found["quota"], found["used"], found["remaining"]) == (250_000, 600_000, 0)


def test_yesterdays_tokens_are_not_todays(api: Api) -> None:
    api.decide(used(900_000, at="2025-03-11T23:59:59.999Z"))
    assert api.get(ALLOWANCE).content["groups"][0]["used"] == 0


def test_evaluation_runs_are_fresh_on_monday(api: Api) -> None:
    runs = [used(kind="usage.eval_run", at=f"2025-03-{day:02}T10:00:00Z") for day in (10, 11, 12)]
    api.decide(*runs)
    assert api.get(ALLOWANCE).content["eval_runs"]["remaining"] == 4
    api.set_clock(at("2025-03-17"))
    assert api.get(ALLOWANCE).content["eval_runs"] == {
        "quota": 7,
        "used": 0,
        "remaining": 7,
        "resets_at": "2025-03-24T00:00:00Z",
    }


def test_the_platforms_own_name_is_in_the_message(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with_offer(monkeypatch, "data-sharing", platform="Acme AI")
    api.store(account(sharing=[]))
    message_shown = api.get(ALLOWANCE).content["message"]
    assert message_shown == "You're eligible for free daily usage on traffic shared with Acme AI"


@pytest.mark.parametrize(
    ("offer", "when", "expected"),
    [
        (("data-sharing-2025", ""), "2025-04-30T23:59:59", ENROLLED),
        (("data-sharing-2025", ""), "2025-05-01T00:00:00", ("ended", "The offer was valid until April 30, 2025")),
        (("data-sharing", "2025-03-12"), "2025-03-12T23:59:59", ENROLLED),
        (("data-sharing", "2025-03-11"), "2025-03-12T00:00:00", ("ended", "The offer was valid until March 11, 2025")),
        (("data-sharing", ""), "2024-12-31T23:59:59", NOT_ELIGIBLE),
        (("data-sharing", ""), "2025-01-01T00:00:00", ENROLLED),
    ],
)
def test_the_offer_holds_from_its_first_day_to_its_last(
    api: Api, monkeypatch: pytest.MonkeyPatch, offer: tuple[str, str], when: str, expected: tuple[str, str]
) -> None:
    with_offer(monkeypatch, *offer)
    api.set_clock(at(when))
    api.store(account())
    found = api.get(ALLOWANCE).content
    assert (found["status"], found["message"]) == expected


ROLLING = {
    "none was opened": ("2025-03-01T12:00", None, (0, None, None)),
    "open": ("2025-03-02T07:59", "2025-03-01T08:00", (100, "2025-03-01T08:00:00Z", "2025-03-02T08:00:00Z")),
    "over": ("2025-03-02T08:00", "2025-03-01T08:00", (0, None, None)),
    "ended by the move": (
        "2025-03-05T23:00",
        "2025-03-05T20:00",
        (100, "2025-03-05T20:00:00Z", "2025-03-06T00:00:00Z"),
    ),
}


@pytest.mark.parametrize(("now", "opened", "shown"), ROLLING.values(), ids=ROLLING)
def test_a_rolling_window_resets_24_hours_after_its_first_free_request(
    api: Api, now: str, opened: str | None, shown: tuple[int, str | None, str | None]
) -> None:
    api.set_clock(at(now))
    if opened:
        api.decide(used(100, at=f"{opened}:00Z"))
    assert rows(api)[0] == group("1m", 1_000_000, *shown)


def test_after_the_move_to_days_a_rolling_window_no_longer_counts(api: Api) -> None:
    api.set_clock(at("2025-03-06"))
    api.decide(used(100, at="2025-03-05T23:59:59Z"))
    assert rows(api)[0] == group("1m", 1_000_000, 0, "2025-03-06", "2025-03-07T00:00:00Z")


def test_an_organization_without_an_account_is_said_to_be_unknown(api: Api) -> None:
    known = {each: api.get(ALLOWANCE, key=api.platform, organization=each).content for each in ("org_a", "org_nobody")}
    assert {name: each["is_known"] for name, each in known.items()} == {"org_a": True, "org_nobody": False}
