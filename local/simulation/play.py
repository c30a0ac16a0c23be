"""Plays one world: runs it to its end, and checks every promise."""

from local.simulation.dice import Dice
from local.simulation.promises import check
from local.simulation.run import Broken, Run
from local.simulation.table import Unknown
from local.simulation.world import World


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
