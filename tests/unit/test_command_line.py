"""What the command refuses before anything is connected to: in one line that names the option and the value."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ProfileNotFound
from typer.testing import CliRunner, Result

from gratis import __file__ as package
from gratis import __version__
from gratis.intake.events import parse_event
from gratis.table.api_keys import ROLES
from gratis_local import places, stack
from gratis_local.arguments import event_files
from gratis_local.cli import app
from gratis_local.places import ROOT
from gratis_local.sender import moved, send
from gratis_local.sources import Unusable, read_events, read_offer, read_organizations
from gratis_local.voiding import request_ids, void_events
from tests.builders.loopback import Loopback, Quiet

SEED_DAY = str(ROOT / "events/seed-day.json")
SHIPPED = ROOT / "layers/core/gratis/data/offers/data-sharing-2025.json"
NOWHERE = "http://127.0.0.1:1"


def gratis(*arguments: str, **options: str) -> Result:
    return CliRunner().invoke(app, arguments, **options)


def refused(*arguments: str) -> str:
    """The one line that says why."""
    result = gratis(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has told AWS clients anything."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    stack._callers_session.cache_clear()
    stack._local_session.cache_clear()


# --- help and version ------------------------------------------------------------------------------------------------

SLOW = {
    "botocore",
    "matplotlib",
    "gratis.rules.account",
    "gratis.table.ledger",
    "gratis_local.replay",
    "gratis_local.report",
}
"""What takes its time to load, and neither help nor version needs."""
LOADED = f"""
import sys
from gratis_local import cli
try:
    cli.main()
finally:
    print(*({SLOW!r} & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("replay", "--help"), ("keys", "create", "--help")])
def test_help_and_version_load_nothing_slow(arguments: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True)
    assert (bool(done.stdout), done.stderr.strip()) == (True, "")


def test_there_is_one_version_number() -> None:
    written = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert gratis("--version").stdout == f"gratis {__version__}\n"
    assert written["project"]["dynamic"] == ["version"]
    assert written["tool"]["hatch"]["version"]["path"] == str(Path(package).relative_to(ROOT))


def test_the_help_names_every_role() -> None:
    shown = gratis("keys", "create", "--help").stdout
    assert [role for role in ROLES if role not in shown] == []


# --- where it runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["seed-day", "seed-day.json", "events/seed-day.json"])
def test_a_sample_is_found_by_its_name_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert event_files([named]) == [SEED_DAY]


def test_a_file_goes_before_a_sample_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seed-day.json").write_text("[]")
    assert event_files(["seed-day.json", "-"]) == ["seed-day.json", "-"]


def test_what_is_neither_a_file_nor_a_sample_is_told_the_samples() -> None:
    line = refused("replay", "seed-dya")
    assert "seed-dya: No such file or directory" in line
    assert "seed-day" in line


def test_what_needs_the_repository_says_so_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ROOT", tmp_path)
    line = refused("up")
    assert "`gratis up`" in line
    assert "clone the repository" in line


# --- reports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["report.pdf", "report", "-", "--json"])
def test_a_report_that_is_no_page_is_refused(name: str) -> None:
    assert f"--report: is a page; name a file that ends in .html, not {name!r}" in refused(
        "replay", SEED_DAY, "--report", name
    )


def test_a_report_never_takes_the_place_of_the_events(tmp_path: Path) -> None:
    events = tmp_path / "events.html"
    shutil.copy(SEED_DAY, events)
    assert "holds the events; name another file" in refused("replay", str(events), "--report", str(events))
    assert events.read_bytes() == Path(SEED_DAY).read_bytes()


def test_a_report_needs_what_draws_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gratis_local.arguments.find_spec", lambda _: None)
    assert "--report: its charts need matplotlib" in refused("replay", SEED_DAY, "--report", str(tmp_path / "r.html"))


def test_a_dashboard_for_grafana_needs_what_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gratis_local.arguments.find_spec", lambda _: None)
    assert "with grafana-foundation-sdk, which is not installed" in refused("grafana", "business")


