"""Quarantine: every refused event is kept whole, is found by its day, and goes out only as a whole."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gratis.errors import Busy, Rejected
from gratis.table.dynamo import MAX_ATTEMPTS
from gratis.table.quarantine import MAX_RAW_BYTES, Entry, Quarantine, entry, entry_of
from gratis_local.engine import create_table
from gratis_local.functions import ROOT
from tests.builders.aws import Call, Crash, Faulty, aws, aws_error, dies_after, fails, first
from tests.builders.events import at, incompressible, usage_event

RECEIVED = at("2025-03-11T23:59:59")
DAY = date(2025, 3, 11)
BAD = Rejected("invalid_event", "id: must be something else")
ITEM_BYTES = 400 * 1024
"""What DynamoDB takes in one item."""


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    with aws() as clients:
        yield clients


@pytest.fixture
def store(clients: dict[str, Any]) -> Iterator[Quarantine]:
    """An empty table."""
    client = clients["dynamodb"]
    create_table(client, "quarantine-test")
    flaky: Any = Faulty(client)
    yield Quarantine(flaky, "quarantine-test")
    client.delete_table(TableName="quarantine-test")


def flaky(store: Quarantine) -> Faulty:
    client: Any = store.client
    return client


def items(store: Quarantine) -> list[dict[str, Any]]:
    """All that lies in the table."""
    pages = flaky(store).client.get_paginator("scan").paginate(TableName=store.table)
    return [item for page in pages for item in page["Items"]]


def of_day(store: Quarantine, day: date = DAY) -> list[Entry]:
    return list(store.of_day(day))


def refused(raw: Any, rejected: Rejected = BAD, received_at: Any = RECEIVED, whence: str = "receive_usage") -> Entry:
    return entry(raw, rejected, received_at, whence)


# --- what an entry says --------------------------------------------------------------------------------------------


def test_an_entry_holds_the_event_why_it_was_refused_and_where_it_came_from(store: Quarantine) -> None:
    store.put([refused(usage_event(id="r1"))])
    (found,) = of_day(store)
    assert json.loads(found.raw) == usage_event(id="r1")
    assert found == Entry(
        organization="org_demo",
        id="r1",
        code="invalid_event",
        message="id: must be something else",
        raw=found.raw,
        received_at="2025-03-11T23:59:59Z",
        whence="receive_usage",
    )
    assert found.error() == {"code": "invalid_event", "message": "id: must be something else"}


def test_a_conflict_keeps_the_record_that_stands(store: Quarantine) -> None:
    record = {"id": "org_demo:2025-03-11:r1", "amount_usd": "0"}
    store.put([entry(usage_event(), Rejected("conflict", "differs"), RECEIVED, "classify_usage", record)])
    (found,) = of_day(store)
    assert found.decided is not None
    assert json.loads(found.decided) == record


@pytest.mark.parametrize("raw", [None, 7, "text", "", [], {}, [usage_event()], {"id": 7, "subject": ["org_demo"]}])
def test_what_names_itself_by_no_text_is_kept_without_a_name(store: Quarantine, raw: Any) -> None:
    store.put([refused(raw)])
    (found,) = of_day(store)
    assert (found.organization, found.id) == (None, None)
    assert json.loads(found.raw) == raw


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
)
def test_whatever_was_refused_comes_back_as_it_was(store: Quarantine, raw: Any) -> None:
    kept = refused(raw)
    store.put([kept])
    assert json.loads(next(found for found in of_day(store) if found == kept).raw) == raw


# --- keys ----------------------------------------------------------------------------------------------------------


def sort_key(raw: Any) -> str:
    key: str = refused(raw).key["sk"]["S"]
    return key


def test_the_key_names_organization_and_request() -> None:
    assert refused(usage_event(id="r1")).key["pk"] == {"S": "QUARANTINE#2025-03-11"}
    assert re.fullmatch(r"org_demo#r1#[0-9a-f]{32}", sort_key(usage_event(id="r1")))


@pytest.mark.parametrize("name", ["", "r#1", "#", "r1#2", "r 1", "r\n1", "r1\n", "\x00", "é", "\u0430", 7, None])
@pytest.mark.parametrize("field", ["id", "subject"])
def test_a_name_that_is_none_cannot_get_into_the_key(field: str, name: Any) -> None:
    key = sort_key(usage_event(**{field: name}))
    assert re.fullmatch(r"(org_demo#-|-#req_001)#[0-9a-f]{32}", key)


@pytest.mark.parametrize("field", ["id", "subject"])
def test_a_name_that_is_too_long_is_cut(store: Quarantine, field: str) -> None:
    raw = usage_event(**{field: "x" * 500_000})
    store.put([refused(raw)])
    (found,) = of_day(store)
    assert "x" * 100 in {found.id, found.organization}
    assert json.loads(found.raw) == raw
    assert len(refused(raw).key["sk"]["S"]) < 600


def test_names_that_are_cut_alike_are_entries_of_their_own(store: Quarantine) -> None:
    store.put([refused(usage_event(id="x" * 256 + end)) for end in ("", "a", "b")])
    assert len(of_day(store)) == 3


def test_a_message_that_is_too_long_is_cut() -> None:
    assert refused(7, Rejected("invalid_event", "m" * 5000)).message == "m" * 1000


def test_entries_with_names_that_cannot_be_a_key_stay_apart(store: Quarantine) -> None:
    names = ["a#b", "a#c", "", "é", " "]
    store.put([refused(usage_event(id=name)) for name in names])
    assert sorted(str(found.id) for found in of_day(store)) == sorted(names)


def test_an_entry_cannot_be_put_in_the_place_of_anothers_part(store: Quarantine) -> None:
    large = refused(usage_event(id="r1", note=incompressible(1_000_000)))
    digest = large.key["sk"]["S"].rpartition("#")[2]
    store.put([large, refused(usage_event(id=f"r1#{digest}#2")), refused(usage_event(id="r1", subject="org_demo#r1"))])
    assert large in of_day(store)
    assert len(of_day(store)) == 3


def test_the_longest_key_is_within_what_dynamodb_takes() -> None:
    longest = usage_event(id="r" * 256, subject="o" * 256, note=incompressible(4_000_000))
    assert len(f"{sort_key(longest)}#12".encode()) <= 1024


def test_the_same_event_refused_for_the_same_reason_is_one_entry(store: Quarantine) -> None:
    store.put([refused(7), refused(7)])
    store.put([refused(7)])
    assert len(of_day(store)) == 1


def test_an_entry_stays_as_it_was_first_put(store: Quarantine) -> None:
    earlier = refused(7, Rejected("invalid_event", "in other words"), RECEIVED - timedelta(seconds=1), "classify_usage")
    store.put([earlier])
    store.put([refused(7)])
    assert of_day(store) == [earlier]


def test_what_the_next_release_wrote_beside_an_entry_stays(store: Quarantine) -> None:
    store.put([refused(7)])
    (item,) = items(store)
    flaky(store).client.put_item(TableName=store.table, Item=item | {"of_the_next_release": {"S": "x"}})
    store.put([refused(7)])
    assert items(store) == [item | {"of_the_next_release": {"S": "x"}}]


def test_of_two_at_once_the_first_stays(store: Quarantine) -> None:
    quicker = refused(7, received_at=RECEIVED - timedelta(seconds=1))
    flaky(store).on("put_item", first(lambda: Quarantine(flaky(store).client, store.table).put([quicker])))
    store.put([refused(7)])
    assert of_day(store) == [quicker]


def test_who_dies_after_the_put_and_comes_again_changes_nothing(store: Quarantine) -> None:
    flaky(store).on("put_item", dies_after)
    with pytest.raises(Crash):
        store.put([refused(7)])
    before = items(store)
    store.put([refused(7)])
    assert items(store) == before


def test_the_same_bytes_from_another_source_are_another_entry(store: Quarantine) -> None:
    """The webhook's own could never be decided; the other's is mapped again when it is sent through again."""
    own = refused({"id": "chatcmpl-1"})
    store.put([own, entry_of("litellm", {"id": "chatcmpl-1"}, own)])
    assert {found.source for found in of_day(store)} == {None, "litellm"}


def test_an_entry_that_was_taken_out_may_come_again(store: Quarantine) -> None:
    store.put([refused(7)])
    store.remove(refused(7))
    store.put([refused(7)])
    assert of_day(store) == [refused(7)]


def test_the_same_event_refused_for_another_reason_is_another_entry(store: Quarantine) -> None:
    store.put([refused(7), refused(7, Rejected("internal_error", "KeyError: 'x'"))])
    assert {found.code for found in of_day(store)} == {"invalid_event", "internal_error"}


# --- by day --------------------------------------------------------------------------------------------------------


def test_entries_are_listed_by_the_utc_day_they_arrived_on(store: Quarantine) -> None:
    store.put([refused(1), refused(2, received_at=RECEIVED + timedelta(seconds=1))])
    assert [found.raw for found in of_day(store)] == ["1"]
    assert [found.raw for found in of_day(store, DAY + timedelta(days=1))] == ["2"]
    assert of_day(store, DAY - timedelta(days=1)) == []


def test_a_day_of_many_pages_is_listed_whole_and_in_order_of_its_keys(store: Quarantine) -> None:
    kept = [refused(usage_event(id=f"r{number:02}", note=incompressible(120_000, number))) for number in range(40)]
    store.put(reversed(kept))
    first = flaky(store).client.query(
        TableName=store.table,
        KeyConditionExpression="pk = :day",
        ExpressionAttributeValues={":day": {"S": "QUARANTINE#2025-03-11"}},
    )
    assert len(first["Items"]) < 40
    assert of_day(store) == kept


# --- large events --------------------------------------------------------------------------------------------------


def test_an_event_that_fits_an_item_is_one_and_a_larger_one_is_two(store: Quarantine) -> None:
    store.put([refused(incompressible(MAX_RAW_BYTES))])
    assert len(items(store)) == 1
    store.put([refused(incompressible(MAX_RAW_BYTES * 3 // 2, 2))])
    assert len(items(store)) == 3


def test_an_event_of_several_megabytes_is_kept_in_parts_and_comes_back_whole(store: Quarantine) -> None:
    large = refused(usage_event(id="r1", note=incompressible(4_000_000)))
    store.put([large, refused(usage_event(id="r2"))])
    parts = [item for item in items(store) if item["sk"]["S"].startswith("org_demo#r1#")]
    assert len(parts) >= 8
    assert max(len(item["raw"]["B"]) for item in parts) + 2000 < ITEM_BYTES
    assert [found.id for found in of_day(store)] == ["r1", "r2"]
    assert of_day(store)[0] == large


def test_a_large_event_that_packs_well_is_one_item(store: Quarantine) -> None:
    store.put([refused(usage_event(note="\x00" * 4_000_000))])
    assert len(items(store)) == 1
    assert of_day(store) == [refused(usage_event(note="\x00" * 4_000_000))]


def test_removing_an_entry_takes_all_its_parts_and_nothing_else(store: Quarantine) -> None:
    large, other = (refused(usage_event(id=name, note=incompressible(1_000_000))) for name in ("r1", "r11"))
    store.put([large, other])
    store.remove(large)
    assert of_day(store) == [other]
    assert all(item["sk"]["S"].startswith("org_demo#r11#") for item in items(store))


def test_removing_what_is_gone_already_is_no_error(store: Quarantine) -> None:
    store.remove(refused(7))
    assert of_day(store) == []


def test_an_entry_that_came_back_from_the_table_removes_what_was_put(store: Quarantine) -> None:
    store.put([refused(usage_event(note=incompressible(1_000_000))), refused(7), refused({"id": "a#b"})])
    for found in of_day(store):
        store.remove(found)
    assert items(store) == []


def test_an_entry_that_was_stored_in_part_does_not_hide_the_others(store: Quarantine) -> None:
    large, small = refused(usage_event(id="r1", note=incompressible(1_000_000))), refused(7)
    store.put([small])
    flaky(store).on("batch_write_item", takes_one)
    flaky(store).on("batch_write_item", fails(aws_error("InternalServerError")))
    with pytest.raises(Busy):  # the sender was told to try again, and never did
        store.put([large])
    assert small in of_day(store)


def takes_one(real: Call, arguments: dict[str, Any]) -> Any:
    """DynamoDB writes the first item of the call and leaves the others."""
    ((table, requests),) = arguments["RequestItems"].items()
    real(RequestItems={table: requests[:1]})
    return {"UnprocessedItems": {table: requests[1:]}}


def test_a_removal_that_broke_off_can_be_done_again(store: Quarantine) -> None:
    large = refused(usage_event(note=incompressible(1_000_000)))
    store.put([large])
    flaky(store).on("delete_item", lambda real, arguments: real(**arguments))
    flaky(store).on("delete_item", fails(aws_error("InternalServerError")))
    with pytest.raises(Busy):
        store.remove(large)
    assert of_day(store) == []
    store.remove(large)
    assert items(store) == []


# --- when the table does not take it -------------------------------------------------------------------------------


def test_the_item_that_is_listed_is_written_after_its_parts(store: Quarantine) -> None:
    store.put([refused(usage_event(id=name, note=incompressible(1_000_000))) for name in ("r1", "r2")])
    assert [name for name, _ in flaky(store).calls] == ["batch_write_item", "put_item", "put_item"]
    parts = flaky(store).asked("batch_write_item")[0]["RequestItems"][store.table]
    assert ["code" in each["PutRequest"]["Item"] for each in parts] == [False] * 4


def test_a_call_of_25_parts_is_within_what_dynamodb_takes(store: Quarantine) -> None:
    store.put([refused(usage_event(note=incompressible(4_000_000, seed))) for seed in range(4)])
    calls = [each["RequestItems"][store.table] for each in flaky(store).asked("batch_write_item")]
    assert len(calls) > 1
    for call in calls:
        raw = sum(len(each["PutRequest"]["Item"]["raw"]["B"]) for each in call)
        assert raw * 4 / 3 < 16 * 1024 * 1024


def test_unprocessed_parts_are_written_again_and_only_those(store: Quarantine) -> None:
    def leaves_half(real: Call, arguments: dict[str, Any]) -> Any:
        ((table, requests),) = arguments["RequestItems"].items()
        real(RequestItems={table: requests[::2]})
        return {"UnprocessedItems": {table: requests[1::2]}}

    flaky(store).on("batch_write_item", leaves_half, 2)
    kept = [refused(usage_event(id=f"r{number}", note=incompressible(1_000_000, number))) for number in range(4)]
    store.put(kept)
    written = [len(each["RequestItems"][store.table]) for each in flaky(store).asked("batch_write_item")]
    assert written == [8, 4, 2]
    assert of_day(store) == kept


def test_parts_that_stay_unprocessed_are_busy_after_some_attempts(store: Quarantine) -> None:
    flaky(store).on("batch_write_item", lambda _, arguments: {"UnprocessedItems": arguments["RequestItems"]}, 99)
    with pytest.raises(Busy, match="2 items"):
        store.put([refused(usage_event(note=incompressible(1_000_000)))])
    assert len(flaky(store).asked("batch_write_item")) == MAX_ATTEMPTS + 1
    assert flaky(store).asked("put_item") == []


def test_many_entries_are_written_side_by_side_and_each_of_them_once(store: Quarantine) -> None:
    """Sixteen calls wait for one another: one after the other they would wait for ever."""
    together, written = threading.Barrier(16, timeout=60), list[str]()

    def takes(_real: Call, arguments: dict[str, Any]) -> Any:
        together.wait()
        written.append(arguments["Item"]["sk"]["S"])
        return {}

    flaky(store).on("put_item", takes, 1600)
    with ThreadPoolExecutor(16) as pool:
        Quarantine(store.client, store.table, spread=pool.map).put(refused(number) for number in range(1600))
    assert len(flaky(store).asked("put_item")) == 1600
    assert len(written) == len(set(written)) == 1600


def test_side_by_side_the_item_that_is_listed_is_still_written_after_every_part(store: Quarantine) -> None:
    entries = [refused({"note": incompressible(3000, seed)}) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        Quarantine(store.client, store.table, spread=pool.map, max_bytes=1000).put(entries)
    called = [name for name, _ in flaky(store).calls if name != "query"]
    assert called == sorted(called)
    assert (called.count("put_item"), len(of_day(store))) == (60, 60)


def test_once_entries_cannot_be_written_no_other_call_is_begun_and_again_all_are_kept(store: Quarantine) -> None:
    entries = [refused(number) for number in range(100)]
    flaky(store).on("put_item", fails(aws_error("InternalServerError")))
    with pytest.raises(Busy):
        store.put(entries)
    assert len(flaky(store).asked("put_item")) == 1
    store.put(entries)
    assert len(of_day(store)) == 100


def test_no_entries_are_no_call(store: Quarantine) -> None:
    store.put([])
    assert flaky(store).calls == []


OUTAGES = {
    "throttling": aws_error("ProvisionedThroughputExceededException"),
    "an error of the service": aws_error("InternalServerError"),
    "no permission": aws_error("AccessDeniedException"),
    "nothing listens": ConnectTimeoutError(endpoint_url="https://dynamodb"),
}


@pytest.mark.parametrize("error", OUTAGES.values(), ids=OUTAGES)
def test_a_table_that_does_not_answer_is_busy(store: Quarantine, error: Exception) -> None:
    flaky(store).on("put_item", fails(error))
    with pytest.raises(Busy):
        store.put([refused(1)])
    flaky(store).on("delete_item", fails(error))
    with pytest.raises(Busy):
        store.remove(refused(1))


def test_a_table_that_cannot_be_listed_is_busy(clients: dict[str, Any]) -> None:
    with pytest.raises(Busy, match="ResourceNotFoundException"):
        list(Quarantine(clients["dynamodb"], "no-such-table").of_day(DAY))


def test_the_page_offers_every_reason_for_which_an_event_is_refused() -> None:
    code = ROOT / "layers/core/gratis"
    files = [*(code / "intake").glob("*.py"), code / "classify.py"]
    refused = {each for file in files for each in re.findall(r'Rejected\(\s*"([a-z_]+)"', file.read_text())}
    script = (ROOT / "functions/account_api/page/quarantine.js").read_text()
    (offered,) = re.findall(r"const REASONS = \[(.*?)\]", script, re.S)
    assert sorted(re.findall(r'"(\w+)"', offered)) == sorted(refused)
