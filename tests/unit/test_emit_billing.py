"""emit_billing from the ledger's stream to the bus: everything goes out at least once, under ids that stay the same."""

import base64
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gratis.closing.proof import Differences, Proof
from gratis.closing.sums import statement_of
from gratis.errors import Busy, Rejected
from gratis.intake.events import parse_event
from gratis.outbox import MAX_ATTEMPTS, bus_entries
from gratis.rules.account import Account
from gratis.rules.receipt import Decision
from gratis.table import dynamo
from gratis.table.account_items import stored_account, with_versions
from gratis.table.keys import account_key
from gratis.table.ledger import Ledger
from gratis.table.quarantine import Entry, Quarantine, entry
from gratis_local.functions import Context, handler_of
from gratis_simulation.machines.table import Table
from tests.builders.aws import TABLE, aws_error, moto_table
from tests.builders.events import DAY, at, incompressible, message, request, usage, usage_event
from tests.builders.ledger import Desk, classifier

RECEIVED = at("2025-03-11T23:30:00")
EVENTBRIDGE_BYTES = 256 * 1024
"""What EventBridge takes in one call."""
WITHOUT_METRICS = pytest.mark.filterwarnings("ignore:No application metrics to publish")
"""Powertools warns after a call that fails before it has reported anything."""
Outcome = Callable[[Sequence[Mapping[str, str]]], set[int]]
"""Which entries of a call the bus refuses, by their place; or raises."""


# --- the bus -------------------------------------------------------------------------------------------------------


@dataclass
class Bus:
    """EventBridge: refuses what is too large, and what it is told to refuse. `taken`: what it took, in order."""

    outcomes: list[Outcome] = field(default_factory=list)
    calls: list[list[Mapping[str, str]]] = field(default_factory=list)
    taken: list[Mapping[str, str]] = field(default_factory=list)

    def put_events(self, *, Entries: list[Mapping[str, str]]) -> Any:  # noqa: N803 - as boto3 does
        self.calls.append(Entries)
        if not 1 <= len(Entries) <= 10 or counted(Entries) > EVENTBRIDGE_BYTES:
            raise aws_error("ValidationException", "PutEvents")
        refused = self.outcomes.pop(0)(Entries) if self.outcomes else set()
        self.taken += [each for place, each in enumerate(Entries) if place not in refused]
        results = [
            {"ErrorCode": "InternalFailure", "ErrorMessage": "x"} if place in refused else {"EventId": str(place)}
            for place in range(len(Entries))
        ]
        return {"FailedEntryCount": len(refused), "Entries": results}

    def details(self, kind: str) -> list[Any]:
        """What the bus took of one kind, in order."""
        return [json.loads(each["Detail"]) for each in self.taken if each["DetailType"] == kind]

    def records(self) -> list[Any]:
        return [record for detail in self.details("BillingRecords") for record in detail["records"]]


def counted(entries: Sequence[Mapping[str, str]]) -> int:
    """The size of a call as EventBridge counts it."""
    return sum(len(each[name].encode()) for each in entries for name in ("Source", "DetailType", "Detail"))


def refuses(*places: int) -> Outcome:
    return lambda entries: set(places) & set(range(len(entries)))


def raises(error: Exception) -> Outcome:
    def outcome(_: Sequence[Mapping[str, str]]) -> set[int]:
        raise error

    return outcome


def refuses_kind(kind: str, holding: str = "") -> Outcome:
    return lambda entries: {
        place for place, each in enumerate(entries) if each["DetailType"] == kind and holding in each["Detail"]
    }


@dataclass
class Days:
    """The queue of days to close. `answers`: what it answers instead of success."""

    answers: list[Callable[[], Any]] = field(default_factory=list)
    calls: list[list[Mapping[str, Any]]] = field(default_factory=list)
    letters: list[Any] = field(default_factory=list)
    """What came into the other queue, that of the dead letters."""
    letters_refused: bool = False

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:  # noqa: N803 - as boto3 does
        assert QueueUrl == "https://dead-letters"
        if self.letters_refused:
            raise aws_error("InternalError", "SendMessage")
        self.letters.append(json.loads(MessageBody))

    def send_message_batch(self, *, QueueUrl: str, Entries: list[Mapping[str, Any]]) -> Any:  # noqa: N803
        assert QueueUrl == "https://days"
        self.calls.append(Entries)
        return self.answers.pop(0)() if self.answers else {"Successful": [{"Id": each["Id"]} for each in Entries]}

    def days(self) -> list[tuple[str, str]]:
        """Organization and day of each message, in order."""
        bodies = [json.loads(each["MessageBody"]) for call in self.calls for each in call]
        return [(body["organization"], body["day"]) for body in bodies]


