"""Every sample event in events/ is replayed through the command line, and what becomes of it is written down here."""

import base64
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aws_lambda_powertools import Metrics
from typer.testing import CliRunner, Result

from gratis.errors import Busy
from gratis.intake.messages import Message
from gratis_local.cli import app
from gratis_local.functions import ROOT
from gratis_local.sources import Unusable, read_events
from tests.fuzz.inputs import CORPUS

EVENTS = ROOT / "events"
SEED_DAY = EVENTS / "seed-day.json"
NOT_SAMPLES = {"organizations.json", "README.md", "lambda-dynamodb-stream-emit-billing.json"}


class Sample(NamedTuple):
    """What a file comes to. A table has a line an event, in file order, with `-` for what does not apply."""

    decisions: str
    """Request id, group, window, verdict, reason, running total."""
    quarantined: str = ""
    """Index, id (its first 24 characters), code, and the field that the message names."""
    repeats: int = 0


WRAPPED = (
    "resp_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTttb2RlbF9pZDpOb25lO3Jlc3BvbnNlX2lkOnJlc"
    "3BfNjdjY2QyYmVkMWVjODE5MGIxNGY5NjRhYmMwNTQyNjcwYmI2YTZiNDUyZDM3OTVi"
)
"""The id of a response, as LiteLLM wraps it."""
SAMPLES = {
    "seed-day.json": Sample("""
        req_001  1m  2025-03-11  free    within_quota    120,000
        req_002  1m  2025-03-11  free    within_quota    260,000
        req_003  1m  2025-03-11  free    within_quota    410,000
        req_004  1m  2025-03-11  free    within_quota    560,000
        req_005  1m  2025-03-11  free    within_quota    710,000
        req_006  1m  2025-03-11  free    within_quota    860,000
        req_007  1m  2025-03-11  free    within_quota    975,000
        req_008  1m  2025-03-11  billed  over_quota    1,005,000
        req_009  1m  2025-03-11  free    within_quota  1,000,000
    """),
    "boundary-day.json": Sample("""
        quota_zero_before      1m  2025-03-11  free    within_quota        0
        quota_larger_than_all  1m  2025-03-11  billed  over_quota    250,001
        quota_first            1m  2025-03-11  free    within_quota  150,000
        quota_one_too_many     1m  2025-03-11  billed  over_quota    250,001
        quota_exact            1m  2025-03-11  free    within_quota  250,000
        quota_one_more         1m  2025-03-11  billed  over_quota    250,001
        quota_zero_after       1m  2025-03-11  free    within_quota  250,000
        quota_next_day         1m  2025-03-12  free    within_quota    1,200
        midnight_before        1m  2025-03-11  free    within_quota  100,000
        midnight_first         1m  2025-03-12  free    within_quota   90,000
        midnight_late          1m  2025-03-11  free    within_quota  150,000
        midnight_offset        1m  2025-03-11  free    within_quota  210,000
        midnight_next          1m  2025-03-12  free    within_quota  130,000
    """),
    "rolling-window-day.json": Sample("""
        rolling_zero             1m  -                     free    within_quota        0
        rolling_larger_than_all  1m  -                     billed  over_quota    250,001
        rolling_first            1m  2025-01-01T07:00:00Z  free    within_quota  120,000
        rolling_exact            1m  2025-01-01T07:00:00Z  free    within_quota  250,000
        rolling_before_refresh   1m  2025-01-01T07:00:00Z  billed  over_quota    260,000
        rolling_next             1m  2025-01-02T08:00:00Z  free    within_quota   10,000
        rolling_late             1m  2025-01-02T08:00:00Z  free    within_quota   15,000
        rolling_until_refresh    1m  2025-01-02T08:00:00Z  free    within_quota   35,000
        rolling_refreshed        1m  2025-01-03T08:00:00Z  free    within_quota   30,000
        switch_opens             1m  2025-03-05T20:00:00Z  free    within_quota  150,000
        switch_last              1m  2025-03-05T20:00:00Z  billed  over_quota    270,000
        switch_first_utc_day     1m  2025-03-06            free    within_quota  120,000
        switch_late              1m  2025-03-05T20:00:00Z  free    within_quota  200,000
    """),
    "opt-out-day.json": Sample("""
        optout_morning         1m  2025-03-12  free    within_quota       80,000
        optout_last_shared     1m  2025-03-12  free    within_quota       90,000
        optout_first_unshared  -   -           billed  sharing_disabled        -
        optout_afternoon       -   -           billed  sharing_disabled        -
        optout_late            1m  2025-03-12  free    within_quota      115,000
    """),
    "exclusions.json": Sample("""
        offer_not_started       -    -           billed  offer_not_started           -
        offer_ended             -    -           billed  offer_ended                 -
        not_eligible            -    -           billed  not_eligible                -
        zero_data_retention     -    -           billed  zero_data_retention         -
        enterprise_excluded     -    -           billed  enterprise_excluded         -
        sharing_off             -    -           billed  sharing_disabled            -
        organization_unknown    -    -           billed  sharing_disabled            -
        project_not_selected    -    -           billed  project_not_shared          -
        project_not_named       -    -           billed  project_not_shared          -
        project_selected        1m   2025-03-14  free    within_quota            3,800
        training                -    -           billed  fine_tuning_training        -
        fine_tuned              -    -           billed  fine_tuned_model            -
        o_series_on_assistants  -    -           billed  o_series_on_assistants      -
        o_series_on_responses   10m  2025-03-14  free    within_quota            3,800
        tool_by_name            -    -           billed  tool_use                    -
        tool_by_object          -    -           billed  tool_use                    -
        tool_in_preview         -    -           billed  tool_use                    -
        tool_beside_function    -    -           billed  tool_use                    -
        function_of_the_caller  1m   2025-03-14  free    within_quota            3,800
        function_by_name        1m   2025-03-14  free    within_quota            7,600
        model_of_no_group       -    -           billed  model_not_listed            -
        undated_alias           1m   2025-03-14  free    within_quota           11,400
        tier_of_no_quota        1m   -           billed  tier_not_included           -
        tier_unknown            1m   -           billed  tier_not_included           -
    """),
    "eval-runs.json": Sample("""
        eval_run_1                     evals  2025-03-17  free    within_quota               1
        eval_run_2                     evals  2025-03-17  free    within_quota               2
        eval_not_shared                evals  -           billed  eval_not_shared            -
        eval_run_3                     evals  2025-03-17  free    within_quota               3
        eval_run_4_any_model_and_tool  evals  2025-03-17  free    within_quota               4
        eval_run_5_without_tokens      evals  2025-03-17  free    within_quota               5
        request_beside_evals           1m     2025-03-20  free    within_quota           8,000
        eval_run_6                     evals  2025-03-17  free    within_quota               6
        eval_run_7                     evals  2025-03-17  free    within_quota               7
        eval_run_8                     evals  2025-03-17  billed  over_quota                 8
        eval_next_monday               evals  2025-03-24  free    within_quota               1
        eval_sharing_off               evals  -           billed  eval_sharing_disabled      -
    """),
    "voids.json": Sample(
        """
        req_1  1m  2025-03-29  free    within_quota    600,000
        req_2  1m  2025-03-29  free    within_quota    900,000
        req_3  1m  2025-03-29  billed  over_quota    1,100,000
        req_2  1m  2025-03-29  free    void            600,000
        req_4  1m  2025-03-29  free    within_quota  1,000,000
        req_3  1m  2025-03-29  billed  void          1,000,000
        """,
        quarantined="""
        7  void_4  unknown_request  data.request_id
        """,
        repeats=1,
    ),
    "duplicates-and-conflicts.json": Sample(
        """
        dup_001  1m  2025-03-18  free  within_quota  40,000
        dup_002  1m  2025-03-18  free  within_quota  60,000
        dup_001  1m  2025-03-19  free  within_quota  40,000
        """,
        quarantined="""
        6  dup_001  conflict  id
        7  dup_001  conflict  id
        """,
        repeats=3,
    ),
    "invalid.json": Sample(
        """
        good_first    1m  2025-03-25  free  within_quota   8,000
        good_between  1m  2025-03-25  free  within_quota  16,000
        good_last     1m  2025-03-25  free  within_quota  24,000
        """,
        quarantined="""
        1   -                         invalid_event    event
        2   -                         invalid_event    id
        3   time_missing              invalid_event    time
        4   time_without_offset       invalid_event    time
        5   time_of_no_day            invalid_event    time
        6   specversion_old           invalid_event    specversion
        7   type_unknown              invalid_event    type
        8   source_missing            invalid_event    source
        9   id#with_separator         invalid_event    id
        10  id_of_257_characters_xxx  invalid_event    id
        11  organization_missing      no_organization  subject
        12  organization_empty        no_organization  subject
        13  organization_null         no_organization  subject
        14  organization_with_separa  invalid_event    subject
        16  project_with_separator    invalid_event    data.project
        17  data_missing              invalid_event    data
        18  model_missing             invalid_event    data.model
        19  model_of_129_characters   invalid_event    data.model
        20  tools_no_list             invalid_event    data.tools
        21  batch_no_boolean          invalid_event    data.batch
        22  usage_missing             invalid_event    data.usage
        23  tokens_negative           invalid_event    data.usage.output_tokens
        24  tokens_as_text            invalid_event    data.usage.input_tokens
        25  tokens_boolean            invalid_event    data.usage.output_tokens
        26  tokens_fractional         invalid_event    data.usage.output_tokens
        27  total_not_the_sum         invalid_event    data.usage
        28  cached_over_input         invalid_event    data.usage
        """,
    ),
    "chat-completions.jsonl": Sample("""
        chat_001        1m  2025-04-17  free    within_quota      30,000
        chat_reasoning  1m  2025-04-17  free    within_quota      44,000
        chat_embedding  -   -           billed  model_not_listed       -
        chat_default    -   -           billed  sharing_disabled       -
        chat_batch      -   -           billed  sharing_disabled       -
        chat_flex       -   -           billed  sharing_disabled       -
    """),
    "lambda-sqs-classify-usage.json": Sample("""
        sqs_001  1m   2025-03-20  free    within_quota   50,000
        sqs_002  10m  2025-03-20  free    within_quota   15,000
        sqs_003  1m   2025-03-20  billed  over_quota    250,001
    """),
    "lambda-http-api-usage-events.json": Sample("""
        http_001  1m  2025-03-21  free  within_quota  62,000
        http_002  1m  2025-03-21  free  within_quota  10,000
    """),
    "litellm-generic-api.json": Sample(
        f"""
        chatcmpl-83c94f83-00f3-47e9-a7b5-d20347e76bc8  -  -  billed  offer_ended  -
        {WRAPPED}  -  -  billed  offer_ended  -
        chatcmpl-72c27b7e078940f89a3ac845  -  -  billed  offer_ended  -
        """,
        quarantined="0  chatcmpl-7a8a4e40-3ea0-4  no_organization  subject",
    ),
}


