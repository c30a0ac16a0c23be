"""Drills of docs/operations.md on the deployed system: what was missed is put right with a command."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gratis.closing.statements import Statements
from gratis.table.accounts import Accounts
from gratis.table.ledger import Ledger
from gratis_local.cli import app
from gratis_local.deploy import deploy
from gratis_local.engine import create_table, engine
from gratis_local.recovery import take_over
from gratis_local.stack import client_for
from tests.builders.aws import TABLE
from tests.builders.events import message, usage
from tests.builders.ledger import classifier
from tests.builders.offers import DAILY
from tests.builders.organizations import account
from tests.e2e.system import System, eventually


def gratis(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def on_stack(system: System, *arguments: object) -> Result:
    return gratis(*arguments, "--endpoint-url", system.up.endpoint_url)


def test_a_days_records_go_out_again_under_the_same_ids(system: System, organization: str) -> None:
    system.accepted(*(system.usage(organization, f"r{number}") for number in range(120)))
    decided = system.through(organization).decisions.values()
    before = len(system.records(organization))
    printed = on_stack(system, "emit", organization, system.yesterday)
    assert (printed.exit_code, printed.stdout) == (
        0,
        f"120 records of {organization} on {system.yesterday} are on the bus\n",
    )
    eventually(lambda: len(system.records(organization)) >= before + 120, "the records once more")
    system.emitted_once(organization, decided)


def test_a_day_without_records_is_nothing_to_emit(system: System, organization: str) -> None:
    day = system.yesterday.isoformat()
    printed = on_stack(system, "emit", organization, day)
    assert (printed.exit_code, printed.stdout) == (0, f"0 records of {organization} on {day} are on the bus\n")


def test_organization_and_day_in_the_wrong_order_are_said(system: System) -> None:
    printed = on_stack(system, "emit", "2025-03-11", "org_a")
    assert (printed.exit_code, printed.stdout) == (2, "")
    assert "the organization comes first" in printed.stderr


@pytest.mark.parametrize("chosen", [True, False], ids=["one organization", "all"])
def test_a_missed_night_is_closed_by_hand(system: System, organization: str, chosen: bool) -> None:
    """Drill: the schedule did not run; the day has decisions and no statement.

    All organizations: of a day that no other test uses.
    """
    day = system.yesterday if chosen else system.yesterday - timedelta(days=17)
    system.accepted(usage("r1", 1000, organization=organization, at=f"{day}T12:00:00Z"))
    system.through(organization)
    statements = Statements(system.client("dynamodb"), system.table)
    closing = [
        "close",
        "yesterday" if chosen else day.isoformat(),
        *(["--organization", organization] if chosen else []),
    ]
    closed = on_stack(system, *closing)
    assert closed.exit_code == 0, closed.stderr
    eventually(lambda: statements.latest(organization, day), "the statement")
    eventually(lambda: system.bus.of("DayClosed", organization), "the statement on the bus")


def test_a_day_on_which_an_organization_had_nothing_is_said(system: System) -> None:
    closed = on_stack(system, "close", system.yesterday.isoformat(), "--organization", "org_of_nobody")
    assert (closed.exit_code, closed.stdout) == (2, "")
    assert "org_of_nobody is unknown here" in closed.stderr.replace("\n", " ")


def test_a_record_that_could_not_be_read_goes_out_once_it_can(system: System, organization: str) -> None:
    """Drill: poison. A receipt is torn, then mended (by a release that reads it); redrive puts it on the bus."""
    system.accepted(*(system.usage(organization, name) for name in ("r1", "r2")))
    (decision, _) = sorted(system.through(organization).decisions.values())
    letters = system.stack.outputs["StreamDeadLettersUrl"]
    items = Ledger(system.client("dynamodb"), system.table)
    torn = {"pk": {"S": f"DAY#{organization}#{system.yesterday}#0"}, "sk": {"S": "REQ#torn"}}
    system.client("dynamodb").put_item(
        TableName=system.table, Item=torn | {"receipt": {"S": "["}, "format": {"N": "2"}}
    )
    system.accepted(system.usage(organization, "r3"))
    system.decisions([system.usage(organization, "r3")])
    eventually(lambda: len(system.records(organization)) >= 3, "the records beside the torn one")
    eventually(lambda: system.waiting_messages(letters), "the dead letter")
    assert on_stack(system, "quarantine", "redrive", "--id", "none").exit_code == 1  # it can still not be read
    mended = decision.stored()
    receipt = torn | {"receipt": {"S": mended[0]}, "format": {"N": str(decision.format)}}
    added = {"added": {"S": mended[1]}} if mended[1] else {}
    system.client("dynamodb").put_item(TableName=system.table, Item=receipt | added)

    def redriven() -> bool:
        return "1 put on the bus" in on_stack(system, "quarantine", "redrive", "--id", "none").stdout

    eventually(redriven, "the letter, which is hidden for a while after it was read")
    eventually(lambda: any(each["request_id"] == "torn" for each in system.records(organization)), "its record")
    system.client("dynamodb").delete_item(TableName=system.table, Key=torn)
    assert items.decisions([]) == {}


def positions(streams: Any, arn: str, organization: str) -> tuple[str, list[str]]:
    """The shard of a stream, and where in it the decisions of an organization lie."""
    (shard, *_) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    at = {"StreamArn": arn, "ShardId": shard["ShardId"]}
    page = streams.get_shard_iterator(**at, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    numbers: list[str] = []
    while records := (answer := streams.get_records(ShardIterator=page))["Records"]:
        changes = (each["dynamodb"] for each in records)
        numbers += [each["SequenceNumber"] for each in changes if organization in each["Keys"]["pk"]["S"]]
        page = answer["NextShardIterator"]
    return shard["ShardId"], numbers


def test_positions_in_the_stream_are_read_again(system: System, organization: str) -> None:
    """What Lambda leaves of a batch that it gave up on: SQS gets positions only."""
    system.accepted(system.usage(organization, "r1"))
    system.through(organization)
    before = len(system.records(organization))
    arn = system.client("dynamodb").describe_table(TableName=system.table)["Table"]["LatestStreamArn"]
    shard, numbers = positions(system.client("dynamodbstreams"), arn, organization)
    batch = {
        "streamArn": arn,
        "shardId": shard,
        "startSequenceNumber": numbers[0],
        "endSequenceNumber": numbers[-1],
    }
    letters = system.stack.outputs["StreamDeadLettersUrl"]
    system.client("sqs").send_message(QueueUrl=letters, MessageBody=json.dumps({"DDBStreamBatchInfo": batch}))
    printed = on_stack(system, "quarantine", "redrive", "--id", "none")
    assert re.search(r"[1-9] put on the bus", printed.stdout)
    eventually(lambda: len(system.records(organization)) > before, "the records once more")


# --- a restored table -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def restored() -> Iterator[tuple[str, str]]:
    """An engine with a table that was restored from a backup: one organization and one decision of yesterday in it."""
    with engine() as url:
        client = client_for(url, "dynamodb")
        create_table(client, TABLE)
        Accounts(client, TABLE).put(account())
        at = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        sent = message("m1", usage("before", at=at), received_at=datetime.now(UTC))
        assert classifier(client, DAILY, lambda _: datetime.now(UTC)).classify([sent]).decisions
        yield url, at


def test_a_restored_table_is_taken_over_by_a_parameter(restored: tuple[str, str]) -> None:
    url, at = restored
    printed = gratis("take-over", TABLE, "--endpoint-url", url)
    assert printed.exit_code == 0, printed.stderr
    name, _, arn = printed.stdout.strip().partition("=")
    assert name == "RestoredStream"
    assert take_over(url, TABLE) == arn  # a second time changes nothing
    parameters = {"ArchiveRetentionDays": "-1", "ContributorInsights": "false", "LocalEngine": "true", name: arn}
    stack = deploy(url, parameters)
    assert stack.outputs["LedgerTableName"] == TABLE
    queue, events = stack.client("sqs"), [usage("before", at=at), usage("after", at=at)]
    queue.send_message(
        QueueUrl=stack.outputs["UsageQueueUrl"],
        MessageBody=json.dumps(events),
        MessageGroupId="org_a",
        MessageDeduplicationId="1",
    )
    ledger = Ledger(stack.client("dynamodb"), TABLE)
    yesterday = datetime.fromisoformat(at).date()
    eventually(
        lambda: len(list(ledger.decisions_of_day("org_a", yesterday))) == 2, "the new decision beside the old one"
    )
    assert stack.client("dynamodb").describe_table(TableName=TABLE)["Table"]["DeletionProtectionEnabled"] is True


def test_a_table_that_is_none_of_ours_is_not_taken_over(restored: tuple[str, str]) -> None:
    url, _ = restored
    client = client_for(url, "dynamodb")
    key: Any = {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
    client.create_table(TableName="other", AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}], **key)
    for table, why in (("other", "no ledger table"), ("missing", "no table")):
        printed = gratis("take-over", table, "--endpoint-url", url)
        assert (printed.exit_code, printed.stdout) == (2, "")
        assert why in printed.stderr
