"""The command line against a deployed stack: quarantine, redrive, keys, and events posted from files."""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gratis.errors import Rejected
from gratis.table.quarantine import Entry, entry
from gratis_local.cli import app
from gratis_local.functions import ROOT
from tests.builders.ledger import prove
from tests.e2e.system import System, eventually, keys_of


def gratis(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def on_stack(system: System, *arguments: object) -> Result:
    return gratis(*arguments, "--endpoint-url", system.up.endpoint_url)


# quarantine


def unforeseen(event: Any, system: System) -> Entry:
    """An entry as a defect would have left it, of an event that can be decided now."""
    return entry(event, Rejected("internal_error", "ZeroDivisionError: it was mended"), system.now(), "classify_usage")


def listed(system: System, organization: str) -> list[dict[str, Any]]:
    printed = on_stack(system, "quarantine", "list", "--json")
    assert printed.exit_code == 0
    return [each for each in json.loads(printed.stdout) if each["organization"] == organization]


def test_the_list_shows_both_payloads_of_a_conflict(system: System, organization: str) -> None:
    event, other = system.usage(organization, "twice", 7), system.usage(organization, "twice", 8)
    system.accepted(event, other)
    (decision,) = system.through(organization).decisions.values()
    (shown,) = listed(system, organization)
    assert (shown["id"], shown["code"], shown["whence"]) == ("twice", "conflict", "classify_usage")
    assert (shown["raw"], shown["decided"]) == (other, decision.record())


def test_the_table_of_the_list_names_what_is_wrong(system: System, organization: str) -> None:
    system.send([system.usage(organization, "bad_type") | {"type": "usage.unknown"}])
    printed = on_stack(system, "quarantine", "list", "--days", 2)
    assert printed.exit_code == 0
    assert "bad_type" in printed.stdout
    assert "invalid_event" in printed.stdout


def test_the_list_of_a_day_on_which_nothing_was_refused_is_empty(system: System) -> None:
    assert json.loads(on_stack(system, "quarantine", "list", "--json", "--day", "2025-03-11").stdout) == []
    printed = on_stack(system, "quarantine", "list", "--day", "2025-03-11", "--days", 2)
    assert printed.stdout == "Quarantine holds nothing received from 2025-03-10 to 2025-03-11 (UTC).\n"


# redrive


@pytest.fixture
def queue_stopped(system: System, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Nothing is taken from the queue until the test says so, and redrive does not wait for it long."""
    function = system.function("ClassifyUsage")
    (mapping,) = system.client("lambda").list_event_source_mappings(FunctionName=function)["EventSourceMappings"]

    def switch(*, on: bool) -> None:
        system.client("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=on)

    monkeypatch.setattr("gratis_local.redrive.DECIDED_SECONDS", 0.2)
    switch(on=False)
    yield lambda: switch(on=True)
    switch(on=True)


def test_what_can_be_decided_now_is_and_goes_out_of_quarantine(system: System, organization: str) -> None:
    event = system.usage(organization, "mended", 250)
    system.quarantine.put([unforeseen(event, system)])
    redriven = on_stack(system, "quarantine", "redrive", "--id", "mended")
    assert redriven.exit_code == 0
    assert "1 sent through again, 1 of them decided now" in redriven.stdout
    assert listed(system, organization) == []
    found = system.through(organization)
    assert found.verdicts() == {"mended": ("free", "within_quota")}
    prove(found)
    system.emitted_once(organization, found.decisions.values())


def test_an_entry_stays_until_its_decision_exists(system: System, organization: str, queue_stopped: Any) -> None:
    event = system.usage(organization, "patient", 250)
    system.quarantine.put([unforeseen(event, system)])
    waiting = on_stack(system, "quarantine", "redrive", "--id", "patient")
    assert waiting.exit_code == 1
    assert "has no decision yet" in waiting.stdout
    assert [each["id"] for each in listed(system, organization)] == ["patient"]
    assert system.ledger.decisions(keys_of([event])) == {}

    queue_stopped()
    system.decisions([event])
    assert [each["id"] for each in listed(system, organization)] == ["patient"]
    assert on_stack(system, "quarantine", "redrive", "--id", "patient").exit_code == 0
    assert listed(system, organization) == []
    found = system.through(organization)
    assert len(found.decisions) == 1
    system.emitted_once(organization, found.decisions.values())


def test_an_entry_whose_request_was_decided_in_the_meantime_goes_without_a_second_decision(
    system: System, organization: str
) -> None:
    event = system.usage(organization, "meanwhile", 250)
    system.accepted(event)
    first = system.decisions([event])["meanwhile"]
    system.quarantine.put([unforeseen(event, system)])
    assert on_stack(system, "quarantine", "redrive", "--id", "meanwhile").exit_code == 0
    found = system.through(organization)
    assert [each.record() for each in found.decisions.values()] == [first.record()]
    assert found.quarantine == []


def test_conflicts_and_invalid_events_stay_in_quarantine_and_the_exit_code_is_1(
    system: System, organization: str
) -> None:
    event = system.usage(organization, "disputed", 7)
    system.accepted(event, system.usage(organization, "disputed", 8))
    system.send([system.usage(organization, "disputed") | {"type": "usage.unknown"}])
    before = system.through(organization)
    assert sorted(each.code for each in before.quarantine) == ["conflict", "invalid_event"]
    system.quarantine.put([unforeseen(event, system)])

    redriven = on_stack(system, "quarantine", "redrive", "--id", "disputed")
    assert redriven.exit_code == 1
    assert "3 sent through again, 1 of them decided now" in redriven.stdout
    assert system.through(organization) == before


def test_only_the_entries_of_one_code_are_sent_through_again(system: System, organization: str) -> None:
    events = [system.usage(organization, name) for name in ("chosen", "other")]
    system.quarantine.put([unforeseen(events[0], system)])
    system.quarantine.put([entry(events[1], Rejected("too_old", "of another kind"), system.now(), "receive_usage")])
    assert on_stack(system, "quarantine", "redrive", "--code", "internal_error").exit_code == 0
    found = system.through(organization)
    assert found.verdicts().keys() == {"chosen"}
    assert [each.id for each in found.quarantine] == ["other"]


def test_a_dead_letter_is_queued_again_and_decided(system: System, organization: str) -> None:
    event = system.usage(organization, "dead", 250)
    received_at = {"received_at": {"DataType": "String", "StringValue": system.at("12:00:01")}}
    system.client("sqs").send_message(
        QueueUrl=system.stack.outputs["UsageDeadLettersUrl"],
        MessageBody=json.dumps([event]),
        MessageGroupId=organization,
        MessageDeduplicationId="dead",
        MessageAttributes=received_at,
    )
    assert system.waiting_messages() == 1
    redriven = on_stack(system, "quarantine", "redrive", "--id", "none-has-this-id")
    assert redriven.exit_code == 0
    assert "Quarantine holds nothing with --id none-has-this-id received from " in redriven.stdout
    assert "Dead letters: 1 queued again" in redriven.stdout
    decision = system.decisions([event])["dead"]
    assert decision.received_at == system.at("12:00:01")
    assert system.through(organization).verdicts().keys() == {"dead"}
    assert eventually(lambda: system.waiting_messages() == 0, "an empty queue")


@pytest.mark.parametrize("command", [("list",), ("redrive",)], ids=["list", "redrive"])
def test_a_stack_that_is_not_there_is_named_and_the_exit_code_is_2(system: System, command: tuple[str]) -> None:
    result = on_stack(system, "quarantine", *command, "--stack", "no-such-stack")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no-such-stack" in result.stderr


# proofs


def test_a_table_that_is_not_there_is_named_and_the_exit_code_is_2(system: System) -> None:
    result = on_stack(system, "prove", "org_demo", "2025-03-11", "--table", "nope")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "gratis: there is no table 'nope'; --table names another\n"


# keys


def test_a_new_key_is_printed_once_and_only_its_hash_is_stored(system: System, organization: str) -> None:
    created = on_stack(
        system, "keys", "create", "--role", "reader", "--organization", organization, "--name", "for the dashboard"
    )
    assert (created.exit_code, created.stderr) == (0, "")
    key = created.stdout.strip()
    pages = system.client("dynamodb").get_paginator("scan").paginate(TableName=system.table)
    items = [item for page in pages for item in page["Items"]]
    (item,) = [each for each in items if each["pk"]["S"] == f"KEY#{hashlib.sha256(key.encode()).hexdigest()}"]
    assert item.pop("pk")
    assert item.pop("created")
    assert item == {
        "sk": {"S": "KEY"},
        "role": {"S": "reader"},
        "organization": {"S": organization},
        "name": {"S": "for the dashboard"},
        "last_four": {"S": key[-4:]},
    }
    everything = json.dumps(items, default=str)
    assert [shown for shown in (key, system.up.owner_key, system.up.platform_key) if shown in everything] == []


def test_a_key_for_an_organization_without_an_account_is_made_with_a_note(system: System) -> None:
    created = on_stack(system, "keys", "create", "--role", "owner", "--organization", "org_of_nobody")
    assert (created.exit_code, len(created.stdout.strip())) == (0, 46)
    assert "org_of_nobody has no account yet" in created.stderr


def test_no_two_keys_are_alike(system: System, organization: str) -> None:
    created = [on_stack(system, "keys", "create", "--role", "platform").stdout for _ in range(3)]
    assert len(set(created)) == 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--role", "admin", "--organization", "org_a"), "'admin'"),
        (("--role", "owner"), "--organization"),
        (("--role", "platform", "--organization", "org_a"), "--organization"),
        (("--role", "owner", "--organization", "org#a"), "'org#a'"),
    ],
    ids=["unknown role", "owner of nothing", "platform of an organization", "separator"],
)
def test_a_key_that_cannot_be_is_refused_with_exit_code_2(
    system: System, arguments: tuple[str, ...], named: str
) -> None:
    result = on_stack(system, "keys", "create", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert named in result.stderr


def test_a_key_that_is_taken_back_is_refused_from_then_on(system: System, organization: str) -> None:
    key = on_stack(system, "keys", "create", "--role", "owner", "--organization", organization).stdout.strip()
    revoke = ["keys", "revoke", "--endpoint-url", system.up.endpoint_url]

    def status() -> int:
        url = f"{system.up.base_url}/organization/allowance"
        return system.http.request("GET", url, headers={"authorization": f"Bearer {key}"}).status

    assert status() == 200
    revoked = CliRunner().invoke(app, revoke, input=f"{key}\n")
    assert (revoked.exit_code, revoked.stdout) == (0, f"revoked: owner of {organization}\n")
    assert status() == 401
    again = CliRunner().invoke(app, revoke, input=key)
    assert (again.exit_code, again.stdout) == (2, "")
    assert key not in again.stderr


def test_keys_are_listed_with_their_end_and_taken_back_by_their_id(system: System, organization: str) -> None:
    until = system.now() + timedelta(days=30)
    for_organization = ("--organization", organization)
    named = ("--name", "the shop's gateway", "--expires", until.isoformat())
    key = on_stack(system, "keys", "create", "--role", "gateway", *for_organization, *named).stdout.strip()
    other = on_stack(system, "keys", "create", "--role", "reader", *for_organization).stdout.strip()

    listed = on_stack(system, "keys", "list", *for_organization)
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert key not in listed.stdout
    (row,) = [line for line in listed.stdout.splitlines() if f" {key[-4:]} " in line]
    for told in (organization, "gateway", "the shop's gateway", f"{until:%Y-%m-%d %H:%M}"):
        assert told in row
    (without_end,) = [line for line in listed.stdout.splitlines() if f" {other[-4:]} " in line]
    assert without_end.split()[-1] == "-"

    revoked = on_stack(system, "keys", "revoke", "--id", row.split()[0])
    assert (revoked.exit_code, revoked.stdout) == (0, f"revoked: gateway of {organization} (the shop's gateway)\n")
    left = on_stack(system, "keys", "list", *for_organization).stdout
    assert (f" {key[-4:]} " in left, f" {other[-4:]} " in left) == (False, True)
    again = on_stack(system, "keys", "revoke", "--id", row.split()[0])
    assert (again.exit_code, again.stdout) == (2, "")
    assert "there is no such key" in again.stderr


def test_keys_of_an_organization_without_an_account_are_none_and_it_is_said_to_be_unknown(system: System) -> None:
    listed = on_stack(system, "keys", "list", "--organization", "org_without_account")
    assert (listed.exit_code, "owner" in listed.stdout) == (0, False)
    assert "org_without_account is unknown here: it has no account" in " ".join(listed.stderr.split())


@pytest.mark.parametrize(
    ("expires", "said"), [("tomorrow", "must be a time with an offset"), ("2025-01-01T00:00:00Z", "is over")]
)
def test_an_end_that_no_key_can_have_is_named(system: System, expires: str, said: str) -> None:
    refused = on_stack(system, "keys", "create", "--role", "platform", "--expires", expires)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert f"{expires!r}" in refused.stderr


# a day that was reported twice


def void(system: System, organization: str, *arguments: object) -> Result:
    day, to = system.yesterday, ("--to", system.up.base_url, "--secret", system.up.webhook_secret)
    return gratis("void", organization, day, *arguments, *to)


def test_a_day_that_was_reported_twice_is_taken_back_by_a_csv_of_its_ids(
    system: System, organization: str, tmp_path: Path
) -> None:
    events = [system.usage(organization, f"twice_{number:03}", 1000) for number in range(250)]
    kept = system.usage(organization, "once", 7000)
    system.accepted(*events, kept)
    assert system.through(organization).used("1m", f"{system.yesterday}", organization) == 257_000
    file = tmp_path / "ids.csv"
    rows = (f"{each['time']},gpt-4o,{each['id']}\n" for each in [*events, events[0]])
    file.write_text("occurred_at,model,request_id\n" + "".join(rows))

    for _ in range(2):  # run again it changes nothing
        sent = void(system, organization, "--file", file, "--why", "the batch was sent twice")
        assert (sent.exit_code, sent.stderr) == (0, "")
        assert "Accepted: 250   Quarantined: 0" in sent.stdout
        found = system.through(organization)
        assert sorted(each.request_id for each in found.decisions.values() if each.is_void) == [
            each["id"] for each in events
        ]
        assert found.used("1m", f"{system.yesterday}", organization) == 7000
        assert found.quarantine == []
    prove(found)


def test_a_void_of_what_was_never_decided_is_in_quarantine_as_was_said(system: System, organization: str) -> None:
    sent = void(system, organization, "nobodys")
    assert (sent.exit_code, "gratis quarantine list" in sent.stdout) == (0, True)
    (entry,) = system.through(organization).quarantine
    assert (entry.code, "'nobodys'" in entry.message) == ("unknown_request", True)


# events posted from files


@pytest.fixture
def sample(organization: str, tmp_path: Path) -> Path:
    """The seed's day as an organization of the test's own had it."""
    file = tmp_path / "day.json"
    file.write_text((ROOT / "events/seed-day.json").read_text().replace("org_demo", organization))
    return file


def replay(system: System, *arguments: object, secret: str | None = None) -> Result:
    return gratis("replay", *arguments, "--to", system.up.base_url, "--secret", secret or system.up.webhook_secret)


def test_a_file_is_posted_and_decided_as_of_yesterday(system: System, organization: str, sample: Path) -> None:
    sent = replay(system, sample, "--move-to", "yesterday", "--json")
    assert (sent.exit_code, json.loads(sent.stdout)) == (0, {"accepted": 9, "skipped": {}, "quarantined": []})
    found = system.through(organization)
    by_id = {key.request_id: decision for key, decision in found.decisions.items()}
    assert [by_id[f"req_00{n}"].running_total for n in range(1, 10)] == [
        *(120_000, 260_000, 410_000, 560_000, 710_000, 860_000, 975_000, 1_005_000),
        1_000_000,
    ]
    assert {by_id[name].occurred_at[10:] for name in ("req_001", "req_009")} == {"T09:15:00Z", "T23:30:00Z"}
    assert len({decision.day for decision in found.decisions.values()}) == 1


def test_what_was_sent_is_said_in_words(system: System, sample: Path) -> None:
    sent = replay(system, sample, "--move-to", system.yesterday)
    assert sent.exit_code == 0
    assert "Accepted: 9" in sent.stdout
    assert sent.stderr == ""


def test_more_events_than_fit_one_post_are_sent_in_order_and_the_refused_keep_their_index(
    system: System, organization: str, tmp_path: Path
) -> None:
    events = [system.usage(organization, f"r{number:03}", 10_000) for number in range(230)]
    events[205]["data"]["usage"]["total_tokens"] = 1
    file = tmp_path / "many.json"
    file.write_text(json.dumps(events))
    sent = replay(system, file, "--json")
    assert sent.exit_code == 1
    printed = json.loads(sent.stdout)
    assert printed["accepted"] == 229
    assert [(each["index"], each["id"]) for each in printed["quarantined"]] == [(205, "r205")]
    found = system.through(organization)
    order = sorted(found.decisions.values(), key=lambda decision: decision.request_id)
    assert [decision.verdict for decision in order] == ["free"] * 100 + ["billed"] * 129


def test_events_that_are_too_old_are_named_and_the_exit_code_is_1(
    system: System, organization: str, sample: Path
) -> None:
    sent = replay(system, sample)
    assert sent.exit_code == 1
    assert "too_old" in sent.stdout
    assert system.through(organization).decisions == {}


@pytest.mark.parametrize("secret", ["whsec_" + "A" * 44, "whsec_x"], ids=["another", "no base64"])
def test_a_wrong_secret_is_answered_by_one_clear_sentence_and_exit_code_2(
    system: System, organization: str, sample: Path, secret: str
) -> None:
    sent = replay(system, sample, "--move-to", "yesterday", "--json", secret=secret)
    assert (sent.exit_code, sent.stdout) == (2, "")
    (sentence,) = sent.stderr.splitlines()
    assert "signature" in sentence or "secret" in sentence
    assert system.through(organization).decisions == {}


def test_without_a_secret_nothing_is_sent_and_the_exit_code_is_2(
    system: System, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRATIS_WEBHOOK_SECRET", raising=False)
    sent = gratis("replay", sample, "--to", system.up.base_url)
    assert (sent.exit_code, sent.stdout) == (2, "")
    assert "GRATIS_WEBHOOK_SECRET" in sent.stderr


def test_the_secret_may_come_from_the_environment(
    system: System, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRATIS_WEBHOOK_SECRET", system.up.webhook_secret)
    webhook = f"{system.up.base_url}/usage-events"
    assert gratis("replay", sample, "--to", webhook, "--move-to", "yesterday").exit_code == 0


def test_a_webhook_that_is_not_there_is_named_and_the_exit_code_is_2(system: System, sample: Path) -> None:
    sent = gratis("replay", sample, "--to", "http://127.0.0.1:9/v1", "--secret", system.up.webhook_secret)
    assert (sent.exit_code, sent.stdout) == (2, "")
    assert "http://127.0.0.1:9/v1/usage-events" in sent.stderr


def test_the_dashboards_are_deployed_and_name_what_is_deployed(system: System) -> None:
    cloudwatch = system.client("cloudwatch")
    names = [each["DashboardName"] for each in cloudwatch.list_dashboards()["DashboardEntries"]]
    assert sorted(names) == ["gratis-business", "gratis-operators"]
    bodies = [cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"] for name in names]
    assert all(json.loads(body)["widgets"] for body in bodies)
    assert re.findall(r"\$\{(?!PROP)", "".join(bodies)) == []
    assert f'"TableName", "{system.table}"' in "".join(bodies)


@pytest.mark.parametrize("which", ["operators", "business"])
def test_grafana_gets_the_dashboards_of_what_is_deployed(system: System, which: str) -> None:
    cloudwatch = system.client("cloudwatch")
    body = json.loads(cloudwatch.get_dashboard(DashboardName=f"gratis-{which}")["DashboardBody"])
    written = json.loads(on_stack(system, "grafana", which).stdout)
    assert [each["title"] for each in written["panels"]] == [
        each["properties"].get("title", "") for each in body["widgets"]
    ]
    targets = [target for each in written["panels"] for target in each.get("targets", ())]
    groups = {"/".join(target["logGroupNames"]) for target in targets if "logGroupNames" in target}
    described = system.client("cloudformation").describe_stack_resource(
        StackName="gratis", LogicalResourceId="ClassifyUsageLog"
    )
    log = described["StackResourceDetail"]["PhysicalResourceId"]
    assert groups == ({log} if which == "business" else set())