def gratis_replay(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["replay", *map(str, arguments)], input=stdin)


def replayed(ledger: str, *files: object, stdin: bytes | None = None) -> dict[str, Any]:
    """What `--json` prints, and nothing else may be on standard output."""
    result = gratis_replay("--json", "--endpoint-url", ledger, *files, stdin=stdin)
    assert result.stdout, result.stderr
    printed: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (1 if printed["quarantined"] else 0)
    return printed


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().splitlines()]


def decided(printed: dict[str, Any]) -> list[list[str]]:
    """The decisions as rows of a Sample."""
    fields = ("request_id", "group", "window", "verdict", "reason")
    return [
        [record[field] or "-" for field in fields]
        + ["-" if record["running_total"] is None else f"{record['running_total']:,}"]
        for record in printed["decisions"]
    ]


def refused(printed: dict[str, Any]) -> list[list[str]]:
    """The quarantine as rows of a Sample."""
    return [
        [
            str(entry["index"]),
            (entry["id"] or "-")[:24],
            entry["error"]["code"],
            entry["error"]["message"].partition(":")[0],
        ]
        for entry in printed["quarantined"]
    ]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_decided_as_its_table_says(ledger: str, name: str) -> None:
    sample = SAMPLES[name]
    printed = replayed(ledger, EVENTS / name)
    assert decided(printed) == rows(sample.decisions)
    assert refused(printed) == rows(sample.quarantined)
    assert printed["totals"]["repeats"] == sample.repeats


