"""Seeded fault simulation of the core."""

from local.simulation.clock import simulated
from local.simulation.dice import Dice
from local.simulation.promises import check
from local.simulation.run import Run
from local.simulation.world import World, build


def play(world: World, dice: Dice, *, telling: bool = False) -> Run:
    run = Run(world, dice, telling=telling)
    with simulated(world.knobs.limits, run.sleep):
        run.finish()
        check(run)
    return run
