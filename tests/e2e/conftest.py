"""One deployed system for all tests that need one."""

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import urllib3

from gratis_local.up import running
from tests.e2e.system import PATIENCE_SECONDS, System, subscribed

if TYPE_CHECKING:  # most tests need no browser
    from playwright.sync_api import Browser, Page, ViewportSize

QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
DESKTOP: "ViewportSize" = {"width": 1200, "height": 900}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start a system of their own come first: never do two engines run at once."""
    items.sort(key=lambda item: "system" in getattr(item, "fixturenames", ()) and not hasattr(item.module, "system"))


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The template, deployed by `gratis up` with another place for up.json, and a queue that hears the bus."""
    state = tmp_path_factory.mktemp("gratis") / "up.json"
    with running(state=state) as (stack, up), urllib3.PoolManager(maxsize=8) as http:
        yield System(stack, up, http, subscribed(stack))


@pytest.fixture
def organization(system: System) -> str:
    """An organization of the test's own at tier 4, which shares everything."""
    return system.new_organization()


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """The Chromium of this machine, else Playwright's own (`make browser` puts one there)."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*QUIET, "--disable-gpu", *sandbox])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: "Browser") -> "Iterator[Page]":
    """A fresh page that fails the test if it complains in its console."""
    page = chromium.new_page(viewport=DESKTOP)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    # a refused call is logged by the browser itself, whatever the page makes of it
    assert [each for each in complaints if "Failed to load resource" not in each] == []
