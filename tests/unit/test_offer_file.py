"""What is wrong with an offer file is said in its own words: where, what was expected, and what stands there."""

import json
from pathlib import Path
from typing import Any

import pytest

from gratis.rules.offer_file import OfferInvalid, offer_from, read_offer
from tests.builders.events import LARGE

GROUP = {"name": "1m", "models": [LARGE], "quotas": {"4": 1000}}
VERSION = {"effective_at": "2025-01-01", "window": "utc_day", "groups": [GROUP]}
OFFER = {"id": "mine", "starts": "2025-01-01", "versions": [VERSION]}
EVALS = {"quotas": {"*": 7}}
EXCLUSION = {"reason": "no_batches", "sentence": "batches are left out", "batch": True}
QUOTA = 'must be a whole number of 0 or more, or for dollars a decimal as text, like "150"'
WINDOW = (
    'must be "utc_day", "utc_week", "rolling_24h", {"calendar": "day", "zone": "Europe/Paris"}'
    ' or {"rolling_hours": 720}'
)
TOKENS = "1 to 32 letters, digits, dots or underscores"


def version(**fields: Any) -> dict[str, Any]:
    return OFFER | {"versions": [VERSION | fields]}


def group(**fields: Any) -> dict[str, Any]:
    return version(groups=[GROUP | fields])


def evals(**fields: Any) -> dict[str, Any]:
    return OFFER | {"evals": EVALS | fields}


def exclusion(**fields: Any) -> dict[str, Any]:
    return version(excludes=[EXCLUSION | fields])


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {known: value for known, value in fields.items() if known != name}