def test_a_report_of_what_cannot_be_read_leaves_no_file_behind(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text("[")
    refused("replay", str(tmp_path / "torn.json"), "--report", str(tmp_path / "r.html"))
    assert not (tmp_path / "r.html").exists()


# --- events that are moved -------------------------------------------------------------------------------------------


def test_events_are_moved_so_that_the_latest_is_on_the_day_and_none_comes_after_it() -> None:
    times = ["2025-03-10T23:00:00Z", "2025-03-12T01:00:00+02:00", "2025-03-11T12:00:00.500Z"]
    found = moved([*({"time": each} for each in times), {"time": "?"}, "no event"], date(2026, 1, 2))
    assert found == [
        {"time": "2026-01-01T23:00:00Z"},
        {"time": "2026-01-02T23:00:00Z"},
        {"time": "2026-01-02T12:00:00.500Z"},
        {"time": "?"},
        "no event",
    ]


def test_events_without_a_time_are_not_moved() -> None:
    assert moved([{"time": None}], date(2026, 1, 2)) == [{"time": None}]


# --- days ----------------------------------------------------------------------------------------------------------

DAYS: dict[str, tuple[Sequence[str], str]] = {
    "too many days": (("quarantine", "list", "--days", "9999999"), "--days: 9999999 days up to "),
    "too many days to redrive": (("quarantine", "redrive", "--days", "9999999"), "--days: 9999999 days up to "),
    "the first day there is": (
        ("quarantine", "list", "--day", "0001-01-01", "--days", "2"),
        "--day: must be a day from",
    ),
    "a day without one before it": (("prove", "org_demo", "0001-01-01"), "DAY: must be a day from"),
    "a day without one after it": (("prove", "org_demo", "9999-12-31"), "DAY: must be a day from"),
    "another form": (
        ("quarantine", "list", "--day", "11.3.2025"),
        "--day: must be a day as YYYY-MM-DD (or 'today', 'yesterday'), not '11.3.2025'",
    ),
    "another form to redrive": (("quarantine", "redrive", "--day", "11.3.2025"), "--day: must be a day as YYYY-MM-DD"),
    "another form to prove": (("prove", "org_demo", "11.3.2025"), "DAY: must be a day as YYYY-MM-DD"),
    "another form to move to": (
        ("replay", SEED_DAY, "--to", NOWHERE, "--secret", "whsec_AAAA", "--move-to", "11.3.2025"),
        "--move-to: must be a day as YYYY-MM-DD",
    ),
    "the day first": (
        ("prove", "2025-03-11", "org_demo"),
        "comes first, then the day: gratis prove org_demo 2025-03-11",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), DAYS.values(), ids=DAYS)
def test_a_day_that_cannot_be_is_named_before_anything_is_connected_to(
    no_settings: None, arguments: Sequence[str], said: str
) -> None:
    assert said in refused(*arguments)


# --- AWS settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("quarantine", "list"),
        ("quarantine", "redrive"),
        ("keys", "create", "--role", "platform"),
        ("prove", "org_demo", "2025-03-11"),
        ("prove", "org_demo", "2025-03-11", "--table", "ledger"),
    ],
    ids=" ".join,
)
def test_without_aws_settings_it_says_what_to_set_and_how_to_do_without(
    no_settings: None, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]
) -> None:
    line = refused(*arguments)
    assert [each for each in ("AWS_DEFAULT_REGION", "AWS_PROFILE", "--endpoint-url") if each not in line] == []
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    line = refused(*arguments)
    assert [each in line for each in ("AWS_DEFAULT_REGION", "AWS_PROFILE", "--endpoint-url")] == [False, True, True]


@pytest.mark.parametrize("command", [["close"], ["emit", "org_demo"]], ids=lambda command: command[0])
def test_a_day_whose_decisions_are_gone_is_neither_closed_nor_emitted_again(command: list[str]) -> None:
    line = refused(*command, "2025-01-01", "--endpoint-url", NOWHERE)
    assert line.endswith("DAY: decisions are kept for 45 days: those of 2025-01-01 are no longer all there")


