"""The account page in real Chromium, against the deployed API. With GRATIS_SCREENSHOTS=1 it renews docs/images."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from gratis.rules.account import Account
from gratis.table.accounts import Accounts
from gratis.table.api_keys import Holder, Keys
from tests.e2e.system import PATIENCE_SECONDS, System

IMAGES = Path(__file__).parents[2] / "docs" / "images"
DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 800}


def key_for(system: System, organization: str, role: str = "owner") -> str:
    return Keys(system.client("dynamodb"), system.table).create(
        Holder(role, organization, "page test"), datetime.now(UTC)
    )  # type: ignore[arg-type]


def sign_in(page: Page, system: System, key: str) -> None:
    page.set_default_timeout(PATIENCE_SECONDS * 1000)  # the first one waits for the functions to start
    page.goto(system.up.page_url)
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")


def a_day(system: System, organization: str) -> None:
    """Requests of today that are free, too large, and left out."""
    tokens = {"page_free": 400_000, "page_over": 700_000, "page_tool": 1_000}
    now = {"time": system.now().isoformat()}
    events = [system.usage(organization, request_id, tokens[request_id]) | now for request_id in tokens]
    events[2]["data"]["tools"] = ["web_search"]
    system.accepted(*events)
    system.through(organization)


def test_the_page_says_what_is_left_and_why_a_request_was_billed(page: Page, system: System, organization: str) -> None:
    a_day(system, organization)
    sign_in(page, system, key_for(system, organization))
    expect(page.locator("#status")).to_contain_text("You're enrolled for up to 11 million complimentary tokens per day")
    expect(page.locator("#status")).to_contain_text("600,000 tokens left")
    expect(page.locator("#offer")).to_contain_text("Group 1m: 1,000,000 tokens a day")
    page.get_by_text("Left out").click()
    expect(page.locator("#offer")).to_contain_text("fine-tuned models are not included")
    expect(page.locator("#usage")).to_contain_text("Free tokens")
    expect(page.locator("#decisions")).to_contain_text("700,000 tokens did not fit in the 600,000 left of 1,000,000")
    page.get_by_label("Request id").fill("page_tool")
    page.keyboard.press("Enter")
    expect(page.locator("#why")).to_contain_text("equests that use a tool hosted by the platform are not included")
    page.get_by_label("Request id").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.locator("#why")).to_contain_text("There is no decision for the request “nobody”")
    assert "gk_" not in page.url
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]


@pytest.mark.parametrize(("zone", "said", "times"), [("UTC", "", 0), ("Asia/Tokyo", ", and below that local time", 3)])
def test_local_time_is_said_where_it_differs(
    chromium: Browser, system: System, organization: str, zone: str, said: str, times: int
) -> None:
    a_day(system, organization)
    page = chromium.new_context(timezone_id=zone, viewport=DESKTOP).new_page()
    sign_in(page, system, key_for(system, organization))
    expect(page.locator("#decisions")).to_contain_text(f"Times are UTC{said}")
    expect(page.locator("#decisions time .local")).to_have_count(times)
    page.context.close()


def test_an_owner_stops_and_starts_sharing_from_the_page(page: Page, system: System, organization: str) -> None:
    sign_in(page, system, key_for(system, organization))
    page.get_by_role("button", name="Stop sharing everything").click()
    page.get_by_role("button", name="Yes, stop sharing").click()
    expect(page.locator("#status")).to_contain_text(
        "You're eligible for free daily usage on traffic shared with OpenAI"
    )
    expect(page.locator("#sharing .saved")).to_have_text("The sharing settings were saved and are in force now.")
    history = page.locator("#sharing")
    expect(history).to_contain_text("History (2 versions)")


def test_the_history_of_the_settings_is_shown_back_to_its_beginning(
    page: Page, system: System, organization: str
) -> None:
    since = datetime.now(UTC) - timedelta(days=1)
    sharing = [
        {"effective_at": since + timedelta(seconds=number), "actor": f"owner_{number + 1}"} for number in range(230)
    ]
    profile = [{"effective_at": since, "tier": 4}]
    account = Account.model_validate({"id": organization, "profile": profile, "sharing": sharing})
    Accounts(system.client("dynamodb"), system.table).put(account)
    sign_in(page, system, key_for(system, organization))
    page.get_by_text("History (230 versions)").click()
    rows, older = page.locator("#sharing tbody"), page.get_by_role("button", name="Show older versions")
    for shown in (100, 200):
        expect(rows).to_have_count(shown)
        older.click()
    expect(rows).to_have_count(230)
    expect(older).to_have_count(0)
    expect(rows.last).to_contain_text("owner_1")
    actors = page.locator("#sharing .who").all_text_contents()
    assert actors == [f"owner_{number}" for number in range(230, 0, -1)]


def test_requests_without_a_price_are_named_beside_the_cost(page: Page, system: System, organization: str) -> None:
    a_day(system, organization)
    event = system.usage(organization, "page_unknown", 10) | {"time": system.now().isoformat()}
    event["data"]["model"] = "gpt-99"
    system.accepted(event)
    system.through(organization)
    sign_in(page, system, key_for(system, organization))
    page.get_by_text("Show the figures as a table").click()
    expect(page.locator("#usage table")).to_contain_text("+ 1 without a price")


def test_a_wrong_key_is_said_clearly(page: Page, system: System) -> None:
    sign_in(page, system, "gk_nobody")
    expect(page.locator("#key-error")).to_contain_text("no valid API key")


def test_a_reader_sees_the_settings_but_cannot_change_them(page: Page, system: System, organization: str) -> None:
    sign_in(page, system, key_for(system, organization, "reader"))
    expect(page.locator("#sharing")).to_contain_text("Only an owner's key of the organization changes these settings")
    expect(page.locator("#sharing dd").first).to_have_text("Enabled")
    assert page.locator("#sharing").locator("button, input").count() == 0


def test_an_organization_that_nobody_knows_is_said_to_be_unknown(page: Page, system: System) -> None:
    page.goto(system.up.page_url)
    page.get_by_label("API key").fill(system.up.platform_key)
    page.get_by_label("Organization").fill("org_nobody")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("Nobody has set a profile or sharing settings for “org_nobody”")
    assert "left" not in page.locator("#status").inner_text()


def test_everything_is_loaded_from_the_page_s_own_host(page: Page, system: System) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]) if "://" in request.url else None)
    answer = page.goto(system.up.page_url)
    page.wait_for_load_state("networkidle")
    assert answer is not None
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert hosts == {system.up.page_url.split("/")[2]}


def test_a_name_that_holds_markup_is_shown_as_it_is(page: Page, system: System, organization: str) -> None:
    name = '<img src=x onerror="document.title = 1"><b>an owner</b>'
    sign_in(
        page,
        system,
        Keys(system.client("dynamodb"), system.table).create(Holder("owner", organization, name), datetime.now(UTC)),
    )
    page.get_by_role("button", name="Stop sharing everything").click()
    page.get_by_role("button", name="Yes, stop sharing").click()
    expect(page.locator("#sharing")).to_contain_text(name)
    assert page.locator("#sharing").locator("img, b").count() == 0


def test_no_text_becomes_a_part_of_the_page_even_if_a_script_of_its_own_tried(
    chromium: Browser, system: System
) -> None:
    page = chromium.new_page()  # the browser complains, as it should
    page.goto(system.up.page_url)
    tried = "() => { try { document.body.innerHTML = '<b>x</b>'; return null } catch (error) { return error.name } }"
    assert page.evaluate(tried) == "TypeError"
    page.close()


def test_the_documentation_of_the_api_works_with_nothing_from_elsewhere(page: Page, system: System) -> None:
    page.goto(f"{system.up.page_url}docs")
    expect(page.locator(".opblock").first).to_be_visible()


@pytest.mark.parametrize(
    ("name", "viewport", "scheme"),
    [("page", DESKTOP, "light"), ("page-dark", DESKTOP, "dark"), ("page-phone", PHONE, "light")],
)
def test_nothing_is_cut_off_on_a_desktop_in_the_dark_or_on_a_phone(
    chromium: Browser, system: System, organization: str, name: str, viewport: dict[str, int], scheme: str
) -> None:
    a_day(system, organization)
    page = chromium.new_page(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    sign_in(page, system, key_for(system, organization))
    expect(page.locator("#decisions")).to_contain_text("page_free")
    expect(page.locator("#usage canvas").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    if os.environ.get("GRATIS_SCREENSHOTS"):
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / f"{name}.png")
    page.close()
