"""How many calls a run may make: one that makes more is taken to be endless.

The bound follows from the world: every event, step and closing costs calls, and nothing is repeated without a cause. A
fault, a repeated delivery and a slow worker each cost at most one invocation more, and all of them are counted.
"""

from gratis.account.reservations import MAX_RACES
from gratis.table.keys import DECISION_SHARDS
from gratis_simulation.machines.releases import LAST
from gratis_simulation.worlds.world import Close, GiveBack, Post, Reserve, World

MAX_SLOW = 10
"""How often workers outlast the queue's visibility timeout, or a closing stops halfway. Without a bound no message
might ever be deleted, and a day be read from its beginning for each of its decisions."""
CLOSED = 2
"""Days that are closed at the end, where the last release ran twice: reading them all takes longer than the run."""
CALLS = 30
"""Calls that an event, a step or a disturbance costs at most outside of closings, for each worker in the way: to queue,
read, decide and emit it, eight attempts, and twenty calls while a partition is busy."""
ASKING = 2 * MAX_RACES * 10
"""Calls that a client costs at most who asks for room, and asks once more: to read, to commit and to wait, each time
that another is faster."""
DAYS = 3 + 32
"""Days that a closing reads at most: the day, its neighbours, and those of a month's window. Each is read in shards."""


def max_calls(world: World) -> int:
    """Calls of a whole run at most, invocations included."""
    events = sum(len(step.events) if isinstance(step, Post) else 1 for step in world.plan)
    closings = sum(isinstance(step, Close) for step in world.plan) + CLOSED * (1 + world.runs(LAST))
    troubled = world.knobs.faults or world.knobs.again
    disturbances = MAX_SLOW + (world.knobs.max_faults if troubled else 0)
    closing = DAYS * DECISION_SHARDS + CALLS + events
    others = (events + len(world.plan) + disturbances) * CALLS * world.knobs.workers
    asking = sum(isinstance(step, Reserve | GiveBack) for step in world.plan) * ASKING
    return others + asking + (closings + disturbances) * closing
