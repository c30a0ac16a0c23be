"""classify_usage from the queue's records to what the table holds: SPEC section 3 through every failure."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from gratis import classify, config
from gratis.classify import Outcome
from gratis.intake.events import MAX_EVENT_BYTES
from gratis.intake.messages import Message
from gratis.rules.account import Account
from gratis.rules.decision import Case, case_of
from gratis.rules.request import RequestKey
from gratis.rules.window import CounterId
from gratis.table import ledger
from gratis.table.accounts import Accounts
from gratis.table.keys import decision_key
from gratis_local.functions import Context, handler_of
from tests.builders.aws import (
    ALWAYS,
    TABLE,
    Crash,
    Fault,
    Faulty,
    aws_error,
    cancelled,
    dies_after,
    fails,
    first,
    holding,
    loses_response,
    moto_table,
    of_organization,
)
from tests.builders.events import DAY, LARGE, RECEIVED, SMALL, message, record, request_of, usage, void_of
from tests.builders.ledger import by_the_events_clock, classifier, prove, stored
from tests.builders.offers import DAILY, with_versions
from tests.builders.organizations import account

COUNTER = CounterId("org_a", "1m", "2025-03-11")
FREE, OVER = ("free", "within_quota"), ("billed", "over_quota")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A table in which org_a and org_b share their traffic at tier 4."""
    with moto_table() as client:
        for organization in ("org_a", "org_b"):
            Accounts(client, TABLE).put(account(organization))
        yield client


@pytest.fixture
def faulty(client: Any) -> Faulty:
    return Faulty(client)