def test_every_sample_has_a_table() -> None:
    assert {file.name for file in EVENTS.iterdir()} - NOT_SAMPLES == set(SAMPLES)


def test_the_readme_says_how_to_replay_every_sample() -> None:
    readme = (EVENTS / "README.md").read_text()
    assert [name for name in SAMPLES if f"| `.venv/bin/gratis replay events/{name}` |" not in readme] == []


def test_all_samples_at_once_are_decided_as_each_alone(ledger: str) -> None:
    printed = replayed(ledger, *(EVENTS / name for name in SAMPLES))
    assert decided(printed) == [row for sample in SAMPLES.values() for row in rows(sample.decisions)]
    without_index = [row[1:] for sample in SAMPLES.values() for row in rows(sample.quarantined)]
    assert [row[1:] for row in refused(printed)] == without_index
    assert printed["totals"]["repeats"] == sum(sample.repeats for sample in SAMPLES.values())


def hostile_files() -> list[Path]:
    """The files of the fuzzers' corpus that events can be read from; not those that hold thousands of one kind."""
    found = []
    for file in sorted(each for target in ("webhook", "queue", "replay") for each in (CORPUS / target).iterdir()):
        with suppress(Unusable):
            if len(read_events([str(file)])) <= 300:
                found.append(file)
    return found


