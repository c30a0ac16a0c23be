"""The ledger table: what is written under which condition, what comes back, and what each failure means."""

import json
import random
import string
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.stub import Stubber

from benchmarks.meter import size_of
from gratis.classify import chunk_size
from gratis.errors import Busy, Rejected
from gratis.rules.decision import Books, Case, case_of, settle
from gratis.rules.pages import MAX_PAGE_ROWS
from gratis.rules.receipt import Decision
from gratis.rules.request import RequestKey
from gratis.rules.totals import Totals
from gratis.rules.window import Counter, CounterId, Window
from gratis.table import decision_items, keys, ledger
from gratis.table.accounts import Accounts
from gratis.table.ledger import MAX_ATTEMPTS, CommitRefused, Document, JudgedBy, Ledger
from gratis.table.quarantine import Quarantine, entry
from gratis_simulation.checks.histories import whole
from tests.builders.aws import ALWAYS, TABLE, Faulty, aws_error, cancelled, fails, moto_table
from tests.builders.events import DAY, LARGE, RECEIVED, request_of, usage
from tests.builders.ledger import plain, stored
from tests.builders.offers import DAILY
from tests.builders.organizations import account

COUNTER = CounterId("org_a", "1m", "2025-03-11")
NOTHING = Books(Counter(), {})


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with moto_table() as client:
        yield client


def settled(*events: Any, books: Books = NOTHING) -> tuple[Books, list[Decision]]:
    cases = [case_of(request_of(event), DAILY, account()) for event in events]
    return settle(books, cases, RECEIVED)


def commit(on: Ledger, *events: Any, read: dict[CounterId, Document] | None = None) -> dict[CounterId, Document]:
    """Settle `events` on the documents that were read, and commit."""
    read = read or {}
    books, decisions = settled(*events, books=ledger.books_of(read, COUNTER, [DAY]))
    return on.commit(read, COUNTER, books, decisions)


def day_of(seconds: str) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


# --- commit and read back ------------------------------------------------------------------------------------------


def test_what_is_committed_is_read_back_as_it_was(client: Any) -> None:
    table = Ledger(client, TABLE)
    Accounts(client, TABLE).put(account())
    books, decisions = settled(usage("a", 850_000), usage("b", 200_000, project="proj_web"), usage("c", 0))
    documents = table.commit({}, COUNTER, books, decisions)

    accounts, read = table.read(["org_a", "org_unknown"], [COUNTER, COUNTER._replace(group="10m")])

    assert read == documents
    assert (read[COUNTER].version, read[COUNTER].counter, read[COUNTER].totals) == (1, books.counter, books.totals[DAY])
    assert {name: whole(each) for name, each in accounts.items()} == {"org_a": account()}
    found = table.decisions([*(decision.key for decision in decisions), RequestKey("org_a", DAY, "never")])
    assert {key: plain(decision) for key, decision in found.items()} == {each.key: each for each in decisions}


def test_a_decision_is_stored_under_its_organization_day_and_id(client: Any) -> None:
    commit(Ledger(client, TABLE), usage("req:/1", at="2025-03-12T00:20:00+01:00"))
    assert ("DAY#org_a#2025-03-11#4", "REQ#req:/1") in stored(client).items


def test_the_shard_of_a_request_id_never_changes() -> None:
    pks = [keys.decision_key(RequestKey("o", DAY, request_id))["pk"]["S"] for request_id in ("req_001", "a", "b")]
    assert pks == ["DAY#o#2025-03-11#7", "DAY#o#2025-03-11#3", "DAY#o#2025-03-11#1"]


def test_the_first_commit_of_a_day_marks_it_and_no_later_one(client: Any) -> None:
    faulty = Faulty(client)
    table = Ledger(faulty, TABLE)
    documents = commit(table, usage("a"))
    commit(table, usage("b"), read=documents)
    assert [len(items) for items in faulty.transactions] == [3, 2]
    assert stored(client).markers == {("DAY#2025-03-11", "ORG#org_a#1m")}


def test_documents_of_weeks_and_of_rolling_windows_mark_no_day() -> None:
    assert not ledger.is_day(COUNTER._replace(slot="WEEK#2025-03-10"))
    assert not ledger.is_day(COUNTER._replace(slot="ROLLING"))
    assert ledger.is_day(COUNTER)


