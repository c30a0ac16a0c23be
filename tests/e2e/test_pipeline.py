"""From a signed post to the ledger and the bus: the seed's day, and many senders at once."""

import json
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from threading import Barrier
from typing import Any

from gratis import moment
from gratis.intake.events import parse_event
from gratis.rules.offer_file import shipped
from gratis.rules.totals import RowKey, Sums
from gratis.rules.window import CounterId
from gratis_local.functions import ROOT
from gratis_local.sender import moved
from gratis_local.up import DEMO
from tests.builders.events import LARGE
from tests.builders.ledger import prove
from tests.e2e.system import System, eventually, keys_of, queue_batch

SEED_DAY = [
    # request id, input, output, verdict, reason, used before, used after, running total, list amount, amount
    ("req_001", 90_000, 30_000, "free", "within_quota", 0, 120_000, 120_000, "0.525", "0"),
    ("req_002", 105_000, 35_000, "free", "within_quota", 120_000, 260_000, 260_000, "0.6125", "0"),
    ("req_003", 112_500, 37_500, "free", "within_quota", 260_000, 410_000, 410_000, "0.65625", "0"),
    ("req_004", 112_500, 37_500, "free", "within_quota", 410_000, 560_000, 560_000, "0.65625", "0"),
    ("req_005", 112_500, 37_500, "free", "within_quota", 560_000, 710_000, 710_000, "0.65625", "0"),
    ("req_006", 112_500, 37_500, "free", "within_quota", 710_000, 860_000, 860_000, "0.65625", "0"),
    ("req_007", 86_250, 28_750, "free", "within_quota", 860_000, 975_000, 975_000, "0.503125", "0"),
    ("req_008", 22_500, 7_500, "billed", "over_quota", 975_000, 975_000, 1_005_000, "0.13125", "0.13125"),
    ("req_009", 18_750, 6_250, "free", "within_quota", 975_000, 1_000_000, 1_000_000, "0.109375", "0"),
]
SENDERS, WORKERS = 8, 4
REQUESTS = 240
ALL_DONE: dict[str, Any] = {"batchItemFailures": []}


def test_the_seed_day_goes_from_signed_posts_to_billing_records(system: System) -> None:
    """The whole day of the only organization that `gratis up` creates; the gateway's page sends for it today."""
    events = moved(json.loads((ROOT / "events/seed-day.json").read_text()), system.yesterday)
    before = datetime.now(UTC)
    for event in events[:3]:
        answer = system.send(event, content_type="application/cloudevents+json")
        assert answer == {"accepted": 1, "skipped": {}, "quarantined": []}
    system.accepted(*events[3:6])
    assert system.send(events[6:], content_type="application/json") == {"accepted": 3, "skipped": {}, "quarantined": []}

    found = system.through(DEMO)
    of_the_day = (record for record in system.records(DEMO) if record["occurred_at"][:10] == f"{system.yesterday}")
    records = {record["request_id"]: record for record in of_the_day}
    for record in records.values():
        assert before <= moment.parse(record["received_at"]) <= moment.parse(record["decided_at"]) <= datetime.now(UTC)
    assert list(records.values()) == [expected_record(system, event, records[event["id"]]) for event in events]
    assert found.quarantine == []
    assert system.bus.of("EventQuarantined", DEMO) == []

    document = found.documents[CounterId(DEMO, "1m", f"{system.yesterday}")]
    (window,) = document.counter.windows
    assert (moment.text(window.start), window.used, window.overflowed) == (system.at("00:00:00"), 1_000_000, True)
    free = Sums(8, 750_000, 0, 250_000, Decimal("4.375"), Decimal(0))
    billed = Sums(1, 22_500, 0, 7_500, Decimal("0.13125"), Decimal("0.13125"))
    assert document.totals.rows == {
        RowKey("proj_web", LARGE, "default", False, "free"): free,
        RowKey("proj_web", LARGE, "default", False, "billed"): billed,
    }
    prove(found)
    system.emitted_once(DEMO, found.decisions.values())

    heard = {each["threshold"]: each for each in system.bus.of("QuotaThresholdReached", DEMO)}
    assert heard == {
        80: threshold(system, 80, "req_006", 860_000, "20:20:00"),
        100: threshold(system, 100, "req_008", 975_000, "23:10:00"),
    }


