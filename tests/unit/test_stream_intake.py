"""The usage stream: an organization's records go in one after the other, and come out as the queue's messages do."""

import base64
import json
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st

from gratis.classify import Outcome
from gratis.config import config
from gratis.errors import Busy
from gratis.intake.events import compact
from gratis.intake.messages import MAX_MESSAGE_EVENTS, Message
from gratis.intake.stream import MAX_ATTEMPTS, UsageStream, data_of, message_of
from gratis.moment import parse
from gratis_local.functions import Context, module_of
from gratis_local.sources import Unusable, read_events
from tests.builders.aws import aws, aws_error
from tests.builders.events import at, usage_event
from tests.builders.ledger import stored
from tests.builders.webhook import Deployed, deployed, event

RECEIVED = at("2025-03-11T09:15:01")
ARRIVED = 1741684502.5
KINESIS_BYTES, KINESIS_RECORDS = 5 * 1024 * 1024, 500
"""What Kinesis takes in one call, keys included."""


@dataclass
class Shard:
    """A client that keeps what it takes, in order. `takes`: whether it does, record by record; then it takes all."""

    takes: list[bool] = field(default_factory=list)
    calls: list[list[dict[str, Any]]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> Any:  # noqa: N803 - as boto3 does
        self.calls.append(Records)
        return {"Records": [self._put(each) for each in Records]}

    def _put(self, record: dict[str, Any]) -> dict[str, Any]:
        if self.takes and not self.takes.pop(0):
            return {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"}
        self.kept.append(record)
        return {"SequenceNumber": str(len(self.kept)), "ShardId": "shardId-000000000000"}

    def ids(self) -> dict[str, list[str]]:
        """The ids of the events that it keeps, by key, in order."""
        found: dict[str, list[str]] = defaultdict(list)
        for record in self.kept:
            _, _, body = record["Data"].decode().partition("\n")
            found[record["PartitionKey"]] += [event["id"] for event in json.loads(body)]
        return found


def stream(client: Any, **how: Any) -> UsageStream:
    return UsageStream(client, "usage", pause=lambda _: None, **how)


def texts(organization: str, count: int, **fields: Any) -> list[str]:
    return [compact(usage_event(id=f"r{number}", subject=organization, **fields)) for number in range(count)]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["org_a", "org_b", "org_c"]), st.integers(1, 420), min_size=1),
    st.lists(st.booleans(), max_size=40),
)
def test_what_is_taken_in_part_keeps_the_order_of_each_organization(counts: dict[str, int], takes: list[bool]) -> None:
    shard = Shard(takes=takes)
    events = {organization: texts(organization, count) for organization, count in counts.items()}
    expected = {organization: [f"r{number}" for number in range(count)] for organization, count in counts.items()}
    try:
        stream(shard).send(events, RECEIVED)
    except Busy:  # it is sent again: what was stored comes twice, and still in order
        assert shard.ids().items() <= {name: ids[: len(shard.ids()[name])] for name, ids in expected.items()}.items()
    else:
        assert shard.ids() == expected


def test_a_call_holds_one_record_of_an_organization_at_most() -> None:
    shard = Shard()
    stream(shard).send({name: texts(name, 250) for name in ("org_a", "org_b")}, RECEIVED)
    assert [[each["PartitionKey"] for each in call] for call in shard.calls] == [["org_a", "org_b"]] * 3


def test_a_call_stays_within_what_kinesis_takes() -> None:
    shard = Shard()
    events = {f"org_{number}": texts(f"org_{number}", MAX_MESSAGE_EVENTS) for number in range(1200)}
    stream(shard).send(events, RECEIVED)
    sizes = [sum(len(each["Data"]) + len(each["PartitionKey"]) for each in call) for call in shard.calls]
    assert max(sizes) <= KINESIS_BYTES
    assert max(map(len, shard.calls)) <= KINESIS_RECORDS
    assert len(shard.kept) == 1200


def test_what_is_never_taken_is_told_to_the_sender() -> None:
    shard = Shard(takes=[False] * MAX_ATTEMPTS)
    with pytest.raises(Busy, match="did not take 1 of 1 records"):
        stream(shard).send({"org_a": texts("org_a", 1)}, RECEIVED)
    assert len(shard.calls) == MAX_ATTEMPTS


@pytest.mark.parametrize(
    "error", [aws_error("ResourceNotFoundException"), ReadTimeoutError(endpoint_url="https://kinesis")]
)
def test_a_stream_that_does_not_answer_is_told_to_the_sender(error: Exception) -> None:
    class Silent:
        def put_records(self, **_: Any) -> Any:
            raise error

    with pytest.raises(Busy, match="the stream does not answer"):
        stream(Silent()).send({"org_a": texts("org_a", 1)}, RECEIVED)


def test_organizations_go_in_side_by_side() -> None:
    shard = Shard()
    with ThreadPoolExecutor(4) as threads:
        stream(shard, spread=threads.map).send({f"org_{n}": texts(f"org_{n}", 300) for n in range(800)}, RECEIVED)
    assert {name: len(ids) for name, ids in shard.ids().items()} == dict.fromkeys([f"org_{n}" for n in range(800)], 300)
    assert all(ids == [f"r{number}" for number in range(300)] for ids in shard.ids().values())