@dataclass
class Marks:
    """The marks of late days in the table, and the lists of days."""

    items: dict[tuple[str, str], Any] = field(default_factory=dict)

    def batch_get_item(self, *, RequestItems: Any) -> Any:  # noqa: N803 - as boto3 does
        wanted = [(key["pk"]["S"], key["sk"]["S"]) for key in RequestItems["ledger"]["Keys"]]
        return {"Responses": {"ledger": [self.items[each] for each in wanted if each in self.items]}}

    def put_item(self, *, TableName: str, Item: Any) -> None:  # noqa: N803 - as boto3 does
        assert TableName == "ledger"
        self.items[Item["pk"]["S"], Item["sk"]["S"]] = Item

    def batch_write_item(self, *, RequestItems: Any) -> Any:  # noqa: N803 - as boto3 does
        for each in RequestItems["ledger"]:
            self.put_item(TableName="ledger", Item=each["PutRequest"]["Item"])
        return {}


class Clock(datetime):
    """`datetime` whose `now` is what a test says it is."""

    moment: ClassVar[datetime] = at("2025-03-12T08:00:00")

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return cls.moment


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def days() -> Days:
    return Days()


@pytest.fixture
def emit(bus: Bus, days: Days, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Any]], str | None]:
    """Calls the real function with a stream batch; answers the sequence number from which it wants it again."""
    monkeypatch.setattr(boto3, "client", lambda service, **_: {"events": bus, "sqs": days}[service])
    monkeypatch.setattr(dynamo, "longest_pause", lambda _: 0.0)
    monkeypatch.setenv("EVENT_BUS", "gratis-billing")
    monkeypatch.setenv("CLOSE_QUEUE", "https://days")
    monkeypatch.setenv("STREAM_DEAD_LETTERS", "https://dead-letters")
    monkeypatch.setenv("LEDGER_TABLE", "ledger")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    handler = handler_of("emit_billing")
    marks = Marks()
    monkeypatch.setitem(inspect.unwrap(handler).__globals__, "dynamodb", lambda: marks)
    monkeypatch.setitem(inspect.unwrap(handler).__globals__, "datetime", Clock)
    monkeypatch.setattr(Clock, "moment", at("2025-03-12T08:00:00"))

    def call(stream: Sequence[Any]) -> str | None:
        failures = handler({"Records": list(stream)}, Context("emit_billing"))["batchItemFailures"]
        assert len(failures) <= 1
        return failures[0]["itemIdentifier"] if failures else None

    return call


# --- the stream ----------------------------------------------------------------------------------------------------


def stream_of(*items: Any) -> list[dict[str, Any]]:
    """A stream batch with these new items, as Lambda hands it over. A pair is an old and a new image."""
    pairs = [item if isinstance(item, tuple) else (None, item) for item in items]
    return [stream_record(number, old, new) for number, (old, new) in enumerate(pairs, start=100)]


def stream_record(number: int, old: Any, new: Any) -> dict[str, Any]:
    kind = "REMOVE" if new is None else "INSERT" if old is None else "MODIFY"
    images = {name: as_lambda_gives(image) for name, image in (("OldImage", old), ("NewImage", new)) if image}
    keys = {name: value for name, value in (new or old).items() if name in ("pk", "sk")}
    return {
        "eventID": f"event-{number}",
        "eventName": kind,
        "eventSource": "aws:dynamodb",
        "dynamodb": {
            "Keys": keys,
            "SequenceNumber": sequence(number),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            **images,
        },
    }


def sequence(number: int) -> str:
    """Sequence numbers are compared as numbers, and have 21 digits and more."""
    return f"{4421584500000000017450400000 + number}"


