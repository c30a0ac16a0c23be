"""The operator's view in real Chromium: organizations, quarantine, days not proved and keys, for a platform key."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from gratis.errors import Rejected
from gratis.rules.request import RequestKey
from gratis.table.accounts import Accounts
from gratis.table.api_keys import Holder, Keys
from gratis.table.keys import decision_key
from gratis.table.quarantine import entry
from tests.builders.events import message
from tests.builders.ledger import classifier
from tests.builders.organizations import account
from tests.e2e.system import System, eventually
from tests.e2e.test_page import DESKTOP, key_for, sign_in
from tests.e2e.test_page_states import pictured, violations

PHONE = {"width": 390, "height": 844}
MARKUP = '<img src=x onerror="document.title = 1"><b>no name</b>'
SECTIONS = ("organizations", "quarantine", "proofs", "keys")


def decide(system: System, organization: str, tokens: int, day: datetime | None = None) -> None:
    """A request of one that shares its traffic, decided in the deployed table."""
    when = day or system.now()
    Accounts(system.client("dynamodb"), system.table).put(account(organization))
    event = system.usage(organization, f"r{tokens}", tokens) | {"time": when.isoformat()}
    deciding = classifier(system.client("dynamodb"), table=system.table, clock=lambda _: when)
    assert len(deciding.classify([message("m", event, group=organization, received_at=when)]).decisions) == 1


def refuse(
    system: System, organization: str | None, request_id: str, code: str = "too_old", said: str = "time: is old"
) -> Any:
    """An event in quarantine, which nothing but its reason keeps from a decision."""
    event = system.usage(organization or "", request_id, 1000)
    system.quarantine.put(
        [entry(event | {"subject": organization}, Rejected(code, said), system.now(), "receive_usage")]
    )
    return event


@pytest.fixture
def three(system: System, organization: str) -> list[str]:
    """Three organizations whose names begin alike: `-a` has most left, `-b` least; of `-c` all was refused."""
    names = [f"{organization}-{each}" for each in "abc"]
    decide(system, names[0], 100_000)
    decide(system, names[1], 900_000)
    for number in range(2):
        refuse(system, names[2], f"bad_{number}")
    return names


def section(page: Page, name: str) -> Locator:
    return page.locator(f"#{name}")


def rows(page: Page, name: str) -> Locator:
    return section(page, name).locator("tbody")


def all_shown(page: Page, system: System) -> None:
    sign_in(page, system, system.up.platform_key)
    expect(page.locator("#announce")).to_have_text("All organizations are up to date.")


def find(page: Page, prefix: str, sort: str | None = None) -> None:
    """Organizations by how their names begin, by keyboard."""
    if sort:
        page.get_by_label("First come those with").select_option(label=sort)
    page.get_by_label("Name begins with").fill(prefix)
    page.keyboard.press("Enter")
    idle(page, "organizations")


def idle(page: Page, name: str) -> None:
    expect(page.locator(f"#{name}-body")).to_have_attribute("aria-busy", "false")


def narrow(page: Page, name: str, organization: str) -> None:
    """Quarantine or keys of one organization, by keyboard."""
    section(page, name).get_by_label("Organization").fill(organization)
    page.keyboard.press("Enter")
    idle(page, name)


def names_shown(page: Page) -> list[str]:
    return rows(page, "organizations").get_by_role("button").all_text_contents()


# --- organizations ---------------------------------------------------------------------------------------------------


def test_organizations_are_found_by_name_and_sorted_by_what_needs_a_look(
    page: Page, system: System, three: list[str]
) -> None:
    a, b, c = three
    all_shown(page, system)
    orders = {
        "the least left": [b, a, c],
        "the most given away": [b, a, c],
        "the most refused": [c, a, b],
        "the first names": [a, b, c],
    }
    for sort, wanted in orders.items():
        find(page, f"{a[:-1]}", sort)
        assert names_shown(page) == wanted, sort
    first, second, third = rows(page, "organizations").all()
    expect(first).to_contain_text("1m: 900,000 of 1,000,000 tokens")
    expect(second).to_contain_text("1m: 100,000 of 1,000,000 tokens Nearly used up")
    expect(second).to_contain_text("$2.25")
    expect(third).to_contain_text("Unknown")
    find(page, f"{a}z")
    expect(section(page, "organizations")).to_contain_text(
        f"No organization whose name begins with “{a}z” sent anything"
    )


def test_who_sent_nothing_is_opened_by_its_whole_name(page: Page, system: System, organization: str) -> None:
    refuse(system, f"{organization}-b", "bad")
    all_shown(page, system)
    find(page, f"{organization}-b")
    expect(page.get_by_role("button", name="Open the account of")).to_have_count(0)
    find(page, organization)
    page.get_by_role("button", name=f"Open the account of {organization}").press("Enter")
    expect(page.locator("#status")).to_contain_text("1,000,000 tokens left")
    expect(page.locator("#session-organization")).to_have_text(organization)


def test_one_opens_to_its_account_and_leads_back_to_where_one_was(page: Page, system: System, three: list[str]) -> None:
    all_shown(page, system)
    find(page, three[0][:-1])
    page.get_by_role("button", name=three[1]).press("Enter")
    expect(page.locator("#status")).to_contain_text("100,000 tokens left")
    expect(page.locator("#session-organization")).to_have_text(three[1])
    expect(page.locator("#main")).to_be_focused()
    assert page.evaluate("scrollY") == 0
    expect(page.locator("#operator")).to_be_hidden()
    page.get_by_role("button", name="All organizations").press("Enter")
    expect(page.get_by_role("button", name=three[1])).to_be_focused()
    expect(page.locator("#account")).to_be_hidden()
    page.keyboard.press("Shift+Tab")
    page.get_by_role("button", name=three[0]).press("Enter")
    expect(page.locator("#status")).to_contain_text("900,000 tokens left")
    assert three[1] not in page.locator("#account").inner_text()


def test_an_answer_about_the_organization_before_is_never_shown_of_the_next(
    page: Page, system: System, three: list[str]
) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(f"**/offer?organization={three[0]}", hold)
    all_shown(page, system)
    find(page, three[0][:-1])
    page.get_by_role("button", name=three[0]).press("Enter")
    expect(page.locator("#status")).to_contain_text("900,000 tokens left")
    eventually(lambda: page.evaluate("1") and held, "a call that waits")
    page.get_by_role("button", name="All organizations").press("Enter")
    page.get_by_role("button", name=three[1]).press("Enter")
    expect(page.locator("#announce")).to_have_text("The account is up to date.")
    expect(page.locator("#offer")).to_contain_text("Group 1m")
    assert three[0] not in page.locator("#account").inner_text()


def test_an_account_that_cannot_be_opened_is_said_and_the_list_stays(
    page: Page, system: System, three: list[str]
) -> None:
    all_shown(page, system)
    find(page, three[0][:-1])
    page.context.set_offline(True)
    page.get_by_role("button", name=three[0]).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("could not be reached")
    assert sorted(names_shown(page)) == three
    page.context.set_offline(False)
    page.get_by_role("button", name=three[0]).press("Enter")
    expect(page.locator("#status")).to_contain_text("900,000 tokens left")


def test_many_organizations_come_in_parts(page: Page, system: System, organization: str) -> None:
    names = [f"{organization}-{number:02}" for number in range(30)]
    for name in names:
        refuse(system, name, "bad")
    all_shown(page, system)
    find(page, f"{organization}-", "the first names")
    assert names_shown(page) == names[:25]
    expect(section(page, "organizations")).to_contain_text("1 to 25 of 30")
    section(page, "organizations").get_by_role("button", name="Next").press("Enter")
    expect(rows(page, "organizations")).to_have_count(5)
    expect(page.locator("#organizations-body")).to_be_focused()
    assert names_shown(page) == names[25:]
    section(page, "organizations").get_by_role("button", name="Previous").press("Enter")
    expect(rows(page, "organizations")).to_have_count(25)


def test_blocks_of_the_api_follow_each_other(page: Page, system: System, three: list[str]) -> None:
    page.route(
        "**/v1/organizations?**", lambda route: route.continue_(url=route.request.url.replace("limit=1000", "limit=2"))
    )
    all_shown(page, system)
    find(page, three[0][:-1])
    assert names_shown(page) == [three[1], three[0]]
    expect(section(page, "organizations")).to_contain_text("There are more: sorted are 2 at a time")
    section(page, "organizations").get_by_role("button", name="Next").press("Enter")
    expect(rows(page, "organizations")).to_have_count(1)
    assert names_shown(page) == three[2:]


# --- quarantine ------------------------------------------------------------------------------------------------------


def test_what_was_refused_is_shown_with_its_reason_sent_again_and_gone_once_it_is_decided(
    page: Page, system: System, organization: str
) -> None:
    event = refuse(system, organization, "late", "internal_error", "it was our mistake")
    refuse(system, organization, "other")
    all_shown(page, system)
    narrow(page, "quarantine", organization)
    expect(rows(page, "quarantine").first).to_contain_text("internal_error it was our mistake")
    answer = page.locator("#quarantine-answer")
    again = page.get_by_role("button", name="Send again: late")
    again.press("Enter")
    expect(answer.locator(".saved")).to_contain_text(
        "1 sent through again. What was sent leaves quarantine once it is decided"
    )
    expect(page.locator("#quarantine-body")).to_be_focused()
    system.decisions([event])
    again.press("Enter")
    expect(answer.locator(".saved")).to_have_text("1 decided, and out of quarantine.")
    expect(rows(page, "quarantine")).to_have_count(1)
    assert [each.id for each in system.quarantined(organization)] == ["other"]


def test_all_of_a_reason_are_sent_again_and_what_is_refused_anew_says_why(
    page: Page, system: System, organization: str
) -> None:
    old = system.usage(organization, "old", 1) | {"time": "2025-01-01T00:00:00Z"}
    system.quarantine.put([entry(old, Rejected("too_old", "time: is old"), system.now(), "receive_usage")])
    refuse(system, organization, "fine")
    refuse(system, organization, "left alone", "conflict")
    all_shown(page, system)
    section(page, "quarantine").get_by_label("Reason").select_option("too_old")
    narrow(page, "quarantine", organization)
    expect(rows(page, "quarantine")).to_have_count(2)
    page.get_by_role("button", name="Send all again").press("Enter")
    expect(page.locator("#quarantine-answer")).to_contain_text("1 sent through again; 1 refused again.")
    expect(page.locator("#quarantine-answer li")).to_contain_text("old time:")


def test_without_a_day_the_latest_one_of_the_week_that_has_some_is_shown(
    page: Page, system: System, organization: str
) -> None:
    for back in (3, 5, 9):
        event = system.usage(organization, f"back_{back}", 1000)
        when = system.now() - timedelta(days=back)
        system.quarantine.put([entry(event, Rejected("too_old", "time: is old"), when, "receive_usage")])
    all_shown(page, system)
    narrow(page, "quarantine", organization)
    expect(rows(page, "quarantine")).to_contain_text("back_3")
    section(page, "quarantine").get_by_label("Day of receipt").fill(str(system.now().date() - timedelta(days=9)))
    narrow(page, "quarantine", organization)
    expect(rows(page, "quarantine")).to_contain_text("back_9")
    section(page, "quarantine").get_by_label("Day of receipt").fill("")
    narrow(page, "quarantine", f"{organization}-nobody")
    expect(section(page, "quarantine")).to_contain_text("was refused in the last 7 days.")


def test_an_error_in_the_middle_is_kept_with_what_happened_and_goes_on_from_there(
    page: Page, system: System, organization: str
) -> None:
    for number in range(3):
        refuse(system, organization, f"r{number}")
    failing: Iterator[bool] = iter([False, True])

    def one_at_a_time(route: Route) -> None:
        if next(failing, False):
            return route.abort()
        body = json.loads(route.request.post_data or "")
        return route.continue_(post_data=json.dumps(body | {"limit": 1}))

    page.route("**/v1/quarantine/redrive", one_at_a_time)
    all_shown(page, system)
    narrow(page, "quarantine", organization)
    page.get_by_role("button", name="Send all again").press("Enter")
    answer = page.locator("#quarantine-answer")
    expect(answer.locator(".saved")).to_contain_text("1 sent through again.")
    expect(answer.get_by_role("alert")).to_contain_text("could not be reached")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("#announce")).to_have_text("All organizations are up to date.")
    expect(answer.get_by_role("alert")).to_contain_text("could not be reached")
    answer.get_by_role("button", name="Go on").press("Enter")
    expect(answer.locator(".saved")).to_contain_text("2 sent through again.")
    expect(answer.get_by_role("alert")).to_have_count(0)


def test_texts_that_hold_markup_are_shown_as_they_are(page: Page, system: System, organization: str) -> None:
    refuse(system, MARKUP, "harmless", "invalid_event", MARKUP)
    refuse(system, organization, MARKUP, "invalid_event", MARKUP)
    keys = Keys(system.client("dynamodb"), system.table)
    keys.create(Holder("reader", organization, MARKUP), system.now())
    all_shown(page, system)
    expect(rows(page, "quarantine").filter(has_text=MARKUP).first).to_be_visible()
    narrow(page, "quarantine", organization)
    narrow(page, "keys", organization)
    for name in ("quarantine", "keys"):
        expect(rows(page, name).first).to_contain_text(MARKUP)
    page.get_by_role("button", name="Send again").press("Enter")
    expect(page.locator("#quarantine-answer .saved")).to_contain_text("1 refused again")
    page.get_by_role("button", name="Revoke").press("Enter")
    assert page.locator("#operator").locator("img, b").count() == 0
    assert page.title() == "All organizations · Gratis account"


# --- days and keys ---------------------------------------------------------------------------------------------------


def test_a_day_that_is_not_proved_leads_to_its_organizations(page: Page, system: System, organization: str) -> None:
    day = system.now() - timedelta(days=3)
    decide(system, f"{organization}-unproved", 1000, day)
    lost = decision_key(RequestKey(f"{organization}-unproved", day.date(), "r1000"))
    system.client("dynamodb").delete_item(TableName=system.table, Key=lost)  # whoever closes the day finds that out
    all_shown(page, system)
    row = rows(page, "proofs").filter(has_text=str(day.date()))
    expect(row).to_contain_text("Not proved")
    expect(section(page, "proofs")).to_contain_text("of the last 7 days")
    page.get_by_label("Name begins with").fill(f"{organization}-")
    row.get_by_role("button").press("Enter")
    expect(rows(page, "organizations")).to_have_count(1)
    expect(rows(page, "organizations")).to_contain_text(re.compile("None yet|Does not hold"))
    assert names_shown(page) == [f"{organization}-unproved"]
    expect(page.get_by_label("First come those with")).to_have_value("proof")
    expect(page.locator("#organizations-body")).to_be_focused()


def test_a_key_is_made_known_and_revoked_without_knowing_it(page: Page, system: System, organization: str) -> None:
    key = key_for(system, organization, "reader")
    all_shown(page, system)
    narrow(page, "keys", organization)
    expect(rows(page, "keys")).to_contain_text(f"page test…{key[-4:]}")
    assert key not in page.content()
    page.get_by_role("button", name="Revoke").press("Enter")
    expect(page.get_by_text(f"Revoke the key “page test” (…{key[-4:]}) of {organization}?")).to_be_focused()
    page.get_by_role("button", name="Keep it").press("Enter")
    expect(page.get_by_role("button", name="Revoke")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Yes, revoke it").press("Enter")
    expect(page.locator("#keys-answer")).to_have_text(
        f"The key “page test” (…{key[-4:]}) of {organization} was revoked."
    )
    expect(section(page, "keys")).to_contain_text("There is no key.")
    expect(page.locator("#keys-body")).to_be_focused()
    assert Keys(system.client("dynamodb"), system.table).find(key, system.now()) is None


def test_who_revokes_the_key_in_use_is_told_and_shown_out(page: Page, system: System) -> None:
    keys = Keys(system.client("dynamodb"), system.table)
    key = keys.create(Holder("platform", None, "own key"), datetime.now(UTC))
    sign_in(page, system, key)
    page.get_by_role("button", name=f"Revoke: “own key” (…{key[-4:]})").press("Enter")
    expect(section(page, "keys")).to_contain_text("It is the key that this page is using.")
    page.get_by_role("button", name="Yes, revoke it").press("Enter")
    expect(page.locator("#key-error")).to_contain_text("no valid API key")
    expect(page.get_by_label("API key")).to_be_focused()
    assert page.locator("#operator").inner_html() == ""


# --- the view --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_fault_in_any_state_and_nothing_is_cut_off(
    chromium: Browser, system: System, three: list[str], viewport: dict[str, int], scheme: str
) -> None:
    key_for(system, three[2])
    page = chromium.new_page(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    all_shown(page, system)
    find(page, three[0][:-1])
    narrow(page, "quarantine", three[2])
    narrow(page, "keys", three[2])
    name = f"operator-{viewport['width']}-{scheme}"
    pictured(page, name)
    page.get_by_role("button", name="Send all again").press("Enter")
    expect(page.locator("#quarantine-answer .saved")).to_be_visible()
    page.get_by_role("button", name="Revoke").press("Enter")
    pictured(page, f"{name}-asked")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    page.context.set_offline(True)
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_text("These figures are older")).to_have_count(len(SECTIONS))
    pictured(page, f"{name}-offline")
    assert violations(page) == []
    assert sorted(names_shown(page)) == three
    page.close()


def test_axe_finds_no_fault_where_nothing_could_be_read_or_nothing_is_there(page: Page, system: System) -> None:
    page.route(re.compile("/v1/(organizations|quarantine|keys)"), lambda route: route.abort())
    sign_in(page, system, system.up.platform_key)
    expect(page.get_by_role("alert")).to_have_count(len(SECTIONS))
    assert violations(page) == []
    page.unroute_all()
    page.get_by_role("button", name="Refresh").press("Enter")
    expect(page.locator("#announce")).to_have_text("All organizations are up to date.")
    find(page, "nobody-at-all")
    narrow(page, "quarantine", "nobody-at-all")
    narrow(page, "keys", "nobody-at-all")
    expect(page.locator("#operator .empty")).to_have_count(3)
    assert violations(page) == []


def test_on_paper_it_is_dark_on_white_and_nothing_asks_to_be_pressed(
    chromium: Browser, system: System, three: list[str]
) -> None:
    page = chromium.new_page(viewport=DESKTOP, color_scheme="dark")  # type: ignore[arg-type]
    all_shown(page, system)
    find(page, three[0][:-1])
    narrow(page, "quarantine", three[2])
    page.emulate_media(media="print")
    pictured(page, "operator-print")
    buttons = [each.get_attribute("class") for each in page.get_by_role("button").all() if each.is_visible()]
    assert set(buttons) == {"link"}
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(23, 32, 43)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
    page.close()


def test_every_part_is_reached_by_keyboard_alone(page: Page, system: System, three: list[str]) -> None:
    all_shown(page, system)
    expect(page.locator("#main")).to_be_focused()
    find(page, three[0][:-1])
    narrow(page, "quarantine", three[2])
    narrow(page, "keys", three[0])
    page.locator("#main").focus()
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('section, header, nav, footer')?.id ?? ''"))
        if page.evaluate("document.activeElement.closest('footer') !== null"):
            break
    assert set(SECTIONS) <= reached


def test_nothing_of_it_is_there_for_other_keys_or_once_the_key_is_forgotten(
    page: Page, system: System, organization: str
) -> None:
    sign_in(page, system, key_for(system, organization))
    expect(page.locator("#announce")).to_have_text("The account is up to date.")
    expect(page.get_by_role("button", name="All organizations")).to_have_count(0)
    page.get_by_role("button", name="Forget key").click()
    all_shown(page, system)
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_label("API key")).to_be_focused()
    assert page.locator("#operator").inner_html() == ""


def test_a_key_that_is_kept_comes_back_to_where_one_was(page: Page, system: System, three: list[str]) -> None:
    page.goto(system.up.page_url)
    page.get_by_label("Keep the key until this tab is closed").check()
    page.get_by_label("API key").fill(system.up.platform_key)
    page.keyboard.press("Enter")
    expect(page.locator("#announce")).to_have_text("All organizations are up to date.")
    find(page, three[0][:-1])
    page.get_by_role("button", name=three[1]).press("Enter")
    expect(page.locator("#announce")).to_have_text("The account is up to date.")
    page.reload()
    expect(page.locator("#session-organization")).to_have_text(three[1])
    page.get_by_role("button", name="All organizations").press("Enter")
    expect(page.locator("#announce")).to_have_text("All organizations are up to date.")
    assert json.loads(page.evaluate("sessionStorage.getItem('gratis.session')"))["organization"] == ""
    page.get_by_role("button", name="Forget key").click()
    assert page.evaluate("sessionStorage.length") == 0
