"""What docs/security.md promises and no other test shows: who gets in, what leaves in a log, what a call may cost."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gratis.account import usage
from gratis.closing.proof import Differences
from gratis.errors import Rejected
from gratis.intake.receive import Received
from gratis.table.api_keys import Holder, Keys
from gratis.table.keys import DAY
from gratis.table.quarantine import entry
from gratis_local import prove, report
from gratis_local.functions import ROOT
from gratis_local.prove import RecordsProof, prove_from_records
from gratis_local.redrive import Redriven
from gratis_local.sources import Unusable
from gratis_simulation.machines.table import key_in
from tests.builders import webhook
from tests.builders.account_api import ALLOWANCE, NOW, ORGANIZATIONS, REQUESTS, Api, unix
from tests.builders.aws import aws
from tests.builders.events import LARGE, billed, used
from tests.builders.webhook import event
from tests.unit.test_template import deployed, role_of

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
"""Powertools leaves the files of /docs to the garbage collector."""


# --- who gets in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["a route that answers", "a parameter that is refused"])
def test_a_key_lets_in_its_own_request_and_not_the_next_one(api: Api, before: str) -> None:
    assert api.get(ALLOWANCE, **({} if before == "a route that answers" else {"nothing": 1})).status in (200, 400)
    path = f"/prod{ALLOWANCE}"  # where the stage has a name, a path begins with it
    context = {"http": {"method": "GET", "path": path}, "stage": "prod", "requestId": "a-request"}
    answer = api.call("GET", path, headers={}, requestContext=context)
    assert answer.refused() == (401, "invalid_api_key", None)


def test_a_key_that_is_no_text_is_401(api: Api) -> None:
    assert api.get(ALLOWANCE, key="gk_\ud800").refused() == (401, "invalid_api_key", None)


def test_a_key_that_was_taken_back_is_401_at_once_and_the_others_are_not(api: Api) -> None:
    key = api.key("reader")
    assert (api.get(ALLOWANCE, key).status, api.get(ALLOWANCE).status) == (200, 200)
    taken = Keys(api.client, api.table).revoke(key)
    assert taken == Holder("reader", "org_a", "reader of org_a")
    assert (api.get(ALLOWANCE, key).status, api.get(ALLOWANCE).status) == (401, 200)
    assert Keys(api.client, api.table).revoke(key) is None


@pytest.mark.parametrize("holder", [Holder("owner", None, "of nobody"), Holder("platform", "org_a", "of somebody")])
def test_a_stored_key_whose_role_and_organization_do_not_go_together_lets_nobody_in(api: Api, holder: Holder) -> None:
    key = Keys(api.client, api.table).create(holder, NOW)
    assert api.get(ALLOWANCE, key, organization="org_b").refused() == (401, "invalid_api_key", None)


def test_two_authorization_headers_in_one_let_nobody_in(api: Api) -> None:
    for joined in (f"{api.key()},Bearer gk_nobody", f"gk_nobody,Bearer {api.key()}", f"{api.key()}, {api.key()}"):
        assert api.get(ALLOWANCE, key=joined).refused() == (401, "invalid_api_key", None)


# --- what may be written from outside -------------------------------------------------------------------------------


def written_below(folder: str, keys: set[str]) -> bool:
    """Whether the template lets a function that faces the internet write under all these keys, and under no others."""
    statements = deployed().statements(role_of(folder))
    writing = [each for each in statements if {"dynamodb:PutItem", "dynamodb:BatchWriteItem"} & set(actions_of(each))]
    (patterns,) = [each["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"] for each in writing]
    return all(any(fnmatchcase(key, pattern) for pattern in patterns) for key in keys) and all(
        any(fnmatchcase(key, pattern) for key in keys) for pattern in patterns
    )


def actions_of(statement: Any) -> list[str]:
    actions = statement["Action"]
    return actions if isinstance(actions, list) else [actions]


def test_the_account_writes_accounts_and_counters_and_the_template_lets_it_write_nothing_else(api: Api) -> None:
    keys: set[str] = set()
    api.on(
        "before-parameter-build.TransactWriteItems",
        lambda params, **_: keys.update(key_in(each)[0] for each in params["TransactItems"] if "Put" in each),
    )
    owner, platform = api.key(), api.platform
    keys.clear()
    wanted = {"id": "r1", "model": LARGE, "tokens": 5}
    assert api.call("POST", "/v1/organization/reservations", key=owner, body=json.dumps(wanted)).status == 201
    assert api.post({"traffic": {"mode": "disabled"}}, owner).status == 200
    assert api.call("PUT", f"{ORGANIZATIONS}/org_new", key=platform, body='{"tier": 4}').status == 200
    marker = next(each for each in keys if each.startswith(f"{DAY}{NOW.date()}#"))
    assert keys == {"ORG#org_a", "ORG#org_new", "COUNTER#org_a#1m", marker}
    assert not written_below("account_api", keys | {f"{DAY}org_a#{NOW.date()}#0"})
    assert written_below("account_api", keys)


def test_the_webhook_writes_quarantine_entries_and_the_template_lets_it_write_nothing_else() -> None:
    named = event("KEY#x", organization="ORG#x") | {"time": "2020-01-01T00:00:00Z"}
    with aws() as clients, webhook.deployed(clients) as hook:
        assert hook.post_events(event("r1"), "KEY#x", named, event("r2", note="x" * 90_000)).codes
        puts = [each["Item"] for each in hook.dynamodb.asked("put_item")]
    assert len(puts) == 3
    assert written_below("receive_usage", {each["pk"]["S"] for each in puts})


# --- what leaves in a log --------------------------------------------------------------------------------------------

SWITCHES = {
    "POWERTOOLS_LOG_LEVEL": "DEBUG",
    "POWERTOOLS_LOGGER_LOG_EVENT": "true",
    "POWERTOOLS_DEBUG": "true",
    "POWERTOOLS_DEV": "true",
    "POWERTOOLS_METRICS_DISABLED": "false",
}
"""Whatever can be switched on to see more; the program also sets the level of all loggers to DEBUG, as Lambda may."""


@dataclass(frozen=True)
class Written:
    """All that the functions wrote on both outputs, the outcomes they met, and the secrets and keys they were given."""

    text: str
    outcomes: set[str]
    secrets: list[str]


@pytest.fixture(scope="module")
def written() -> Written:
    aws = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.unit.canaries"]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | aws | SWITCHES, capture_output=True, text=True, check=True
    )
    logged, _, last = ended.stdout.rstrip("\n").rpartition("\n")
    told = json.loads(last)
    return Written(logged + ended.stderr, set(told["outcomes"]), told["secrets"])


def test_nothing_that_was_sent_and_no_secret_or_key_is_in_any_log_or_metric(written: Written) -> None:
    assert "canary" not in written.text.lower()
    assert [secret for secret in written.secrets if secret in written.text] == []


def test_the_logs_were_searched_for_every_function_and_every_outcome(written: Written) -> None:
    statuses = {"receive_usage": (202, 400, 401, 413, 503), "account_api": (200, 400, 401, 404, 503)}
    batches = {"classify_usage": (0, 1, 2), "emit_billing": (0, 1), "close_day": (0, 1)}
    assert written.outcomes == {f"{name} {each}" for name, of in (statuses | batches).items() for each in of}
    said = ("refused", "events stored", "batch decided", "emitted", "day proved", "not closed yet", "answered")
    assert [each for each in said if f'"message":"{each}"' not in written.text] == []
    metrics = ("RequestsRefused", "EventsAccepted", "Conflicts", "RecordsEmitted", "DaysProved", "ApiAnswers")
    assert [each for each in metrics if each not in written.text] == []


# --- what a name may not do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x" * 5000 + ".js", "\0.js", "..%2fapp.py", "../app.py", "/etc/passwd", ".js", "."])
def test_a_name_that_is_none_of_the_pages_files_is_404(api: Api, name: str) -> None:
    assert api.call("GET", f"/page/{name}", headers={}).refused() == (404, "not_found", None)


@pytest.mark.parametrize("cursor", ["page_" + "9" * 5000, "page_" + "0" * 5000, "page_1_0", "page_\u0661", "page_-1"])
def test_a_forged_cursor_is_400_however_long(api: Api, cursor: str) -> None:
    assert api.usage(page=cursor).refused() == (400, "invalid_value", "page")


@pytest.mark.parametrize("written", ["a#b", "%23", "%00", "r%0d%0aX-Evil:%201", "%ff", "<script>", "{0.__class__}"])
def test_a_request_id_that_is_none_is_404_and_reads_nothing(api: Api, written: str) -> None:
    assert api.call("GET", f"{REQUESTS}/{written}").refused() == (404, "not_found", "id")
    assert api.asked == ["GetItem"]  # the key's own


@pytest.mark.parametrize("path", ["/docs", "/docs?format=json", "/docs?format=oauth2-redirect", "/", "/page/page.js"])
def test_a_page_loads_nothing_from_elsewhere_and_is_framed_by_nobody(api: Api, path: str) -> None:
    path, _, query = path.partition("?")
    answer = api.call("GET", path, query, headers={})
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not {"http:", "https:", "*", "'unsafe-eval'"} & set(policy.replace(";", " ").split())
    assert answer.headers["x-content-type-options"] == "nosniff"


OBEYED = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|javascript:")


def test_no_script_of_the_page_makes_markup_of_a_text() -> None:
    scripts = list((ROOT / "functions/account_api/page").glob("*.js"))
    assert len(scripts) > 5
    assert [(each.name, OBEYED.findall(each.read_text())) for each in scripts if OBEYED.search(each.read_text())] == []


# --- what is installed -----------------------------------------------------------------------------------------------


def test_every_package_is_locked_by_its_hash_and_installed_by_it() -> None:
    locks = [*(ROOT / "requirements").glob("*.txt"), ROOT / "layers/core/requirements.txt"]
    for lock in locks:
        packages = re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^\s*#.*\n", "", lock.read_text()), flags=re.IGNORECASE)
        assert [each for each in packages if "==" not in each or "--hash=sha256:" not in each] == [], lock
    makefiles = [ROOT / "Makefile", ROOT / "layers/core/Makefile"]
    defined = "INSTALL = $(BIN)/python -m pip install"
    commands = [line for each in makefiles for line in each.read_text().splitlines() if not line.startswith(defined)]
    lines = [line for line in commands if "pip install" in line or "$(INSTALL)" in line]
    assert len(lines) >= 7
    assert [line for line in lines if "--require-hashes" not in line and "--editable ." not in line] == []


# --- what a stranger's text may not do to a terminal -----------------------------------------------------------------

HOSTILE = {
    "a sequence that clears the screen": "\x1b[2J",
    "a title with a command": "\x1b]0;rm -rf\x07",
    "an eight-bit sequence": "\x9b31m",
    "another line": "req_1\n  decided",
    "a return": "req_1\rdecided",
    "text that runs backwards": "\u202edediced",
    "no width": "req\u200b_1",
    "markup": "[bold red]req_1[/]",
    "markup that nothing opened": "[/nothing]",
    "a link": "[link=https://evil.example]here[/link]",
    "a backslash before markup": "\\[/nothing]",
}


def printed(print_it: Any, *given: Any) -> str:
    """What a person would see, without the lines' own ends."""
    out = io.StringIO()
    print_it(*given, Console(file=out, width=400, no_color=True, highlight=False))
    return out.getvalue()


