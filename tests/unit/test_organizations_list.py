"""The organizations of a day, as the platform sees them: each once, in bounded blocks, with what the ledger says."""

import random
from collections import Counter
from datetime import date
from typing import Any

import pytest

from gratis import config
from gratis.account import organizations
from gratis.classify import Classifier
from gratis.closing.close import Closed, close
from gratis.closing.statements import REVISIONS_TOGETHER, statements_beside
from gratis.rules.request import RequestKey
from gratis.table import keys, quarantine
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Quarantine
from gratis_local.replay import event_clock
from tests.builders.account_api import COSTS, DAY, HOUR, NOW, ORGANIZATIONS, Api, unix
from tests.builders.events import SMALL, at, billed, message, used
from tests.builders.offers import small_offer_stated
from tests.builders.organizations import account
from tests.unit.test_allowance_of_offers import UseOffer, use  # noqa: F401 - a fixture

TODAY, YESTERDAY = "2025-03-12", "2025-03-11"
ON_YESTERDAY = "2025-03-11T09:00:00Z"
NAMES = ["-", ".a", "0", "A.b", "a", "a-", "a-b", "a.b", "a0", "a_b", "aa", "ab", "b", "z" * 64]
"""Names in their order, with all that may follow one that others begin with."""


def of(name: str, event: Any) -> Any:
    """The event as one of this organization."""
    return event | {"subject": name}


def decide_one_each(api: Api, *names: str) -> None:
    for name in names:
        api.decide(of(name, used(1)))


def blocks(api: Api, **asked: Any) -> list[list[Any]]:
    """The rows of each block, until the last one."""
    found: list[list[Any]] = []
    following: dict[str, str] = {}
    while True:
        answer = api.get(ORGANIZATIONS, api.platform, **asked, **following).content
        found.append(answer["data"])
        assert answer["has_more"] == (answer["next_page"] is not None)
        if not answer["has_more"]:
            return found
        following = {"page": answer["next_page"]}


def names_of(rows: list[Any]) -> list[str]:
    return [row["organization"] for row in rows]


def row_of(api: Api, name: str = "org_a", **asked: Any) -> Any:
    """The row of one organization."""
    (row,) = (each for block in blocks(api, **asked) for each in block if each["organization"] == name)
    return row


# --- who is listed ---------------------------------------------------------------------------------------------------


def test_a_day_without_a_decision_lists_nobody(api: Api) -> None:
    answer = api.get(ORGANIZATIONS, api.platform).content
    assert answer == {
        "object": "list",
        "day": TODAY,
        "as_of": "2025-03-12T10:30:00Z",
        "data": [],
        "has_more": False,
        "next_page": None,
    }


def test_every_organization_is_listed_once_in_the_order_of_names(api: Api) -> None:
    decide_one_each(api, *NAMES)
    api.decide(
        of("a", used(1, model=SMALL)), of("a", used(1, model="unlisted")), of("a", used(1, kind="usage.eval_run"))
    )
    for limit in (1, 3, 13, 14, 1000):
        found = blocks(api, limit=limit)
        assert [name for block in found for name in names_of(block)] == NAMES
        assert all(len(block) == limit for block in found[:-1])


def test_organizations_are_found_by_how_their_names_begin(api: Api) -> None:
    decide_one_each(api, *NAMES)
    for prefix in ("a", "a-", "a.", "A", "z" * 64, "q"):
        for limit in (1, 3, 100):
            found = [name for block in blocks(api, prefix=prefix, limit=limit) for name in names_of(block)]
            assert found == [name for name in NAMES if name.startswith(prefix)], (prefix, limit)


def test_only_those_of_the_day_are_listed(api: Api) -> None:
    api.decide(of("org_b", used(1, at=ON_YESTERDAY)))
    api.decide(used(1))
    assert [names_of(block) for block in blocks(api)] == [["org_a"]]
    assert [names_of(block) for block in blocks(api, day=YESTERDAY)] == [["org_b"]]


def test_who_had_only_refused_events_is_listed_with_the_others(api: Api) -> None:
    decide_one_each(api, *NAMES[::2])
    for name in NAMES:
        api.refuse(of(name, used(1, id="bad")))
    api.refuse(used(1) | {"subject": None})
    api.refuse(of("<b>", used(1)))
    api.refuse(of("a/b", used(1)))
    for limit in (1, 3, 14, 1000):
        found = blocks(api, limit=limit)
        assert [name for block in found for name in names_of(block)] == NAMES
        assert {row["quarantined"] for block in found for row in block} == {1}
    assert [names_of(block) for block in blocks(api, prefix="a-")] == [["a-", "a-b"]]
    assert row_of(api, "b") == row_of(api, "b") | {"is_known": False, "free_requests": 0, "saved_usd": "0"}


