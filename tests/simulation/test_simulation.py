"""Worlds full of faults keep every promise, a seed is a world, and a world that fails becomes small."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

from gratis_local.functions import ROOT
from gratis_simulation import Result, simulate
from gratis_simulation.checks import CHECKS
from gratis_simulation.checks.ended import Ended
from gratis_simulation.machines.crew import Crash, Crew
from gratis_simulation.machines.dice import Dice
from gratis_simulation.machines.faults import KINDS
from gratis_simulation.machines.patience import max_calls
from gratis_simulation.machines.run import Run
from gratis_simulation.play import play
from gratis_simulation.shrink import fails, without
from gratis_simulation.worlds.world import INTAKES, Knobs, build
from tests.simulation.faults import FAULTS
from tests.simulation.faulty import Fault

NOTHING_COMMITTED = Fault(
    "what is decided is never written",
    "exactly once",
    (
        (
            "self.shelf |= self.ledger.commit("
            "some_documents, some_counter, some_books, some_decisions, some_voided, judged_by=some_account)",
            "pass",
        ),
    ),
)
WORLDS = 300
FIRST = 100_000


def told(seed: int) -> list[str]:
    """The story of a world, and what it left behind."""
    world, dice = build(seed), Dice(seed)
    run = Run(world, dice, telling=True)
    play(run)
    items = sorted(repr(sorted(item.items())) for item in run.table.items.values())
    return [*run.seen.story, *items, *map(repr, run.bus.events)]


def test_every_promise_holds_in_worlds_full_of_faults() -> None:
    played: list[int] = []
    result = simulate(WORLDS, FIRST, played.append, processes=1)
    assert result.failure is None, result.failure.text()
    assert sum(played) == result.worlds == WORLDS


def test_worlds_are_full_of_faults() -> None:
    """What is simulated does come about: a simulation in which nothing happens would pass as well."""
    stories = [line for seed in range(FIRST, FIRST + 100) for line in told(seed)]
    for happening in (
        *("crash before", "crash after", "answer lost", "takes effect late", "throttled", "unreachable", "torn"),
        *("retried", "contended", "hot partition", "partial", "outage", "visible again", "over_quota", "within_quota"),
        *("unreadable", "internal_error", "is too long ago to be decided now", "is refused", "a stray message"),
        *("the usage stream has 2 shards", "put_records: partial", "put_records: outage", "4966"),
        *("events go to: queue and stream", "events go to: stream", "events go to: queue"),
        *("PutDown", "Unchanged", "from now on: next", "from now on: beyond and this", "from now on: last"),
    ):
        assert any(happening in line for line in stories), happening
    assert sum("conflict" in line for line in stories) > 20
    assert sum("QUARANTINE#" in line for line in stories) > 20
    assert sum("'STATEMENT#" in line for line in stories) > 20
    assert sum("ROLLING" in line for line in stories) > 20


def test_a_seed_plays_the_same_world_again() -> None:
    for seed in range(FIRST, FIRST + 20):
        assert told(seed) == told(seed)


def test_a_seed_plays_the_same_world_in_another_process() -> None:
    """Sets of names come in another order in every process; nothing may depend on it."""
    script = "import hashlib; from tests.simulation.test_simulation import FIRST, told; "
    script += "print(hashlib.sha256(repr([told(FIRST + n) for n in range(30)]).encode()).hexdigest())"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_several_processes_find_what_one_finds() -> None:
    with NOTHING_COMMITTED.in_place():
        found = [simulate(100, FIRST, processes=processes).failure for processes in (1, 2)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].seed == found[1].seed


def test_worlds_of_one_intake_are_played_alone() -> None:
    found = {intake: [seed for seed in range(FIRST, FIRST + 60) if build(seed).intake == intake] for intake in INTAKES}
    assert all(found.values())
    with NOTHING_COMMITTED.in_place():
        failures = {intake: simulate(1, FIRST, intake=intake, processes=1).failure for intake in INTAKES}
    assert {intake: failure and failure.seed for intake, failure in failures.items()} == {
        intake: seeds[0] for intake, seeds in found.items()
    }


def test_events_of_an_organization_lie_in_both_intakes_while_one_is_changed_for_the_other() -> None:
    """So an event may be decided before one that came earlier, by the other way; and some come by both ways."""
    worlds = [world for world in map(build, range(FIRST, FIRST + 150)) if world.intake == "change"]
    runs = [Run(world, Dice(world.seed)) for world in worlds]
    for run in runs:
        play(run)
    assert sum(overtakes(run) for run in runs if run.knobs.keys == 1) >= 3
    assert sum(comes_by_both(run) for run in runs) >= 3


def overtakes(run: Run) -> bool:
    """Whether an event was decided before one of its organization that was sent before it."""
    latest: dict[str, int] = {}
    for taken in Ended(run).told.taken.values():
        batch = run.seen.handed_out[taken.actor.work.name]
        if min(batch) < latest.get(taken.decision.organization, 0):
            return True
        latest[taken.decision.organization] = max(batch)
    return False


def comes_by_both(run: Run) -> bool:
    ways: dict[str, set[str]] = {}
    for message in run.sent:
        ways.setdefault(message.body, set()).add(message.lane[0])
    return any(len(each) > 1 for each in ways.values())


def test_a_failure_names_its_seed_and_the_few_steps_that_lead_to_it() -> None:
    with NOTHING_COMMITTED.in_place():
        failure = simulate(50, FIRST, processes=1).failure
        assert failure is not None
        assert (failure.promise, failure.check, failure.events, failure.turns) == ("exactly once", "batches", 1, ())
        assert f"seed {failure.seed} breaks a promise: exactly once (found by: batches)" in failure.text()
        assert "classify #1 gets message-0" in failure.text()
        assert simulate(1, failure.seed) == Result(1, failure)


def test_a_failure_names_the_turns_that_it_takes() -> None:
    fault = next(fault for fault in FAULTS if fault.name.startswith("the stream goes on from the last record"))
    with fault.in_place():
        failure = simulate(600, 1, processes=1).failure
    assert failure is not None
    assert any(re.fullmatch(r"emit #\d+ call \d+ fails", turn) for turn in failure.turns)
    assert f"  turn: {failure.turns[0]}" in failure.text()


def test_without_turns_a_run_takes_the_ordinary_course() -> None:
    world = build(FIRST)
    dice = Dice(world.seed, only=frozenset())
    run = Run(replace(world, knobs=Knobs()), dice, telling=True)
    play(run)
    assert dice.taken == []
    assert not any("crash" in line or "again" in line for line in run.seen.story)


def test_worlds_end_long_before_they_are_taken_for_endless() -> None:
    for seed in range(FIRST, FIRST + 100):
        run = Run(build(seed), Dice(seed))
        run.finish()
        assert run.calls * 3 < run.max_calls, seed


def test_what_a_world_may_take_follows_from_what_happens_in_it() -> None:
    built = build(FIRST)
    world = replace(built, knobs=replace(built.knobs, faults=0.1, workers=2))
    quiet = replace(world, knobs=replace(world.knobs, faults=0.0, again=0.0))
    alone = replace(quiet, knobs=replace(quiet.knobs, workers=1))
    idle = replace(alone, plan=())
    assert max_calls(world) > max_calls(quiet) > max_calls(alone) > max_calls(idle) > 0


def test_a_world_that_keeps_its_promises_has_no_failure() -> None:
    assert fails(build(FIRST)) is None


def test_as_little_is_left_as_is_needed() -> None:
    asked: list[int] = []

    def needs_both(parts: Sequence[int]) -> bool:
        asked.append(1)
        return {3, 77} <= set(parts)

    assert without(range(100), needs_both) == [3, 77]
    assert len(asked) < 100


def test_a_turn_falls_the_same_way_whatever_was_left_out() -> None:
    names = [f"turn {number}" for number in range(1000)]
    free, tied = Dice(1), Dice(1, only=frozenset(names[:10]))
    fallen = [free.turn(name, 0.3, 5) for name in names]
    assert [tied.turn(name, 0.3, 5) for name in names] == fallen[:10] + [0] * 990
    assert 230 < sum(face > 0 for face in fallen) < 370
    assert set(fallen) == {0, 1, 2, 3, 4, 5}
    assert fallen != [Dice(2).turn(name, 0.3, 5) for name in names]


def test_one_task_runs_at_a_time_and_goes_on_where_it_stopped() -> None:
    said: list[str] = []
    with Crew() as crew:

        def body(name: str) -> None:
            said.append(f"{name} begins")
            tasks[name].pause()
            said.append(f"{name} ends")

        tasks = {name: crew.start(lambda name=name: body(name)) for name in "ab"}
        for name in "abba":
            tasks[name].resume()
        assert said == ["a begins", "b begins", "b ends", "a ends"]
        assert all(task.done and task.error is None for task in tasks.values())


def test_what_is_still_paused_dies_in_the_end() -> None:
    with Crew() as crew:

        def body() -> None:
            task.pause()

        task = crew.start(body)
        task.resume()
        assert not task.done
    assert isinstance(task.error, Crash)


def test_the_page_names_every_check_and_every_fault() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
    rows = {name for row in re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    assert {*CHECKS, *KINDS} <= rows
    assert rows - {*CHECKS, *KINDS} == {f"gratis_simulation/{room}/" for room in ("worlds", "machines", "checks")}