def proof_of(hostile: str) -> RecordsProof:
    """What is shown of a day that does not hold."""
    day, stated = (hostile, "2025-03-11"), {"hash": hostile, "revision": hostile}
    return prove._proof(day, {day: []}, stated, {}, Differences())


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_what_a_stranger_wrote_is_shown_as_text_and_obeyed_by_no_terminal(hostile: str) -> None:
    raw = {"id": hostile, "subject": hostile, "data": None}
    kept = entry(raw, Rejected("invalid_event", hostile), datetime(2025, 3, 11, tzinfo=UTC), "receive_usage")
    refused = {"index": hostile, "id": hostile, "error": {"code": hostile, "message": hostile}}
    for shown in (
        printed(report.print_quarantine, [kept]),
        printed(report.print_redriven, [Redriven(kept, "refused", hostile)], 0),
        printed(report.print_sent, Received(0, quarantined=[refused])),
        printed(report.print_proofs, [proof_of(hostile)]),
    ):
        assert [each for each in shown if unicodedata.category(each)[0] == "C" and each != "\n"] == []
        assert report.written_out(hostile) in shown


# --- what may not cost too much --------------------------------------------------------------------------------------


def test_hours_of_more_decisions_than_a_call_may_read_are_refused_before_one_is_read(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MAX_DECISIONS_READ", 3)
    api.decide(*(used(at=f"2025-03-1{day}T09:00:00Z") for day in (1, 1, 2)), billed())
    hours = {"start_time": unix("2025-03-11T00:00"), "bucket_width": "1h"}
    answer = api.usage(**hours, limit=48)
    assert answer.refused() == (400, "too_many_decisions", "bucket_width")
    assert "hold 4 decisions" in answer.error["message"]
    assert api.items < 10  # the day's documents and the key, no decision
    one_day = api.usage(**hours, limit=24)
    assert sum(each["num_model_requests"] for results in one_day.results for each in results) == 2


@pytest.mark.parametrize("asked", ["usage", "costs"])
def test_days_of_more_rows_than_a_call_may_read_are_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr(usage, "MAX_ROWS_READ", 2)
    api.decide(*(used(at=f"2025-03-1{day}T09:00:00Z") for day in (0, 1, 2)))
    ask, since = getattr(api, asked), unix("2025-03-10T00:00")
    answer = ask(start_time=since, limit=31)
    assert answer.refused() == (400, "too_many_rows", "limit")
    assert "than the 2 that are read" in answer.error["message"]
    assert ask(start_time=since, limit=2).status == 200


def test_records_that_inflate_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove, "MAX_INFLATED_BYTES", 100_000)
    file = tmp_path / "records.jsonl.gz"
    file.write_bytes(gzip.compress(b" " * 100_001))
    with pytest.raises(Unusable, match="inflates to more than 100,000 bytes"):
        prove_from_records([str(file)])
    file.write_bytes(gzip.compress(b"[]".ljust(100_000)))
    with pytest.raises(Unusable, match="no billing records"):
        prove_from_records([str(file)])


PACKED = gzip.compress(b"[]", mtime=0)


@pytest.mark.parametrize("content", [b"no gzip", PACKED[:-1], PACKED[:-9] + bytes(9)], ids=["other", "cut", "changed"])
def test_records_that_are_not_whole_are_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "records.jsonl.gz"
    file.write_bytes(content)
    with pytest.raises(Unusable, match=r"records.jsonl.gz: "):
        prove_from_records([str(file)])


@pytest.mark.parametrize("content", ['"records"', '["detail"]', "[1]", "[null]", "[]", ""])
def test_what_holds_no_records_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "records.json"
    file.write_text(content)
    with pytest.raises(Unusable, match="no billing records"):
        prove_from_records([str(file)])


@pytest.mark.parametrize(("role", "whose"), [("owner", "org_a"), ("reader", "org_b"), ("platform", None)])
def test_a_key_is_told_whose_it_is_and_never_what_it_is(api: Api, role: str, whose: str | None) -> None:
    key = api.key(role, whose)
    answer = api.get("/v1/key", key=key)
    assert answer.content == {"object": "key", "role": role, "organization": whose, "name": f"{role} of {whose}"}
    assert key not in answer.text
