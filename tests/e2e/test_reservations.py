"""Ask first, reserve, use, release, as a gateway does it over HTTP: SPEC section 2, "Reservations"."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import urllib3
from playwright.sync_api import Page, expect

from gratis.rules.receipt import Decision
from gratis.rules.reservation import MAX_OPEN
from gratis.table.api_keys import Holder, Keys
from tests.e2e.system import System, eventually
from tests.e2e.test_page import key_for, sign_in

MODEL = "gpt-4o-mini-2024-07-18"
"""Of the group whose quota is 10,000,000 tokens."""
EACH = 100_000
THREADS = 8
PATIENCE = timedelta(minutes=3)
"""The longest of these tests takes less."""


class Gateway:
    """An organization's gateway: its key, and its calls."""

    def __init__(self, system: System, organization: str) -> None:
        self.system = system
        self.organization = organization
        holder = Holder("gateway", organization, "a gateway of the tests")
        self.key = Keys(system.client("dynamodb"), system.table).create(holder, system.now())

    def call(self, method: str, route: str, body: Any = None) -> urllib3.BaseHTTPResponse:
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"{self.system.up.base_url}/organization/{route}"
        return self.system.http.request(method, url, json=body, headers=headers, retries=False)

    def reserve(self, name: str, tokens: int = EACH, **more: Any) -> urllib3.BaseHTTPResponse:
        return self.call("POST", "reservations", {"id": name, "model": MODEL, "tokens": tokens, **more})

    def reserved(self, name: str, tokens: int = EACH, **more: Any) -> dict[str, Any]:
        answer = self.reserve(name, tokens, **more)
        assert answer.status == 201, answer.data
        return dict(answer.json())

    def check(self, tokens: int) -> dict[str, Any]:
        answer = self.call("POST", "allowance/check", {"model": MODEL, "tokens": tokens})
        assert answer.status == 200, answer.data
        return dict(answer.json())

    def open(self) -> list[str]:
        return sorted(each["id"] for each in self.call("GET", "reservations").json()["data"])

    def left(self) -> tuple[int, int, int]:
        """Used, reserved and remaining of the group."""
        groups = self.call("GET", "allowance").json()["groups"]
        [row] = [each for each in groups if each["group"] == "10m"]
        return row["used"], row["reserved"], row["remaining"]

    def event(self, name: str, tokens: int, **more: Any) -> dict[str, Any]:
        """A request of now."""
        event = self.system.usage(self.organization, name, tokens, model=MODEL, **more)
        return event | {"time": self.system.now().isoformat()}

    def come(self, *requests: tuple[str, int]) -> dict[str, Decision]:
        """The decisions on requests of so many tokens that come now, by their ids."""
        events = [self.event(name, tokens) for name, tokens in requests]
        for start in range(0, len(events), 20):
            self.system.accepted(*events[start : start + 20])
        return self.system.decisions(events)


@pytest.fixture
def gateway(system: System, organization: str) -> Gateway:
    """Of an organization of its own, on a day that lasts as long as the test: at midnight the quota is fresh."""
    now = datetime.now(UTC)
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    if midnight - now < PATIENCE:
        time.sleep((midnight - now).total_seconds() + 1)
    return Gateway(system, organization)


def side_by_side(work: Callable[[str], Any], names: Iterable[str]) -> list[Any]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, names))