def as_lambda_gives(image: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """An item as it stands in Lambda's event: bytes as base64."""
    return {
        name: {kind: base64.b64encode(value).decode() if kind == "B" else value for kind, value in typed.items()}
        for name, typed in image.items()
    }


def decisions(count: int, tokens: int = 1000, organization: str = "org_a", **fields: Any) -> list[Decision]:
    """Decisions on one organization's requests, one after the other."""
    made = Desk().decide(*[request(tokens, id=f"r{number:04}", **fields) for number in range(count)])
    return [decision._replace(organization=organization) for decision in made]


def item_of(decision: Decision) -> Any:
    """The item that the ledger writes for a decision."""
    client: Any = None
    return Ledger(client, TABLE)._decision_put(decision)["Put"]["Item"]


def items_of(kept: Entry) -> list[Any]:
    """The items that quarantine writes for an entry."""

    table: Any = Table()
    Quarantine(table, TABLE).put([kept])
    return [*table.items.values()]


def quarantined(raw: Any, rejected: Rejected | None = None) -> Entry:
    return entry(raw, rejected or Rejected("invalid_event", "id: is bad"), RECEIVED, "receive_usage")


def account_item(*modes: str, tier: int = 4, projects: Sequence[str] = ()) -> Any:
    """The item of an organization whose traffic was set to each of these modes in turn."""
    account = Account.model_validate(
        {
            "id": "org_a",
            "profile": [{"effective_at": "2025-01-01T00:00:00Z", "tier": tier}],
            "sharing": [
                {
                    "effective_at": f"2025-01-{day:02}T00:00:00Z",
                    "actor": "owner@org-a.example",
                    "confirmed": True,
                    "traffic": {"mode": mode, "projects": list(projects)} if mode == "selected" else {"mode": mode},
                }
                for day, mode in enumerate(modes, start=1)
            ],
        }
    )
    return account_key("org_a") | {"account": {"S": account.model_dump_json(exclude_defaults=True)}}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with moto_table() as client:
        yield client


def stored_items(client: Any) -> list[Any]:
    """All that lies in the table, oldest key first."""
    items = client.scan(TableName=TABLE)["Items"]
    return sorted(items, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


# --- what goes out -------------------------------------------------------------------------------------------------


def test_what_the_ledger_committed_goes_out_as_billing_records(client: Any, bus: Bus, emit: Any) -> None:
    outcome = classifier(client).classify([message("m1", usage("r1"), usage("r2", organization="org_b"))])
    assert emit(stream_of(*stored_items(client))) is None
    assert sorted(bus.records(), key=lambda each: each["id"]) == [decision.record() for decision in outcome.decisions]
    assert {(each["Source"], each["EventBusName"], each["DetailType"]) for each in bus.taken} == {
        ("gratis", "gratis-billing", "BillingRecords")
    }


def test_a_billing_record_is_what_the_specification_shows(bus: Bus, emit: Any) -> None:
    (decision,) = decisions(1, 120_000, organization="org_demo")
    emit(stream_of(item_of(decision)))
    (record,) = bus.records()
    assert record["id"] == "org_demo:2025-03-11:r0000"
    assert list(record) == [
        *("format", "kind", "id", "organization", "project", "request_id", "model", "group", "window", "verdict"),
        *("reason", "tokens", "unit", "quota", "used_before", "reserved_before", "used_after", "running_total"),
        *("voids", "reservation", "platform_verdict", "list_amount_usd", "amount_usd", "tier", "offer"),
        *("profile_version", "settings_version", "price_version", "payload_hash"),
        *("occurred_at", "received_at", "decided_at"),
    ]
    assert record["tokens"] == {"input": 120_000, "cached_input": 0, "cache_write": 0, "output": 0, "total": 120_000}


def test_records_are_packed_by_organization_up_to_100_an_event_and_keep_their_order(bus: Bus, emit: Any) -> None:
    of_a, of_b = decisions(250, 1, "org_a"), decisions(101, 1, "org_b")
    mixed = [each for pair in zip(of_a, of_b, strict=False) for each in pair] + of_a[101:]
    assert emit(stream_of(*map(item_of, mixed))) is None
    packed = [(detail["organization"], len(detail["records"])) for detail in bus.details("BillingRecords")]
    assert packed == [("org_a", 100), ("org_a", 100), ("org_a", 50), ("org_b", 100), ("org_b", 1)]
    for detail in bus.details("BillingRecords"):
        assert {record["organization"] for record in detail["records"]} == {detail["organization"]}
    assert [record["id"] for record in bus.records()] == [each.record()["id"] for each in of_a + of_b]


@pytest.mark.parametrize(
    ("tokens", "reached"),
    [
        ([799_999], []),
        ([800_000], [80]),
        ([799_999, 1], [80]),
        ([800_000, 100_000], [80]),
        ([1_000_000], [80, 100]),
        ([999_999, 1], [80, 100]),
        ([999_999, 2, 2], [80, 100]),
        ([1_000_000, 1, 1], [80, 100]),
    ],
)
def test_a_threshold_goes_out_once_with_the_decision_that_reaches_it(
    bus: Bus, emit: Any, tokens: list[int], reached: list[int]
) -> None:
    made = Desk().decide(*[request(each, id=f"r{number}") for number, each in enumerate(tokens)])
    emit(stream_of(*map(item_of, made)))
    assert [detail["threshold"] for detail in bus.details("QuotaThresholdReached")] == reached


def test_a_threshold_names_counter_quota_and_request(bus: Bus, emit: Any) -> None:
    (decision,) = decisions(1, 900_000)
    emit(stream_of(item_of(decision)))
    assert bus.details("QuotaThresholdReached") == [
        {
            "id": "org_a:1m:2025-03-11:1000000:80",
            "organization": "org_a",
            "project": None,
            "unit": "tokens",
            "group": "1m",
            "window": "2025-03-11",
            "threshold": 80,
            "quota": 1_000_000,
            "used": 900_000,
            "request_id": "r0000",
            "occurred_at": "2025-03-11T09:15:00Z",
        }
    ]


def test_a_quarantined_event_goes_out_without_its_content(bus: Bus, emit: Any) -> None:
    kept = quarantined(usage_event(id="r1", note="what-the-user-wrote"))
    emit(stream_of(*items_of(kept)))
    (detail,) = bus.details("EventQuarantined")
    key = kept.key
    assert detail == {
        "id": f"QUARANTINE#2025-03-11:{key['sk']['S']}",
        "request_id": "r1",
        "organization": "org_demo",
        "code": "invalid_event",
        "message": "id: is bad",
        "received_at": "2025-03-11T23:30:00Z",
        "whence": "receive_usage",
    }
    assert all("what-the-user-wrote" not in each["Detail"] for each in bus.taken)


def test_a_quarantined_event_without_a_name_goes_out_with_nulls(bus: Bus, emit: Any) -> None:
    emit(stream_of(*items_of(quarantined(7))))
    (detail,) = bus.details("EventQuarantined")
    assert (detail["organization"], detail["request_id"]) == (None, None)


def test_a_conflict_goes_out_without_the_record_that_stands(bus: Bus, emit: Any) -> None:
    kept = entry(usage_event(), Rejected("conflict", "differs"), RECEIVED, "classify_usage", {"amount_usd": "7"})
    emit(stream_of(*items_of(kept)))
    (detail,) = bus.details("EventQuarantined")
    assert (detail["code"], "decided" in detail, "amount_usd" in json.dumps(detail)) == ("conflict", False, False)


def test_a_large_quarantined_event_goes_out_once_and_not_for_each_of_its_parts(bus: Bus, emit: Any) -> None:
    items = items_of(quarantined(usage_event(note=incompressible(1_000_000))))
    assert len(items) > 2
    assert emit(stream_of(*items)) is None
    assert len(bus.taken) == 1


SHARING = {
    "a new organization": (None, account_item("disabled", "enabled"), [1, 2]),
    "a new version": (account_item("disabled"), account_item("disabled", "enabled"), [2]),
    "two versions at once": (account_item("disabled"), account_item("disabled", "enabled", "disabled"), [2, 3]),
    "another profile": (account_item("enabled"), account_item("enabled", tier=5), []),
    "an organization that shares nothing": (None, account_item(), []),
    "an organization that is removed": (account_item("enabled"), None, []),
}


@pytest.mark.parametrize(("old", "new", "versions"), SHARING.values(), ids=SHARING)
def test_each_new_version_of_the_sharing_settings_goes_out(
    bus: Bus, emit: Any, old: Any, new: Any, versions: list[int]
) -> None:
    emit([stream_record(100, old, new)])
    assert [(each["id"], each["version"]) for each in bus.details("SharingChanged")] == [
        (f"org_a:sharing:{number}", number) for number in versions
    ]
    assert len(bus.taken) == len(versions)


def test_a_change_of_sharing_says_what_was_and_what_is(bus: Bus, emit: Any) -> None:
    emit([stream_record(100, account_item("disabled"), account_item("disabled", "selected", projects=["proj_web"]))])
    (detail,) = bus.details("SharingChanged")
    assert detail["organization"] == "org_a"
    assert detail["previous"]["traffic"] == {"mode": "disabled", "projects": None}
    assert detail["settings"]["traffic"] == {"mode": "selected", "projects": ["proj_web"]}
    assert detail["settings"]["actor"] == "owner@org-a.example"


def test_what_is_no_news_does_not_go_out(bus: Bus, emit: Any) -> None:
    counter = {"pk": {"S": "COUNTER#org_a#1m"}, "sk": {"S": "2025-03-11"}, "version": {"N": "1"}}
    marker = {"pk": {"S": "DAY#2025-03-11"}, "sk": {"S": "ORG#org_a#1m"}}
    key = {"pk": {"S": "KEY#0"}, "sk": {"S": "KEY"}, "organization": {"S": "org_a"}}
    expired = (item_of(decisions(1)[0]), None)
    redriven = (items_of(quarantined(7))[0], None)
    assert emit(stream_of(counter, marker, key, expired, redriven)) is None
    assert bus.calls == []


def test_an_empty_batch_is_nothing_to_do(bus: Bus, emit: Any) -> None:
    assert emit([]) is None
    assert bus.calls == []


def test_a_statement_goes_out_as_it_is(bus: Bus, emit: Any) -> None:
    statement = {"id": "org_a:2025-03-11:1", "organization": "org_a", "day": "2025-03-11", "hash": "0", "holds": True}
    item = {
        "pk": {"S": "ORG#org_a"},
        "sk": {"S": "STATEMENT#2025-03-11#000001"},
        "statement": {"S": json.dumps(statement)},
    }
    emit(stream_of(item))
    assert bus.details("DayClosed") == [statement]


# --- days that have to be closed again -----------------------------------------------------------------------------


def decided_on(day: str, organization: str = "org_a", request_id: str = "r1") -> Any:
    """The item of a decision on 2025-03-11 that was taken on this day."""
    (decision,) = decisions(1, 1, organization)
    return item_of(decision._replace(request_id=request_id, decided_at=f"{day}T00:00:00Z"))


def test_a_day_that_got_a_decision_after_it_was_over_is_closed_again(days: Days, emit: Any) -> None:
    late = [decided_on("2025-03-12", "org_a", "r1"), decided_on("2025-03-14", "org_a", "r2")]
    emit(stream_of(*late, decided_on("2025-03-12", "org_b")))
    assert days.days() == [("org_a", "2025-03-11"), ("org_b", "2025-03-11")]
    assert [each["DelaySeconds"] for each in days.calls[0]] == [900, 900]


def test_a_day_is_closed_again_once_a_quarter_of_an_hour_however_many_batches_bring_decisions(
    days: Days, emit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Clock.moment
    for seconds in range(0, 3600, 10):
        monkeypatch.setattr(Clock, "moment", start + timedelta(seconds=seconds))
        emit(stream_of(decided_on("2025-03-12", request_id=f"r{seconds}")))
    assert days.days() == [("org_a", "2025-03-11")] * 5  # after 0, 14, 28, 42 and 56 minutes


def test_a_decision_in_the_last_minute_before_the_closing_queues_the_day_once_more(
    days: Days, emit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines' clocks may differ: it might come after the closing has read the table."""
    start = Clock.moment
    for seconds, queued in ((0, 1), (839, 1), (840, 2)):
        monkeypatch.setattr(Clock, "moment", start + timedelta(seconds=seconds))
        emit(stream_of(decided_on("2025-03-12", request_id=f"r{seconds}")))
        assert len(days.days()) == queued


def test_a_day_that_waits_does_not_keep_another_from_being_queued(days: Days, emit: Any) -> None:
    emit(stream_of(decided_on("2025-03-12")))
    emit(stream_of(decided_on("2025-03-12"), decided_on("2025-03-12", "org_b")))
    assert days.days() == [("org_a", "2025-03-11"), ("org_b", "2025-03-11")]


def test_a_day_whose_decisions_were_taken_in_time_is_not_closed_again(days: Days, emit: Any) -> None:
    emit(stream_of(decided_on("2025-03-11")))
    assert days.calls == []


def test_late_days_of_many_organizations_are_queued_ten_at_a_time(days: Days, emit: Any) -> None:
    emit(stream_of(*[decided_on("2025-03-12", f"org_{number:02}") for number in range(23)]))
    assert [len(call) for call in days.calls] == [10, 10, 3]
    assert len(set(days.days())) == 23


@WITHOUT_METRICS
@pytest.mark.parametrize(
    "failed", [{"Failed": [{"Id": "0"}]}, aws_error("InternalError")], ids=["refused", "no answer"]
)
def test_a_late_day_that_could_not_be_queued_makes_the_whole_batch_come_again(
    days: Days, emit: Any, failed: Any
) -> None:
    def answer() -> Any:
        if isinstance(failed, Exception):
            raise failed
        return failed

    days.answers = [answer]
    stream = stream_of(decided_on("2025-03-12"))
    with pytest.raises(Busy):
        emit(stream)
    assert emit(stream) is None
    assert days.days()[-1] == ("org_a", "2025-03-11")


# --- when the bus does not take it ---------------------------------------------------------------------------------


def news() -> list[dict[str, Any]]:
    """A stream batch with something of each kind; the decisions of org_a come first and last."""
    of_a, of_b = decisions(2, 900_000, "org_a"), decisions(1, 1, "org_b")
    return stream_of(
        item_of(of_a[0]),
        *items_of(quarantined(7)),
        item_of(of_b[0]),
        (account_item("disabled"), account_item("disabled", "enabled")),
        item_of(of_a[1]),
    )


ALL = 6
"""Bus entries of `news`: two thresholds, quarantine, sharing, and the records of each organization."""


def test_something_of_each_kind_goes_out_in_one_call(bus: Bus, emit: Any) -> None:
    assert emit(news()) is None
    assert [len(call) for call in bus.calls] == [ALL]


def test_only_the_entries_that_were_refused_are_sent_again(bus: Bus, emit: Any) -> None:
    bus.outcomes = [refuses(1, 4), refuses(0)]
    assert emit(news()) is None
    first, second, third = bus.calls
    assert second == [first[1], first[4]]
    assert third == [first[1]]
    assert len(bus.taken) == ALL


@pytest.mark.parametrize(
    "error",
    [
        aws_error("ThrottlingException"),
        aws_error("InternalException"),
        EndpointConnectionError(endpoint_url="https://x"),
    ],
)
def test_a_call_that_fails_is_made_again(bus: Bus, emit: Any, error: Exception) -> None:
    bus.outcomes = [raises(error)] * (MAX_ATTEMPTS - 1)
    assert emit(news()) is None
    assert len(bus.taken) == ALL


def test_a_bus_that_does_not_answer_makes_the_stream_come_again_from_its_first_record(bus: Bus, emit: Any) -> None:
    bus.outcomes = [raises(aws_error("InternalException"))] * MAX_ATTEMPTS
    assert emit(news()) == sequence(100)
    assert (len(bus.calls), bus.taken) == (MAX_ATTEMPTS, [])


REFUSED_FOR_EVER = {
    "a threshold of the first record": (refuses_kind("QuotaThresholdReached", '"threshold":80'), 100),
    "a threshold of the last record": (refuses_kind("QuotaThresholdReached", '"threshold":100'), 104),
    "the quarantined event": (refuses_kind("EventQuarantined"), 101),
    "the change of sharing": (refuses_kind("SharingChanged"), 103),
    "the records of org_a": (refuses_kind("BillingRecords", "org_a"), 100),
    "the records of org_b": (refuses_kind("BillingRecords", "org_b"), 102),
    "all records": (refuses_kind("BillingRecords"), 100),
}


@pytest.mark.parametrize(("outcome", "earliest"), REFUSED_FOR_EVER.values(), ids=REFUSED_FOR_EVER)
def test_what_still_fails_comes_again_from_the_earliest_record_that_it_carries(
    bus: Bus, emit: Any, outcome: Outcome, earliest: int
) -> None:
    bus.outcomes = [outcome] * MAX_ATTEMPTS
    stream = news()
    assert emit(stream) == sequence(earliest)
    left = ALL - len(bus.taken)
    assert left == len(outcome(bus.calls[0]))
    assert emit(stream[earliest - 100 :]) is None
    assert kinds_and_ids(bus) == kinds_and_ids(taken_whole(stream))


def test_the_second_page_of_an_organization_comes_again_from_its_own_first_record(bus: Bus, emit: Any) -> None:
    bus.outcomes = [refuses(1)] + [refuses(0)] * (MAX_ATTEMPTS - 1)
    assert emit(stream_of(*map(item_of, decisions(150, 1)))) == sequence(200)
    assert len(bus.records()) == 100


def test_the_calls_after_one_that_fails_are_made_all_the_same(bus: Bus, emit: Any) -> None:
    stream = stream_of(*[item_of(decisions(1, 1, f"org_{number:02}")[0]) for number in range(25)])
    bus.outcomes = [raises(aws_error("InternalException"))] * MAX_ATTEMPTS
    assert emit(stream) == sequence(100)
    assert len(bus.records()) == 15


@WITHOUT_METRICS
def test_an_answer_that_does_not_say_what_became_of_each_entry_is_an_error(emit: Any, bus: Bus) -> None:
    bus.put_events = lambda **_: {"FailedEntryCount": 0, "Entries": []}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="shorter"):
        emit(news())


def torn(item: Any) -> Any:
    return item | {"receipt": {"S": "["}}


def test_a_record_that_cannot_be_read_is_kept_and_stops_no_other(bus: Bus, days: Days, emit: Any) -> None:
    first, second, third = map(item_of, decisions(3))
    assert emit(stream_of(first, torn(second), third)) is None
    assert [record["request_id"] for record in bus.records()] == ["r0000", "r0002"]
    (letter,) = days.letters
    assert letter["keys"] == {"pk": second["pk"], "sk": second["sk"]}
    assert letter["error"].startswith("JSONDecodeError: Expecting value")


@pytest.mark.parametrize("broken", [{"receipt": {"S": "{}"}}, {"receipt": {"N": "1"}}, {"format": {"N": "x"}}])
def test_whatever_is_wrong_with_a_record_it_stops_no_other(bus: Bus, days: Days, emit: Any, broken: Any) -> None:
    first, second = map(item_of, decisions(2))
    assert emit(stream_of(first | broken, second)) is None
    assert [record["request_id"] for record in bus.records()] == ["r0001"]
    assert len(days.letters) == 1


@WITHOUT_METRICS
def test_a_record_that_can_be_neither_read_nor_kept_makes_the_whole_batch_come_again(days: Days, emit: Any) -> None:
    days.letters_refused = True
    stream = stream_of(torn(item_of(decisions(1)[0])))
    with pytest.raises(ClientError):
        emit(stream)
    days.letters_refused = False
    assert emit(stream) is None
    assert len(days.letters) == 1


def test_a_local_engine_gets_the_whole_batch_as_failed_since_it_knows_no_part_of_one(
    bus: Bus, emit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    bus.outcomes = [raises(aws_error("InternalException"))] * MAX_ATTEMPTS
    with pytest.raises(Busy):
        emit(news())
    assert emit(news()) is None


def test_a_permission_that_is_missing_is_not_swallowed(bus: Bus, emit: Any) -> None:
    bus.outcomes = [raises(aws_error("AccessDeniedException"))] * MAX_ATTEMPTS
    assert emit(news()) == sequence(100)


# --- redelivery ----------------------------------------------------------------------------------------------------


def kinds_and_ids(bus: Bus) -> set[tuple[str, str]]:
    """What the bus took, without what it took twice."""
    whole = {(each["DetailType"], json.loads(each["Detail"]).get("id", "")) for each in bus.taken}
    return {each for each in whole if each[1]} | {("record", record["id"]) for record in bus.records()}


def taken_whole(stream: Sequence[Mapping[str, Any]]) -> Bus:
    """A bus that took all that a stream batch says."""
    bus = Bus()
    for each in bus_entries(stream):
        bus.put_events(Entries=[{"Source": "gratis", "DetailType": each.kind, "Detail": each.text}])
    return bus


def test_a_batch_that_comes_again_goes_out_under_the_same_ids_with_the_same_content(bus: Bus, emit: Any) -> None:
    for _ in range(2):
        emit(news())
    assert bus.taken[:ALL] == bus.taken[ALL:]


def test_ids_do_not_depend_on_how_the_stream_was_cut(bus: Bus, emit: Any) -> None:
    stream = news()
    for record in stream:
        emit([record])
    assert kinds_and_ids(bus) == kinds_and_ids(taken_whole(stream))


def test_no_two_of_different_content_share_an_id() -> None:
    stream = news()
    entries = list(bus_entries(stream))
    ids = [(each.kind, each.detail["id"]) for each in entries if "id" in each.detail]
    assert len(ids) == len(set(ids))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(st.none() | st.sets(st.integers(0, 9)), max_size=12), cut=st.integers(1, 5))
def test_whatever_the_bus_refuses_everything_goes_out_in_the_end(
    emit: Any, bus: Bus, faults: list[set[int] | None], cut: int
) -> None:
    bus.taken.clear()
    bus.outcomes = [raises(aws_error("InternalException")) if fault is None else refuses(*fault) for fault in faults]
    stream = news()
    for start in range(0, len(stream), cut):
        shard = stream[start : start + cut]
        while shard:  # as Lambda does: everything from the number that is named, once more
            again = emit(shard)
            numbers = [record["dynamodb"]["SequenceNumber"] for record in shard]
            shard = shard[numbers.index(again) :] if again else []
    assert kinds_and_ids(bus) == kinds_and_ids(taken_whole(stream))


# --- limits --------------------------------------------------------------------------------------------------------


def longest(number: int) -> Decision:
    """A decision that is as long as validation lets one be."""
    (decision,) = decisions(1)
    return decision._replace(
        organization="o" * 64,
        request_id=f"{number:0256}",
        project="p" * 64,
        model="m" * 128,
        window="2025-03-01T00:00:00.000001Z",
        reason="o_series_on_assistants",
        input=10**12,
        output=10**12,
        cached=10**12,
        used_before=10**13,
        used_after=10**13,
        running_total=10**13,
        list_amount_usd="123456789.123456789",
        amount_usd="123456789.123456789",
        payload_hash="f" * 64,
        occurred_at="2025-03-11T09:15:00.123456Z",
        received_at="2025-03-11T09:15:00.123456Z",
        decided_at="2025-03-11T09:15:00.123456Z",
    )


def test_a_hundred_records_of_the_greatest_length_are_taken_by_the_bus(bus: Bus, emit: Any) -> None:
    assert emit(stream_of(*[item_of(longest(number)) for number in range(300)])) is None
    assert [len(detail["records"]) for detail in bus.details("BillingRecords")] == [100, 100, 100]
    assert max(map(counted, bus.calls)) <= EVENTBRIDGE_BYTES


def test_records_whose_names_take_many_bytes_are_taken_by_the_bus_in_several_events(bus: Bus, emit: Any) -> None:
    """Validation takes any printable characters: JSON in ASCII writes one in up to twelve bytes."""
    decided = [
        longest(number)._replace(
            project="\N{GRINNING FACE}" * 64, model="\N{GRINNING FACE}" * 128, reservation="r" * 256
        )
        for number in range(250)
    ]
    assert emit(stream_of(*map(item_of, decided))) is None
    assert max(map(counted, bus.calls)) <= EVENTBRIDGE_BYTES
    assert [each["request_id"] for each in bus.records()] == [each.request_id for each in decided]
    assert {len(detail["records"]) for detail in bus.details("BillingRecords")} == {25}


def test_a_call_holds_at_most_ten_entries(bus: Bus, emit: Any) -> None:
    emit(stream_of(*[item for number in range(25) for item in items_of(quarantined(number))]))
    assert [len(call) for call in bus.calls] == [10, 10, 5]


@pytest.mark.parametrize("field", ["id", "subject"])
def test_a_quarantined_event_with_a_very_long_name_does_not_stop_the_stream(bus: Bus, emit: Any, field: str) -> None:
    raw = usage_event(**{field: "x" * 300_000})
    assert emit(stream_of(*items_of(quarantined(raw)))) is None


def test_a_quarantined_event_with_a_very_long_message_does_not_stop_the_stream(bus: Bus, emit: Any) -> None:
    usage_object = {"prompt_tokens": 1, "total_tokens": 1, "input_tokens": "\x7f" * 79_000}
    raw = usage_event(data={"model": "m", "usage": usage_object})
    with pytest.raises(Rejected) as caught:
        parse_event(raw, RECEIVED)
    assert emit(stream_of(*items_of(quarantined(raw, caught.value)))) is None


MAX_PROJECTS = 500
"""That the last release took in one setting."""


def selections(count: int, versions: int = 2) -> Account:
    """org_a, which changed three settings so often, each to so many projects."""
    setting = {"mode": "selected", "projects": [f"{number:064}" for number in range(count)]}
    sharing = [
        {"effective_at": f"2025-01-0{day}T00:00:00Z"} | dict.fromkeys(("traffic", "evals", "feedback"), setting)
        for day in range(1, versions + 1)
    ]
    return Account.model_validate({"id": "org_a", "sharing": sharing})


def test_a_change_of_sharing_that_the_last_release_wrote_is_taken_by_the_bus(bus: Bus, emit: Any) -> None:
    whole = selections(MAX_PROJECTS)
    old, new = (
        account_key("org_a") | {"account": {"S": known.model_dump_json()}}
        for known in (whole.model_copy(update={"sharing": whole.sharing[:1]}), whole)
    )
    assert emit([stream_record(100, old, new)]) is None
    assert [detail["version"] for detail in bus.details("SharingChanged")] == [2]


def test_of_long_lists_it_is_told_how_many_projects_they_name(bus: Bus, emit: Any) -> None:
    images = [stored_account("org_a", None, NOTHING_BESIDE)]
    for version in selections(20_000).sharing:
        item = with_versions(images[-1], [], [version]).item
        images.append(stored_account("org_a", item, NOTHING_BESIDE))
    records = [stream_record(100 + number, images[number].item or None, images[number + 1].item) for number in (0, 1)]
    assert emit(records) is None
    said = {"mode": "selected", "projects": None, "project_count": 20_000}
    assert [each["settings"]["traffic"] for each in bus.details("SharingChanged")] == [said, said]
    assert [each["previous"] and each["previous"]["evals"] for each in bus.details("SharingChanged")] == [None, said]


def test_each_change_is_told_once_with_the_one_before_although_versions_move_beside_the_item(
    bus: Bus, emit: Any
) -> None:
    images, whole = [stored_account("org_a", None, NOTHING_BESIDE)], selections(20, 9)
    for version in whole.sharing:
        item = with_versions(images[-1], [], [version], 1).item
        images.append(stored_account("org_a", item, NOTHING_BESIDE))
    pairs = pairwise(images)
    assert emit([stream_record(n, old.item or None, new.item) for n, (old, new) in enumerate(pairs, start=100)]) is None
    told = bus.details("SharingChanged")
    assert [(each["id"], each["version"]) for each in told] == [(f"org_a:sharing:{n}", n) for n in range(1, 10)]
    assert [each["previous"] for each in told] == [None, *(each["settings"] for each in told[:-1])]


NOTHING_BESIDE: Any = None
"""Where nothing is read that lies beside an account's item."""


def test_a_statement_with_a_thousand_differences_does_not_stop_the_stream(bus: Bus, emit: Any) -> None:
    records = [decision.record() for decision in decisions(2200)]
    why = "is free (within_quota); from its receipt it would be billed (over_quota)"
    found = Differences()
    for number, record in enumerate(records):
        found.add("decided_differently", f"{why} {number}", record["id"])
    content = Proof.of(statement_of("org_a", DAY, records), found).content()
    assert content["difference_count"] == 2200
    item = {"pk": {"S": "ORG#org_a"}, "sk": {"S": "STATEMENT#2025-03-11#000001"}}
    assert emit(stream_of(item | {"statement": {"S": json.dumps(content)}})) is None
