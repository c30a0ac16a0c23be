"""The account page's states in real Chromium: nobody is shut out of any of them, and each fits screen and paper.

With GRATIS_SCREENSHOTS=FOLDER a picture of each state goes there.
"""

import os
import re
import zlib
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.system import System
from tests.e2e.test_page import DESKTOP, PHONE, a_day, key_for, sign_in

SCREENS_BEFORE_THE_DETAILS = 3
LIGHT_COST, DARK_COST = "2b3a82", "c3ceff"
"""`--cost` of page.css, which the chart's line has."""
CHART_COLOURS = """canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const found = new Set();
    for (let at = 0; at < pixels.length; at += 4)
        if (pixels[at + 3] === 255)
            found.add([...pixels.slice(at, at + 3)].map(each => each.toString(16).padStart(2, "0")).join(""));
    return [...found];
}"""


def pictured(page: Page, name: str) -> None:
    if folder := os.environ.get("GRATIS_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def violations(page: Page) -> list[str]:
    """What axe finds fault with, and where, as soon as every section is read: until then old figures are dimmed."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


def chart_colours(page: Page) -> set[str]:
    """The colours of the chart's pixels, as it is on the screen."""
    return set(page.locator("#usage canvas").evaluate(CHART_COLOURS))


def printed_colours(page: Page) -> set[str]:
    """The colours that are used in a real print: Chromium draws a chart anew for it, in lines and areas."""
    pdf = page.pdf()
    streams = [
        zlib.decompressobj().decompress(pdf[at.end() :])
        for at in re.finditer(rb"/FlateDecode.*?stream\r?\n", pdf, re.S)
    ]
    used = re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) (?:rg|RG)\b", b" ".join(streams))
    return {"".join(f"{round(float(part) * 255):02x}" for part in parts) for parts in used}


def opened(page: Page) -> None:
    """Everything that opens on demand is open."""
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("role", ["owner", "reader"])
def test_axe_finds_no_fault_and_nothing_is_cut_off(
    chromium: Browser, system: System, organization: str, role: str, viewport: dict[str, int], scheme: str
) -> None:
    a_day(system, organization)
    page = chromium.new_page(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(system.up.page_url)
    assert violations(page) == []
    sign_in(page, system, key_for(system, organization, role))
    expect(page.locator("#decisions")).to_contain_text("page_free")
    expect(page.locator("#usage canvas").first).to_be_visible()
    pictured(page, f"{role}-{viewport['width']}-{scheme}")
    opened(page)
    page.get_by_label("Request id").fill("page_tool")
    page.get_by_label("Request id").press("Enter")
    expect(page.locator("#why")).to_contain_text("Payload hash")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    page.close()


def test_on_a_phone_the_details_begin_after_three_screens_at_most(
    chromium: Browser, system: System, organization: str
) -> None:
    a_day(system, organization)
    page = chromium.new_page(viewport=PHONE)  # type: ignore[arg-type]
    sign_in(page, system, key_for(system, organization))
    expect(page.locator("#decisions")).to_contain_text("page_free")
    expect(page.locator("#usage canvas").first).to_be_visible()
    above = page.evaluate("document.getElementById('usage').getBoundingClientRect().top + scrollY")
    assert above <= SCREENS_BEFORE_THE_DETAILS * PHONE["height"]
    page.close()


def test_on_paper_everything_is_open_and_nothing_asks_to_be_pressed(
    chromium: Browser, system: System, organization: str
) -> None:
    a_day(system, organization)
    page = chromium.new_page(viewport=DESKTOP, color_scheme="dark")  # type: ignore[arg-type]
    sign_in(page, system, key_for(system, organization))
    expect(page.locator("#decisions")).to_contain_text("page_free")
    expect(page.locator("#usage canvas").first).to_be_visible()
    closed = page.locator("details:not([open])").count()
    assert closed
    assert LIGHT_COST in (printed := printed_colours(page))
    assert DARK_COST not in printed
    assert DARK_COST in chart_colours(page)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    pictured(page, "print")
    assert page.locator("details:not([open])").count() == 0
    assert [
        each
        for each in page.get_by_role("button").all()
        if each.is_visible() and "link" not in (each.get_attribute("class") or "")
    ] == []
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(23, 32, 43)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == closed
    page.close()


def test_the_account_is_opened_asked_and_left_by_keyboard_alone(page: Page, system: System, organization: str) -> None:
    a_day(system, organization)
    page.goto(system.up.page_url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type(key_for(system, organization))
    page.keyboard.press("Enter")
    expect(page.locator("#decisions")).to_contain_text("page_free")
    expect(page.locator("#main")).to_be_focused()
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('section, header, nav, footer')?.id ?? ''"))
        if page.evaluate("document.activeElement.closest('footer') !== null"):
            break
    sections = {"money", "offer", "usage", "decisions", "why", "sharing", "webhooks"}
    assert sections <= reached


def test_offline_every_section_says_so_and_keeps_its_figures(page: Page, system: System, organization: str) -> None:
    a_day(system, organization)
    sign_in(page, system, key_for(system, organization))
    expect(page.locator("#decisions")).to_contain_text("page_free")
    page.context.set_offline(True)
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_text("These figures are older")).to_have_count(7)
    pictured(page, "offline")
    assert violations(page) == []
    page.context.set_offline(False)