@pytest.fixture
def handle(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Calls the real function with SQS records; answers the ids of the messages that come again."""
    environment = {"LEDGER_TABLE": TABLE, "OFFER": "data-sharing"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OFFER_ENDS", raising=False)
    monkeypatch.setattr(config, "dynamodb", lambda: faulty)
    config.config.cache_clear()
    handler = by_the_events_clock(handler_of("classify_usage"))

    def call(*records: dict[str, Any]) -> list[str]:
        answer = handler({"Records": list(records)}, Context("classify_usage"))
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    yield call
    config.config.cache_clear()


def classified(client: Any, *messages: Message, **more: Any) -> Outcome:
    return classifier(client, **more).classify(messages)


def versions(client: Any) -> dict[str, int]:
    """Version of each counter document, by its window."""
    return {identity.slot: document.version for identity, document in stored(client).documents.items()}


# --- the whole way -------------------------------------------------------------------------------------------------


def test_the_handler_stores_decisions_counters_totals_and_a_marker(client: Any, handle: Any) -> None:
    events = [usage("r1", 600_000, project="proj_web"), usage("r2", 500_000), usage("r3", 400_000)]
    assert handle(record("m1", *events)) == []

    found = stored(client)
    assert found.verdicts() == {"r1": FREE, "r2": OVER, "r3": FREE}
    assert found.used() == 1_000_000
    assert found.decisions[RequestKey("org_a", DAY, "r2")].running_total == 1_100_000
    assert found.decisions[RequestKey("org_a", DAY, "r3")].received_at == "2025-03-11T23:30:00Z"
    assert found.markers == {("DAY#2025-03-11", "ORG#org_a#1m")}
    assert all("expires" in item for (_, sk), item in found.items.items() if sk != "ACCOUNT")
    prove(found)


def test_the_seeds_day_comes_out_as_in_its_table(client: Any, handle: Any) -> None:
    day = [("09:15", 120), ("12:40", 140), ("14:30", 150), ("16:00", 150), ("18:05", 150), ("20:20", 150)]
    day += [("22:15", 115), ("23:10", 30), ("23:30", 25)]
    events = [usage(clock, tokens * 1000, at=f"2025-03-11T{clock}:00Z") for clock, tokens in day]
    assert handle(*(record(f"m{event['id']}", event) for event in events)) == []

    found = stored(client).decisions
    decisions = [found[RequestKey("org_a", DAY, clock)] for clock, _ in day]
    assert [each.running_total // 1000 for each in decisions] == [120, 260, 410, 560, 710, 860, 975, 1005, 1000]
    assert [each.verdict for each in decisions] == ["free"] * 7 + ["billed", "free"]


def test_organizations_groups_and_unshared_traffic_are_each_counted_apart(client: Any, handle: Any) -> None:
    records = [
        record("a", usage("r1", 700_000), usage("r2", 700_000, model=SMALL), usage("r3", 5, model="gpt-3.5-turbo")),
        record("b", usage("r1", 700_000, organization="org_b"), group="org_b"),
        record("c", usage("r1", 5, organization="org_unknown"), group="org_unknown"),
    ]
    assert handle(*records) == []
    found = stored(client)
    assert {(each.organization, each.group) for each in found.documents} == {
        ("org_a", "1m"),
        ("org_a", "10m"),
        ("org_a", "-"),
        ("org_b", "1m"),
        ("org_unknown", "-"),
    }
    reasons = {(key.organization, key.request_id): each.reason for key, each in found.decisions.items()}
    assert reasons["org_a", "r3"] == "model_not_listed"
    assert reasons["org_unknown", "r1"] == "sharing_disabled"
    prove(found)


def test_documents_that_are_left_unread_are_asked_for_again(client: Any, faulty: Faulty, handle: Any) -> None:
    handle(record("m1", usage("r1", 900_000)))

    def forgets_the_counter(real: Any, arguments: dict[str, Any]) -> Any:
        asked = arguments["RequestItems"][TABLE]
        left = [key for key in asked["Keys"] if key["pk"]["S"].startswith("COUNTER#")]
        answered = [key for key in asked["Keys"] if key not in left]
        answer = real(RequestItems={TABLE: asked | {"Keys": answered}})
        return answer | {"UnprocessedKeys": {TABLE: asked | {"Keys": left}}}

    faulty.on("batch_get_item", forgets_the_counter, times=3)
    assert handle(record("m2", usage("r2", 200_000))) == []
    assert stored(client).verdicts()["r2"] == OVER
    assert all(plan.times == 0 for plan in faulty.plans)


def test_metrics_count_a_voided_request_off_and_what_is_to_be_looked_into_once(
    handle: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = [usage("r1", 100_000), usage("r2", 7, model="unheard-of", platform_verdict="free")]
    handle(record("m1", *requests, *(void_of(each, f"void-{each['id']}") for each in requests)))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    batch = next(line for line in lines if "EventsReceived" in line)
    names = ("FreeRequests", "BilledRequests", "FreeTokens", "BilledTokens", "Unpriced", "PlatformVerdictsDiffer")
    assert {name: batch[name] for name in names} == dict(zip(names, ([0], [0], [0], [0], [1], [1]), strict=True))


def test_metrics_are_one_set_a_batch_however_many_events_it_holds(
    handle: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [usage(f"r{number}", 100_000) for number in range(12)]
    handle(
        record("m1", *events, usage("r0", 100_000), usage("unpriced", 7, model="unheard-of")),
        record("m2", usage("r1", 5), {"specversion": "1.0"}),
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    emitted = [line for line in lines if "_aws" in line]
    batch = next(line for line in emitted if "EventsReceived" in line)
    values = {name: value[0] for name, value in batch.items() if isinstance(value, list)}
    del values["ContendedCommits"], values["DecisionLatency"]
    assert values == {
        "EventsReceived": 16,
        "FreeRequests": 10,
        "BilledRequests": 3,
        "FreeTokens": 1_000_000,
        "BilledTokens": 200_007,
        "Repeats": 1,
        "Conflicts": 1,
        "Quarantined": 2,
        "Unpriced": 1,
        "PlatformVerdictsDiffer": 0,
        "UnfinishedMessages": 0,
        "QuotasNearlyUsed": 1,
        "QuotasUsedUp": 1,
        "QuotaUse": 100,
        "ListAmountUsd": 3,
        "BilledAmountUsd": 0.5,
    }
    reasons = {line["Reason"]: line["Decisions"] for line in emitted if "Decisions" in line}
    assert reasons == {"within_quota": [10], "over_quota": [2], "model_not_listed": [1]}
    assert len(emitted) == 1 + len(reasons)


def test_a_quiet_batch_has_no_failures_and_no_contention(handle: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handle(record("m1", usage("r1"), usage("r2")))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    batch = next(line for line in lines if "EventsReceived" in line)
    assert batch["ContendedCommits"] == batch["UnfinishedMessages"] == batch["Quarantined"] == [0]


# --- partial batch failures ----------------------------------------------------------------------------------------


def test_a_busy_organization_comes_again_from_its_first_unfinished_message_on(
    client: Any, faulty: Faulty, handle: Any
) -> None:
    records = {
        "a1": record("a1", usage("mini1", model=SMALL)),
        "b1": record("b1", usage("big1", organization="org_b"), group="org_b"),
        "a2": record("a2", usage("big1")),
        "a3": record("a3", usage("mini2", model=SMALL)),
        "b2": record("b2", usage("big2", organization="org_b"), group="org_b"),
    }
    conflict, of_a, with_big = cancelled(client, "TransactionConflict"), of_organization("org_a"), holding("big1")
    faulty.on("transact_write_items", conflict, ALWAYS, only=lambda items: of_a(items) and with_big(items))

    again = handle(*records.values())

    assert again == ["a2", "a3"]
    done = {(key.organization, key.request_id) for key in stored(client).decisions}
    assert done == {("org_a", "mini1"), ("org_a", "mini2"), ("org_b", "big1"), ("org_b", "big2")}
    faulty.plans.clear()
    assert handle(*(records[message_id] for message_id in again)) == []
    assert len(stored(client).decisions) == 5
    prove(stored(client))


def test_nothing_of_a_busy_counter_overtakes(client: Any, faulty: Faulty, handle: Any) -> None:
    records = [record(f"m{number}", usage(f"r{number}", 400_000)) for number in range(4)]
    faulty.on("transact_write_items", cancelled(client, "TransactionConflict"), ALWAYS, only=holding("r1"))
    assert handle(*records) == ["m0", "m1", "m2", "m3"]
    assert stored(client).decisions == {}
    faulty.plans.clear()
    assert handle(*records) == []
    assert stored(client).verdicts() == {"r0": FREE, "r1": FREE, "r2": OVER, "r3": OVER}


def test_an_organization_that_has_to_wait_waits_with_all_its_counters(client: Any, faulty: Faulty, handle: Any) -> None:
    faulty.on("transact_write_items", cancelled(client, "TransactionConflict"), ALWAYS, only=holding("big"))
    records = [
        record("a1", usage("big")),
        record("b1", usage("r1", organization="org_b"), group="org_b"),
        record("a2", usage("mini", model=SMALL), usage("unlisted", model="gpt-3.5-turbo")),
    ]
    assert handle(*records) == ["a1", "a2"]
    assert {key.organization for key in stored(client).decisions} == {"org_b"}


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ThrottlingException"])
@pytest.mark.parametrize("operation", ["batch_get_item", "transact_write_items"])
def test_what_the_operator_has_to_mend_comes_again_and_is_never_quarantined(
    client: Any, faulty: Faulty, handle: Any, operation: str, code: str
) -> None:
    faulty.on(operation, fails(aws_error(code)), ALWAYS)
    records = [record("m1", usage("r1"), usage("r2")), record("m2", usage("r3"))]
    assert handle(*records) == ["m1", "m2"]
    assert stored(client).decisions == {}
    assert stored(client).quarantine == []
    faulty.plans.clear()
    assert handle(*records) == []
    assert stored(client).verdicts() == {"r1": FREE, "r2": FREE, "r3": FREE}


def test_an_account_with_fields_of_a_newer_release_is_judged_by_what_is_known(client: Any, handle: Any) -> None:
    newer = json.loads(account().model_dump_json(exclude_defaults=True)) | {"written_by": "a newer release"}
    newer["profile"][0]["region"] = "eu"
    item = {
        "pk": {"S": "ORG#org_a"},
        "sk": {"S": "ACCOUNT"},
        "version": {"N": "1"},
        "account": {"S": json.dumps(newer)},
    }
    client.put_item(TableName=TABLE, Item=item)
    records = [record("a1", usage("r1")), record("b1", usage("r1", organization="org_b"), group="org_b")]
    assert handle(*records) == []
    assert {each.reason for each in stored(client).decisions.values()} == {"within_quota"}


def test_a_read_that_fails_late_loses_nothing(client: Any, faulty: Faulty, handle: Any) -> None:
    # The accounts and the likely documents are read; the document of what rule 3 bills is not.
    events = [usage("r1", organization="org_unknown"), usage("r2", organization="org_unknown")]
    unread = "COUNTER#org_unknown#-"

    def asks_for_it(arguments: dict[str, Any]) -> bool:
        return unread in [key["pk"]["S"] for key in arguments["RequestItems"][TABLE]["Keys"]]

    faulty.on("batch_get_item", fails(aws_error("ThrottlingException")), only=asks_for_it)
    assert handle(record("m1", *events, group="org_unknown")) == ["m1"]
    assert handle(record("m1", *events, group="org_unknown")) == []
    prove(stored(client))
    assert len(stored(client).decisions) == 2


# --- what is wrong with the event ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["not json", "", "[1, 2", '{"a": NaN}', '"\\ud800"'])
def test_a_poison_body_is_quarantined_and_in_nobodys_way(client: Any, handle: Any, body: str) -> None:
    assert handle(record("m1", body=body), record("m2", usage("r1"))) == []
    found = stored(client)
    assert [entry.code for entry in found.quarantine] == ["invalid_event"]
    assert json.loads(found.quarantine[0].raw) == body
    assert found.verdicts() == {"r1": FREE}


def test_invalid_events_are_quarantined_each_alone(client: Any, handle: Any) -> None:
    negative = usage("negative", -5)
    no_total = usage("no_total")
    del no_total["data"]["usage"]["total_tokens"]
    nobody = usage("nobody") | {"subject": None}
    late, early = usage("late", at="2025-02-01T00:00:00Z"), usage("early", at="2025-03-12T00:00:00Z")
    strange = [None, 7, "text", [], {}]
    events = [usage("r1"), negative, no_total, *strange, nobody, late, early, usage("r2")]
    assert handle(record("m1", *events)) == []

    found = stored(client)
    assert found.verdicts() == {"r1": FREE, "r2": FREE}
    assert len(found.quarantine) == len(events) - 2
    codes = {entry.id: entry.code for entry in found.quarantine if entry.id}
    assert codes == {
        "negative": "invalid_event",
        "no_total": "invalid_event",
        "nobody": "no_organization",
        "late": "too_old",
        "early": "in_the_future",
    }
    assert {entry.whence for entry in found.quarantine} == {"classify_usage"}


def test_an_event_that_fails_in_an_unforeseen_way_is_quarantined_alone(
    client: Any, handle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fragile(request: Any, *rest: Any) -> Case:
        if request.id == "r2":
            raise ZeroDivisionError("of all things")
        return case_of(request, *rest)

    case_of = classify.case_of
    monkeypatch.setattr(classify, "case_of", fragile)
    assert handle(record("m1", *(usage(f"r{number}") for number in range(1, 5))), record("m2", usage("r5"))) == []
    found = stored(client)
    assert sorted(found.verdicts()) == ["r1", "r3", "r4", "r5"]
    assert [(entry.id, entry.code) for entry in found.quarantine] == [("r2", "internal_error")]
    assert found.quarantine[0].message == "ZeroDivisionError: of all things"
    prove(found)


def test_an_event_that_cannot_be_settled_is_quarantined_alone(
    client: Any, handle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fragile(books: Any, cases: Sequence[Case], now: datetime) -> Any:
        if any(case.request.id == "r2" for case in cases):
            raise ZeroDivisionError("of all things")
        return settle(books, cases, now)

    settle = classify.settle
    monkeypatch.setattr(classify, "settle", fragile)
    assert handle(record("m1", *(usage(f"r{number}") for number in range(1, 5)))) == []
    assert sorted(stored(client).verdicts()) == ["r1", "r3", "r4"]
    assert [(entry.id, entry.code) for entry in stored(client).quarantine] == [("r2", "internal_error")]


def test_an_event_that_the_table_will_never_take_is_quarantined_alone(client: Any, faulty: Faulty, handle: Any) -> None:
    faulty.on("transact_write_items", fails(aws_error("ValidationException")), ALWAYS, only=holding("r2"))
    assert handle(record("m1", *(usage(f"r{number}", 300_000) for number in range(1, 6)))) == []
    found = stored(client)
    assert found.verdicts() == {"r1": FREE, "r3": FREE, "r4": FREE, "r5": OVER}
    assert [(entry.id, entry.code) for entry in found.quarantine] == [("r2", "internal_error")]
    prove(found)


def test_an_event_that_the_table_cancels_as_invalid_is_quarantined_alone(
    client: Any, faulty: Faulty, handle: Any
) -> None:
    faulty.on("transact_write_items", cancelled(client, "None", "ValidationError"), ALWAYS, only=holding("r2"))
    assert handle(record("m1", usage("r1"), usage("r2"), usage("r3"))) == []
    assert sorted(stored(client).verdicts()) == ["r1", "r3"]
    assert [entry.id for entry in stored(client).quarantine] == ["r2"]


def test_a_redelivered_refusal_is_one_entry(client: Any, handle: Any) -> None:
    records = [record("m1", usage("r1") | {"specversion": "2.0"}), record("m2", body="{")]
    handle(*records)
    before = stored(client).items
    handle(*records)
    assert stored(client).items == before


def test_what_cannot_be_quarantined_now_comes_again(client: Any, faulty: Faulty, handle: Any) -> None:
    faulty.on("put_item", fails(aws_error("ThrottlingException")), times=2)
    invalid = usage("bad") | {"specversion": "2.0"}
    records = [record("m1", usage("r1"), invalid), record("m2", usage("r2")), record("b1", body="{", group="org_b")]
    assert handle(*records) == ["m1", "m2", "b1"]
    assert sorted(stored(client).verdicts()) == ["r1", "r2"]
    assert handle(*records) == []
    assert {entry.id for entry in stored(client).quarantine} == {"bad", None}
    assert versions(client) == {"2025-03-11": 1}


def test_a_quarantined_conflict_that_cannot_be_stored_now_comes_again(client: Any, faulty: Faulty, handle: Any) -> None:
    handle(record("m1", usage("r1", 10)))
    faulty.on("put_item", fails(ConnectTimeoutError(endpoint_url="https://x.example")))
    again = record("m2", usage("r1", 11), usage("r2"))
    assert handle(again) == ["m2"]
    assert handle(again) == []
    assert [(entry.id, entry.code) for entry in stored(client).quarantine] == [("r1", "conflict")]
    assert sorted(stored(client).verdicts()) == ["r1", "r2"]


def test_an_event_that_waited_in_the_queue_past_the_horizon_is_too_old_to_decide(client: Any) -> None:
    waiting = message("m1", usage("r1"))
    just = datetime(2025, 3, 11, 9, tzinfo=UTC) + classify.LATEST_DECISION
    assert classified(client, waiting, clock=lambda _: just + timedelta(seconds=1)).quarantined[0].code == "too_old"
    assert classified(client, waiting, clock=lambda _: just).decisions[0].verdict == "free"


def test_an_event_that_the_webhook_would_refuse_for_its_size_is_quarantined_alone(client: Any, handle: Any) -> None:
    assert handle(record("m1", usage("r1"), usage("r2", note="x" * MAX_EVENT_BYTES), usage("r3"))) == []
    assert sorted(stored(client).verdicts()) == ["r1", "r3"]
    [entry] = stored(client).quarantine
    assert (entry.id, entry.code) == ("r2", "too_large")
    assert entry.message.endswith("bytes of JSON; at most 80000 are accepted")


def test_an_event_that_cannot_even_be_parsed_is_quarantined_alone(
    client: Any, handle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fragile(raw: Any, received_at: datetime) -> Any:
        if raw["id"] == "r2":
            raise RecursionError("of all things")
        return parse_event(raw, received_at)

    parse_event = classify.parse_event
    monkeypatch.setattr(classify, "parse_event", fragile)
    assert handle(record("m1", usage("r1"), usage("r2")), record("m2", usage("r3"))) == []
    assert sorted(stored(client).verdicts()) == ["r1", "r3"]
    assert [entry.id for entry in stored(client).quarantine] == ["r2"]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param(timedelta(minutes=-10), timedelta(0), id="a clock that lags"),
        pytest.param(classify.LATEST_DECISION - timedelta(hours=1), timedelta(days=40), id="past the horizon"),
    ],
)
def test_an_event_of_a_message_that_comes_again_never_ends_both_ways(
    client: Any, faulty: Faulty, earlier: timedelta, later: timedelta
) -> None:
    received = datetime(2025, 3, 11, 9, tzinfo=UTC)
    batch = message("m1", usage("r1"), usage("mini", model=SMALL, at="2025-03-11T08:45:00Z"), received_at=received)
    faulty.on(
        "transact_write_items", fails(aws_error("ThrottlingException")), classify.MAX_ATTEMPTS + 1, holding("mini")
    )
    assert classified(faulty, batch, clock=lambda _: received + earlier).unfinished == ["m1"]
    assert classified(faulty, batch, clock=lambda _: received + later).unfinished == []
    found = stored(client)
    assert {key.request_id for key in found.decisions} & {entry.id for entry in found.quarantine} == set()


# --- repeats and conflicts -----------------------------------------------------------------------------------------


def test_a_redelivered_batch_changes_nothing(client: Any, handle: Any) -> None:
    records = [
        record("m1", usage("r1", 600_000), usage("r2", 600_000), usage("e1", kind="usage.eval_run")),
        record("m2", usage("r3", 5, model="gpt-3.5-turbo"), usage("r4", 5, model=SMALL)),
    ]
    assert handle(*records) == []
    before = stored(client).items
    assert handle(*records) == []
    assert handle(*reversed(records)) == []
    assert stored(client).items == before


def test_the_same_id_from_another_source_is_a_repeat(client: Any) -> None:
    classified(client, message("m1", usage("r1")))
    outcome = classified(client, message("m2", usage("r1") | {"source": "https://another.example"}))
    assert (outcome.repeats, outcome.decisions, outcome.quarantined) == (1, [], [])
    assert versions(client) == {"2025-03-11": 1}


def test_the_same_event_twice_in_a_message_is_decided_once(client: Any) -> None:
    outcome = classified(client, message("m1", usage("r1", 10), usage("r2", 10), usage("r1", 10), usage("r1", 10)))
    assert (len(outcome.decisions), outcome.repeats, outcome.unfinished) == (2, 2, [])
    assert stored(client).used() == 20


def test_the_same_event_in_two_messages_of_a_batch_is_decided_once_and_both_are_done(client: Any) -> None:
    outcome = classified(client, message("m1", usage("r1", 10)), message("m2", usage("r1", 10)))
    assert (len(outcome.decisions), outcome.repeats) == (1, 1)
    assert outcome.unfinished == []


def test_a_message_is_not_done_for_what_another_one_repeats(client: Any, faulty: Faulty) -> None:
    faulty.on("transact_write_items", cancelled(client, "TransactionConflict"), ALWAYS, only=holding("r2"))
    first_one = message("m1", usage("r1", model=SMALL), usage("r2"))
    outcome = classified(faulty, first_one, message("m2", usage("r1", model=SMALL)))
    assert outcome.unfinished == ["m1", "m2"]


def test_the_same_id_with_another_payload_in_a_batch_is_a_conflict_and_the_first_counts(client: Any) -> None:
    outcome = classified(client, message("m1", usage("r1", 10), usage("r1", 11), usage("r2", 12), usage("r1", 13)))
    assert outcome.unfinished == []
    assert [(entry.id, entry.code) for entry in outcome.quarantined] == [("r1", "conflict")] * 2
    assert {json.loads(entry.raw)["data"]["usage"]["total_tokens"] for entry in stored(client).quarantine} == {11, 13}
    assert stored(client).used() == 22
    prove(stored(client))


def test_an_outcome_says_of_each_message_what_its_event_became(client: Any) -> None:
    (earlier,) = classified(client, message("m0", usage("r1", 10))).decisions
    events = [usage("r1", 10), usage("r1", 11), usage("r2", 12), usage("r2", 12), usage("r3") | {"subject": 3}]
    outcome = classified(client, *(message(f"m{number}", each) for number, each in enumerate(events, start=1)))
    became = {message_id: each.key for message_id, each in outcome.fates}
    (decided,), (invalid, conflict) = outcome.decisions, outcome.quarantined
    expected = [each.key for each in (earlier, conflict, decided, decided, invalid)]
    assert [became[f"m{number}"] for number in range(1, 6)] == expected
    assert len(outcome.fates) == outcome.events


def test_what_has_to_come_again_has_no_fate_yet(client: Any, faulty: Faulty) -> None:
    faulty.on("transact_write_items", cancelled(client, "TransactionConflict"), ALWAYS, only=holding("r2"))
    outcome = classified(faulty, message("m1", usage("r1", model=SMALL)), message("m2", usage("r2")))
    assert ([message_id for message_id, _ in outcome.fates], outcome.unfinished) == (["m1"], ["m2"])


def test_a_conflict_keeps_the_record_that_stands(client: Any, handle: Any) -> None:
    handle(record("m1", usage("r1", 10)))
    assert handle(record("m2", usage("r1", 11))) == []
    found = stored(client)
    (kept,) = found.quarantine
    assert json.loads(kept.decided or "") == found.decisions[RequestKey("org_a", DAY, "r1")].record()
    assert "10 tokens" in kept.message
    assert "11 tokens" in kept.message
    assert versions(client) == {"2025-03-11": 1}


@pytest.mark.parametrize(
    ("said", "differing"),
    [
        ({"at": "2025-03-11T09:00:00.25Z"}, 'time ("2025-03-11T09:00:00Z" then, "2025-03-11T09:00:00.250Z" now)'),
        ({"tokens": 11}, "input_tokens (10 then, 11 now)"),
        ({"project": "proj_b", "batch": True}, 'project (null then, "proj_b" now), batch (false then, true now)'),
        (
            {"kind": "usage.eval_run"},
            'type ("usage.request" then, "usage.eval_run" now), shared (false then, true now)',
        ),
        ({"tools": ["my_function"]}, "what a decision does not keep (tools, user_id, api_key_id)"),
        ({"user_id": "user_1"}, "what a decision does not keep (tools, user_id, api_key_id)"),
    ],
)
def test_a_conflict_says_in_what_it_differs(client: Any, said: dict[str, Any], differing: str) -> None:
    classified(client, message("m0", usage("r1", 10)))
    (kept,) = classified(client, message("m1", usage("r1", **{"tokens": 10} | said))).quarantined
    assert kept.message.partition(" and differs in ")[2] == differing


def test_whichever_payload_the_ledger_holds_is_the_one_that_counts(client: Any) -> None:
    classified(client, message("m0", usage("r1", 11)))
    outcome = classified(client, message("m1", usage("r1", 10), usage("r1", 11), usage("r1", 10)))
    assert (outcome.decisions, outcome.repeats, outcome.unfinished) == ([], 1, [])
    assert [json.loads(entry.raw)["data"]["usage"]["total_tokens"] for entry in outcome.quarantined] == [10, 10]
    assert stored(client).used() == 11
    assert versions(client) == {"2025-03-11": 1}


def test_what_waited_too_long_is_still_a_repeat_or_a_conflict_if_it_was_decided(client: Any) -> None:
    classified(client, message("m0", usage("r1", 10), usage("r2", 10)))
    much_later = RECEIVED + classify.LATEST_DECISION
    again = message("m1", usage("r1", 10), usage("r2", 11), usage("r3", 10), usage("r3", 10))
    outcome = classified(client, again, clock=lambda _: much_later)
    assert (outcome.decisions, outcome.repeats, outcome.unfinished) == ([], 1, [])
    codes = [(entry.id, entry.code) for entry in outcome.quarantined]
    assert codes == [("r2", "conflict"), ("r3", "too_old"), ("r3", "too_old")]
    assert versions(client) == {"2025-03-11": 1}


def test_a_decision_that_cannot_be_read_stops_its_own_organization_only(client: Any) -> None:
    classified(client, message("m0", usage("r1", 10)))
    [key] = stored(client).decisions
    client.put_item(TableName=TABLE, Item=decision_key(key) | {"receipt": {"S": "{"}})
    much_later = RECEIVED + classify.LATEST_DECISION
    in_time = usage("r2", organization="org_b", at="2025-04-15T09:00:00Z")
    messages = [message("m1", usage("r1", 10)), message("m2", in_time, group="org_b", received_at=much_later)]
    outcome = classified(client, *messages, clock=lambda _: much_later)
    assert [each.request_id for each in outcome.decisions] == ["r2"]
    assert outcome.unfinished == ["m1"]


def test_the_same_id_on_another_day_is_another_request(client: Any) -> None:
    outcome = classified(client, message("m1", usage("r1", 10), usage("r1", 10, at="2025-03-10T09:00:00Z")))
    assert len(outcome.decisions) == 2
    prove(stored(client))


def test_the_same_id_of_another_organization_is_another_request(client: Any) -> None:
    other = message("m2", usage("r1", 10, organization="org_b"), group="org_b")
    assert len(classified(client, message("m1", usage("r1", 10)), other).decisions) == 2
    prove(stored(client))


def test_a_conflict_does_not_stop_what_comes_with_it(client: Any) -> None:
    classified(client, message("m0", usage("r2", 1), usage("r3", 1)))
    outcome = classified(client, message("m1", usage("r1"), usage("r2", 2), usage("r3", 1), usage("r4")))
    assert [each.request_id for each in outcome.decisions] == ["r1", "r4"]
    assert (outcome.repeats, len(outcome.quarantined), outcome.unfinished) == (1, 1, [])


def test_a_second_payload_never_overtakes_a_first_that_has_to_come_again(client: Any, faulty: Faulty) -> None:
    for_the_first = 9  # attempts, of which each is refused for a moment
    faulty.on("transact_write_items", cancelled(client, "TransactionConflict"), times=for_the_first)
    batch = [message("m1", usage("r1", 10), usage("r2", 20)), message("m2", usage("r1", 11))]
    assert classified(faulty, *batch).unfinished == ["m1", "m2"]
    classified(faulty, *batch)
    assert stored(client).used() == 30


# --- chunks and windows --------------------------------------------------------------------------------------------


def test_more_than_99_events_of_a_counter_are_several_transactions(client: Any, faulty: Faulty, handle: Any) -> None:
    messages = [[usage(f"r{page}-{number}", 4_500) for number in range(60)] for page in range(4)]
    assert handle(*(record(f"m{page}", *events) for page, events in enumerate(messages))) == []
    found = stored(client)
    assert [len(items) for items in faulty.transactions] == [100, 100, 45]
    assert len(found.decisions) == 240
    assert found.used() == 222 * 4_500  # as many as fit
    assert versions(client) == {"2025-03-11": 3}
    prove(found)


def test_a_chunk_is_decided_from_what_its_predecessor_committed(client: Any, faulty: Faulty) -> None:
    def interlopes() -> None:
        classified(client, message("other", usage("other", 500_000)))

    events = [usage(f"r{number:03}", 5_000) for number in range(150)]
    faulty.on("transact_write_items", first(interlopes), only=holding("r149"))
    outcome = classified(faulty, message("m1", *events))
    assert len(outcome.decisions) == 150
    assert sum(each.verdict == "free" for each in outcome.decisions) == 100
    prove(stored(client))


def test_rolling_windows_over_many_days_stay_within_a_transaction(client: Any, faulty: Faulty) -> None:
    start = datetime(2025, 2, 3, tzinfo=UTC)
    moments = [start + timedelta(hours=4 * number) for number in range(150)]
    events = [usage(f"r{number}", 150_000, at=when.isoformat()) for number, when in enumerate(moments)]
    received = datetime(2025, 3, 1, tzinfo=UTC)
    outcome = classified(faulty, message("m1", *events, received_at=received))
    assert outcome.unfinished == []
    assert max(len(items) for items in faulty.transactions) <= 100
    found = stored(client)
    days = {when.date().isoformat() for when in moments}
    assert {sk for _, sk in found.markers} == {"ORG#org_a#1m"}
    assert {pk.removeprefix("DAY#") for pk, _ in found.markers} == days
    assert len(found.documents[COUNTER._replace(slot="ROLLING")].counter.windows) == len(days)
    assert len(found.decisions) == 150
    prove(found)
    before = stored(client).items
    assert classified(client, message("m1", *events, received_at=received)).repeats == 150
    assert stored(client).items == before


def test_a_window_that_rolls_ends_where_utc_days_begin(client: Any) -> None:
    times = ["2025-03-05T20:00:00Z", "2025-03-05T23:59:59Z", "2025-03-06T00:00:00Z"]
    events = [usage(f"r{number}", 600_000, at=when) for number, when in enumerate(times)]
    classified(client, message("m1", *events))
    found = stored(client)
    assert found.verdicts() == {"r0": FREE, "r1": OVER, "r2": FREE}
    assert found.used(slot="ROLLING") == found.used(slot="2025-03-06") == 600_000
    prove(found)


def test_evaluation_runs_count_runs_a_week_and_tokens_a_day(client: Any) -> None:
    days = ["2025-03-09", *["2025-03-10"] * 5, *["2025-03-11"] * 4]  # a Sunday, a Monday, a Tuesday
    events = [
        usage(f"e{number}", 10**9, at=f"{day}T10:00:00Z", kind="usage.eval_run") for number, day in enumerate(days)
    ]
    classified(client, message("m1", *events))
    found = stored(client)
    assert [found.verdicts()[f"e{number}"] for number in range(10)] == [FREE] * 8 + [OVER] * 2
    assert found.used("evals", "WEEK#2025-03-03") == 1
    assert found.used("evals", "WEEK#2025-03-10") == 7
    assert {each.group for each in found.documents} == {"evals"}
    assert {pk for pk, _ in found.markers} == {"DAY#2025-03-09", "DAY#2025-03-10", "DAY#2025-03-11"}
    prove(found)


def test_under_close_the_first_request_that_does_not_fit_closes_the_window(client: Any) -> None:
    sizes = [900_000, 100_001, 1, 0, 50_000]
    events = [usage(f"r{number}", tokens) for number, tokens in enumerate(sizes)]
    for event in events:  # each in a batch of its own: what closed the window was committed
        classified(client, message("m", event), chosen=with_versions(DAILY, overflow="close"))
    found = stored(client)
    assert found.verdicts() == {"r0": FREE, "r1": OVER, "r2": OVER, "r3": FREE, "r4": OVER}
    assert found.used() == 900_000
    prove(found, overflow="close")


def test_a_lower_tier_in_the_middle_of_a_day_takes_nothing_back_and_gives_nothing_more(client: Any) -> None:
    lower = account().model_dump(mode="json")
    lower["profile"].append({"effective_at": "2025-03-11T12:00:00Z", "tier": 1})
    Accounts(client, TABLE).put(Account.model_validate(lower))
    events = [
        usage("before", 400_000),
        usage("after", 1, at="2025-03-11T12:00:00Z"),
        usage("empty", 0, at="2025-03-11T12:00:00Z"),
        usage("late", 600_000, at="2025-03-11T11:59:59.999Z"),
    ]
    classified(client, message("m1", *events))
    found = stored(client)
    assert found.verdicts() == {"before": FREE, "after": OVER, "empty": FREE, "late": FREE}
    empty = found.decisions[RequestKey("org_a", DAY, "empty")]
    assert (empty.used_before, empty.used_after, empty.quota) == (400_000, 400_000, 250_000)
    prove(found)


def test_late_events_count_on_the_day_they_happened(client: Any) -> None:
    classified(client, message("m1", usage("r1", 900_000)))
    received = RECEIVED + timedelta(days=3)
    late = usage("r2", 200_000, at="2025-03-11T23:59:59.999Z")
    classified(client, message("m2", late, usage("r3", 200_000, at="2025-03-12T00:00:00Z"), received_at=received))
    assert stored(client).verdicts() == {"r1": FREE, "r2": OVER, "r3": FREE}
    prove(stored(client))


# --- lost responses, conflicts, crashes, other writers -------------------------------------------------------------

EVENTS = [usage("r1", 600_000), usage("r2", 600_000), usage("r3", 400_000)]


def assert_decided_once(client: Any) -> None:
    found = stored(client)
    assert found.verdicts() == {"r1": FREE, "r2": OVER, "r3": FREE}
    assert found.used() == 1_000_000
    assert found.documents[COUNTER].version == 1
    assert found.quarantine == []
    prove(found)


HICCUPS: dict[str, Callable[[Any], Fault]] = {
    "transaction conflict": lambda client: cancelled(client, "TransactionConflict", "None", "None", "None"),
    "throttled item": lambda client: cancelled(client, "None", "ThrottlingError", "None", "None"),
    "no capacity for an item": lambda client: cancelled(client, "ProvisionedThroughputExceeded", "None"),
    "throttled": lambda _: fails(aws_error("ThrottlingException")),
    "no capacity": lambda _: fails(aws_error("ProvisionedThroughputExceededException")),
    "still in progress": lambda _: fails(aws_error("TransactionInProgressException")),
    "broken server": lambda _: fails(aws_error("InternalServerError")),
    "never reached": lambda _: fails(ConnectTimeoutError(endpoint_url="https://x.example")),
    "lost response": lambda _: loses_response,
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("hiccup", HICCUPS.values(), ids=HICCUPS.keys())
def test_a_commit_that_fails_for_a_moment_is_tried_again_and_counts_once(
    client: Any, faulty: Faulty, hiccup: Callable[[Any], Fault], times: int
) -> None:
    faulty.on("transact_write_items", hiccup(client), times)
    outcome = classified(faulty, message("m1", *EVENTS))
    assert outcome.unfinished == []
    assert outcome.contended >= 1
    assert_decided_once(client)


def test_a_lost_response_in_the_last_attempt_is_a_repeat_when_it_comes_again(client: Any, faulty: Faulty) -> None:
    faulty.on("transact_write_items", cancelled(client, "TransactionConflict"), times=classify.MAX_ATTEMPTS)
    faulty.on("transact_write_items", loses_response)
    assert classified(faulty, message("m1", *EVENTS)).unfinished == ["m1"]
    assert_decided_once(client)
    assert classified(faulty, message("m1", *EVENTS)).unfinished == []
    assert_decided_once(client)


def test_a_lost_response_of_the_first_chunk_leaves_the_second_right(client: Any, faulty: Faulty) -> None:
    events = [usage(f"r{number}", 8_000) for number in range(140)]
    faulty.on("transact_write_items", loses_response, times=2)
    assert classified(faulty, message("m1", *events)).unfinished == []
    found = stored(client)
    assert len(found.decisions) == 140
    assert found.used() == 125 * 8_000
    assert versions(client) == {"2025-03-11": 2}
    prove(found)


@pytest.mark.parametrize("fault", [dies_after, fails(Crash())], ids=["after the commit", "before the commit"])
def test_a_crash_at_the_commit_is_made_good_by_the_next_run(client: Any, faulty: Faulty, fault: Fault) -> None:
    faulty.on("transact_write_items", fault)
    with pytest.raises(Crash):
        classified(faulty, message("m1", *EVENTS))
    assert classified(client, message("m1", *EVENTS)).unfinished == []
    assert_decided_once(client)


def test_a_refusal_that_names_one_decided_request_at_a_time_gets_through(client: Any, faulty: Faulty) -> None:
    events = [usage(f"r{number:02}", 10) for number in range(15)]
    classified(client, message("m0", *events[:14]))

    def names_the_first_only(real: Any, arguments: dict[str, Any]) -> Any:
        try:
            return real(**arguments)
        except client.exceptions.TransactionCanceledException as refused:
            reasons = refused.response["CancellationReasons"]
            first_one = next(reason for reason in reasons if reason["Code"] != "None")
            refused.response["CancellationReasons"] = [first_one]
            raise

    faulty.on("transact_write_items", names_the_first_only, ALWAYS)
    outcome = classified(faulty, message("m1", *events))
    assert (outcome.repeats, len(outcome.decisions), outcome.unfinished) == (14, 1, [])
    prove(stored(client))


def test_a_crash_between_two_chunks_is_made_good_by_the_next_run(client: Any, faulty: Faulty) -> None:
    events = [usage(f"r{number:03}", 8_000) for number in range(140)]
    faulty.on("transact_write_items", fails(Crash()), only=holding("r139"))
    with pytest.raises(Crash):
        classified(faulty, message("m1", *events))
    assert len(stored(client).decisions) == 97
    outcome = classified(client, message("m1", *events))
    assert (outcome.repeats, len(outcome.decisions), outcome.unfinished) == (97, 43, [])
    prove(stored(client))


def test_a_commit_that_never_gets_through_leaves_nothing_behind(client: Any, faulty: Faulty) -> None:
    faulty.on("transact_write_items", cancelled(client, "TransactionConflict"), ALWAYS)
    outcome = classified(faulty, message("m1", *EVENTS))
    assert (outcome.unfinished, outcome.decisions, outcome.quarantined) == (["m1"], [], [])
    assert stored(client).documents == {}
    assert len(faulty.transactions) == classify.MAX_ATTEMPTS + 1
    assert classified(client, message("m1", *EVENTS)).unfinished == []
    assert_decided_once(client)


def interloper(client: Any, *events: Any) -> Fault:
    """Another worker decides these events just before the call."""
    return first(lambda: classified(client, message("other", *events)))


def test_a_document_that_moved_since_it_was_read_is_decided_on_afresh(client: Any, faulty: Faulty) -> None:
    faulty.on("transact_write_items", interloper(client, usage("other", 900_000)))
    outcome = classified(faulty, message("m1", usage("r1", 150_000), usage("r2", 100_000)))
    assert [(each.verdict, each.used_before, each.running_total) for each in outcome.decisions] == [
        ("billed", 900_000, 1_050_000),
        ("free", 900_000, 1_000_000),
    ]
    assert outcome.contended == 1
    assert stored(client).documents[COUNTER].version == 2
    prove(stored(client))


def test_a_document_that_moves_again_and_again_is_decided_on_afresh_each_time(client: Any, faulty: Faulty) -> None:
    for number in range(5):
        faulty.on("transact_write_items", interloper(client, usage(f"other{number}", 190_000)))
    outcome = classified(faulty, message("m1", usage("r1", 50_000), usage("r2", 1)))
    assert [each.verdict for each in outcome.decisions] == ["free", "billed"]
    prove(stored(client))


def test_after_a_conflict_with_another_writer_the_next_attempt_knows_what_that_one_wrote(
    client: Any, faulty: Faulty
) -> None:
    def conflicts(real: Any, arguments: dict[str, Any]) -> Any:
        classified(client, message("other", usage("other", 900_000)))
        return cancelled(client, "TransactionConflict")(real, arguments)

    faulty.on("transact_write_items", conflicts)
    outcome = classified(faulty, message("m1", usage("r1", 150_000)))
    assert [(each.verdict, each.used_before) for each in outcome.decisions] == [("billed", 900_000)]
    assert len(faulty.transactions) == 2
    prove(stored(client))


def test_reading_again_after_a_conflict_may_fail_for_a_moment_too(client: Any, faulty: Faulty) -> None:
    def conflicts(real: Any, arguments: dict[str, Any]) -> Any:
        faulty.on("batch_get_item", fails(aws_error("ThrottlingException")))
        return cancelled(client, "TransactionConflict")(real, arguments)

    faulty.on("transact_write_items", conflicts)
    outcome = classified(faulty, message("m1", *EVENTS))
    assert (outcome.unfinished, outcome.contended) == ([], 2)
    assert_decided_once(client)


def test_what_cannot_be_read_again_after_a_conflict_is_no_fault_of_the_events(client: Any, faulty: Faulty) -> None:
    def conflicts(real: Any, arguments: dict[str, Any]) -> Any:
        faulty.on("batch_get_item", unreadable)
        return cancelled(client, "TransactionConflict")(real, arguments)

    def unreadable(real: Any, arguments: dict[str, Any]) -> Any:
        keys = arguments["RequestItems"][TABLE]["Keys"]
        items = [key | {"version": {"N": "1"}, "windows": {"S": "what a newer release may write"}} for key in keys]
        return {"Responses": {TABLE: items}, "UnprocessedKeys": {}}

    faulty.on("transact_write_items", conflicts)
    outcome = classified(faulty, message("m1", *EVENTS))
    assert outcome.quarantined == []
    assert_decided_once(client)


def test_the_same_message_in_two_workers_at_once_is_decided_once(client: Any, faulty: Faulty) -> None:
    faulty.on("transact_write_items", interloper(client, *EVENTS))
    outcome = classified(faulty, message("m1", *EVENTS))
    assert (outcome.decisions, outcome.repeats, outcome.unfinished) == ([], 3, [])
    assert_decided_once(client)


def test_what_two_workers_share_is_decided_once_and_the_rest_afresh(client: Any, faulty: Faulty) -> None:
    faulty.on("transact_write_items", interloper(client, usage("r2", 400_000), usage("x", 500_000)))
    outcome = classified(
        faulty,
        message("m1", usage("r1", 100_001), usage("r2", 400_000), usage("r3", 100_000)),
        message("m2", usage("x")),
    )
    found = stored(client)
    assert found.verdicts() == {"r1": OVER, "r2": FREE, "r3": FREE, "x": FREE}
    assert [entry.id for entry in outcome.quarantined] == ["x"]  # with another payload
    assert (outcome.repeats, outcome.unfinished) == (1, [])
    prove(found)


def test_a_rolling_window_that_another_writer_opened_is_the_one_that_counts(client: Any, faulty: Faulty) -> None:
    faulty.on("transact_write_items", interloper(client, usage("other", 900_000, at="2025-03-04T08:00:00Z")))
    classified(faulty, message("m1", usage("r1", 200_000, at="2025-03-05T07:00:00Z"), usage("r2", 1)))
    found = stored(client)
    decision = found.decisions[RequestKey("org_a", date(2025, 3, 5), "r1")]
    assert (decision.verdict, decision.window) == ("billed", "2025-03-04T08:00:00Z")
    prove(found)


def test_totals_of_a_day_that_another_window_moved_are_added_to(client: Any, faulty: Faulty) -> None:
    faulty.on("transact_write_items", interloper(client, usage("e0", 10, kind="usage.eval_run")))
    events = [usage(f"e{number}", 10, kind="usage.eval_run") for number in range(1, 9)]
    classified(faulty, message("m1", *events))
    assert stored(client).used("evals", "WEEK#2025-03-10") == 7
    prove(stored(client))


def refused_after_a_repeat(client: Any, faulty: Faulty) -> Sequence[Message]:
    classified(client, message("m0", usage("r1", 10), usage("r2", 10)))
    faulty.on("transact_write_items", lambda real, arguments: real(**arguments), only=holding("bad"))
    faulty.on("transact_write_items", fails(aws_error("ValidationException")), ALWAYS, only=holding("bad"))
    return [message("m1", usage("r1", 10), usage("r2", 10), usage("bad", 10), usage("r4", 10))]


def test_a_chunk_that_is_isolated_late_counts_what_was_decided_before_once(client: Any, faulty: Faulty) -> None:
    outcome = classified(faulty, *refused_after_a_repeat(client, faulty))
    assert [entry.id for entry in outcome.quarantined] == ["bad"]
    assert [each.request_id for each in outcome.decisions] == ["r4"]
    assert (outcome.repeats, outcome.unfinished) == (2, [])


def test_a_chunk_that_is_isolated_late_does_not_lose_what_has_to_come_again(client: Any, faulty: Faulty) -> None:
    batch = refused_after_a_repeat(client, faulty)
    faulty.on("transact_write_items", cancelled(client, "TransactionConflict"), ALWAYS, only=holding("r4"))
    faulty.on("put_item", fails(aws_error("ThrottlingException")))
    assert classified(faulty, *batch).unfinished == ["m1"]


# --- which documents are read ahead --------------------------------------------------------------------------------

MOMENTS = ("03-05T23:59:59", "03-06T00:00:00", "03-09T23:59:59.999999", "03-10T00:00:00", "03-10T12:00:00")
"""Around the day on which the windows change from rolling to UTC days, and around the turn of a week."""


def test_the_documents_of_a_batch_are_those_of_its_requests_one_by_one() -> None:
    requests = [
        request_of(usage("r", organization=organization, at=f"2025-{at}Z", kind=kind, model=model))
        for organization in ("org_a", "org_b")
        for at in MOMENTS
        for kind in ("usage.request", "usage.eval_run")
        for model in (LARGE, SMALL, "unlisted")
    ]
    together = classify.likely_documents(requests, DAILY)
    one_by_one = [classify.likely_documents([request], DAILY) for request in requests]
    assert together == set().union(*one_by_one)
    for request, documents in zip(requests, one_by_one, strict=True):
        case = case_of(request, DAILY, account(request.organization))
        assert documents == {case.counter, ledger.totals_of(case.counter, case.day)}
