"""Plays one world: runs it to its end, and checks every promise."""

from local.simulation.checks.promises import check
from local.simulation.machines.dice import Dice
from local.simulation.machines.run import Broken, Run
from local.simulation.machines.table import Unknown
from local.simulation.worlds.world import World


def play(world: World, dice: Dice, run: Run | None = None) -> None:
    """Raises Broken if a promise does not hold. `run`: prepared by whoever wants to look at it afterwards."""
    run = run or Run(world, dice)
    try:
        run.finish()
        check(run)
    except Broken:
        raise
    except (Exception, Unknown) as error:
        raise Broken("nothing unforeseen", f"what came of it cannot even be read: {error!r}") from error
