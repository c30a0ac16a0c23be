"""What the command refuses before anything is connected to: in one line that names the option and the value."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from botocore.exceptions import ProfileNotFound
from typer.testing import CliRunner, Result

from local import stack
from local.cli import app
from local.functions import ROOT
from local.sources import Unusable, read_events, read_offer, read_organizations

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
    assert said == "offer.json: Invalid JSON: EOF while parsing a value at line 2 column 0"


def test_an_offer_with_two_mistakes_is_told_two(tmp_path: Path) -> None:
    offer = json.loads(SHIPPED.read_text())
    offer["versions"] = [offer["versions"][0] | {"window": "utc_month", "overflow": "spill"}]
    said = offer_problem(tmp_path, json.dumps(offer))
    assert [each.partition(": ")[0] for each in said.removeprefix("offer.json: ").split("; ")] == [
        "versions.0.window",
        "versions.0.overflow",
    ]


def test_an_offer_without_versions_is_told_so(tmp_path: Path) -> None:
    offer = json.loads(SHIPPED.read_text()) | {"versions": []}
    assert "versions: Tuple should have at least 1 item" in offer_problem(tmp_path, json.dumps(offer))


def test_a_file_without_organizations_is_told_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "who.json").write_text('{"orgs": 1}')
    with pytest.raises(Unusable, match=r"organizations: Field required .*; orgs: Extra inputs are not permitted"):
        read_organizations(tmp_path / "who.json")


# --- make ----------------------------------------------------------------------------------------------------------


def test_make_clean_leaves_nothing_that_was_set_up_or_built(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "local/__pycache__").mkdir(parents=True)
    for name in (".venv", ".venv-sam", ".aws-sam", ".gratis", ".hypothesis"):
        (tmp_path / name).mkdir()
    for name in (".mypy_cache", ".ruff_cache", ".pytest_cache"):
        (tmp_path / name).mkdir()
    for name in ("report.html", "records.json"):
        (tmp_path / name).touch()
    subprocess.run(["make", "-s", "clean"], cwd=tmp_path, check=True)  # noqa: S607 - the reader's own make
    assert {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")} == {"Makefile", "local"}


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
