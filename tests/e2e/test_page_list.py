"""The page's list of decisions in real Chromium, and a client that pages through a long day of the deployed API."""

import csv
import io
import os
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.e2e.system import System
from tests.e2e.test_page import a_day, key_for, sign_in

ROWS = 1200


def ask(system: System, key: str, query: str, accept: str = "application/json") -> Any:
    headers = {"authorization": f"Bearer {key}", "accept": accept}
    answer = system.http.request("GET", f"{system.up.base_url}/organization/requests?{query}", headers=headers)
    assert answer.status == 200, answer.data
    return answer


def test_a_client_lists_filters_pages_and_exports_a_day_and_finds_each_once(system: System, organization: str) -> None:
    models = ["gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "in-house"]
    events = [system.usage(organization, f"r{number:04}", 1) for number in range(ROWS)]
    for number, event in enumerate(events):
        event["data"]["model"] = models[number % 3]
    for start in range(0, ROWS, 300):
        system.accepted(*events[start : start + 300])
    system.through(organization)
    key, day = key_for(system, organization, "reader"), f"day={system.yesterday}"

    listed: list[dict[str, Any]] = []
    page: str | None = ""
    while page is not None:
        content = ask(system, key, f"{day}&limit=100" + f"&page={page}" * bool(page)).json()
        listed += content["data"]
        page = content["next_page"]
    assert sorted(each["request_id"] for each in listed) == [event["id"] for event in events]
    moments = [each["decided_at"] for each in listed]
    assert moments == sorted(moments, reverse=True)

    exported: list[dict[str, str]] = []
    query = f"{day}&models={models[2]}&verdict=billed&reason=model_not_listed&limit=70"
    while query:
        answer = ask(system, key, query, "text/csv")
        exported += csv.DictReader(io.StringIO(answer.data.decode()))
        link = answer.headers.get("link", "")
        query = link.removeprefix("<?").partition(">")[0]
    assert sorted(row["request_id"] for row in exported) == [event["id"] for event in events[2::3]]


def test_the_page_says_what_was_paid_instead_of_what(page: Page, system: System, organization: str) -> None:
    a_day(system, organization)
    system.accepted(system.usage(organization, "free-yesterday", 400_000))
    system.through(organization)
    sign_in(page, system, key_for(system, organization, "reader"))
    page.get_by_label("Of", exact=True).select_option("today")
    expect(page.locator("#money")).to_contain_text("Today: you paid $1.7525 instead of $2.7525.")
    page.get_by_text("By model and project").click()
    expect(page.locator("#money tfoot")).to_contain_text("1,101,000")
    page.get_by_label("Of", exact=True).select_option("days")
    page.get_by_label("From, UTC").fill(str(system.yesterday))
    page.get_by_label("To, UTC").fill(str(system.yesterday))
    expect(page.locator("#money")).to_contain_text(f"On {system.yesterday}: you paid $0.00 instead of $1.00.")


def test_the_list_is_filtered_paged_and_saved_from_the_page(
    page: Page, system: System, organization: str, tmp_path: Path
) -> None:
    a_day(system, organization)
    day = system.now().date()
    events = [system.usage(organization, f"more{number:02}", 1) for number in range(30)]
    system.accepted(*(event | {"time": system.now().isoformat()} for event in events))
    refused = system.usage(organization, "refused", 1) | {"time": f"{system.days_ago(50)}T00:00:00Z"}
    assert system.send([refused])["quarantined"][0]["error"]["code"] == "too_old"
    system.through(organization)
    sign_in(page, system, key_for(system, organization))
    rows = page.locator("#decisions table").first.locator("tbody")
    expect(rows).to_have_count(20)
    page.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(13)
    expect(page.get_by_role("button", name="Older")).to_be_disabled()
    page.get_by_role("button", name="Newer").click()
    expect(rows).to_have_count(20)
    expect(page.locator("#decisions")).to_contain_text("Events that could not be decided")
    if os.environ.get("GRATIS_SCREENSHOTS"):
        page.locator("#decisions").screenshot(path=Path(os.environ["GRATIS_SCREENSHOTS"]) / "list.png")

    page.locator("#list-day").fill(str(day))
    page.get_by_label("Verdict").select_option("billed")
    page.locator("#list-form").get_by_role("button", name="Show").click()
    expect(rows).to_have_count(2)
    page.get_by_label("Reason").select_option("tool_use")
    page.get_by_label("Reason").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    with page.expect_download() as saving:
        page.get_by_role("button", name="Download as CSV").click()
    saving.value.save_as(tmp_path / "saved.csv")
    (row,) = csv.DictReader(io.StringIO((tmp_path / "saved.csv").read_text(encoding="utf-8")))
    assert (row["request_id"], row["reason"]) == ("page_tool", "tool_use")
    page.get_by_label("Request id").fill("refused")
    page.keyboard.press("Enter")
    expect(page.locator("#why")).to_contain_text("too_old")


def test_older_figures_stay_when_they_cannot_be_read_again(page: Page, system: System, organization: str) -> None:
    sign_in(page, system, key_for(system, organization))
    status = page.locator("#status")
    expect(status).to_contain_text("1,000,000 tokens left")
    expect(status).to_contain_text("As of ")
    page.context.set_offline(True)
    for _ in range(2):
        page.get_by_role("button", name="Refresh").click()
        expect(status).to_contain_text("could not be reached")
    expect(status.get_by_text("These figures are older")).to_have_count(1)
    expect(status).to_contain_text("1,000,000 tokens left")
    page.context.set_offline(False)
    page.get_by_role("button", name="Refresh").click()
    expect(status.get_by_text("These figures are older")).to_have_count(0)