def expected_record(system: System, event: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What SPEC section 5 says, figure by figure; only the moments of arrival and decision are taken from `found`."""
    row = next(row for row in SEED_DAY if row[0] == event["id"])
    request_id, input_tokens, output, verdict, reason, used_before, used_after, running, listed, amount = row
    return {
        "format": 2,
        "kind": "usage.request",
        "id": f"org_demo:{system.yesterday}:{request_id}",
        "organization": "org_demo",
        "project": "proj_web",
        "request_id": request_id,
        "model": "gpt-4o-2024-08-06",
        "group": "1m",
        "window": f"{system.yesterday}",
        "verdict": verdict,
        "reason": reason,
        "tokens": {
            "input": input_tokens,
            "cached_input": 0,
            "cache_write": 0,
            "output": output,
            "total": input_tokens + output,
        },
        "unit": "tokens",
        "quota": 1_000_000,
        "used_before": used_before,
        "reserved_before": 0,
        "used_after": used_after,
        "running_total": running,
        "voids": None,
        "reservation": None,
        "platform_verdict": None,
        "list_amount_usd": listed,
        "amount_usd": amount,
        "tier": 4,
        "offer": shipped("data-sharing").version_at(moment.midnight(system.yesterday)).name,
        "profile_version": 1,
        "settings_version": 1,
        "price_version": "2024-08-06",
        "payload_hash": parse_event(event, datetime.now(UTC)).payload_hash,
        "occurred_at": event["time"],
        "received_at": found["received_at"],
        "decided_at": found["decided_at"],
    }


def threshold(system: System, percent: int, request_id: str, used: int, clock: str) -> dict[str, Any]:
    return {
        "id": f"org_demo:1m:{system.yesterday}:1000000:{percent}",
        "organization": "org_demo",
        "project": None,
        "unit": "tokens",
        "group": "1m",
        "window": f"{system.yesterday}",
        "threshold": percent,
        "quota": 1_000_000,
        "used": used,
        "request_id": request_id,
        "occurred_at": system.at(clock),
    }


def test_eight_senders_at_once_with_overlapping_retries_share_one_counter_exactly(
    system: System, organization: str
) -> None:
    events = more_than_the_quota(system, organization)

    def send(bodies: list[list[Any]]) -> None:
        for number, body in enumerate(bodies):
            for _ in range(2 if number % 3 == 0 else 1):
                system.accepted(*body)

    at_once(send, [share_of(events, seed, SENDERS) for seed in range(SENDERS)])
    assert_shared_exactly(system, organization, events)


def test_workers_that_are_handed_the_same_events_at_once_share_one_counter_exactly(
    system: System, organization: str
) -> None:
    """The queue hands an organization's messages to one worker at a time; exactness does not depend on it."""
    events = more_than_the_quota(system, organization)
    all_are_warm = Barrier(WORKERS)

    def work(bodies: list[list[Any]]) -> None:
        system.invoke("ClassifyUsage", queue_batch(organization, []))
        all_are_warm.wait()
        for body in bodies:
            batch = queue_batch(organization, body)
            eventually(lambda batch=batch: system.invoke("ClassifyUsage", batch) == ALL_DONE, "a finished batch")

    at_once(work, [share_of(events, seed, WORKERS) for seed in range(WORKERS)])
    assert_shared_exactly(system, organization, events)


def more_than_the_quota(system: System, organization: str) -> list[Any]:
    """Requests that together ask for about 2,400,000 of the 1,000,000 tokens; some ask for none."""
    dice = random.Random(organization)
    return [
        system.usage(organization, f"r{number}", dice.choice((0, 1, *range(2, 20_000)))) for number in range(REQUESTS)
    ]


def share_of(events: Sequence[Any], seed: int, of: int) -> list[list[Any]]:
    """What one of several senders sends: its part of the events and many of the others', in an order of its own."""
    dice = random.Random(seed)
    share = [event for number, event in enumerate(events) if number % of == seed or dice.random() < 0.3]
    dice.shuffle(share)
    return [share[start : start + 9] for start in range(0, len(share), 9)]


def at_once(act: Callable[[list[list[Any]]], None], shares: Sequence[list[list[Any]]]) -> None:
    with ThreadPoolExecutor(len(shares)) as pool:
        for done in [pool.submit(act, share) for share in shares]:
            done.result()


def assert_shared_exactly(system: System, organization: str, events: Sequence[Any]) -> None:
    """Every request decided once, the quota never exceeded, the free decisions tile, totals are sums: all of it out."""
    found = system.through(organization)
    assert found.decisions.keys() == set(keys_of(events))
    prove(found)
    free_tokens = sum(each.input for each in found.decisions.values() if each.verdict == "free")
    assert found.used(slot=f"{system.yesterday}", organization=organization) == free_tokens <= 1_000_000
    assert ("billed", "over_quota") in found.verdicts().values()
    assert found.quarantine == []
    system.emitted_once(organization, found.decisions.values())
    assert {each["threshold"] for each in system.bus.of("QuotaThresholdReached", organization)} == {80, 100}