def test_of_hostile_files_every_event_is_decided_or_quarantined(ledger: str) -> None:
    files = hostile_files()
    printed = replayed(ledger, *files)
    events = read_events([str(file) for file in files])
    assert printed["totals"]["events"] == len(events) > 500
    refused = {entry["index"]: entry["error"] for entry in printed["quarantined"]}
    decided_ids = {record["request_id"] for record in printed["decisions"]}
    lost = [index for index, event in enumerate(events) if index not in refused and event["id"] not in decided_ids]
    assert lost == []
    assert [
        error for error in refused.values() if error["code"] == "internal_error" or ": " not in error["message"]
    ] == []


def test_no_replay_leaves_metrics_to_the_next(ledger: str) -> None:
    replayed(ledger, EVENTS / "seed-day.json")
    assert Metrics._metrics == {}


def test_cached_input_costs_less_and_batch_and_flex_cost_half(ledger: str) -> None:
    printed = replayed(ledger, EVENTS / "chat-completions.jsonl")
    assert {
        record["request_id"]: (record["list_amount_usd"], record["amount_usd"]) for record in printed["decisions"]
    } == {
        "chat_001": ("0.1", "0"),
        "chat_reasoning": ("0.41", "0"),
        "chat_embedding": ("0.00016", "0.00016"),
        "chat_default": ("0.3", "0.3"),
        "chat_batch": ("0.15", "0.15"),
        "chat_flex": ("0.15", "0.15"),
    }


def test_training_without_a_known_price_is_decided_and_left_out_of_the_amounts(ledger: str) -> None:
    printed = replayed(ledger, EVENTS / "exclusions.json")
    training = next(record for record in printed["decisions"] if record["request_id"] == "training")
    assert (training["list_amount_usd"], training["amount_usd"]) == (None, None)
    assert printed["totals"]["amount_usd"] == "0.24388"


def test_a_message_of_quarantine_names_what_was_found(ledger: str) -> None:
    messages = {
        entry["id"]: entry["error"]["message"] for entry in replayed(ledger, EVENTS / "invalid.json")["quarantined"]
    }
    assert messages["tokens_as_text"].endswith(': "6000"')
    assert "total_tokens is 9000, but input 6000 + output 2000 is 8000" in messages["total_not_the_sum"]
    assert "cached_tokens is 6001, more than the 6000 input tokens" in messages["cached_over_input"]