def test_of_a_past_day_without_a_decision_there_is_nothing_to_prove(api: Api) -> None:
    api.refuse(of("org_b", used(1)))
    assert row_of(api, "org_b")["proof"] == "open"
    api.set_clock(NOW + DAY)
    assert row_of(api, "org_b", day=TODAY)["proof"] == "nothing"


def test_who_comes_between_two_blocks_moves_nobody(api: Api) -> None:
    decide_one_each(api, "b", "d", "f")
    first = api.get(ORGANIZATIONS, api.platform, limit=2).content
    decide_one_each(api, "a", "c", "e")
    second = api.get(ORGANIZATIONS, api.platform, limit=2, page=first["next_page"]).content
    assert (names_of(first["data"]), names_of(second["data"])) == (["b", "d"], ["e", "f"])


# --- what is said of each --------------------------------------------------------------------------------------------


def test_a_row_says_what_is_left_given_away_billed_and_refused(api: Api) -> None:
    api.decide(used(400_000), used(700_000), used(1000, model=SMALL), billed(1000, 100))
    api.refuse(used(1, id="bad"))
    api.refuse(of("org_b", used(1, id="bad")))
    assert row_of(api) == {
        "object": "organization.day",
        "organization": "org_a",
        "is_known": True,
        "status": "enrolled",
        "groups": [
            {
                "group": "1m",
                "unit": "tokens",
                "quota": 1_000_000,
                "used": 400_000,
                "reserved": 0,
                "remaining": 600_000,
            },
            {
                "group": "10m",
                "unit": "tokens",
                "quota": 10_000_000,
                "used": 1000,
                "reserved": 0,
                "remaining": 9_999_000,
            },
        ],
        "free_requests": 2,
        "billed_requests": 2,
        "saved_usd": "1.00015",
        "amount_usd": "1.7535",
        "unpriced_requests": 0,
        "quarantined": 1,
        "proof": "open",
    }


def test_what_is_said_is_what_the_organization_itself_is_told(api: Api) -> None:
    api.decide(used(3000, 70), used(500, model=SMALL), used(1, model="unlisted"), billed(20, 30))
    row = row_of(api)
    own = api.get("/v1/organization/allowance").content
    fields = organizations.GROUP_FIELDS
    assert row["groups"] == [{name: group[name] for name in fields} for group in own["groups"]]
    assert (row["status"], row["saved_usd"]) == (own["status"], own["saved_usd"]["today"])
    (costs,) = api.get(COSTS, start_time=unix(at("2025-03-12T00:00"))).results
    assert row["amount_usd"] == str(sum(each["amount"]["value"] for each in costs))


def test_an_organization_that_nobody_knows_is_said_to_be_unknown(api: Api) -> None:
    decide_one_each(api, "org_new")
    row = row_of(api, "org_new")
    assert (row["is_known"], row["status"], row["groups"]) == (False, "ineligible", [])
    assert (row["free_requests"], row["billed_requests"]) == (0, 1)


def test_of_a_past_day_is_said_what_was_left_when_it_ended(api: Api) -> None:
    api.store(account(tier=1))
    api.set_clock(NOW - DAY)
    api.decide(used(100_000, at=ON_YESTERDAY))
    api.set_clock(NOW)
    api.put("org_a", tier=4)
    api.decide(used(1))
    quotas = {day: row_of(api, day=day)["groups"][0] for day in (YESTERDAY, TODAY)}
    assert (quotas[YESTERDAY]["quota"], quotas[YESTERDAY]["remaining"]) == (250_000, 150_000)
    assert (quotas[TODAY]["quota"], quotas[TODAY]["remaining"]) == (1_000_000, 999_999)
    assert api.get(ORGANIZATIONS, api.platform, day=YESTERDAY).content["as_of"] == "2025-03-11T23:59:59.999999Z"


def test_the_totals_of_a_wide_day_are_those_of_all_its_pages(api: Api) -> None:
    ledger = Ledger(api.client, api.table, max_page_rows=2)
    deciding = Classifier(ledger, Quarantine(api.client, api.table), config.config().offer, event_clock)
    for number in range(3):
        events = [used(1000, project=f"proj_{number}_{each}") for each in range(4)]
        assert len(deciding.classify([message(f"m{number}", *events, received_at=NOW)]).decisions) == 4
    row = row_of(api)
    assert (row["free_requests"], row["saved_usd"]) == (12, "0.03")


