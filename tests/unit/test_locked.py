"""Statements under S3 Object Lock: each is written once, and nobody can change or delete it while it is locked."""

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from gratis.closing.locked import LockedStatements
from gratis.errors import Busy
from gratis_local.functions import Context, handler_of
from tests.builders.aws import aws_error
from tests.unit.transformed import Deployed

BUCKET = "statements"
DAYS = 3650
STATED = {
    "id": "org_a:2025-03-11:1",
    "organization": "org_a",
    "day": "2025-03-11",
    "revision": 1,
    "number": 7,
    "note": "é",
}
NAME = "statements/org_a/2025-03-11.1.json"


@pytest.fixture
def s3() -> Iterator[Any]:
    """A bucket as the template makes it with StatementLockDays."""
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        made = Deployed(StatementLockDays=str(DAYS)).resources["StatementsBucket"]["Properties"]
        lock = made["ObjectLockConfiguration"]
        retention = lock["Rule"]["DefaultRetention"]
        retention["Days"] = int(retention["Days"])
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=made["ObjectLockEnabled"])
        client.put_object_lock_configuration(Bucket=BUCKET, ObjectLockConfiguration=lock)
        yield client


def versions(s3: Any) -> list[Any]:
    return list(s3.list_object_versions(Bucket=BUCKET).get("Versions", []))


def test_a_statement_is_kept_as_canonical_json(s3: Any) -> None:
    LockedStatements(s3, BUCKET).keep(STATED)
    body = s3.get_object(Bucket=BUCKET, Key=NAME)["Body"].read()
    assert json.loads(body) == STATED
    assert body.startswith(b'{"day":"2025-03-11","id":')
    assert body.isascii()


def test_a_statement_that_comes_again_changes_nothing(s3: Any) -> None:
    LockedStatements(s3, BUCKET).keep(STATED)
    LockedStatements(s3, BUCKET).keep(STATED | {"note": "changed"})
    assert json.loads(s3.get_object(Bucket=BUCKET, Key=NAME)["Body"].read()) == STATED
    assert len(versions(s3)) == 1


def test_nobody_can_delete_or_release_a_statement_before_its_days_are_over(s3: Any) -> None:
    LockedStatements(s3, BUCKET).keep(STATED)
    held = s3.get_object_lock_configuration(Bucket=BUCKET)["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert (held["Mode"], held["Days"]) == ("COMPLIANCE", DAYS)
    [version] = versions(s3)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=BUCKET, Key=NAME, VersionId=version["VersionId"], BypassGovernanceRetention=True)


def test_a_bucket_that_does_not_answer_brings_the_statement_again() -> None:
    class Silent:
        def put_object(self, **_: Any) -> None:
            raise aws_error("SlowDown", "PutObject")

    with pytest.raises(Busy, match="SlowDown"):
        LockedStatements(Silent(), BUCKET).keep(STATED)  # type: ignore[arg-type]


@pytest.fixture
def emit(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The real function, handed a statement that the ledger's stream holds."""

    class Bus:
        def put_events(self, *, Entries: list[Any]) -> Any:  # noqa: N803 - as boto3 does
            return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in Entries]}

    monkeypatch.setattr(boto3, "client", lambda service, **_: {"events": Bus(), "s3": s3}.get(service))
    monkeypatch.setenv("EVENT_BUS", "bus")
    monkeypatch.setenv("CLOSE_QUEUE", "https://days")
    monkeypatch.setenv("LEDGER_TABLE", "ledger")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    item = {
        "pk": {"S": "ORG#org_a"},
        "sk": {"S": "STATEMENT#2025-03-11#000001"},
        "statement": {"S": json.dumps(STATED)},
    }
    change = {"Keys": {"pk": item["pk"], "sk": item["sk"]}, "NewImage": item, "SequenceNumber": "1"}
    record = {"eventName": "INSERT", "dynamodb": change}
    handler = handler_of("emit_billing")
    monkeypatch.setitem(inspect.unwrap(handler).__globals__, "dynamodb", lambda: None)  # no decision is in the batch
    return lambda bucket: (
        monkeypatch.setenv("STATEMENTS_BUCKET", bucket),
        handler({"Records": [record]}, Context("e")),
    )


def test_what_is_emitted_is_locked(s3: Any, emit: Callable[[str], None]) -> None:
    emit(BUCKET)
    assert json.loads(s3.get_object(Bucket=BUCKET, Key=NAME)["Body"].read()) == STATED


def test_without_the_parameter_there_is_no_bucket_and_nothing_is_written(s3: Any, emit: Callable[[str], None]) -> None:
    emit("")
    assert versions(s3) == []
    assert "StatementsBucket" not in Deployed().resources