# what lies in the Lambda envelopes


def test_the_sqs_sample_holds_a_message_group_for_each_organization() -> None:
    records = json.loads((EVENTS / "lambda-sqs-classify-usage.json").read_text())["Records"]
    messages = [Message.from_record(record) for record in records]
    assert [message.group for message in messages] == ["org_demo", "org_tier1"]
    assert [{event["subject"] for event in message.events()} for message in messages] == [{"org_demo"}, {"org_tier1"}]
    assert {message.received_at.isoformat() for message in messages} == {"2025-03-20T08:00:02.120000+00:00"}


def test_the_http_sample_is_signed_with_the_secret_in_the_readme() -> None:
    request = json.loads((EVENTS / "lambda-http-api-usage-events.json").read_text())
    secret = (EVENTS / "README.md").read_text().partition("whsec_")[2].partition("`")[0]
    headers = request["headers"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + base64.b64decode(request["body"])
    signature = base64.b64encode(hmac.digest(base64.b64decode(secret), signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{signature}"


# the command line


def test_the_table_of_the_seed_day_reads_as_in_the_seed(ledger: str) -> None:
    result = gratis_replay("--endpoint-url", ledger, SEED_DAY)
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert "Time (UTC) Organization Model Tokens total Verdict Reason Amount Id" in lines
    assert "2025-03-11 22:15 org_demo gpt-4o-2024-08-06 115,000 975,000 free within_quota $0 req_007" in lines
    assert "2025-03-11 23:10 org_demo gpt-4o-2024-08-06 30,000 1,005,000 billed over_quota $0.13125 req_008" in lines
    assert "Free 8 (1,000,000 tokens)" in lines
    assert "Billed 1 (30,000 tokens)" in lines


def test_the_table_shows_what_was_quarantined_and_the_exit_code_is_1(ledger: str) -> None:
    result = gratis_replay("--endpoint-url", ledger, EVENTS / "invalid.json")
    assert result.exit_code == 1
    assert "tokens_as_text" in result.stdout
    assert "data.usage.input_tokens" in result.stdout


def test_json_totals_add_up(ledger: str) -> None:
    assert replayed(ledger, SEED_DAY)["totals"] == {
        "events": 9,
        "free": 8,
        "billed": 1,
        "quarantined": 0,
        "skipped": {},
        "repeats": 0,
        "free_tokens": 1_000_000,
        "billed_tokens": 30_000,
        "list_amount_usd": "4.50625",
        "amount_usd": "0.13125",
    }


def test_a_file_given_twice_is_decided_once(ledger: str) -> None:
    printed = replayed(ledger, SEED_DAY, SEED_DAY)
    assert decided(printed) == rows(SAMPLES["seed-day.json"].decisions)
    assert (printed["totals"]["events"], printed["totals"]["repeats"]) == (18, 9)


def test_a_file_replayed_again_on_the_same_ledger_finds_the_same_decisions(ledger: str) -> None:
    assert replayed(ledger, SEED_DAY) == replayed(ledger, SEED_DAY)


def test_several_files_are_decided_in_the_order_they_are_named(ledger: str) -> None:
    printed = replayed(ledger, EVENTS / "opt-out-day.json", SEED_DAY)
    assert decided(printed) == rows(SAMPLES["opt-out-day.json"].decisions) + rows(SAMPLES["seed-day.json"].decisions)


def test_quarantined_events_of_several_files_are_counted_through(ledger: str) -> None:
    printed = replayed(ledger, SEED_DAY, EVENTS / "invalid.json")
    assert [row[:3] for row in refused(printed)[:2]] == [["10", "-", "invalid_event"], ["11", "-", "invalid_event"]]


def test_standard_input_takes_an_array(ledger: str) -> None:
    printed = replayed(ledger, "-", stdin=SEED_DAY.read_bytes())
    assert decided(printed) == rows(SAMPLES["seed-day.json"].decisions)


def test_standard_input_takes_a_single_event(ledger: str) -> None:
    first = json.loads(SEED_DAY.read_bytes())[0]
    assert decided(replayed(ledger, "-", stdin=json.dumps(first).encode())) == rows(
        "req_001 1m 2025-03-11 free within_quota 120,000"
    )


def test_standard_input_takes_json_lines(ledger: str) -> None:
    name = "chat-completions.jsonl"
    printed = replayed(ledger, "-", stdin=(EVENTS / name).read_bytes())
    assert decided(printed) == rows(SAMPLES[name].decisions)


def test_an_empty_array_is_decided_without_a_decision(ledger: str) -> None:
    assert replayed(ledger, "-", stdin=b"[]")["totals"]["events"] == 0


UNUSABLE_EVENTS = {
    "there is no such file": ("missing.json", None, "missing.json: No such file or directory"),
    "the file is empty": ("empty.json", "", "empty.json: is empty"),
    "the file is no JSON": ("text.json", "one, two", "text.json: is no JSON"),
    "a line is no JSON": ("torn.jsonl", '{"id": "a"}\n\n{"id": \n', "torn.jsonl:3: is no JSON"),
    "a message of the queue is no JSON": (
        "queue.json",
        '{"Records": [{"body": "[]"}, {"body": "one"}]}',
        "queue.json: Records.1.body: is no JSON",
    ),
    "a body is not base64": (
        "http.json",
        '{"requestContext": {}, "isBase64Encoded": true, "body": "{}"}',
        "http.json: the body is not base64",
    ),
    "there is no body": ("http.json", '{"requestContext": {}}', "http.json: the Lambda envelope has no body"),
}
UNUSABLE_ORGANIZATIONS = {
    "there is no such file": (None, ("No such file or directory",)),
    "the file is no JSON": ("one, two", ("Invalid JSON",)),
    "there is no list": ("{}", ("organizations",)),
    "a tier is no number": (
        '{"organizations": [{"id": "o", "profile": [{"effective_at": "2025-01-01T00:00:00Z", "tier": "four"}]}]}',
        ("organizations.0.profile.0.tier", "'four'"),
    ),
    "a moment has no offset": (
        '{"organizations": [{"id": "o", "sharing": [{"effective_at": "2025-01-01"}]}]}',
        ("organizations.0.sharing.0.effective_at", "'2025-01-01'"),
    ),
    "selected names no projects": (
        '{"organizations": [{"id": "o", "sharing": '
        '[{"effective_at": "2025-01-01T00:00:00Z", "traffic": {"mode": "selected"}}]}]}',
        ("organizations.0.sharing.0.traffic", "'selected'"),
    ),
    "an organization is there twice": ('{"organizations": [{"id": "o"}, {"id": "o"}]}', ("listed twice: o",)),
}


@pytest.fixture
def closed_port() -> Iterator[str]:
    """A URL at which nothing listens, and nothing can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def write(folder: Path, name: str, content: str | None) -> Path:
    """A file with that content; none if there is no content."""
    if content is not None:
        (folder / name).write_text(content)
    return folder / name


@pytest.mark.parametrize(("name", "content", "message"), UNUSABLE_EVENTS.values(), ids=UNUSABLE_EVENTS)
def test_events_that_cannot_be_read_are_named_and_the_exit_code_is_2(
    tmp_path: Path, closed_port: str, name: str, content: str | None, message: str
) -> None:
    result = gratis_replay("--json", "--endpoint-url", closed_port, write(tmp_path, name, content))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize(("content", "named"), UNUSABLE_ORGANIZATIONS.values(), ids=UNUSABLE_ORGANIZATIONS)
def test_a_bad_organizations_file_is_named_with_field_and_value_and_the_exit_code_is_2(
    tmp_path: Path, closed_port: str, content: str | None, named: tuple[str, ...]
) -> None:
    file = write(tmp_path, "who.json", content)
    result = gratis_replay("--json", "--endpoint-url", closed_port, "--organizations", file, SEED_DAY)
    assert (result.exit_code, result.stdout) == (2, "")
    assert [words for words in ("who.json", *named) if words not in result.stderr] == []


@pytest.mark.parametrize("offer", ["data-sharing-2052", "no-such-offer.json", str(SEED_DAY)])
def test_an_offer_that_is_none_is_named_and_the_exit_code_is_2(closed_port: str, offer: str) -> None:
    result = gratis_replay("--json", "--endpoint-url", closed_port, "--offer", offer, SEED_DAY)
    assert (result.exit_code, result.stdout) == (2, "")
    assert offer in result.stderr


def test_an_unknown_offer_is_answered_with_those_there_are(closed_port: str) -> None:
    result = gratis_replay("--endpoint-url", closed_port, "--offer", "data-sharing-2052", SEED_DAY)
    assert "data-sharing, data-sharing-2025" in result.stderr


def test_an_endpoint_where_nothing_listens_is_named_and_the_exit_code_is_2(closed_port: str) -> None:
    result = gratis_replay("--json", "--endpoint-url", closed_port, SEED_DAY)
    assert (result.exit_code, result.stdout) == (2, "")
    assert closed_port in result.stderr


def test_an_endpoint_that_is_no_url_is_named_and_the_exit_code_is_2() -> None:
    result = gratis_replay("--json", "--endpoint-url", "localhost", SEED_DAY)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "localhost" in result.stderr


# the engine that the command starts itself


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[subprocess.Popen[bytes]]:
    """The engines that were started; their files go to `tmp_path`."""
    processes: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr("gratis_local.engine.subprocess.Popen", Recorded)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return processes


def is_left_behind(process: subprocess.Popen[bytes], folder: Path) -> bool:
    return process.returncode is None or any(folder.iterdir())


def test_no_engine_is_left_behind_when_all_is_decided(started: list[subprocess.Popen[bytes]], tmp_path: Path) -> None:
    assert gratis_replay(SEED_DAY).exit_code == 0
    (engine,) = started
    assert not is_left_behind(engine, tmp_path)


@pytest.mark.parametrize("ending", [KeyboardInterrupt(), Busy("no answer"), RuntimeError("a defect")], ids=repr)
def test_no_engine_is_left_behind_when_the_replay_is_cut_short(
    started: list[subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: BaseException
) -> None:
    def cut_short(*_: Any) -> None:
        raise ending

    monkeypatch.setattr("gratis_local.replay.replay", cut_short)
    assert gratis_replay(SEED_DAY).exit_code != 0
    (engine,) = started
    assert not is_left_behind(engine, tmp_path)


def test_no_engine_is_started_for_input_that_cannot_be_read(started: list[subprocess.Popen[bytes]]) -> None:
    assert gratis_replay("missing.json").exit_code == 2
    assert started == []


def test_the_command_prints_only_json_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "gratis", "replay", "--json", SEED_DAY]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, check=True)
    assert decided(json.loads(done.stdout)) == rows(SAMPLES["seed-day.json"].decisions)
    assert done.stderr == b""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [("replay",), ("what-if", *["--offer", "data-sharing"] * 2)], ids=lambda each: each[0]
)
def test_the_embedded_engine_is_reached_whatever_the_callers_aws_settings_are(command: tuple[str, ...]) -> None:
    settings = {
        "AWS_PROFILE": "nope",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1",
        "AWS_USE_FIPS_ENDPOINT": "true",
    }
    gratis = [Path(sys.executable).parent / "gratis", *command, SEED_DAY]
    done = subprocess.run(gratis, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_is_terminated_leaves_nothing_behind(tmp_path: Path) -> None:
    terminated_in_the_middle = (
        "import os, signal; from gratis_local import cli, replay; "
        "replay.replay = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM); cli.main()"
    )
    command = [sys.executable, "-c", terminated_in_the_middle, "replay", SEED_DAY]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, check=False)
    assert done.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