MISTAKES: list[tuple[Any, str]] = [
    # the offer
    ([], "must be an object, not []"),
    (None, "must be an object, not null"),
    ({}, "id: is missing; starts: is missing; versions: is missing"),
    (OFFER | {"quota": 5}, "quota: is no field that an offer file has here"),
    (OFFER | {"id": 7}, "id: must be text, not 7"),
    (OFFER | {"id": "a#b"}, 'id: must be 1 to 64 letters, digits, dots, hyphens or underscores, not "a#b"'),
    (OFFER | {"starts": "2025-02-30"}, 'starts: must be a day like 2026-01-31, not "2025-02-30"'),
    (OFFER | {"starts": 20250101}, "starts: must be a day like 2026-01-31, not 20250101"),
    (OFFER | {"starts": "2025-01-01T00:00"}, 'starts: must be a day like 2026-01-31, not "2025-01-01T00:00"'),
    (OFFER | {"ends": "2024-12-31"}, 'ends: must be on or after the first day (2025-01-01), not "2024-12-31"'),
    (OFFER | {"versions": []}, "versions: must not be empty, not []"),
    (OFFER | {"versions": VERSION | {"groups": []}}, "versions: must be a list"),
    (OFFER | {"versions": [7]}, "versions[0]: must be an object, not 7"),
    (
        OFFER | {"versions": [VERSION, VERSION]},
        'versions[1].effective_at: must be after that of the version before (2025-01-01), not "2025-01-01"',
    ),
    (
        OFFER | {"versions": [VERSION, VERSION | {"effective_at": "2024-12-31"}]},
        'versions[1].effective_at: must be after that of the version before (2025-01-01), not "2024-12-31"',
    ),
    (
        version(effective_at="2025-01-02"),
        'versions[0].effective_at: must be on or before the offer\'s first day (2025-01-01), not "2025-01-02"',
    ),
    # a version
    (OFFER | {"versions": [without(VERSION, "window")]}, "versions[0].window: is missing"),
    (version(window="utc_month"), f'versions[0].window: {WINDOW}, not "utc_month"'),
    (
        version(window={"calendar": "day", "zone": "Mars/Olympus"}),
        'versions[0].window: zone must be an IANA time zone like "America/Los_Angeles", '
        'not {"calendar": "day", "zone": "Mars/Olympus"}',
    ),
    (
        version(window={"calendar": "year", "zone": "UTC"}),
        'versions[0].window: calendar must be "day", "week" or "month", not {"calendar": "year", "zone": "UTC"}',
    ),
    (
        version(window={"rolling_hours": 0}),
        'versions[0].window: rolling_hours must be a whole number from 1 to 8784, not {"rolling_hours": 0}',
    ),
    (version(overflow="split"), 'versions[0].overflow: must be "skip" or "close", not "split"'),
    (version(requires=["credit"]), 'versions[0].requires[0]: must be "positive_balance", not "credit"'),
    (version(requires="positive_balance"), 'versions[0].requires: must be a list, not "positive_balance"'),
    (version(aliases=["o3"]), 'versions[0].aliases: must be an object, not ["o3"]'),
    (version(aliases={"o3": ""}), 'versions[0].aliases.o3: must not be empty, not ""'),
    (version(source=7), "versions[0].source: must be text, not 7"),
    (version(seen="yesterday"), 'versions[0].seen: must be a day like 2026-01-31, not "yesterday"'),
    # groups
    (group(name="1#m"), f'versions[0].groups[0].name: must be {TOKENS}, not "1#m"'),
    (group(name="evals"), 'versions[0].groups[0].name: must be another than those before and "evals", not "evals"'),
    (
        version(groups=[GROUP, GROUP | {"models": []}]),
        'versions[0].groups[1].name: must be another than those before and "evals", not "1m"',
    ),
    (group(models=LARGE), f'versions[0].groups[0].models: must be a list, not "{LARGE}"'),
    (group(models=[""]), 'versions[0].groups[0].models[0]: must not be empty, not ""'),
    (
        group(models=["o3", "gpt-*", "o3"]),
        'versions[0].groups[0].models[2]: must be listed once in the version, not "o3"',
    ),
    (
        version(groups=[GROUP, GROUP | {"name": "10m"}]),
        f'versions[0].groups[1].models[0]: must be listed once in the version, not "{LARGE}"',
    ),
    (group(quotas=1000), "versions[0].groups[0].quotas: must be an object, not 1000"),
    (group(quotas={"4": -1}), f"versions[0].groups[0].quotas.4: {QUOTA}, not -1"),
    (group(quotas={"4": 1.5}), f"versions[0].groups[0].quotas.4: {QUOTA}, not 1.5"),
    (group(quotas={"4": True}), f"versions[0].groups[0].quotas.4: {QUOTA}, not true"),
    (group(quotas={"4": "much"}), f'versions[0].groups[0].quotas.4: {QUOTA}, not "much"'),
    (group(quotas={"*": "NaN"}, unit="usd"), f'versions[0].groups[0].quotas.*: {QUOTA}, not "NaN"'),
    (group(quotas={"4": "150"}), 'versions[0].groups[0].quotas.4: must be a whole number of tokens, not "150"'),
    (
        group(quotas={"*": "1e999999999"}, unit="usd"),
        'versions[0].groups[0].quotas.*: must be less than 1,000,000,000,000,000, not "1e999999999"',
    ),
    (group(quotas={"gold": 1}), 'versions[0].groups[0].quotas.gold: must be a usage tier like "4", or "*", not "gold"'),
    (group(quotas={"04": 1}), 'versions[0].groups[0].quotas.04: must be a usage tier like "4", or "*", not "04"'),
    (
        group(unit="runs"),
        'versions[0].groups[0].unit: must be "tokens", "uncached_tokens", "requests" or "usd", not "runs"',
    ),
    (group(scope="user"), 'versions[0].groups[0].scope: must be "organization" or "project", not "user"'),
    (group(window="hourly"), f'versions[0].groups[0].window: {WINDOW}, not "hourly"'),
    (group(weight=2), "versions[0].groups[0].weight: is no field that an offer file has here"),
    # evaluation runs
    (OFFER | {"evals": 7}, "evals: must be an object, not 7"),
    (OFFER | {"evals": {}}, "evals.quotas: is missing"),
    (evals(unit="tokens"), 'evals.unit: must be "runs", not "tokens"'),
    (evals(quotas={"*": "7"}), 'evals.quotas.*: must be a whole number of runs, not "7"'),
    (evals(ends="2024-12-31"), 'evals.ends: must be on or after the first day (2025-01-01), not "2024-12-31"'),
    (
        evals(starts="2026-01-01", ends="2025-12-31"),
        'evals.ends: must be on or after the first day (2026-01-01), not "2025-12-31"',
    ),
    (version(evals={"quota": -1}), "versions[0].evals.quota: must be a whole number of 0 or more, not -1"),
    (
        version(evals={"quota": 7, "window": "utc_day"}),
        'versions[0].evals.window: must be "utc_week", not "utc_day"',
    ),
    (
        version(evals={"quota": 7}) | {"evals": EVALS},
        'versions[0].evals: must stand in the offer or in its versions, not {"quota": 7, "window": "utc_week"}',
    ),
    # exclusions
    (
        version(excludes=[{}]),
        "versions[0].excludes[0].reason: is missing; versions[0].excludes[0].sentence: is missing",
    ),
    (
        exclusion(batch=None),
        "versions[0].excludes[0]: must state models, endpoints, hosted_tools, batch or service_tiers, not "
        '{"reason": "no_batches", "sentence": "batches are left out", "batch": null}',
    ),
    (exclusion(batch="yes"), 'versions[0].excludes[0].batch: must be true or false, not "yes"'),
    (
        exclusion(reason="Not in batches"),
        'versions[0].excludes[0].reason: must be 1 to 64 small letters, digits or underscores, not "Not in batches"',
    ),
    *(
        (
            exclusion(reason=reason),
            f'versions[0].excludes[0].reason: must not be the reason of a rule that every offer has, not "{reason}"',
        )
        for reason in ("over_quota", "within_quota", "model_not_listed", "no_price", "void")
    ),
    (
        version(excludes=[EXCLUSION, EXCLUSION | {"sentence": "no batches"}]),
        'versions[0].excludes[1].sentence: must be the same for the same reason no_batches, not "no batches"',
    ),
    (exclusion(models="ft:*"), 'versions[0].excludes[0].models: must be a list, not "ft:*"'),
    (exclusion(weekday="Sunday"), "versions[0].excludes[0].weekday: is no field that an offer file has here"),
    (
        exclusion() | {"versions": [VERSION | {"excludes": [], "hosted_tools": ["web_search"]}]},
        'versions[0].hosted_tools: must be named in an exclusion where there are excludes, not ["web_search"]',
    ),
]