def test_of_120_reservations_exactly_100_are_free_and_all_of_them_are_kept(gateway: Gateway) -> None:
    answers = side_by_side(
        lambda name: gateway.reserved(name, expires_in=3600), [f"r{number}" for number in range(120)]
    )
    free = sorted(answer["id"] for answer in answers if answer["verdict"] == "free")
    assert len(free) == 100
    assert gateway.open() == free
    assert gateway.left() == (0, 10_000_000, 0)
    assert {(each["reason"], each["expires_at"]) for each in answers if each["id"] not in free} == {
        ("over_quota", None)
    }

    strangers = gateway.come(*((f"s{number}", 1 + EACH * (number % 2)) for number in range(8)))
    receipts = [each.record() for each in strangers.values()]
    assert {(each["verdict"], each["reason"], each["used_before"], each["reserved_before"]) for each in receipts} == {
        ("billed", "over_quota", 0, 10_000_000)
    }
    explained = gateway.call("GET", "requests/s0").json()["explanation"]
    assert "beside 10,000,000 reserved by others" in explained

    smaller = set(free[:40])
    came = gateway.come(*((name, EACH // 2 if name in smaller else EACH) for name in free))
    assert Counter((each.verdict, each.reservation == each.request_id) for each in came.values()) == {
        ("free", True): 100
    }
    assert (gateway.open(), gateway.left()) == ([], (8_000_000, 0, 2_000_000))
    later = gateway.come(("last", 2_000_000), ("one-more", 1))
    assert [later[name].verdict for name in ("last", "one-more")] == ["free", "billed"]


def test_a_reservation_is_asked_for_made_repeated_used_and_released(gateway: Gateway) -> None:
    asked = gateway.check(10_000_000)
    assert (asked["object"], asked["verdict"], asked["remaining"]) == ("allowance.check", "free", 10_000_000)
    assert gateway.left() == (0, 0, 10_000_000)
    made = gateway.reserved("r1", 6_000_000)
    assert (made["object"], made["verdict"], made["tokens"]) == ("reservation", "free", 6_000_000)
    again = gateway.reserve("r1", 6_000_000)
    assert (again.status, again.json()["expires_at"]) == (200, made["expires_at"])
    other = gateway.reserve("r1", 5)
    assert (other.status, other.json()["error"]["param"]) == (409, "id")
    assert (gateway.check(5_000_000)["verdict"], gateway.check(4_000_000)["verdict"]) == ("billed", "free")

    used = gateway.come(("r1", 1_000_000))["r1"]
    assert (used.verdict, used.reservation) == ("free", "r1")
    assert gateway.left() == (1_000_000, 0, 9_000_000)
    assert gateway.reserve("r1", 6_000_000).status == 409

    gateway.reserved("r2", 9_000_000)
    released = [gateway.call("DELETE", "reservations/r2").status for _ in range(2)]
    assert (released, gateway.left()) == ([204, 204], (1_000_000, 0, 9_000_000))


def test_a_request_that_names_its_reservation_settles_it_and_one_that_used_nothing_gives_it_back(
    gateway: Gateway,
) -> None:
    gateway.reserved("call-1", 6_000_000)
    gateway.reserved("call-2", 4_000_000)
    events = [
        gateway.event("chatcmpl-1", 6_000_000, reservation="call-1"),
        gateway.event("chatcmpl-2", 0, reservation="call-2"),
    ]
    gateway.system.accepted(*events)
    decisions = gateway.system.decisions(events)
    assert (decisions["chatcmpl-1"].verdict, decisions["chatcmpl-1"].reservation) == ("free", "call-1")
    assert (gateway.open(), gateway.left()) == ([], (6_000_000, 0, 4_000_000))


def test_what_expires_is_free_for_others(gateway: Gateway) -> None:
    gateway.reserved("r1", 10_000_000, expires_in=1)
    eventually(lambda: gateway.left() == (0, 0, 10_000_000), "the reservation expires")
    assert gateway.open() == []
    assert gateway.come(("stranger", 10_000_000))["stranger"].verdict == "free"


def test_too_many_open_reservations_are_told_when_to_come_again(gateway: Gateway) -> None:
    side_by_side(lambda name: gateway.reserved(name, 1), [f"r{number}" for number in range(MAX_OPEN)])
    refused = gateway.reserve("one-more", 1)
    assert (refused.status, refused.json()["error"]["code"]) == (429, "too_many_reservations")
    assert 1 <= int(refused.headers["retry-after"]) <= 600
    gateway.call("DELETE", "reservations/r0")
    assert gateway.reserve("one-more", 1).status == 201


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("expires_in", value) for value in (0, 3601, "ten", 1.5)),
        *(("tokens", value) for value in (-1, 1.5, "many")),
        *(("id", value) for value in ("with space", "i" * 300, 7)),
        ("model", 7),
        ("project", 7),
    ],
)
def test_bad_input_is_refused_by_field_and_value(gateway: Gateway, field: str, value: Any) -> None:
    body = {"id": "r1", "model": MODEL, "tokens": 5} | {field: value}
    answer = gateway.call("POST", "reservations", body)
    error = answer.json()["error"]
    assert (answer.status, error["param"]) == (400, field), error
    assert str(value)[:20] in error["message"], error
    assert gateway.open() == []


def test_a_reader_asks_but_does_not_reserve(gateway: Gateway) -> None:
    holder = Holder("reader", gateway.organization, "a reader of the tests")
    gateway.key = Keys(gateway.system.client("dynamodb"), gateway.system.table).create(holder, gateway.system.now())
    assert gateway.check(5)["verdict"] == "free"
    assert gateway.reserve("r1", 5).status == 403


def test_the_page_says_what_is_reserved_and_what_was_saved(gateway: Gateway, page: Page) -> None:
    gateway.come(("page_half", 8_000_000))
    gateway.reserved("page_next", 1_500_000)
    sign_in(page, gateway.system, key_for(gateway.system, gateway.organization))
    status = page.locator("#status")
    expect(status).to_contain_text("500,000 tokens left")
    expect(status).to_contain_text("1,500,000 tokens")
    expect(status).to_contain_text("Saved by free requests: $")


def test_the_page_says_of_the_group_that_will_be_used_up_when_that_is(gateway: Gateway, page: Page) -> None:
    """All but one token is used: at that pace the rest is gone at once, whatever the time of day."""
    gateway.come(("page_nearly", 9_999_999))
    sign_in(page, gateway.system, key_for(gateway.system, gateway.organization))
    nearly, unused = (page.locator("#status article", has_text=f"Group {name}") for name in ("10m", "1m"))
    expect(nearly).to_contain_text("1 token left")
    expect(nearly).to_contain_text(re.compile(rf"At this paceused up {datetime.now(UTC).date()} [0-9:]{{8}} UTC"))
    expect(unused).to_contain_text("1,000,000 tokens left")
    expect(unused).not_to_contain_text("At this pace")
