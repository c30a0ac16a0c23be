"""GET /v1/organization/offer: what is included, in data and in words."""

from copy import deepcopy
from typing import Any

import pytest

from gratis.rules.offer_file import read_offer
from tests.builders.account_api import OFFER, Api
from tests.builders.offers import small_offer_stated
from tests.builders.organizations import account
from tests.unit.test_allowance import with_offer
from tests.unit.test_allowance_of_offers import UseOffer, use  # noqa: F401 - a fixture

EVERY_FORM: dict[str, Any] = {
    "groups": [
        {"name": "1m", "models": ["a-1", "b-*"], "quotas": {"4": 1_000_000, "*": 5}},
        {
            "name": "grounding",
            "models": ["gemini-*"],
            "unit": "requests",
            "scope": "project",
            "window": {"calendar": "day", "zone": "America/Los_Angeles"},
            "quotas": {"*": 1500},
        },
        {
            "name": "credit",
            "models": ["grok-*"],
            "unit": "usd",
            "window": {"rolling_hours": 720},
            "quotas": {"5": "150"},
        },
    ],
    "excludes": [
        {"reason": "not_in_batches", "sentence": "batches are not included", "batch": True},
        {"reason": "tool_use", "sentence": "hosted tools are not included", "hosted_tools": ["web_search"]},
    ],
    "aliases": {"a": "a-1"},
    "requires": ["positive_balance"],
    "source": "the terms",
    "seen": "2025-02-01",
}


def test_the_offer_is_said_in_data_with_the_quotas_of_the_organization(api: Api, use: UseOffer) -> None:  # noqa: F811
    use(**EVERY_FORM)
    api.store(account(tier=4))
    found = api.get(OFFER).content
    groups = [(each["group"], each["unit"], each["scope"], each["window"], each["quota"]) for each in found["groups"]]
    assert groups == [
        ("1m", "tokens", "organization", "utc_day", 1_000_000),
        ("grounding", "requests", "project", {"calendar": "day", "zone": "America/Los_Angeles"}, 1500),
        ("credit", "usd", "organization", {"rolling_hours": 720}, None),
    ]
    assert [each["words"] for each in found["groups"]] == [
        "1,000,000 tokens a day",
        "1,500 requests a day (America/Los_Angeles) and project",
        None,
    ]
    assert [each["models"] for each in found["groups"]] == [["a-1", "b-*"], ["gemini-*"], ["grok-*"]]
    assert found["excludes"] == EVERY_FORM["excludes"]
    assert (found["aliases"], found["requires"], found["overflow"]) == ({"a": "a-1"}, ["positive_balance"], "skip")
    assert (found["source"], found["seen"], found["tier"]) == ("the terms", "2025-02-01", 4)


def test_the_offer_is_said_in_words(api: Api, use: UseOffer) -> None:  # noqa: F811
    use(**EVERY_FORM)
    api.store(account(tier=4))
    assert api.get(OFFER).content["words"] == [
        "small@2025-01-01: from 2025-01-01 on",
        "read in: the terms (seen by 2025-02-01)",
        "required: a positive balance",
        "1m: 1,000,000 tokens a day for tier 4; 5 tokens a day for any other tier",
        "models: a-1, b-*",
        "grounding: 1,500 requests a day (America/Los_Angeles) and project",
        "models: gemini-*",
        "credit: $150 every 720 hours from the first free request on for tier 5",
        "models: grok-*",
        "evals: 7 runs a week, from 2025-01-01 on",
        "left out: not_in_batches: batches are not included (in batches)",
        "left out: tool_use: hosted tools are not included (hosted tools: web_search)",
        "undated: a is a-1",
        "a request that does not fit is billed whole; a later, smaller one may still be free",
    ]


def test_windows_are_stated_as_an_offer_file_takes_them(api: Api, use: UseOffer) -> None:  # noqa: F811
    use(**EVERY_FORM)
    stated = deepcopy(small_offer_stated(**EVERY_FORM))
    offer = read_offer(stated)
    for group, answered in zip(stated["versions"][0]["groups"], api.get(OFFER).content["groups"], strict=True):
        group["window"] = answered["window"]
    assert [each.groups for each in read_offer(stated).versions] == [each.groups for each in offer.versions]


def test_the_version_in_force_is_shown_with_the_offers_last_day(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with_offer(monkeypatch, "data-sharing", ends="2026-12-31")
    found = api.get(OFFER).content
    assert (found["version"], found["starts"], found["ends"]) == ("data-sharing@2025-03-06", "2025-01-01", "2026-12-31")
    assert (found["evals"]["quota"], found["evals"]["ends"]) == (7, "2026-11-30")


def test_who_nobody_knows_has_no_tier_and_no_quota(api: Api) -> None:
    api.store(account().model_copy(update={"profile": (), "sharing": ()}))
    found = api.get(OFFER).content
    assert (found["tier"], {each["quota"] for each in found["groups"]}) == (None, {None})
