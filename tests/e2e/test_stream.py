"""The stream in place of the queue: order, eight senders, repeats, conflicts and poison as over the queue."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import urllib3

from gratis.intake.stream import data_of
from gratis_local.up import running
from tests.builders.ledger import prove
from tests.e2e import test_exactly_once, test_pipeline
from tests.e2e.system import System, subscribed


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The template with `Intake=stream`, deployed by `gratis up`; the tests taken from elsewhere get this one."""
    state = tmp_path_factory.mktemp("gratis") / "up.json"
    with running(state=state, intake="stream") as (stack, up), urllib3.PoolManager(maxsize=8) as http:
        yield System(stack, up, http, subscribed(stack))


test_the_seed_day = test_pipeline.test_the_seed_day_goes_from_signed_posts_to_billing_records
test_eight_senders = test_pipeline.test_eight_senders_at_once_with_overlapping_retries_share_one_counter_exactly
test_repeats = test_exactly_once.test_a_request_that_is_sent_again_gets_no_second_decision
test_conflicts = test_exactly_once.test_the_same_id_with_another_payload_is_quarantined_beside_the_decision_that_stands


def test_single_events_are_decided_in_the_order_in_which_they_arrived(system: System, organization: str) -> None:
    events = [system.usage(organization, f"r{number}", 90_000) for number in range(12)]
    for event in events:
        system.accepted(event)
    found = system.through(organization)
    free = [each for each in found.decisions.values() if each.verdict == "free"]
    used = {each.request_id: each.used_before for each in free}
    assert used == {f"r{number}": number * 90_000 for number in range(11)}
    prove(found)
    assert system.waiting_messages() == 0  # none of it came by the queue


def test_what_is_put_in_both_the_queue_and_the_stream_is_decided_once(system: System, organization: str) -> None:
    """A stack that changes from one to the other: what waits in the old one and is sent again comes by both ways."""
    events = [system.usage(organization, f"r{number}", 30_000) for number in range(40)]
    for event in events:
        system.queue(organization, json.dumps([event]))
        system.accepted(event)
    found = system.through(organization)
    prove(found)
    assert len(found.decisions) == len(events)
    assert found.used(slot=f"{system.yesterday}", organization=organization) == 33 * 30_000
    assert found.quarantine == []
    system.emitted_once(organization, found.decisions.values())


def test_what_is_no_json_is_quarantined_and_does_not_stop_its_shard(system: System, organization: str) -> None:
    stream, kinesis = system.stack.outputs["UsageStreamName"], system.client("kinesis")
    for data in (b"\xff\xfe", data_of("[", datetime.now(UTC)), b"1"):
        kinesis.put_records(StreamName=stream, Records=[{"Data": data, "PartitionKey": organization}])
    event = system.usage(organization, "after", 10)
    system.accepted(event)
    assert system.decisions([event])["after"].verdict == "free"
    codes = [each.code for each in system.quarantined(None)]
    assert codes == ["invalid_event"] * 3