def test_items_expire_when_nobody_can_ask_for_them_any_more(client: Any) -> None:
    commit(Ledger(client, TABLE), usage("a"))
    items = stored(client).items
    expiry = {sk: day_of(item["expires"]["N"]) for (_, sk), item in items.items()}
    assert expiry == {
        "2025-03-11": "2026-04-16T00:00:00+00:00",  # 400 days after the end of the day
        "ORG#org_a#1m": "2026-04-16T00:00:00+00:00",
        "REQ#a": "2025-04-26T00:00:00+00:00",  # 45 days after
    }


def test_a_decision_outlives_the_last_moment_at_which_its_event_could_be_decided_again() -> None:
    # Its time to live counts from the end of the day, so even an event of 23:59:59.999 is covered.
    assert decision_items.KEEP_DECISIONS > ledger.LATEST_DECISION


def test_a_week_expires_like_its_last_day_and_rolling_windows_never_do(client: Any) -> None:
    table = Ledger(client, TABLE)
    opened = Counter((Window(RECEIVED, 5),))
    for window in ("ROLLING", "WEEK#2025-03-10", "2025-03-16"):
        table.commit({}, COUNTER._replace(slot=window), Books(opened, {}), [])
    documents = {item["sk"]["S"]: item.get("expires") for item in stored(client).items.values() if "version" in item}
    assert documents["ROLLING"] is None
    assert documents["WEEK#2025-03-10"] == documents["2025-03-16"]


def test_nothing_of_a_replay_expires(client: Any) -> None:
    commit(Ledger(client, TABLE, expire=False), usage("a"))
    assert [item for item in stored(client).items.values() if "expires" in item] == []


def test_an_ordinary_decision_is_one_write_unit_before_the_transaction_doubles_it(client: Any) -> None:
    event = usage("chatcmpl-0123456789abcdef0123456789abcdef", 123_456, project="proj_0123456789abcdef01234567")
    commit(Ledger(client, TABLE), event)
    item = next(item for (_, sk), item in stored(client).items.items() if sk.startswith("REQ#"))
    assert sum(len(name) + len(next(iter(value.values()))) for name, value in item.items()) < 1024


# --- what stands in the way of a commit ----------------------------------------------------------------------------


def test_a_commit_on_a_stale_document_is_refused_with_the_fresh_one(client: Any) -> None:
    table = Ledger(client, TABLE)
    read = commit(table, usage("a", 100))
    fresh = commit(table, usage("b", 200), read=read)
    before = stored(client)

    with pytest.raises(CommitRefused) as refused:
        commit(table, usage("c", 300), usage("d", 400), read=read)

    assert refused.value.documents == fresh
    assert refused.value.decided == []
    assert stored(client) == before


def test_a_commit_on_a_document_that_was_not_there_is_refused_with_the_one_that_is(client: Any) -> None:
    table = Ledger(client, TABLE)
    documents = commit(table, usage("a", 100))
    with pytest.raises(CommitRefused) as refused:
        commit(table, usage("b", 200), read={})
    assert refused.value.documents == documents


def test_a_commit_with_a_decided_request_is_refused_with_its_decision(client: Any) -> None:
    table = Ledger(client, TABLE)
    documents = commit(table, usage("a", 100), usage("b", 200))
    before = stored(client)

    with pytest.raises(CommitRefused) as refused:
        commit(table, usage("c", 300), usage("b", 200), usage("d", 400), read=documents)

    assert [plain(decision) for decision in refused.value.decided] == [before.decisions[RequestKey("org_a", DAY, "b")]]
    assert refused.value.documents == {}
    assert stored(client) == before


def test_totals_of_a_day_that_another_writer_moved_refuse_a_rolling_commit(client: Any) -> None:
    table = Ledger(client, TABLE)
    windows, days = COUNTER._replace(slot="ROLLING"), {DAY: Totals()}
    both = table.commit({}, windows, Books(Counter(), days), [])
    table.commit(both, COUNTER, Books(Counter(), days), [])
    with pytest.raises(CommitRefused) as refused:
        table.commit(both, windows, Books(Counter(), days), [])
    assert {identity: document.version for identity, document in refused.value.documents.items()} == {COUNTER: 2}


# --- what a failure means ------------------------------------------------------------------------------------------


