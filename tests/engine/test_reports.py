"""`--report` and `what-if` as commands: real functions on the engine, and the page that comes of it."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gratis.rules.offer_file import shipped
from gratis_local.cli import app
from gratis_local.functions import ROOT
from gratis_local.preview.replayed import reported_of
from gratis_local.replay import replay
from gratis_local.sources import read_events, read_organizations
from tests.builders.events import usage, void_of

EVENTS = ROOT / "events"
SEED_DAY = EVENTS / "seed-day.json"
SHIPPED = ROOT / "layers/core/gratis/data/offers/data-sharing-2025.json"


def gratis(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def closing(tmp_path: Path) -> Path:
    """The shipped offer, but a request that does not fit closes its window."""
    offer = json.loads(SHIPPED.read_text())
    for version in offer["versions"]:
        version["overflow"] = "close"
    file = tmp_path / "closing.json"
    file.write_text(json.dumps(offer))
    return file


@pytest.mark.parametrize("name", ["seed-day.json", "rolling-window-day.json", "exclusions.json", "invalid.json"])
def test_a_report_shows_what_the_replay_printed(ledger: str, tmp_path: Path, name: str) -> None:
    file = tmp_path / "report.html"
    result = gratis("replay", "--json", "--endpoint-url", ledger, EVENTS / name, "--report", file)
    printed, content = json.loads(result.stdout), file.read_text()
    assert result.exit_code == (1 if printed["quarantined"] else 0)
    assert content.count("<td class=free>") == printed["totals"]["free"]
    assert content.count("<td class=billed>") == printed["totals"]["billed"]
    assert content.count("<svg") >= 11
    assert_whole(content)


def assert_whole(content: str) -> None:
    """The page asks for nothing and runs nothing."""
    assert "<script" not in content
    assert re.findall(r"(?:src|href)=\"(?!#)", content) == []
    assert "url(" not in re.sub(r"url\(#\w+\)", "", content)
    assert "@import" not in content


@pytest.mark.parametrize("name", ["exclusions.json", "voids.json"])
def test_the_metrics_of_a_replay_add_up_to_its_totals(ledger: str, name: str) -> None:
    events, accounts = read_events([str(EVENTS / name)]), read_organizations(EVENTS / "organizations.json")
    replayed = replay(events, accounts, shipped("data-sharing-2025"), ledger)
    sums: Counter[str] = Counter()
    for each in reported_of(replayed.fates).samples:
        sums[each.name] += sum(each.values)
    totals = replayed.totals()
    assert sums["EventsReceived"] == totals["events"] == len(events)
    assert (sums["FreeRequests"], sums["BilledRequests"]) == (totals["free"], totals["billed"])
    assert (sums["FreeTokens"], sums["BilledTokens"]) == (totals["free_tokens"], totals["billed_tokens"])
    assert sums["BilledAmountUsd"] == pytest.approx(float(totals["amount_usd"]))
    assert sums["ListAmountUsd"] == pytest.approx(float(totals["list_amount_usd"]))
    assert sums["Decisions"] == len(replayed.decisions)


def test_a_replay_in_which_everything_was_voided_comes_to_nothing_on_the_page(ledger: str, tmp_path: Path) -> None:
    requests = [usage(name, 600_000, organization="org_demo") for name in ("r1", "r2")]
    day, page = tmp_path / "day.json", tmp_path / "report.html"
    day.write_text(json.dumps([*requests, *(void_of(each, f"void-{each['id']}") for each in requests)]))
    result = gratis("replay", "--json", "--endpoint-url", ledger, day, "--report", page)
    totals = json.loads(result.stdout)["totals"]
    assert [totals[name] for name in ("free", "billed", "free_tokens", "billed_tokens")] == [0, 0, 0, 0]
    assert (totals["list_amount_usd"], totals["amount_usd"]) == ("0", "0")
    shown = page.read_text()
    assert (shown.count("<td class=free>"), shown.count("<td class=billed>")) == (2, 2)
    assert '<div class="tile">Free<b>0 (0 tokens)</b></div>' in shown


def test_repeats_and_quarantined_events_are_in_the_metrics_too(ledger: str) -> None:
    file, accounts = EVENTS / "duplicates-and-conflicts.json", read_organizations(EVENTS / "organizations.json")
    replayed = replay(read_events([str(file)]), accounts, shipped("data-sharing-2025"), ledger)
    samples = reported_of(replayed.fates).samples
    sums = {name: sum(sum(each.values) for each in samples if each.name == name) for name in ("Repeats", "Quarantined")}
    totals = replayed.totals()
    assert sums == {"Repeats": totals["repeats"], "Quarantined": totals["quarantined"]}
    assert min(sums.values()) > 0


def test_a_report_shows_each_event_in_the_period_in_which_it_was_received(ledger: str) -> None:
    events, accounts = read_events([str(SEED_DAY)]), read_organizations(EVENTS / "organizations.json")
    reported = reported_of(replay(events, accounts, shipped("data-sharing-2025"), ledger).fates)
    assert reported.period == 300
    received = [each.when.isoformat()[11:16] for each in reported.samples if each.name == "EventsReceived"]
    assert received == [event["time"][11:16] for event in events]


def test_a_report_changes_nothing_of_what_is_printed(ledger: str, tmp_path: Path) -> None:
    with_report = gratis("replay", "--json", EVENTS / "boundary-day.json", "--report", tmp_path / "r.html").stdout
    assert with_report == gratis("replay", "--json", EVENTS / "boundary-day.json", "--endpoint-url", ledger).stdout


def test_the_same_file_again_on_the_same_table_shows_the_decisions_that_stand(ledger: str) -> None:
    again = [gratis("replay", "--json", SEED_DAY, "--endpoint-url", ledger).stdout for _ in range(2)]
    assert again[0] == again[1]


def test_what_a_quarantined_event_calls_itself_is_text_on_the_page(ledger: str, tmp_path: Path) -> None:
    event = json.loads(SEED_DAY.read_text())[0] | {"id": "<img src=x onerror=alert(1)>"}
    (tmp_path / "evil.json").write_text(json.dumps([event]))
    file = tmp_path / "report.html"
    assert gratis("replay", "--endpoint-url", ledger, tmp_path / "evil.json", "--report", file).exit_code == 1
    assert "&lt;img src=x onerror=alert(1)&gt;" in file.read_text()
    assert "<img" not in file.read_text()


@pytest.mark.parametrize("command", ["replay", "what-if"])
@pytest.mark.parametrize("place", ["no/such/folder/report.html", "."])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, command: str, place: str) -> None:
    offers = ["--offer", "data-sharing"] * 2 if command == "what-if" else []
    result = gratis(command, SEED_DAY, *offers, "--report", tmp_path / place)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--report: " in result.stderr
    assert "Deciding" not in result.stderr


def test_a_webhook_has_no_report(tmp_path: Path) -> None:
    result = gratis("replay", SEED_DAY, "--to", "http://127.0.0.1:9", "--secret", "x", "--report", tmp_path / "r.html")
    assert result.exit_code == 2
    assert "leave out --to" in result.stderr


# --- what if -------------------------------------------------------------------------------------------------------


def test_the_seed_day_under_an_offer_that_closes_costs_the_last_request_more(closing: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    result = gratis("what-if", SEED_DAY, "--json", "--offer", "data-sharing-2025", "--offer", closing, "--report", file)
    printed = json.loads(result.stdout)
    assert result.exit_code == 0
    # req_009: 18,750 tokens in at 2.50 and 6,250 out at 10.00 USD a million
    assert printed["totals"] == {
        "a": {"amount_usd": "0.13125", "free_tokens": 1_000_000, "stranded_tokens": 0, "unpriced": 0},
        "b": {"amount_usd": "0.240625", "free_tokens": 975_000, "stranded_tokens": 25_000, "unpriced": 0},
        "difference_usd": "0.109375",
    }
    assert [each["id"] for each in printed["changes"]] == ["org_demo:2025-03-11:req_009"]
    content = file.read_text()
    assert "+$0.109375" in content
    assert content.count("<svg") == 2
    assert_whole(content)


def test_an_offer_compared_with_itself_differs_in_nothing() -> None:
    result = gratis("what-if", EVENTS / "exclusions.json", "--json", "--offer", SHIPPED, "--offer", "data-sharing-2025")
    printed = json.loads(result.stdout)
    assert printed["totals"]["a"] == printed["totals"]["b"]
    assert printed["changes"] == []
    assert all(each["difference_usd"] == "0" for each in printed["organizations"])


def test_what_is_quarantined_under_both_offers_is_listed_and_the_exit_code_is_1(tmp_path: Path) -> None:
    offers = ["--offer", "data-sharing-2025", "--offer", "data-sharing"]
    result = gratis("what-if", EVENTS / "invalid.json", "--json", *offers, "--report", tmp_path / "report.html")
    printed = json.loads(result.stdout)
    assert result.exit_code == 1
    assert printed["quarantined"]["a"] == printed["quarantined"]["b"] != []
    assert "tokens_as_text" in (tmp_path / "report.html").read_text()


def test_the_table_names_both_offers(closing: Path) -> None:
    result = gratis("what-if", SEED_DAY, "--offer", "data-sharing-2025", "--offer", closing)
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert f"A: data-sharing-2025 B: {closing}" in lines
    assert "org_demo $0.13125 $0.240625 +$0.109375 1,000,000 975,000 0 25,000" in lines


@pytest.mark.parametrize("offers", [["data-sharing"], ["data-sharing"] * 3, ["data-sharing", "data-sharing-2052"]])
def test_offers_that_are_not_two_are_refused(offers: list[str]) -> None:
    named = [argument for offer in offers for argument in ("--offer", offer)]
    result = gratis("what-if", SEED_DAY, *named)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "offer" in result.stderr