def test_a_local_engine_is_reached_whatever_the_callers_settings_are(
    no_settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("no configuration\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "nope")
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    assert stack.client_for(NOWHERE, "dynamodb").meta.endpoint_url == NOWHERE
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(ProfileNotFound):
        stack.client_for(None, "dynamodb")


# --- options that would do nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [("--organizations", SEED_DAY), ("--offer", "data-sharing"), ("--endpoint-url", NOWHERE), ("--report", "r.html")],
)
def test_what_a_webhook_would_not_heed_is_refused_with_it(option: str, value: str) -> None:
    line = refused("replay", SEED_DAY, "--to", NOWHERE, "--secret", "whsec_AAAA", option, value)
    assert f" {option}: " in line
    assert "leave out --to" in line


@pytest.mark.parametrize(("option", "value"), [("--move-to", "yesterday"), ("--secret", "whsec_AAAA")])
def test_what_only_a_webhook_heeds_is_refused_without_one(option: str, value: str) -> None:
    assert f" {option}: only for events that are posted with --to" in refused("replay", SEED_DAY, option, value)


def test_a_secret_of_the_environment_is_no_mistake_of_this_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRATIS_WEBHOOK_SECRET", "whsec_AAAA")
    assert "missing.json" in refused("replay", "missing.json")


@pytest.mark.parametrize(
    ("option", "value"), [("--stack", "s"), ("--table", "t"), ("--endpoint-url", NOWHERE), ("--offer", str(SHIPPED))]
)
def test_records_are_proved_without_a_ledger_so_none_may_be_named(option: str, value: str) -> None:
    assert f" {option}: files are proved without a ledger" in refused("prove", "--records", "r.json", option, value)


# --- keys ----------------------------------------------------------------------------------------------------------


def test_a_key_that_needs_an_organization_says_that_it_is_missing() -> None:
    line = refused("keys", "create", "--role", "owner")
    assert "--organization: is missing; a key of the role owner belongs to one organization" in line


@pytest.mark.parametrize("value", ["2026-01-31", "2026-01-31T00:00:00", "tomorrow", "2026-13-01T00:00:00Z"])
def test_a_time_without_an_offset_is_refused_by_its_option(value: str) -> None:
    key = ("keys", "create", "--organization", "org_demo", "--role", "reader", "--name", "x", "--endpoint-url", NOWHERE)
    said = "must be a time with an offset, like"
    assert refused(*key, "--expires", value).startswith(f"gratis: --expires: {said}")
    compared = ("reconcile", "org_demo", "--usage", SEED_DAY, "--records", SEED_DAY)
    assert refused(*compared, "--as-of", value).startswith(f"gratis: --as-of: {said}")


def test_a_platform_key_of_an_organization_says_what_to_leave_out() -> None:
    line = refused("keys", "create", "--role", "platform", "--organization", "org_a")
    assert "--organization: a platform key has none, not 'org_a'" in line


# --- a webhook that does not answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"), [(NOWHERE, "Connection refused"), ("http://nobody.invalid", "nobody.invalid")], ids=["port", "name"]
)
def test_a_webhook_that_does_not_answer_is_said_in_plain_words(url: str, why: str) -> None:
    line = refused("replay", SEED_DAY, "--to", url, "--secret", "whsec_AAAA")
    assert f"{url}/usage-events does not answer: " in line
    assert why in line
    assert [each for each in ("Pool", "object at", "Errno", "Max retries") if each in line] == []


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["day.json", "day.jsonl"])
@pytest.mark.parametrize("begins", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_json_lines_are_read_whatever_the_file_is_called_and_begins_with(
    tmp_path: Path, name: str, begins: bytes
) -> None:
    events = json.loads(Path(SEED_DAY).read_bytes())
    (tmp_path / name).write_bytes(begins + b"\n".join(json.dumps(each).encode() for each in events))
    assert read_events([str(tmp_path / name)]) == events


def test_an_array_and_organizations_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    organizations = ROOT / "events/organizations.json"
    for file in (Path(SEED_DAY), organizations):
        (tmp_path / file.name).write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_events([str(tmp_path / "seed-day.json")]) == read_events([SEED_DAY])
    assert read_organizations(tmp_path / organizations.name) == read_organizations(organizations)


def test_json_that_is_torn_after_its_first_line_is_not_taken_for_lines(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('[\n{"id": "a"},\n')
    with pytest.raises(Unusable, match=r"torn\.json: is no JSON: EOF while parsing .* at line 3"):
        read_events([str(tmp_path / "torn.json")])


def offer_problem(folder: Path, content: str) -> str:
    (folder / "offer.json").write_text(content)
    with pytest.raises(Unusable) as caught:
        read_offer(str(folder / "offer.json"))
    return str(caught.value).removeprefix(f"{folder}/")


def test_an_offer_that_is_no_json_is_not_shown_as_bytes(tmp_path: Path) -> None:
    said = offer_problem(tmp_path, '{"a": \n')
    assert said == "offer.json: is no JSON: EOF while parsing a value at line 2 column 0"


def test_an_offer_with_two_mistakes_is_told_two(tmp_path: Path) -> None:
    offer = json.loads(SHIPPED.read_text())
    offer["versions"] = [offer["versions"][0] | {"window": "utc_month", "overflow": "spill"}]
    said = offer_problem(tmp_path, json.dumps(offer))
    assert [each.partition(": ")[0] for each in said.removeprefix("offer.json: ").split("; ")] == [
        "versions[0].window",
        "versions[0].overflow",
    ]


def test_an_offer_without_versions_is_told_so(tmp_path: Path) -> None:
    offer = json.loads(SHIPPED.read_text()) | {"versions": []}
    assert "versions: must not be empty" in offer_problem(tmp_path, json.dumps(offer))


def test_a_file_without_organizations_is_told_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "who.json").write_text('{"orgs": 1}')
    with pytest.raises(Unusable, match=r"organizations: Field required .*; orgs: Extra inputs are not permitted"):
        read_organizations(tmp_path / "who.json")


# --- make ----------------------------------------------------------------------------------------------------------


def test_make_clean_leaves_nothing_that_was_set_up_or_built(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "gratis_local/__pycache__").mkdir(parents=True)
    for name in (".venv", ".venv-sam", ".venv-scan", ".venv-senders", ".aws-sam", ".gratis", ".hypothesis"):
        (tmp_path / name).mkdir()
    for name in (".mypy_cache", ".ruff_cache", ".pytest_cache"):
        (tmp_path / name).mkdir()
    for name in ("report.html", "records.json"):
        (tmp_path / name).touch()
    subprocess.run(["make", "-s", "clean"], cwd=tmp_path, check=True)  # noqa: S607 - the reader's own make
    assert {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")} == {"Makefile", "gratis_local"}


def test_make_clean_keeps_what_make_fuzz_found(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".hypothesis/found/signed").mkdir(parents=True)
    (tmp_path / ".hypothesis/found/signed/a-crash").touch()
    (tmp_path / ".hypothesis/examples").mkdir()
    subprocess.run(["make", "-s", "clean"], cwd=tmp_path, check=True)  # noqa: S607 - the reader's own make
    assert [each.name for each in (tmp_path / ".hypothesis").rglob("*")] == ["found", "signed", "a-crash"]


@pytest.mark.parametrize(("goal", "is_said"), [("build", True), ("deploy", False)])
def test_make_build_ends_with_what_comes_next(goal: str, is_said: bool) -> None:
    told = subprocess.run(["make", "-n", goal], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    assert ('echo "next: make deploy"' in told.stdout) == is_said


# --- void -------------------------------------------------------------------------------------------------------------

TODAY = datetime.now(UTC).date()
VOID = ("void", "org_demo", TODAY.isoformat())
SENT = ("--to", NOWHERE, "--secret", "whsec_" + "A" * 44)


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ("r1\nr2\n\nr1\n", ["r1", "r2", "r1"]),
        ("\ufeffrequest_id\r\nr1\r\n", ["r1"]),
        (f"id,request_id,occurred_at\nx,r1,{TODAY}T10:00:00Z\n", ["r1"]),
    ],
    ids=["a list", "from a spreadsheet", "requests as CSV"],
)
def test_a_csv_of_requests_to_void_is_a_list_or_names_its_column(tmp_path: Path, content: str, ids: list[str]) -> None:
    file = tmp_path / "ids.csv"
    file.write_text(content, encoding="utf-8")
    assert request_ids([], str(file), TODAY) == ids


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("r1\nr 2\n", "line 2: must be a request id"),
        ("request_id,occurred_at\nr1,2025-03-11T10:00:00Z\n", f"r1 occurred at 2025-03-11T10:00:00Z, not on {TODAY}"),
        ("model,request_id\ngpt-4o\n", "line 2: has no column 2"),
    ],
    ids=["no id", "another day", "a short line"],
)
def test_what_is_wrong_with_a_csv_of_requests_is_named(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "ids.csv"
    file.write_text(content, encoding="utf-8")
    assert named in refused(*VOID, "--file", str(file), *SENT)


def test_what_cannot_be_voided_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    assert "name the requests" in refused(*VOID, *SENT)
    assert "No such file" in refused(*VOID, "--file", str(tmp_path / "none.csv"), *SENT)
    assert "not 'r~void'" in refused(*VOID, "r~void", *SENT)
    assert "one of the last 35 days" in refused("void", "org_demo", "2025-03-11", "r1", *SENT)
    assert "at most 1000 characters" in refused(*VOID, "r1", "--why", "x" * 1001, *SENT)
    assert "ORGANIZATION: must match" in refused("void", "org demo", TODAY.isoformat(), "r1", *SENT)


def test_the_same_requests_are_voided_by_the_same_events() -> None:
    now = datetime.now(UTC)
    first, again = (void_events("org_demo", TODAY, ids, now, "twice") for ids in (["r1", "r2", "r1"], ["r1", "r2"]))
    assert first == again
    voids = [parse_event(each, now) for each in first]
    assert [each.key.request_id for each in voids] == ["r1~void", "r2~void"]
    assert len({each.id for each in voids}) == 2


def test_what_the_webhook_does_not_answer_is_sent_again() -> None:
    with webhook_that_answers(503, 429, 202) as (url, heard):
        sent = send(void_events("org_demo", TODAY, ["r1"], datetime.now(UTC), None), url, SENT[-1])
    assert sent.accepted == 1
    assert len(heard) == 3
    assert len(set(heard)) == 1


@contextmanager
def webhook_that_answers(*statuses: int) -> Iterator[tuple[str, list[bytes]]]:
    """A webhook on loopback that answers with these, one after the other; and the bodies that it heard."""
    heard: list[bytes] = []

    class Webhook(Quiet):
        def do_POST(self) -> None:
            heard.append(self.body())
            told = {"accepted": 1, "skipped": {}, "quarantined": []}
            self.answer(json.dumps(told).encode(), statuses[len(heard) - 1])

    with Loopback(Webhook) as server:
        yield f"{server.url}/", heard
