"""What was refused is sent through again: mapped anew by its source, and gone once it has its decision."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import boto3
import pytest

from gratis import config, moment
from gratis.intake import sources
from gratis.intake.receive import ENTRY
from gratis.intake.redrive import event_of
from gratis.intake.stream import data_of
from gratis.table.quarantine import Entry
from gratis_local import redrive
from gratis_local.functions import Context, handler_of
from gratis_local.redrive import Desk, Redriven
from tests.builders.aws import Faulty, aws, fails
from tests.builders.webhook import Deployed, deployed, event, now
from tests.unit.test_stream_intake import kinesis

PRIVATE = "what-the-user-wrote"
POLLS = 3


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    with aws() as found:
        yield found


@pytest.fixture
def webhook(clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    monkeypatch.setattr(redrive, "DECIDED_SECONDS", 0.1)
    with deployed(clients) as found:
        config.config.cache_clear()
        yield found
    config.config.cache_clear()


@dataclass(frozen=True)
class Stacked:
    """A deployed stack, as far as a redrive looks at it."""

    webhook: Deployed
    bucket: str = ""

    @property
    def outputs(self) -> dict[str, str]:
        url = self.webhook.url
        named = {"LedgerTableName": self.webhook.table, "UsageQueueUrl": url, "UsageDeadLettersUrl": url}
        return named | ({"FailedUsageBucketName": self.bucket} if self.bucket else {})

    def client(self, service: str) -> Any:
        return {
            "dynamodb": self.webhook.dynamodb.client,
            "sqs": self.webhook.sqs.client,
            "s3": boto3.session.Session().client("s3") if self.bucket else None,
        }[service]


def batch(call_id: str, **fields: Any) -> dict[str, Any]:
    """A poll of a batch that is done, as LiteLLM logs it."""
    done = int(time.time()) - 60
    return {
        "id": "batch_1",
        "litellm_call_id": call_id,
        "call_type": "aretrieve_batch",
        "custom_llm_provider": "openai",
        "startTime": time.time(),
        "model": "gpt-4o-2024-08-06",
        "messages": PRIVATE,
        "metadata": {"user_api_key_org_id": "org_a", "usage_object": COUNTS},
        "response": {"object": "batch", "id": "batch_1", "status": "completed", "completed_at": done},
    } | fields


COUNTS = {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}


def decide(webhook: Deployed) -> None:
    """Let the function decide what is in the queue."""
    messages = webhook.messages()
    records = [
        {
            "messageId": each["MessageId"],
            "body": each["Body"],
            "attributes": each["Attributes"],
            "messageAttributes": {
                "received_at": {"stringValue": each["MessageAttributes"]["received_at"]["StringValue"]}
            },
        }
        for each in messages
    ]
    answer = handler_of("classify_usage")({"Records": records}, Context("classify_usage"))
    assert answer == {"batchItemFailures": []}


def redriven(webhook: Deployed, *entries: Entry) -> list[Redriven]:
    return list(Desk(Stacked(webhook)).redrive(entries))  # type: ignore[arg-type]


def with_old_mapping(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    """LiteLLM's source as an earlier release had it."""
    old = sources.LITELLM._replace(**changed)
    monkeypatch.setattr(sources, "SOURCES", (sources.WEBHOOK, old, sources.OTLP))


