"""The account page's webhooks in real Chromium: an owner registers an endpoint, tries it, and takes it back."""

from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from standardwebhooks.webhooks import Webhook

from gratis.account.routes.webhooks import EventType
from gratis.outgoing.endpoints import Endpoint, Endpoints
from tests.e2e.system import System, eventually
from tests.e2e.test_outgoing import server  # noqa: F401  # a fixture
from tests.e2e.test_page import DESKTOP, PHONE, key_for, sign_in
from tests.e2e.test_page_states import pictured, violations


def webhooks(page: Page) -> Locator:
    return page.locator("#webhooks")


def register(page: Page, url: str) -> str:
    """Register by keyboard; the secret that was shown."""
    page.get_by_label("URL of a new endpoint").fill(url)
    page.keyboard.press("Enter")
    secret = page.get_by_label(f"Signing secret of {url}")
    expect(secret).to_be_focused()
    return secret.input_value()


def endpoints(system: System) -> Endpoints:
    return Endpoints(system.client("dynamodb"), system.table)


def disable(system: System, organization: str) -> Endpoint:
    (made,) = endpoints(system).of(organization)
    disabled = endpoints(system).change(
        organization, made.id, lambda each: each.failed(datetime.now(UTC)).disabled("it took nothing for three days")
    )
    assert disabled is not None
    return disabled


def deliveries_shown(page: Page, count: int) -> None:
    """As often as needed: a delivery is logged after the endpoint took it."""

    def look() -> bool:
        webhooks(page).get_by_role("button", name="Show deliveries").click()
        expect(webhooks(page).get_by_text("Loading")).to_have_count(0)
        return webhooks(page).locator("tbody").count() >= count

    eventually(look, f"{count} deliveries on the page")


def test_an_owner_registers_an_endpoint_sends_a_test_and_sees_its_delivery(
    page: Page,
    system: System,
    organization: str,
    server: Any,  # noqa: F811
) -> None:
    url = f"http://127.0.0.1:{server.server_port}/hook"
    sign_in(page, system, key_for(system, organization))
    expect(webhooks(page)).to_contain_text("No endpoint is registered")
    secret = register(page, url)
    expect(webhooks(page).locator(".saved").last).to_have_text(f"{url} was registered.")
    webhooks(page).get_by_role("button", name="Send a test").click()
    expect(webhooks(page)).to_contain_text("A test is under way")
    deliveries_shown(page, 1)
    expect(webhooks(page).locator("tbody")).to_contain_text("DeliveredHTTP 200", use_inner_text=False)
    (_, headers, body), *_ = server.got
    assert Webhook(secret).verify(body, headers)["type"] == "test"


def test_the_secret_stays_until_it_was_stored_and_is_never_shown_again(
    page: Page, system: System, organization: str
) -> None:
    sign_in(page, system, key_for(system, organization))
    secret = register(page, "https://hooks.example/a")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("#announce")).to_have_text("The account is up to date.")
    expect(page.locator("#webhook-secret")).to_have_value(secret)
    page.get_by_role("button", name="I have stored it").click()
    expect(page.locator("#webhook-secret")).to_have_count(0)
    expect(page.get_by_label("URL of a new endpoint")).to_be_focused()
    page.get_by_role("button", name="Refresh").click()
    expect(webhooks(page).get_by_role("article", name="https://hooks.example/a")).to_be_visible()
    assert secret not in page.content()


def test_the_secret_is_gone_with_the_key(page: Page, system: System, organization: str) -> None:
    sign_in(page, system, key_for(system, organization))
    secret = register(page, "https://hooks.example/a")
    page.get_by_role("button", name="Forget key").click()
    expect(page.locator("#webhook-secret")).to_have_count(0)
    assert secret not in page.content()


def test_an_endpoint_gets_the_types_that_were_chosen(page: Page, system: System, organization: str) -> None:
    sign_in(page, system, key_for(system, organization))
    types = page.locator("#webhooks-types input")
    assert tuple(each.get_attribute("value") for each in types.all()) == get_args(EventType)
    for each in types.all()[1:]:
        each.uncheck()
    register(page, "https://hooks.example/a")
    (made,) = endpoints(system).of(organization)
    assert made.types == get_args(EventType)[:1]


def test_what_is_wrong_is_said_and_what_was_typed_stays(page: Page, system: System, organization: str) -> None:
    sign_in(page, system, key_for(system, organization))
    url = page.get_by_label("URL of a new endpoint")
    url.fill("https://169.254.169.254/latest")
    url.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("169.254.169.254")
    expect(url).to_have_value("https://169.254.169.254/latest")
    for each in page.locator("#webhooks-types input").all():
        each.uncheck()
    url.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Choose at least one type of event.")
    assert endpoints(system).of(organization) == []


def test_a_disabled_endpoint_says_why_and_is_enabled_and_deleted(page: Page, system: System, organization: str) -> None:
    sign_in(page, system, key_for(system, organization))
    register(page, "https://hooks.example/a")
    page.get_by_role("button", name="I have stored it").click()
    disable(system, organization)
    page.get_by_role("button", name="Refresh").click()
    expect(webhooks(page)).to_contain_text("Disabled: it took nothing for three days.")
    webhooks(page).get_by_role("button", name="Enable again").press("Enter")
    expect(webhooks(page)).to_contain_text("is enabled again")
    (made,) = endpoints(system).of(organization)
    assert made.is_enabled
    webhooks(page).get_by_role("button", name="Delete").press("Enter")
    webhooks(page).get_by_role("button", name="Keep it").press("Enter")
    expect(webhooks(page).get_by_role("button", name="Delete")).to_be_focused()
    page.keyboard.press("Enter")
    webhooks(page).get_by_role("button", name="Yes, delete it").press("Enter")
    expect(webhooks(page)).to_contain_text("https://hooks.example/a was deleted.")
    assert endpoints(system).of(organization) == []


@pytest.mark.parametrize("role", ["reader", "gateway"])
def test_who_may_not_see_them_is_not_asked_about_them(page: Page, system: System, organization: str, role: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, system, key_for(system, organization, role))
    expect(page.locator("#announce")).to_have_text("The account is up to date.")
    expect(webhooks(page)).to_be_hidden()
    expect(page.get_by_role("link", name="Webhooks")).to_have_count(0)
    assert [each for each in asked if "/webhooks" in each.removesuffix("webhooks.js")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_fault_with_the_webhooks_and_nothing_is_cut_off(
    chromium: Browser,
    system: System,
    organization: str,
    server: Any,  # noqa: F811
    viewport: dict[str, int],
    scheme: str,
) -> None:
    """A secret, an endpoint with deliveries and one that is disabled, and the question before deleting."""
    page = chromium.new_page(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    sign_in(page, system, key_for(system, organization))
    register(page, f"http://127.0.0.1:{server.server_port}/a-{'long-' * 40}name")
    webhooks(page).get_by_role("button", name="Send a test").click()
    expect(webhooks(page)).to_contain_text("A test is under way")
    deliveries_shown(page, 1)
    webhooks(page).get_by_role("button", name="Delete").click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    pictured(page, f"webhooks-{viewport['width']}-{scheme}")
    disable(system, organization)
    page.get_by_role("button", name="Refresh").click()
    expect(webhooks(page)).to_contain_text("Disabled: it took nothing for three days.")
    assert violations(page) == []
    page.close()