def test_of_a_day_whose_pages_are_damaged_no_sums_are_said(api: Api) -> None:
    ledger = Ledger(api.client, api.table, max_page_rows=2)
    deciding = Classifier(ledger, Quarantine(api.client, api.table), config.config().offer, event_clock)
    deciding.classify([message("m", *(used(1, project=f"proj_{each}") for each in range(9)), received_at=NOW)])
    pages = [item for item in api.client.scan(TableName=api.table)["Items"] if item["sk"]["S"].startswith(keys.PAGE)]
    api.client.delete_item(TableName=api.table, Key={name: pages[0][name] for name in ("pk", "sk")})
    decide_one_each(api, "org_b")
    row = row_of(api)
    assert (row["saved_usd"], row["free_requests"], row["groups"][0]["used"]) == (None, None, 9)
    assert row_of(api, "org_b")["saved_usd"] == "0.0000025"
    assert names_of(blocks(api, sort="saved_usd")[0])[0] == "org_a"


def test_quotas_of_each_project_are_left_out(api: Api, use: UseOffer) -> None:  # noqa: F811
    group = small_offer_stated()["versions"][0]["groups"][0]
    use(groups=[group | {"name": "p", "scope": "project"}])
    api.decide(used(1, model=group["models"][0]))
    row = row_of(api)
    assert (row["groups"], row["free_requests"]) == ([], 1)


# --- quarantine ------------------------------------------------------------------------------------------------------


def test_refused_events_are_counted_by_organization(api: Api) -> None:
    decide_one_each(api, *NAMES)
    wanted = {name: number for number, name in enumerate(NAMES)}
    for name, number in wanted.items():
        for each in range(number):
            api.refuse(of(name, used(1, id=f"bad_{each}")))
    for limit in (1, 5, 100):
        found = {row["organization"]: row["quarantined"] for block in blocks(api, limit=limit) for row in block}
        assert found == wanted


def test_a_count_that_was_not_read_to_its_end_is_not_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    decide_one_each(api, "a", "b", "c")
    for name, number in (("a", 2), ("a:", 5), ("b", 2), ("bb", 3), ("bc", 5), ("c", 1)):
        for each in range(number):
            api.refuse(of(name, used(1, id=f"bad_{each}")))

    def short(params: Any, **_: Any) -> None:
        if "ProjectionExpression" in params:
            params["Limit"] = 2

    api.on("before-parameter-build.Query", short)
    monkeypatch.setattr(quarantine, "MAX_COUNTED_PAGES", 2)
    found = blocks(api, sort="quarantined")
    assert [[(row["organization"], row["quarantined"]) for row in block] for block in found] == [
        [("a", 2)],
        [],  # the rest of the entries of a name that is none
        [("b", 2)],
        [("bb", 3)],
        [("bc", None)],
        [("c", 1)],
    ]


