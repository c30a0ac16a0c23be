"""The simulation of many writers on one counter: it loses nothing, decides nothing twice, and repeats itself."""

from itertools import chain

import pytest

from benchmarks.contention import (
    BATCH,
    DESIGNS,
    GRATIS,
    NOT_READING_AGAIN,
    ONE_BATCH,
    Design,
    Ledger,
    outcome,
    simulate,
)

every_design = pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)


@every_design
@pytest.mark.parametrize("writers", [1, 2, 16])
def test_every_event_is_decided_or_in_a_dead_letter(design: Design, writers: int) -> None:
    world = simulate(design, writers, seconds=0.5)
    taken = set(chain.from_iterable(message.events for message in world.messages))
    dead = set(chain.from_iterable(message.events for message in world.dead))
    assert len(taken) == sum(message.size for message in world.messages) > 0
    assert world.ledger.decided.keys() <= taken
    assert taken - world.ledger.decided.keys() <= dead


def test_a_batch_in_two_writers_at_once_is_decided_once() -> None:
    world = simulate(GRATIS, 2, seconds=ONE_BATCH, same=True)
    assert len(world.messages) == BATCH
    assert world.ledger.decided.keys() == set(chain.from_iterable(message.events for message in world.messages))


def test_no_event_is_decided_twice() -> None:
    ledger = Ledger(partitions=1)
    ledger.decide(0.0, [1, 2])
    with pytest.raises(AssertionError, match=r"twice: \[2\]"):
        ledger.decide(1.0, [2, 3])


@pytest.mark.parametrize("design", DESIGNS[:-1], ids=lambda design: design.name)
def test_every_commit_is_one_version_of_the_document(design: Design) -> None:
    world = simulate(design, 8, seconds=0.5)
    assert world.ledger.version == world.commits


@every_design
def test_a_seed_always_gives_the_same_figures(design: Design) -> None:
    first, again, other = (outcome(4, [simulate(design, 4, seed, 0.5)]) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("design", DESIGNS[:-1], ids=lambda design: design.name)
def test_a_single_writer_commits_at_every_attempt(design: Design) -> None:
    alone = outcome(1, [simulate(design, 1, seconds=1.0)])
    assert (alone.attempts_per_commit, alone.given_back) == (1, 0)


def test_two_writers_stand_in_each_others_way() -> None:
    both = outcome(2, [simulate(GRATIS, 2, seconds=2.0)])
    assert both.attempts_per_commit > 1.05


def test_reading_again_after_a_wait_gives_fewer_messages_back() -> None:
    reading, not_reading = (outcome(8, [simulate(each, 8, seconds=5.0)]) for each in (GRATIS, NOT_READING_AGAIN))
    assert reading.given_back < not_reading.given_back


def test_a_partition_takes_no_more_than_its_units() -> None:
    events = outcome(64, [simulate(DESIGNS[-1], 64, seconds=5.0)]).events_per_second
    assert 1000 <= events <= 1000 * 6 / 5  # the bucket is full at the start
