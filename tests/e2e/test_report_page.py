"""A report in real Chromium, from its file: it asks for nothing, fits a phone, and can be read in both schemes.

With GRATIS_SCREENSHOTS=1 it renews docs/images/report.png.
"""

import os
import sys
from pathlib import Path
from subprocess import run

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from gratis_local.functions import ROOT

GRATIS = Path(sys.executable).parent / "gratis"
OFFERS = ["--offer", "data-sharing-2025", "--offer", "data-sharing"]
IMAGE = ROOT / "docs/images/report.png"
SEED_DAY = ROOT / "events/seed-day.json"


@pytest.fixture(scope="module", params=["replay", "what-if"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seed's day as a report."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    offers = OFFERS if request.param == "what-if" else []
    run([GRATIS, request.param, SEED_DAY, *offers, "--report", file], check=True, capture_output=True)
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_a_report_asks_for_nothing_and_is_as_wide_as_its_window(
    page: Page, report: Path, width: int, scheme: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size(ViewportSize(width=width, height=900))
    page.goto(report.as_uri())
    expect(page.locator("h1")).to_be_visible()
    assert asked == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(box["width"] > 250 for each in page.locator("svg").all() if (box := each.bounding_box()))
    ink, paper = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    assert (brightness(ink) > brightness(paper)) == (scheme == "dark")
    texts = page.evaluate("[...document.querySelectorAll('svg text')].map(each => getComputedStyle(each).fill)")
    assert set(texts) == {ink}
    if os.environ.get("GRATIS_SCREENSHOTS") and (width, scheme) == (1400, "light") and "a replay" in page.title():
        page.screenshot(path=IMAGE, clip={"x": 0, "y": 0, "width": width, "height": 1330}, full_page=True)


def test_a_report_that_is_dark_on_the_screen_is_dark_on_white_on_paper(page: Page, report: Path) -> None:
    page.emulate_media(color_scheme="dark", media="print")
    page.goto(report.as_uri())
    ink, paper = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    assert (ink, paper) == ("rgb(23, 32, 43)", "rgba(0, 0, 0, 0)")
    texts = page.evaluate("[...document.querySelectorAll('svg text')].map(each => getComputedStyle(each).fill)")
    assert set(texts) == {ink}


def brightness(color: str) -> int:
    """Of `rgb(1, 2, 3)`."""
    return sum(int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))
