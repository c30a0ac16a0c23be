"""What the core relies on in DynamoDB, of the simulated table and of a real engine alike."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gratis_local.engine import TABLE_SCHEMA
from gratis_local.functions import ROOT
from gratis_local.stack import client_for
from gratis_simulation.machines import stream
from gratis_simulation.machines.stream import Stream
from gratis_simulation.machines.table import Change, Table, Unknown

NEW = "attribute_not_exists(pk)"
UNCHANGED = "version = :version_read"
NAMES = (f"contract-{number}" for number in itertools.count())


class Ledger:
    """A table of either kind, with its name and the records of its stream."""

    def __init__(self, client: Any, name: str, streams: Any = None) -> None:
        self.client = client
        self.name = name
        self._streams = streams

    def put(self, key: str, version: int = 1, *, read: int | None = None, sk: str = "a") -> dict[str, Any]:
        """A put as it stands in a transaction: of version `read`, or new (0); without a condition if None."""
        put: dict[str, Any] = {"TableName": self.name, "Item": item(key, version, sk)}
        if read is not None:
            put["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
            put["ConditionExpression"] = UNCHANGED if read else NEW
        if read:
            put["ExpressionAttributeValues"] = {":version_read": {"N": str(read)}}
        return {"Put": put}

    def transact(self, *puts: dict[str, Any], **more: Any) -> None:
        self.client.transact_write_items(TransactItems=list(puts), **more)

    def cancelled(self, *puts: dict[str, Any]) -> list[dict[str, Any]]:
        with pytest.raises(self.client.exceptions.TransactionCanceledException) as refused:
            self.transact(*puts)
        reasons: list[dict[str, Any]] = refused.value.response["CancellationReasons"]
        return reasons

    def store(self, *items: dict[str, Any]) -> None:
        for each in items:
            self.client.put_item(TableName=self.name, Item=each)

    def read(self, *keys: str) -> dict[str, int]:
        """Versions by partition key, consistently."""
        wanted = {"Keys": [key_of(key) for key in keys], "ConsistentRead": True}
        answer = self.client.batch_get_item(RequestItems={self.name: wanted})
        assert answer.get("UnprocessedKeys", {}) == {}
        return {each["pk"]["S"]: int(each["version"]["N"]) for each in answer["Responses"][self.name]}

    def query(self, condition: str, **values: str) -> list[str]:
        """Sort keys of what a query finds, in order."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.name,
            KeyConditionExpression=condition,
            ExpressionAttributeValues={f":{name}": {"S": value} for name, value in values.items()},
            ConsistentRead=True,
        )
        return [each["sk"]["S"] for page in pages for each in page["Items"]]

    def records(self) -> list[dict[str, Any]]:
        """What the stream says of every write so far."""
        if isinstance(self.client, Table):
            return [stream.record_of(change, number) for number, change in enumerate(self.client.log) if moved(change)]
        [found] = self._streams.list_streams(TableName=self.name)["Streams"]
        described = self._streams.describe_stream(StreamArn=found["StreamArn"])["StreamDescription"]
        records: list[dict[str, Any]] = []
        for shard in described["Shards"]:
            iterator = self._streams.get_shard_iterator(
                StreamArn=found["StreamArn"], ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            records += self._streams.get_records(ShardIterator=iterator)["Records"]
        return records


def moved(change: Change) -> bool:
    return change.old != change.new


def item(key: str, version: int = 1, sk: str = "a") -> dict[str, Any]:
    return {**key_of(key, sk), "version": {"N": str(version)}}


def key_of(key: str, sk: str = "a") -> dict[str, Any]:
    return {"pk": {"S": key}, "sk": {"S": sk}}


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


@pytest.fixture(params=["simulated", "engine"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    name = next(NAMES)
    if request.param == "simulated":
        yield Ledger(Table(page_size=2), name)
        return
    url = request.getfixturevalue("engine_url")
    client, streams = client_for(url, "dynamodb"), client_for(url, "dynamodbstreams")
    client.create_table(
        TableName=name,
        **TABLE_SCHEMA,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    yield Ledger(client, name, streams)
    client.close()
    streams.close()


# --- transactions ---------------------------------------------------------------------------------------------------


def test_a_transaction_writes_all_of_its_items(ledger: Ledger) -> None:
    ledger.transact(ledger.put("a", read=0), ledger.put("b", read=0), ledger.put("c"))
    assert ledger.read("a", "b", "c", "never") == {"a": 1, "b": 1, "c": 1}


def test_a_transaction_on_the_version_that_was_read_goes_through(ledger: Ledger) -> None:
    ledger.store(item("a", 1))
    ledger.transact(ledger.put("a", 2, read=1))
    assert ledger.read("a") == {"a": 2}


def test_a_refused_transaction_writes_nothing_and_says_per_item_why(ledger: Ledger) -> None:
    ledger.store(item("a", 7), item("b", 3))
    reasons = ledger.cancelled(ledger.put("a", 7, read=6), ledger.put("new", read=0), ledger.put("b", 1, read=0))
    assert [reason["Code"] for reason in reasons] == ["ConditionalCheckFailed", "None", "ConditionalCheckFailed"]
    assert [reason.get("Item") for reason in reasons] == [item("a", 7), None, item("b", 3)]
    assert ledger.read("a", "b", "new") == {"a": 7, "b": 3}


def test_a_version_that_is_not_there_is_no_version(ledger: Ledger) -> None:
    [reason] = ledger.cancelled(ledger.put("a", 2, read=1))
    assert (reason["Code"], reason.get("Item")) == ("ConditionalCheckFailed", None)


def test_without_all_old_nothing_comes_back(ledger: Ledger) -> None:
    ledger.store(item("a"))
    put = ledger.put("a", read=0)
    del put["Put"]["ReturnValuesOnConditionCheckFailure"]
    [reason] = ledger.cancelled(put)
    assert (reason["Code"], reason.get("Item")) == ("ConditionalCheckFailed", None)


def test_a_put_without_a_condition_replaces_what_is_there(ledger: Ledger) -> None:
    ledger.store(item("a", 7))
    ledger.transact(ledger.put("a", 1))
    assert ledger.read("a") == {"a": 1}


def test_the_same_item_twice_in_a_transaction_is_invalid(ledger: Ledger) -> None:
    with pytest.raises(ClientError) as refused:
        ledger.transact(ledger.put("a", read=0), ledger.put("a", read=0))
    assert code_of(refused) == "ValidationException"
    assert ledger.read("a") == {}


@pytest.mark.parametrize(("count", "fits"), [(100, True), (101, False)])
def test_a_transaction_holds_100_items(ledger: Ledger, count: int, fits: bool) -> None:
    puts = [ledger.put(f"k{number}", read=0) for number in range(count)]
    if fits:
        ledger.transact(*puts)
    else:
        with pytest.raises(ClientError) as refused:
            ledger.transact(*puts)
        assert code_of(refused) == "ValidationException"
    assert (ledger.read("k0", "k99") != {}) == fits


def test_the_same_request_token_takes_effect_once(ledger: Ledger) -> None:
    ledger.transact(ledger.put("a", read=0), ClientRequestToken="t1")
    ledger.transact(ledger.put("a", read=0), ClientRequestToken="t1")
    assert ledger.read("a") == {"a": 1}
    with pytest.raises(ClientError) as refused:
        ledger.transact(ledger.put("b", read=0), ClientRequestToken="t1")
    assert code_of(refused) == "IdempotentParameterMismatchException"


# --- single items and batches ---------------------------------------------------------------------------------------


def test_a_conditional_put_holds_or_is_refused(ledger: Ledger) -> None:
    for version, read in ((1, 0), (2, 1)):
        ledger.client.put_item(**ledger.put("a", version, read=read)["Put"])
    with pytest.raises(ledger.client.exceptions.ConditionalCheckFailedException):
        ledger.client.put_item(**ledger.put("a", 2, read=1)["Put"])
    with pytest.raises(ledger.client.exceptions.ConditionalCheckFailedException):
        ledger.client.put_item(**ledger.put("a", read=0)["Put"])
    assert ledger.read("a") == {"a": 2}


def test_an_update_sets_attributes_of_an_item_and_leaves_the_others(ledger: Ledger) -> None:
    ledger.store(item("a", 5))
    values = {":day": {"S": "2025-03-11"}, ":four": {"S": "abcd"}}
    update: Any = {"UpdateExpression": "SET used = :day, four = :four", "ExpressionAttributeValues": values}
    ledger.client.update_item(TableName=ledger.name, Key=key_of("a"), **update)
    answer = ledger.client.get_item(TableName=ledger.name, Key=key_of("a"), ConsistentRead=True)
    assert answer["Item"] == item("a", 5) | {"used": {"S": "2025-03-11"}, "four": {"S": "abcd"}}
    ledger.client.update_item(TableName=ledger.name, Key=key_of("new"), **update)
    assert "Item" in ledger.client.get_item(TableName=ledger.name, Key=key_of("new"), ConsistentRead=True)


def test_an_update_of_what_is_not_there_may_be_refused(ledger: Ledger) -> None:
    with pytest.raises(ledger.client.exceptions.ConditionalCheckFailedException):
        ledger.client.update_item(
            TableName=ledger.name,
            Key=key_of("never"),
            UpdateExpression="SET used = :day",
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeValues={":day": {"S": "2025-03-11"}},
        )
    assert ledger.read("never") == {}


def test_an_item_that_was_deleted_is_gone_and_may_be_deleted_again(ledger: Ledger) -> None:
    ledger.store(item("a"))
    for _ in range(2):
        ledger.client.delete_item(TableName=ledger.name, Key=key_of("a"))
        assert "Item" not in ledger.client.get_item(TableName=ledger.name, Key=key_of("a"), ConsistentRead=True)


def test_one_item_is_read_as_it_is(ledger: Ledger) -> None:
    ledger.store(item("a", 5))
    answer = ledger.client.get_item(TableName=ledger.name, Key=key_of("a"), ConsistentRead=True)
    assert answer["Item"] == item("a", 5)


def test_a_batch_write_replaces_what_is_there(ledger: Ledger) -> None:
    ledger.store(item("a", 5))
    puts = [{"PutRequest": {"Item": item(key, 9)}} for key in ("a", "b")]
    answer = ledger.client.batch_write_item(RequestItems={ledger.name: puts})
    assert answer["UnprocessedItems"] == {}
    assert ledger.read("a", "b") == {"a": 9, "b": 9}


@pytest.mark.parametrize("keys", [["a", "a"], [f"k{number}" for number in range(26)]], ids=["twice", "26"])
def test_a_batch_write_that_is_too_much_is_invalid(ledger: Ledger, keys: list[str]) -> None:
    puts = [{"PutRequest": {"Item": item(key)}} for key in keys]
    with pytest.raises(ClientError) as refused:
        ledger.client.batch_write_item(RequestItems={ledger.name: puts})
    assert code_of(refused) == "ValidationException"
    assert ledger.read(keys[0]) == {}


@pytest.mark.parametrize("keys", [["a", "a"], [f"k{number}" for number in range(101)]], ids=["twice", "101"])
def test_a_batch_read_that_is_too_much_is_invalid(ledger: Ledger, keys: list[str]) -> None:
    with pytest.raises(ClientError) as refused:
        ledger.read(*keys)
    assert code_of(refused) == "ValidationException"


def test_an_item_of_more_than_400_kb_is_invalid(ledger: Ledger) -> None:
    large = item("a") | {"raw": {"B": b"x" * 420_000}}
    with pytest.raises(ClientError) as refused:
        ledger.client.put_item(TableName=ledger.name, Item=large)
    assert code_of(refused) == "ValidationException"


# --- queries --------------------------------------------------------------------------------------------------------


def test_a_query_gives_a_partition_in_order_whatever_its_pages(ledger: Ledger) -> None:
    ledger.store(*(item("p", sk=sk) for sk in ("c", "a", "b", "d", "e")), item("other", sk="a"))
    assert ledger.query("pk = :pk", pk="p") == ["a", "b", "c", "d", "e"]
    assert ledger.query("pk = :pk", pk="nobody") == []


def test_a_query_between_two_sort_keys_holds_both(ledger: Ledger) -> None:
    ledger.store(*(item("p", sk=f"2025-03-{day}") for day in (10, 11, 12, 13)))
    between = "pk = :pk AND sk BETWEEN :first AND :last"
    assert ledger.query(between, pk="p", first="2025-03-11", last="2025-03-12") == ["2025-03-11", "2025-03-12"]


def test_a_query_by_the_beginning_of_the_sort_key(ledger: Ledger) -> None:
    ledger.store(*(item("p", sk=sk) for sk in ("ORG#a#1m", "ORG#a#10m", "ORG#ab#1m")))
    assert ledger.query("pk = :pk AND begins_with(sk, :org)", pk="p", org="ORG#a#") == ["ORG#a#10m", "ORG#a#1m"]


def test_a_query_past_a_sort_key_leaves_it_out(ledger: Ledger) -> None:
    ledger.store(*(item("p", sk=f"REQ#{name}") for name in ("a", "a/1", "A", "b", "_")), item("p", sk="ORG#z"))
    assert ledger.query("pk = :pk AND sk > :after", pk="p", after="REQ#a") == ["REQ#a/1", "REQ#b"]
    assert ledger.query("pk = :pk AND sk > :after", pk="p", after="REQ#") == [
        *("REQ#A", "REQ#_", "REQ#a", "REQ#a/1", "REQ#b")
    ]


def test_a_query_backwards_for_one_finds_the_last(ledger: Ledger) -> None:
    ledger.store(*(item("p", sk=f"STATEMENT#{number:06}") for number in (1, 2, 11)))
    answer = ledger.client.query(
        TableName=ledger.name,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :day)",
        ExpressionAttributeValues={":pk": {"S": "p"}, ":day": {"S": "STATEMENT#"}},
        ConsistentRead=True,
        ScanIndexForward=False,
        Limit=1,
    )
    assert [each["sk"]["S"] for each in answer["Items"]] == ["STATEMENT#000011"]


# --- the stream -----------------------------------------------------------------------------------------------------


def test_the_stream_tells_every_change_of_an_item_in_order_with_both_images(ledger: Ledger) -> None:
    ledger.store(item("a", 1))
    ledger.transact(ledger.put("a", 2, read=1), ledger.put("b", read=0))
    ledger.cancelled(ledger.put("a", 3, read=1))
    told = [record for record in ledger.records() if record["dynamodb"]["Keys"]["pk"] == {"S": "a"}]
    assert [record["eventName"] for record in told] == ["INSERT", "MODIFY"]
    assert [record["dynamodb"]["NewImage"] for record in told] == [item("a", 1), item("a", 2)]
    assert [record["dynamodb"].get("OldImage") for record in told] == [None, item("a", 1)]
    numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in told]
    assert numbers == sorted(set(numbers))


def test_the_simulated_stream_is_filtered_as_the_template_filters_it() -> None:
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    filters = [json.loads(pattern) for pattern in re.findall(r"- Pattern: '(\{.*\"dynamodb\".*\})'", template)]
    assert len(filters) == 4
    changes = [
        Change(1, (pk, sk), old, new, None)
        for pk in ("ORG#a", "DAY#a#2025-03-11#1", "QUARANTINE#2025-03-11", "COUNTER#a#1m", "KEY#x", "DAY#2025-03-11")
        for sk in ("ACCOUNT", "REQ#1", "STATEMENT#2025-03-11#000001", "a#b#c", "2025-03-11", "KEY", "ORG#a#1m")
        for old, new in ((None, item("n")), (item("o"), item("n")))
    ]
    for change in changes:
        record = stream.record_of(change, 1)
        assert stream.passes(change) == any(matches(wanted, record) for wanted in filters), change


def matches(wanted: Any, found: Any) -> bool:
    """EventBridge's patterns, as far as the template uses them."""
    if isinstance(wanted, dict):
        return all(name in found and matches(rest, found[name]) for name, rest in wanted.items())
    return any(found.startswith(each["prefix"]) if isinstance(each, dict) else found == each for each in wanted)


# --- what only the simulated table can do ---------------------------------------------------------------------------


def test_an_inconsistent_read_may_be_behind() -> None:
    table = Table()
    behind = Ledger(table, "t")
    behind.store(item("a", 1), item("a", 2), item("b", 1))
    table.lag = lambda: 2
    wanted: dict[str, Any] = {"Keys": [key_of("a"), key_of("b")]}
    stale = table.batch_get_item(RequestItems={"t": wanted})["Responses"]["t"]
    fresh = table.batch_get_item(RequestItems={"t": wanted | {"ConsistentRead": True}})["Responses"]["t"]
    assert (stale, fresh) == ([item("a", 1)], [item("a", 2), item("b", 1)])


@pytest.mark.parametrize(
    "change",
    [
        {"ConditionExpression": "size(pk) > :version_read"},
        {"ConditionExpression": f"{NEW} OR {UNCHANGED}"},
        {"ReturnConsumedCapacity": "TOTAL"},
    ],
)
def test_what_the_simulated_table_does_not_know_it_refuses_loudly(change: dict[str, str]) -> None:
    ledger = Ledger(Table(), "t")
    with pytest.raises(Unknown):
        ledger.client.put_item(**ledger.put("a", read=1)["Put"] | change)
    with pytest.raises(Unknown):
        ledger.transact({"Put": ledger.put("a", read=1)["Put"] | change})
    with pytest.raises(Unknown):
        ledger.transact({"Delete": {"TableName": "t", "Key": key_of("a")}})


def test_a_shard_goes_on_where_the_function_says() -> None:
    table = Table()
    for number in range(5):
        table.put_item(TableName="t", Item=item("DAY#a#2025-03-11#1", sk=f"REQ#{number}"))
    shards = Stream(table, 1)
    shards.advance()
    [shard] = shards.shards
    batch = shard.batch(4)
    shard.delivered(batch, batch[2]["dynamodb"]["SequenceNumber"])
    assert [each["dynamodb"]["Keys"]["sk"]["S"] for each in shard.batch(4)] == ["REQ#2", "REQ#3", "REQ#4"]
    shard.delivered(shard.batch(4), "no such number")
    assert shard.position == 2
    shard.failed(shard.batch(3))
    assert len(shard.batch(3)) == 1