@pytest.mark.parametrize(("content", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_is_said_with_its_place_what_was_expected_and_what_stands_there(content: Any, said: str) -> None:
    with pytest.raises(OfferInvalid) as caught:
        read_offer(content)
    shown = str(caught.value)
    assert shown.startswith(said) if said.endswith("must be a list") else shown == said


def test_no_more_mistakes_are_named_than_somebody_reads_and_the_others_are_counted() -> None:
    with pytest.raises(OfferInvalid) as caught:
        read_offer(OFFER | {f"field_{number}": number for number in range(7)})
    named = str(caught.value).split("; ")
    assert len(named) == 6
    assert named[-1] == "and 2 more"


def test_a_long_value_is_not_repeated() -> None:
    with pytest.raises(OfferInvalid) as caught:
        read_offer(OFFER | {"id": "x" * 500})
    assert str(caught.value) == "id: must be 1 to 64 letters, digits, dots, hyphens or underscores"


# A second quota in the middle of a window ----------------------------------------------------------------------------

WEEK, MONTH = "utc_week", {"calendar": "month", "zone": "UTC"}
PACIFIC = {"calendar": "day", "zone": "America/Los_Angeles"}
NAMED = GROUP | {"name": "other"}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], str, bool]] = {
    "another quota": ({"window": MONTH}, {"window": MONTH, "groups": [GROUP | {"quotas": {"4": 9}}]}, "01-15", True),
    "other models": ({"window": MONTH}, {"window": MONTH, "groups": [GROUP | {"models": ["o3"]}]}, "01-15", True),
    "another name": ({"window": MONTH}, {"window": MONTH, "groups": [NAMED]}, "01-15", False),
    "another name where the month ends": ({"window": MONTH}, {"window": MONTH, "groups": [NAMED]}, "02-01", True),
    "another name for other models": (
        {"window": MONTH},
        {"window": MONTH, "groups": [NAMED | {"models": ["o3"]}]},
        "01-15",
        True,
    ),
    "another name for a pattern": (
        {"window": MONTH},
        {"window": MONTH, "groups": [NAMED | {"models": ["gpt-*"]}]},
        "01-15",
        False,
    ),
    "another unit": ({"window": MONTH}, {"window": MONTH, "groups": [GROUP | {"unit": "requests"}]}, "01-15", False),
    "another scope": ({"window": MONTH}, {"window": MONTH, "groups": [GROUP | {"scope": "project"}]}, "01-15", False),
    "another scope at the end of a day": ({}, {"groups": [GROUP | {"scope": "project"}]}, "01-15", True),
    "days after a month that goes on": ({"window": MONTH}, {}, "01-15", False),
    "days after a week that ended": ({"window": WEEK}, {}, "01-13", True),
    "days after a week that goes on": ({"window": WEEK}, {}, "01-14", False),
    "UTC days after days of a zone": ({"window": PACIFIC}, {}, "01-15", False),
    "days of a zone after UTC days": ({}, {"window": PACIFIC}, "01-15", True),
    "days after rolling windows, which end there": ({"window": "rolling_24h"}, {}, "01-15", True),
    "another name for a rolling window": (
        {"window": "rolling_24h"},
        {"window": "rolling_24h", "groups": [NAMED]},
        "01-15",
        False,
    ),
    "a group of its own window": (
        {"groups": [GROUP | {"window": MONTH}]},
        {"groups": [NAMED | {"window": MONTH}]},
        "01-15",
        False,
    ),
    "a group that is gone": ({"window": MONTH}, {"window": MONTH, "groups": []}, "01-15", True),
}