def stubbed(client: Any, *codes: str, **more: Any) -> Stubber:
    """A stub whose next transaction is cancelled for these reasons."""
    reasons = [{"Code": code, **more} for code in codes]
    stub = Stubber(client)
    modeled = {"CancellationReasons": reasons}
    stub.add_client_error("transact_write_items", "TransactionCanceledException", modeled_fields=modeled)
    return stub


@pytest.mark.parametrize(
    "codes",
    [
        ("TransactionConflict", "None"),
        ("None", "ThrottlingError"),
        ("ProvisionedThroughputExceeded", "None"),
        ("TransactionConflict", "ThrottlingError"),
        ("ConditionalCheckFailed", "None"),  # of a document that expired since: nothing comes back
        ("AnythingNew",),
    ],
)
def test_a_transaction_that_was_cancelled_for_a_moment_may_work_later(client: Any, codes: tuple[str, ...]) -> None:
    with stubbed(client, *codes), pytest.raises(Busy):
        commit(Ledger(client, TABLE), usage("a"))


@pytest.mark.parametrize("codes", [("ValidationError", "None"), ("ItemCollectionSizeLimitExceeded",)])
def test_a_transaction_that_will_never_be_taken_is_rejected(client: Any, codes: tuple[str, ...]) -> None:
    with stubbed(client, *codes), pytest.raises(Rejected) as rejected:
        commit(Ledger(client, TABLE), usage("a"))
    assert rejected.value.code == "internal_error"


def test_a_decision_that_came_back_counts_even_beside_a_conflict(client: Any) -> None:
    table = Ledger(client, TABLE)
    commit(table, usage("a"))
    items = stored(client).items
    decision = next(item for (_, sk), item in items.items() if sk == "REQ#a")
    reasons = [{"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed", "Item": decision}]
    response = aws_error("TransactionCanceledException", CancellationReasons=reasons).response
    error = client.exceptions.TransactionCanceledException(response, "TransactWriteItems")
    with pytest.raises(CommitRefused) as refused:
        commit(Ledger(Faulty(client).on("transact_write_items", fails(error)), TABLE), usage("a"))
    assert [decision.request_id for decision in refused.value.decided] == ["a"]


@pytest.mark.parametrize(
    "error",
    [
        aws_error("AccessDeniedException"),
        aws_error("ResourceNotFoundException"),
        aws_error("ThrottlingException"),
        aws_error("ProvisionedThroughputExceededException"),
        aws_error("RequestLimitExceeded"),
        aws_error("TransactionInProgressException"),
        aws_error("InternalServerError"),
        aws_error("ExpiredTokenException"),
        ReadTimeoutError(endpoint_url="https://x.example"),
        ConnectTimeoutError(endpoint_url="https://x.example"),
        EndpointConnectionError(endpoint_url="https://x.example"),
        NoCredentialsError(),
    ],
    ids=lambda error: error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__,
)
def test_what_is_not_the_events_fault_may_work_later(client: Any, error: Exception) -> None:
    faulty = Faulty(client)
    for operation in ("transact_write_items", "batch_get_item", "put_item"):
        faulty.on(operation, fails(error))
    with pytest.raises(Busy):
        commit(Ledger(faulty, TABLE), usage("a"))
    with pytest.raises(Busy):
        Ledger(faulty, TABLE).accounts(["org_a"])
    with pytest.raises(Busy):
        Quarantine(faulty, TABLE).put([entry({}, Rejected("invalid_event", "empty"), RECEIVED, "test")])


def test_only_a_malformed_request_will_never_succeed(client: Any) -> None:
    faulty = Faulty(client).on("transact_write_items", fails(aws_error("ValidationException")))
    with pytest.raises(Rejected) as rejected:
        commit(Ledger(faulty, TABLE), usage("a"))
    assert rejected.value.code == "internal_error"
    assert stored(client).items == {}


def test_a_cancellation_without_reasons_may_work_later(client: Any) -> None:
    faulty = Faulty(client).on("transact_write_items", cancelled(client))
    with pytest.raises(Busy):
        commit(Ledger(faulty, TABLE), usage("a"))


# --- batch reads ---------------------------------------------------------------------------------------------------