def test_more_keys_spread_an_organization_and_the_same_events_have_the_same_key() -> None:
    shard = Shard()
    for _ in range(2):
        stream(shard, keys=4).send({"org_a": texts("org_a", 2000)}, RECEIVED)
    found = shard.ids()
    assert 1 < len(found) <= 4
    assert all(name.startswith("org_a#") for name in found)
    assert all(ids[: len(ids) // 2] == ids[len(ids) // 2 :] for ids in found.values())


# --- out of it -----------------------------------------------------------------------------------------------------


def kinesis(data: bytes, number: int = 1, key: str = "org_a") -> dict[str, Any]:
    """A record as Lambda hands it over."""
    put = {
        "kinesisSchemaVersion": "1.0",
        "partitionKey": key,
        "sequenceNumber": f"4959033827149025660855969253836157109592157598913658{number:04}",
        "data": base64.b64encode(data).decode(),
        "approximateArrivalTimestamp": ARRIVED,
    }
    return {"kinesis": put, "eventSource": "aws:kinesis", "eventID": f"shardId-000000000000:{number}"}


def test_a_record_becomes_the_message_that_the_queue_would_carry() -> None:
    assert message_of(kinesis(data_of("[1]", RECEIVED), 7)) == Message(
        "49590338271490256608559692538361571095921575989136580007", "org_a", "[1]", RECEIVED
    )


@pytest.mark.parametrize("data", [b"{}", b"[\n1]", b"", b"\n[]", b"2025\n[]"])
def test_a_producers_own_record_was_received_when_it_arrived(data: bytes) -> None:
    message = message_of(kinesis(data))
    assert (message.body, message.received_at) == (data.decode(), datetime.fromtimestamp(ARRIVED, UTC))


@given(st.binary(max_size=60))
def test_whatever_lies_in_the_stream_is_a_message(data: bytes) -> None:
    assert message_of(kinesis(data)).group == "org_a"


def classified(records: list[dict[str, Any]], unfinished: list[str]) -> Any:
    """What the function answers when these messages have to come again."""
    function = module_of("classify_usage")

    class Unfinished:
        def classify(self, messages: list[Message], _: Any) -> Outcome:
            return Outcome(unfinished=[each.id for each in messages if each.id in unfinished])

    function.classifier = Unfinished
    return function.handler({"Records": records}, Context("classify_usage"))


def test_a_shard_is_read_again_from_the_first_unfinished_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    records = [kinesis(b"[]", number, f"org_{number % 3}") for number in range(1, 7)]
    numbers = [each["kinesis"]["sequenceNumber"] for each in records]
    answer = classified(records, unfinished=[numbers[2], numbers[5]])
    assert answer == {"batchItemFailures": [{"itemIdentifier": numbers[2]}]}
    assert classified(records, unfinished=[]) == {"batchItemFailures": []}


def test_on_a_local_engine_an_unfinished_batch_fails_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    record = kinesis(b"[]")
    with pytest.raises(Busy, match="only AWS takes a part"):
        classified([record], unfinished=[record["kinesis"]["sequenceNumber"]])


# --- through both functions ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    with aws() as found:
        yield found


@pytest.fixture
def webhook(clients: dict[str, Any]) -> Iterator[Deployed]:
    config.cache_clear()
    with deployed(clients) as found:
        yield found
    config.cache_clear()


@pytest.fixture
def shard(webhook: Deployed, clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Shard:
    """What the webhook puts into a stream, once it has one."""
    found = Shard()
    by_name = {"kinesis": found, "dynamodb": webhook.dynamodb, "secretsmanager": webhook.secretsmanager}
    monkeypatch.setattr(boto3, "client", lambda service, **_: by_name[service])
    monkeypatch.setenv("USAGE_STREAM", "usage")
    monkeypatch.setenv("STREAM_KEYS", "1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    return found


def test_the_webhook_puts_into_the_stream_if_there_is_one_and_what_comes_out_is_decided_once(
    webhook: Deployed, shard: Shard
) -> None:
    for number in range(6):
        answer = webhook.post_events(event(f"r{number}"), event(f"s{number}"))
        assert answer.content == {"accepted": 2, "skipped": {}, "quarantined": []}
    assert webhook.messages() == []
    records = [kinesis(each["Data"], number, each["PartitionKey"]) for number, each in enumerate(shard.kept)]
    function = module_of("classify_usage")
    for batch in (records, records[3:], records):  # the shard's tail comes again, and all of it
        answer = function.handler({"Records": batch}, Context("classify_usage"))
        assert answer == {"batchItemFailures": []}
    found = stored(webhook.dynamodb.client, webhook.table)
    assert len(found.decisions) == 12
    received = {parse(each.received_at) for each in found.decisions.values()}
    assert received == {message_of(each).received_at for each in records}
    assert found.quarantine == []


# --- replayed ------------------------------------------------------------------------------------------------------


def test_replay_reads_what_kinesis_hands_over(tmp_path: Any) -> None:
    events = [usage_event(id=f"r{number}") for number in range(3)]
    ours, own = data_of(json.dumps(events[:2]), RECEIVED), json.dumps(events[2]).encode()
    file = tmp_path / "kinesis.json"
    file.write_text(json.dumps({"Records": [kinesis(ours), kinesis(own, 2)]}))
    assert read_events([str(file)]) == events


@pytest.mark.parametrize("put", [{}, {"data": "*"}, 7, {"data": 7, "sequenceNumber": "1", "partitionKey": "a"}])
def test_replay_names_what_is_no_record_of_kinesis(tmp_path: Any, put: Any) -> None:
    file = tmp_path / "kinesis.json"
    file.write_text(json.dumps({"Records": [{"kinesis": put}]}))
    with pytest.raises(Unusable, match=r"Records\.0\.kinesis: is no record of Kinesis"):
        read_events([str(file)])


def test_replay_names_a_record_that_holds_no_json(tmp_path: Any) -> None:
    file = tmp_path / "kinesis.json"
    file.write_text(json.dumps({"Records": [kinesis(b"\xff")]}))
    with pytest.raises(Unusable, match=r"Records\.0\.kinesis\.data: is no JSON"):
        read_events([str(file)])