@pytest.mark.parametrize(("before", "after", "day", "allowed"), CHANGES.values(), ids=CHANGES)
def test_a_version_that_would_open_a_second_quota_in_the_middle_of_a_window_is_refused(
    before: dict[str, Any], after: dict[str, Any], day: str, allowed: bool
) -> None:
    content = OFFER | {"versions": [VERSION | before, VERSION | {"effective_at": f"2025-{day}"} | after]}
    if allowed:
        assert len(read_offer(content).versions) == 2
        return
    with pytest.raises(OfferInvalid, match=rf"versions: from 2025-{day} on, group \w+ would give .* a second quota"):
        read_offer(content)


SEQUENCES: dict[str, tuple[list[tuple[str, dict[str, Any]]], bool]] = {
    "a model moves to a group that is new, beside its old one": (
        [
            ("2025-01-01", {"window": MONTH, "groups": [GROUP | {"models": ["a", "b"]}]}),
            ("2025-01-15", {"window": MONTH, "groups": [GROUP | {"models": ["a"]}, NAMED | {"models": ["b"]}]}),
        ],
        False,
    ),
    "a group that is new, for models that are": (
        [
            ("2025-01-01", {"window": MONTH, "groups": [GROUP | {"models": ["gemini-*"]}]}),
            (
                "2025-01-15",
                {"window": MONTH, "groups": [GROUP | {"models": ["gemini-*"]}, NAMED | {"models": ["grok-*"]}]},
            ),
        ],
        True,
    ),
    "patterns that end alike": (
        [
            ("2025-01-01", {"window": MONTH, "groups": [GROUP | {"models": ["*-mini"]}]}),
            (
                "2025-01-15",
                {"window": MONTH, "groups": [GROUP | {"models": ["*-mini"]}, NAMED | {"models": ["gpt-*"]}]},
            ),
        ],
        False,
    ),
    "patterns that end differently": (
        [
            ("2025-01-01", {"window": MONTH, "groups": [GROUP | {"models": ["gpt-*-mini"]}]}),
            (
                "2025-01-15",
                {"window": MONTH, "groups": [GROUP | {"models": ["gpt-*-mini"]}, NAMED | {"models": ["gpt-*-nano"]}]},
            ),
        ],
        True,
    ),
    "an undated name that leads elsewhere": (
        [
            ("2025-01-01", {"window": MONTH, "groups": [GROUP | {"models": ["a-1"]}], "aliases": {"a": "a-1"}}),
            ("2025-01-15", {"window": MONTH, "groups": [NAMED | {"models": ["a-2"]}], "aliases": {"a": "a-2"}}),
        ],
        False,
    ),
    "another name, after a version without it": (
        [
            ("2025-01-01", {"window": MONTH}),
            ("2025-01-10", {"window": MONTH, "groups": []}),
            ("2025-01-15", {"window": MONTH, "groups": [NAMED]}),
        ],
        False,
    ),
    "another name, in another month than the version without it": (
        [
            ("2025-01-01", {"window": MONTH}),
            ("2025-01-10", {"window": MONTH, "groups": []}),
            ("2025-02-10", {"window": MONTH, "groups": [NAMED]}),
        ],
        True,
    ),
    "another unit, after a version without it": (
        [
            ("2025-01-01", {"window": MONTH}),
            ("2025-01-10", {"window": MONTH, "groups": []}),
            ("2025-01-15", {"window": MONTH, "groups": [GROUP | {"unit": "requests"}]}),
        ],
        False,
    ),
    "the same group, after a version without it": (
        [
            ("2025-01-01", {"window": MONTH}),
            ("2025-01-10", {"window": MONTH, "groups": []}),
            ("2025-01-15", {"window": MONTH}),
        ],
        True,
    ),
    "the same rolling window, soon after a version without it": (
        [
            ("2025-01-01", {"window": {"rolling_hours": 240}}),
            ("2025-01-10", {"window": "utc_day", "groups": []}),
            ("2025-01-15", {"window": {"rolling_hours": 240}}),
        ],
        False,
    ),
    "the same rolling window, long after a version without it": (
        [
            ("2025-01-01", {"window": {"rolling_hours": 240}}),
            ("2025-01-10", {"window": "utc_day", "groups": []}),
            ("2025-01-20", {"window": {"rolling_hours": 240}}),
        ],
        True,
    ),
    "a rolling window again, after days that it gave way to": (
        [
            ("2025-01-01", {"window": {"rolling_hours": 240}}),
            ("2025-01-10", {"window": "utc_day"}),
            ("2025-01-15", {"window": {"rolling_hours": 240}}),
        ],
        True,
    ),
}


@pytest.mark.parametrize(("versions", "allowed"), SEQUENCES.values(), ids=SEQUENCES)
def test_no_version_gives_what_an_earlier_one_may_still_be_giving(
    versions: list[tuple[str, dict[str, Any]]], allowed: bool
) -> None:
    content = OFFER | {"versions": [VERSION | {"effective_at": day} | stated for day, stated in versions]}
    if allowed:
        assert len(read_offer(content).versions) == len(versions)
        return
    with pytest.raises(
        OfferInvalid, match=rf"versions: from {versions[-1][0]} on, group \w+ would give .* a second quota"
    ):
        read_offer(content)


# Files ---------------------------------------------------------------------------------------------------------------


def test_an_offer_is_read_from_a_file_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        file = tmp_path / "mine.json"
        file.write_bytes(mark + json.dumps(OFFER).encode())
        assert offer_from(str(file)).ids == {"mine"}


@pytest.mark.parametrize("content", [b"", b"{", b'{"id": NaN}', b"\xff\xfe", b"PK\x03\x04"])
def test_a_file_that_is_no_json_is_told_so(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(content)
    with pytest.raises(OfferInvalid, match=r"^is no JSON: "):
        offer_from(str(file))