def leaving_unread(count: int) -> Any:
    """A batch read that answers all but the last `count` keys."""

    def fault(real: Any, arguments: dict[str, Any]) -> Any:
        asked = arguments["RequestItems"][TABLE]
        answered, left = asked["Keys"][:-count], asked["Keys"][-count:]
        answer = real(RequestItems={TABLE: asked | {"Keys": answered}}) if answered else {"Responses": {}}
        return answer | {"UnprocessedKeys": {TABLE: asked | {"Keys": left}}}

    return fault


def test_keys_that_were_left_unread_are_asked_for_again(client: Any) -> None:
    events = [usage(f"r{number}") for number in range(7)]
    commit(Ledger(client, TABLE), *events)
    keys = [request_of(event).key for event in events]
    faulty = Faulty(client).on("batch_get_item", leaving_unread(5)).on("batch_get_item", leaving_unread(2))
    assert Ledger(faulty, TABLE).decisions(keys).keys() == set(keys)
    asked = [len(arguments["RequestItems"][TABLE]["Keys"]) for _, arguments in faulty.calls]
    assert asked == [7, 5, 2]


def test_a_read_that_never_ends_is_given_up(client: Any) -> None:
    faulty = Faulty(client).on("batch_get_item", leaving_unread(1), times=ALWAYS)
    with pytest.raises(Busy, match="1 keys unread"):
        Ledger(faulty, TABLE).decisions([RequestKey("org_a", DAY, "a")])
    assert len(faulty.calls) == MAX_ATTEMPTS + 1


def test_more_than_100_keys_are_read_in_pages_and_consistently(client: Any) -> None:
    faulty = Faulty(client)
    table = Ledger(faulty, TABLE)
    commit(table, *(usage(f"r{number}", 1) for number in range(90)))
    keys = [RequestKey("org_a", DAY, f"r{number}") for number in range(250)]
    assert len(table.decisions(keys)) == 90
    reads = [arguments["RequestItems"][TABLE] for name, arguments in faulty.calls if name == "batch_get_item"]
    assert [len(read["Keys"]) for read in reads] == [100, 100, 50]
    assert all(read["ConsistentRead"] for read in reads)


def test_nothing_is_asked_for_where_there_is_nothing_to_read(client: Any) -> None:
    faulty = Faulty(client)
    assert Ledger(faulty, TABLE).decisions([]) == {}
    assert faulty.calls == []


# --- documents -----------------------------------------------------------------------------------------------------


def test_the_totals_of_a_full_page_fit_the_one_write_unit_of_their_document(client: Any) -> None:
    dice = random.Random(1)
    names = ["".join(dice.choices(string.ascii_letters, k=24)) for _ in range(MAX_PAGE_ROWS)]
    events = [usage(f"r{n}", dice.randint(1, 9999), project=f"proj_{name}") for n, name in enumerate(names)]
    books, decisions = settled(*events)
    Ledger(client, TABLE).commit({}, COUNTER, books, decisions)
    (item,) = [each for each in client.scan(TableName=TABLE)["Items"] if each["pk"]["S"].startswith("COUNTER#")]
    assert size_of(item) <= 1024
    assert len(Ledger(client, TABLE).documents([COUNTER])[COUNTER].totals.rows) == MAX_PAGE_ROWS


# --- chunks --------------------------------------------------------------------------------------------------------


SEEN, KNOWN = Document(version=1, account_version=1), JudgedBy(1, has_profile=True)


def cases(*days: date, projects: int = 1) -> list[Case]:
    events = [
        usage(f"r{number}", at=f"{day}T12:00:00Z", project=f"proj_{number % projects}")
        for number, day in enumerate(days)
    ]
    return [case_of(request_of(event), DAILY, account()) for event in events]


def test_99_decisions_fit_one_transaction_beside_a_document_that_is_there() -> None:
    assert chunk_size(COUNTER, cases(*[DAY] * 150), {COUNTER: SEEN}, judged_by=KNOWN) == 99


def test_a_document_that_is_new_leaves_room_for_its_marker_and_the_check_of_the_account() -> None:
    assert chunk_size(COUNTER, cases(*[DAY] * 150), {COUNTER: Document()}, judged_by=KNOWN) == 97


def test_who_has_no_profile_leaves_room_for_the_check_of_the_account() -> None:
    assert chunk_size(COUNTER, cases(*[DAY] * 150), {COUNTER: SEEN}, judged_by=JudgedBy(1, has_profile=False)) == 98