def test_what_an_old_mapping_refused_a_new_one_decides(webhook: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        with_old_mapping(earlier, event=lambda entry: {**sources.LITELLM.event(entry), "subject": "Acme Inc"})
        assert webhook.post_litellm(json.dumps(batch("poll_1")).encode()).codes == ["invalid_event"]
    (kept,) = webhook.quarantined()
    assert kept.source == "litellm"
    assert PRIVATE not in kept.raw

    assert [each.state for each in redriven(webhook, kept)] == ["waiting"]
    decide(webhook)
    assert [each.state for each in redriven(webhook, kept)] == ["decided"]
    assert webhook.quarantined() == []


def test_what_an_old_mapping_made_a_conflict_a_new_one_makes_a_repeat(
    webhook: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old mapping took each poll's own moment: the same request, with another payload each time."""
    with monkeypatch.context() as earlier:
        polled = now() - timedelta(minutes=1)
        with_old_mapping(
            earlier,
            event=lambda entry: {
                **sources.LITELLM.event(entry),
                "time": (polled + timedelta(seconds=int(entry["litellm_call_id"][-1]))).isoformat(),
            },
        )
        polls = [batch(f"poll_{number}") for number in range(POLLS)]
        assert webhook.post_litellm(json.dumps(polls).encode()).accepted == POLLS
    decide(webhook)
    conflicts = webhook.quarantined()
    assert [each.code for each in conflicts] == ["conflict"] * (POLLS - 1)
    assert all(PRIVATE not in each.raw for each in conflicts)
    assert event_of(conflicts[0]) == event_of(conflicts[1])


def test_what_a_new_mapping_skips_is_taken_out(webhook: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = batch("poll_1", metadata={"user_api_key_org_id": "org_a", "usage_object": {}})
    with monkeypatch.context() as earlier:
        with_old_mapping(earlier, skipped=lambda _: None)
        assert webhook.post_litellm(json.dumps(nothing).encode()).codes == ["invalid_event"]
    (kept,) = webhook.quarantined()
    assert [(each.state, each.why) for each in redriven(webhook, kept)] == [("skipped", "no_usage")]
    assert webhook.quarantined() == []


def test_an_event_of_the_webhook_is_sent_through_as_it_is(webhook: Deployed) -> None:
    ahead = event("r1", time=(now() + timedelta(minutes=6)).isoformat())
    assert webhook.post_events(ahead, event("r2", **{ENTRY: {"litellm_call_id": "none"}}, specversion="2")).codes == [
        "in_the_future",
        "invalid_event",
    ]
    assert [event_of(each)["id"] for each in webhook.quarantined()] == ["r1", "r2"]


def test_a_void_that_came_too_early_is_redriven_once_its_request_is_there(webhook: Deployed) -> None:
    early, other = (
        event(each, type="usage.void", data={"request_id": "r1", "day": now().date().isoformat()}) for each in "ab"
    )
    assert webhook.post_events(early).accepted == 1
    decide(webhook)
    (kept,) = webhook.quarantined()
    assert kept.code == "unknown_request"
    assert webhook.post_events(event("r1"), other).accepted == 2
    decide(webhook)
    assert [(each.state, each.why) for each in redriven(webhook, kept)] == [("decided", "billed: void")]
    assert webhook.quarantined() == []


# --- what the stream gave up -----------------------------------------------------------------------------------------


def given_up(*records: dict[str, Any]) -> bytes:
    """An object as Lambda puts it into a bucket of failed records: about the batch, and all that it was called with."""
    return json.dumps(
        {
            "version": "1.0",
            "timestamp": "2026-11-14T00:38:06.021Z",
            "requestContext": {"condition": "RetryAttemptsExhausted", "approximateInvokeCount": 1001},
            "KinesisBatchInfo": {"shardId": "shardId-000000000001", "batchSize": len(records)},
            "payload": json.dumps({"Records": records}),
        }
    ).encode()


def test_what_the_stream_gave_up_is_decided_in_its_order_after_a_redrive_that_dies_in_between(
    webhook: Deployed,
) -> None:
    session = boto3.session.Session()
    s3, bucket = session.client("s3"), "failed-usage"
    s3.create_bucket(Bucket=bucket)
    received_at = now() - timedelta(hours=30)
    records = [kinesis(data_of(json.dumps([event(f"r{n}")]), received_at), n, "org_demo") for n in range(4)]
    folder = "aws/lambda/source/shardId-000000000001/2026/11/14"
    s3.put_object(Bucket=bucket, Key=f"{folder}/2026-11-14T00.38.06-a", Body=given_up(*records[:2]))
    s3.put_object(Bucket=bucket, Key=f"{folder}/2026-11-14T00.38.07-0", Body=given_up(*records[2:]))
    desk = Desk(Stacked(webhook, bucket))  # type: ignore[arg-type]

    desk.s3 = Faulty(desk.s3)
    desk.s3.on("delete_object", fails(RuntimeError("died")))
    with pytest.raises(RuntimeError, match="died"):
        desk.redrive_failed()
    assert desk.redrive_failed() == 4
    assert desk.redrive_failed() == 0
    messages = webhook.messages()
    assert [json.loads(each["Body"])[0]["id"] for each in messages] == ["r0", "r1", "r0", "r1", "r2", "r3"]
    assert {each["MessageAttributes"]["received_at"]["StringValue"] for each in messages} == {moment.text(received_at)}
    assert {each["Attributes"]["MessageGroupId"] for each in messages} == {"org_demo"}


def test_a_stack_without_a_stream_has_nothing_that_it_gave_up(webhook: Deployed) -> None:
    assert Desk(Stacked(webhook)).redrive_failed() == 0  # type: ignore[arg-type]