def test_each_is_listed_once_and_never_miscounted_wherever_the_reading_of_quarantine_ends(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(7)
    decided, refused = dice.sample(NAMES, 5), {name: dice.randrange(1, 6) for name in dice.sample(NAMES, 7)}
    decide_one_each(api, *decided)
    for name, number in (refused | {"a:b": 5, "<b>": 3}).items():
        for each in range(number):
            api.refuse(of(name, used(1, id=f"bad_{each}")))
    at_once = 0

    def short(params: Any, **_: Any) -> None:
        if "ProjectionExpression" in params:
            params["Limit"] = at_once

    api.on("before-parameter-build.Query", short)
    wanted = sorted({*decided, *refused})
    for pages, at_once, limit in ((1, 1, 100), (2, 2, 4)):
        monkeypatch.setattr(quarantine, "MAX_COUNTED_PAGES", pages)
        rows = [row for block in blocks(api, limit=limit) for row in block]
        assert names_of(rows) == wanted
        counted = {row["organization"]: row["quarantined"] for row in rows}
        assert {name for name, count in counted.items() if count not in (None, refused.get(name, 0))} == set()
        untold = [name for name, count in counted.items() if count is None and name != "-"]  # where the nameless are
        assert [name for name in untold if refused.get(name, 0) < pages * at_once] == []


# --- proofs ----------------------------------------------------------------------------------------------------------


def close_yesterday(api: Api, name: str) -> bool:
    """Close the day as `close_day` does; whether its proof holds."""
    offer = config.config().offer
    statements = statements_beside(api.ledger)
    closed = close(
        *(api.ledger, statements, name, date.fromisoformat(YESTERDAY)),
        offer_of=lambda _: offer,
        now=lambda: NOW,
        hurry=lambda: False,
    )
    assert isinstance(closed, Closed)
    return closed.proof.holds


def test_a_day_is_proved_or_not_or_nobody_has_tried(api: Api) -> None:
    for name in ("org_a", "org_b", "org_c"):
        api.accounts.put(account(name))
        api.decide(of(name, used(1, id="r", at=ON_YESTERDAY)))
    lost = keys.decision_key(RequestKey("org_b", date.fromisoformat(YESTERDAY), "r"))
    api.client.delete_item(TableName=api.table, Key=lost)
    assert (close_yesterday(api, "org_a"), close_yesterday(api, "org_b")) == (True, False)
    (rows,) = blocks(api, day=YESTERDAY, sort="proof")
    assert [(row["organization"], row["proof"]) for row in rows] == [
        ("org_b", "fails"),
        ("org_c", "missing"),
        ("org_a", "holds"),
    ]


@pytest.mark.parametrize("revisions", range(1, REVISIONS_TOGETHER + 3))
def test_the_newest_of_any_number_of_statements_says_whether_a_day_holds(api: Api, revisions: int) -> None:
    for number in range(revisions):
        api.decide(used(1, id=f"r{number}", at=ON_YESTERDAY))
        assert close_yesterday(api, "org_a")
    assert row_of(api, day=YESTERDAY)["proof"] == "holds"
    api.client.delete_item(
        TableName=api.table, Key=keys.decision_key(RequestKey("org_a", date.fromisoformat(YESTERDAY), "r0"))
    )
    api.decide(used(1, at=ON_YESTERDAY))
    assert not close_yesterday(api, "org_a")
    assert row_of(api, day=YESTERDAY)["proof"] == "fails"


# --- the order -------------------------------------------------------------------------------------------------------


def test_a_block_is_sorted_by_what_needs_a_look(api: Api) -> None:
    for name, tokens, refused in (("a", 10, 1), ("b", 900_000, 0), ("c", 500_000, 3), ("d", 5, 1)):
        if name != "d":
            api.accounts.put(account(name))
        api.decide(of(name, used(tokens)))
        for each in range(refused):
            api.refuse(of(name, used(1, id=f"bad_{each}")))
    orders = {sort: names_of(blocks(api, sort=sort)[0]) for sort in ("remaining", "saved_usd", "quarantined", "proof")}
    assert orders == {
        "remaining": ["b", "c", "a", "d"],
        "saved_usd": ["b", "c", "a", "d"],
        "quarantined": ["c", "a", "d", "b"],
        "proof": ["a", "b", "c", "d"],
    }


def test_each_is_in_one_block_whatever_sorts_them(api: Api) -> None:
    dice = random.Random(3)
    for name in NAMES:
        api.decide(of(name, used(dice.randrange(1000))))
    for sort in ("remaining", "saved_usd", "quarantined", "proof"):
        found = blocks(api, sort=sort, limit=4)
        assert [sorted(names_of(block)) for block in found] == [NAMES[start : start + 4] for start in (0, 4, 8, 12)]


# --- what it reads ---------------------------------------------------------------------------------------------------


def test_what_an_answer_reads_grows_with_its_block_and_not_with_the_day(api: Api) -> None:
    decide_one_each(api, *(f"org_{number:03}" for number in range(60)))
    api.get(ORGANIZATIONS, api.platform, limit=5)
    assert Counter(api.asked) == {"GetItem": 1, "Query": 16 + 1, "BatchGetItem": 1}
    assert api.items <= 1 + 16 * 5 + 3 * 5
    answer = api.get(ORGANIZATIONS, api.platform, limit=1000).content
    assert len(answer["data"]) == 60
    assert Counter(api.asked) == {"GetItem": 1, "Query": 16 + 1, "BatchGetItem": 2 + 1}


def test_a_block_of_large_days_ends_early(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        api.decide(*(of(name, used(1, project=f"proj_{each}")) for each in range(5)))
    monkeypatch.setattr(organizations, "MAX_ROWS_READ", 9)
    assert [names_of(block) for block in blocks(api)] == [["a", "b"], ["c"]]


# --- who may ask, and what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["owner", "gateway", "reader"])
def test_only_the_platform_lists_organizations(api: Api, role: str) -> None:
    assert api.get(ORGANIZATIONS, api.key(role)).refused() == (403, "insufficient_permissions", None)


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"day": "2025-02-30"}, "day"),
        ({"prefix": "a#"}, "prefix"),
        ({"prefix": "a" * 65}, "prefix"),
        ({"sort": "tier"}, "sort"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"page": "a#b"}, "page"),
        ({"page": ""}, "page"),
        ({"page": "b", "prefix": "a"}, "page"),
        ({"page": "a" * 257}, "page"),
    ],
)
def test_what_cannot_be_asked_is_named(api: Api, asked: Any, parameter: str) -> None:
    assert api.get(ORGANIZATIONS, api.platform, **asked).refused() == (400, "invalid_value", parameter)


@pytest.mark.parametrize("day", ["0001-01-01", (NOW + DAY + HOUR).date().isoformat(), "9999-12-31"])
def test_any_day_may_be_asked_for(api: Api, day: str) -> None:
    assert api.get(ORGANIZATIONS, api.platform, day=day).content["data"] == []