def test_a_rolling_counter_leaves_room_for_each_days_totals_and_marker() -> None:
    counter = COUNTER._replace(slot="ROLLING")
    days = [date(2025, 2, 8 + number % 20) for number in range(150)]
    shelf = {counter: Document(), **{ledger.totals_of(counter, day): Document() for day in days}}
    assert chunk_size(counter, cases(*days), shelf, judged_by=KNOWN) == 100 - 1 - 20 - 20 - 1


def test_a_document_that_comes_apart_leaves_room_for_its_page() -> None:
    wide = cases(*[DAY] * 150, projects=MAX_PAGE_ROWS)
    assert chunk_size(COUNTER, wide, {COUNTER: SEEN}, judged_by=KNOWN) == 98


def test_a_few_that_fit_are_one_chunk() -> None:
    assert chunk_size(COUNTER, cases(*[DAY] * 3), {COUNTER: Document()}) == 3


# --- quarantine ----------------------------------------------------------------------------------------------------

REFUSED = Rejected("invalid_event", "data.model: Field required")


def test_the_same_refusal_again_changes_nothing(client: Any) -> None:
    quarantine = Quarantine(client, TABLE)
    refused = entry(usage("a"), REFUSED, RECEIVED, "receive_usage")
    quarantine.put([refused])
    before = stored(client).items
    quarantine.put([refused, entry(usage("a"), REFUSED, RECEIVED, "receive_usage")])
    assert stored(client).items == before
    assert list(quarantine.of_day(DAY)) == [refused]
    assert refused.error() == {"code": "invalid_event", "message": "data.model: Field required"}


def test_another_payload_or_another_reason_is_another_entry(client: Any) -> None:
    quarantine = Quarantine(client, TABLE)
    quarantine.put([entry(usage("a", 1), REFUSED, RECEIVED, "test")])
    quarantine.put([entry(usage("a", 2), REFUSED, RECEIVED, "test")])
    quarantine.put([entry(usage("a", 1), Rejected("conflict", "another payload"), RECEIVED, "test")])
    assert len(stored(client).quarantine) == 3


@pytest.mark.parametrize("raw", [None, 5, "text", [], {}, {"subject": "a#b", "id": "x#y"}, {"subject": 7, "id": ["x"]}])
def test_whatever_was_sent_can_be_kept(client: Any, raw: Any) -> None:
    quarantine = Quarantine(client, TABLE)
    kept = entry(raw, REFUSED, RECEIVED, "test")
    quarantine.put([kept])
    assert list(quarantine.of_day(DAY)) == [kept]
    assert json.loads(kept.raw) == raw
    assert kept.key["sk"]["S"].startswith("-#-#")


def test_an_event_that_no_single_item_could_hold_is_kept_whole(client: Any) -> None:
    noise = "".join(random.Random(5).choices(string.ascii_letters + string.digits, k=900_000))
    kept = entry(usage("a", note=noise), REFUSED, RECEIVED, "test")
    Quarantine(client, TABLE).put([kept])
    assert list(Quarantine(client, TABLE).of_day(DAY)) == [kept]


@pytest.mark.parametrize("field", ["id", "subject"])
def test_an_event_whose_name_alone_fills_an_item_is_kept(client: Any, field: str) -> None:
    kept = entry(usage("a") | {field: "x" * 450_000}, REFUSED, RECEIVED, "test")
    Quarantine(client, TABLE).put([kept])
    assert [found.raw for found in Quarantine(client, TABLE).of_day(DAY)] == [kept.raw]


def test_an_entry_is_found_by_the_day_it_was_received_on(client: Any) -> None:
    quarantine = Quarantine(client, TABLE)
    quarantine.put([entry(usage("a", model=LARGE), REFUSED, datetime(2025, 3, 12, 0, 0, tzinfo=UTC), "test")])
    assert list(quarantine.of_day(DAY)) == []
    assert [kept.id for kept in quarantine.of_day(date(2025, 3, 12))] == ["a"]


def test_a_quarantine_that_cannot_be_read_now_is_busy(client: Any) -> None:
    with Stubber(client) as stub:
        stub.add_client_error("query", "ThrottlingException")
        with pytest.raises(Busy):
            list(Quarantine(client, TABLE).of_day(DAY))
