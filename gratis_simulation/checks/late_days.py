"""A decision that came after its day was over: the function that emits says that the day has to be closed again."""

from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended


def check(ended: Ended) -> None:
    """Whenever the function was handed such a decision, it named the day."""
    over = {
        (f"REQ#{decision.key.request_id}", decision.organization, decision.day)
        for decision in ended.decisions
        if decision.decided_at[:10] > decision.day
    }
    for batch, emitted in ended.run.seen.emitted:
        for record in batch:
            keys = record["dynamodb"]["Keys"]
            _, *day = keys["pk"]["S"].split("#")[:3]
            if (keys["sk"]["S"], *day) in over and tuple(day) not in emitted.late:
                raise Broken("proved", f"{day} has to be closed again, and nobody says so")
