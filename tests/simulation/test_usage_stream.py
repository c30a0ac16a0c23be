"""The simulated usage stream does what Kinesis and Lambda do, and no more kindly."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gratis.intake.stream import data_of, message_of
from gratis_simulation.machines.queue import stated
from gratis_simulation.machines.usage_stream import AFTER_A_FAILURE, Put, UsageShards

NOW = datetime(2025, 3, 11, 12, tzinfo=UTC)


class Clock:
    now = NOW


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shards(clock: Clock) -> UsageShards:
    return UsageShards(lambda: clock.now)


def filled(shards: UsageShards, *bodies: str, group: str = "org_a") -> None:
    for body in bodies:
        shards.put(group, body, stated(NOW))


def bodies(batch: list[Put]) -> str:
    return "".join(record.body for record in batch)


def entry(body: str) -> dict[str, Any]:
    return {"PartitionKey": "org_a", "Data": data_of(body, NOW)}


def test_a_call_may_store_a_later_record_and_not_an_earlier_one(shards: UsageShards) -> None:
    answer = shards.put_records(StreamName="usage", Records=[entry("a"), entry("b")], refuse=[0])
    assert ["SequenceNumber" in each for each in answer["Records"]] == [False, True]
    assert bodies(shards.receive(10)) == "b"


def test_a_record_reads_as_it_was_put(shards: UsageShards) -> None:
    filled(shards, "[1]")
    shards.put("org_b", "[2]", {})
    first, second = (message_of(record.record()) for record in shards.receive(10))
    assert (first.group, first.body, first.received_at) == ("org_a", "[1]", NOW)
    assert (second.group, second.body, second.received_at) == ("org_b", "[2]", NOW)
    assert first.id < second.id


def test_a_shard_has_one_batch_out_and_goes_on_at_the_record_that_failed(clock: Clock, shards: UsageShards) -> None:
    filled(shards, *"abcd")
    batch = shards.receive(3)
    assert (bodies(batch), shards.has_visible()) == ("abc", False)
    shards.read_to(batch, batch[1].id, 0)
    assert (shards.has_visible(), shards.next_visible_at()) == (False, NOW + AFTER_A_FAILURE)
    clock.now += AFTER_A_FAILURE
    assert bodies(shards.receive(3)) == "bcd"


def test_what_a_worker_died_of_comes_again_in_halves(clock: Clock, shards: UsageShards) -> None:
    filled(shards, *"abcd")
    shards.failed(shards.receive(4))
    clock.now += AFTER_A_FAILURE
    first = shards.receive(4)
    shards.read_to(first, None, 0)
    assert (bodies(first), bodies(shards.receive(4))) == ("ab", "cd")


def test_a_shard_may_be_read_again_from_before_its_last_batch(shards: UsageShards) -> None:
    filled(shards, *"abcd")
    shards.read_to(shards.receive(2), None, 0)
    shards.read_to(shards.receive(2), None, 3)
    assert bodies(shards.receive(10)) == "bcd"


def test_a_new_shard_is_read_when_those_it_comes_from_are_read_to_their_end(shards: UsageShards) -> None:
    filled(shards, *"ab")
    for before in "cdef":  # one, two, four, two, four shards
        shards.reshard()
        filled(shards, before)
    assert len(shards.shards) == 4
    read = ""
    while shards.has_visible():
        batch = shards.receive(1)
        assert not shards.has_visible()  # all of it is of one organization
        shards.read_to(batch, None, 0)
        read += bodies(batch)
    assert read == "abcdef"


def test_parts_of_a_shard_are_read_side_by_side_and_a_key_is_in_one_of_them(clock: Clock) -> None:
    shards = UsageShards(lambda: clock.now, parallel=2)
    filled(shards, "a", "b", group="org_a")
    filled(shards, "c", group="org_b")
    shards.reshard()
    filled(shards, "d", group="org_a")
    first, second = sorted((shards.receive(10), shards.receive(10)), key=bodies)
    assert (bodies(first), bodies(second), shards.has_visible()) == ("ab", "c", False)
    shards.read_to(first, None, 0)
    assert not shards.has_visible()  # the other part of the old shard is not read to its end
    shards.read_to(second, None, 0)
    assert bodies(shards.receive(10)) == "d"


def test_time_alone_makes_nothing_visible_that_is_not_there(clock: Clock, shards: UsageShards) -> None:
    clock.now += timedelta(days=1)
    assert (shards.receive(10), shards.next_visible_at()) == ([], None)
