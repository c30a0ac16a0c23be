"""Each threshold of a counter is on the bus under one id, as one of the decisions that announce it says."""

from collections import defaultdict
from typing import Any

from gratis.rules.receipt import Decision
from gratis_simulation.broken import Broken
from gratis_simulation.checks.bus import THRESHOLD
from gratis_simulation.checks.ended import Ended


def check(ended: Ended) -> None:
    """Of several events with one id the first counts: whoever has seen it drops the others."""
    on_bus: dict[str, dict[str, Any]] = {}
    for kind, event in ended.run.bus.events:
        if kind == THRESHOLD:
            on_bus.setdefault(event["id"], event)
    announced: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for decision in ended.decisions:
        for threshold in decision.thresholds:
            pool = "" if decision.pool is None else f":{decision.pool}"
            counter = f"{decision.organization}:{decision.group}{pool}:{decision.window}"
            name = f"{counter}:{decision.quota}:{threshold}"
            announced[name].append(_announcement(decision, threshold))
    if announced.keys() != on_bus.keys():
        missing, made_up = announced.keys() - on_bus.keys(), on_bus.keys() - announced.keys()
        message = f"not on the bus {sorted(missing)}, made up {sorted(made_up)}"
        raise Broken("thresholds announced once and right", message)
    for name, event in on_bus.items():
        if {field: event.get(field) for field in announced[name][0]} not in announced[name]:
            raise Broken("thresholds announced once and right", f"{event} is none of {announced[name]}")


def _announcement(decision: Decision, threshold: int) -> dict[str, Any]:
    return {
        "organization": decision.organization,
        "group": decision.group,
        "project": decision.pool or None,
        "unit": decision.unit,
        "window": decision.window,
        "threshold": threshold,
        "quota": decision.quota,
        "used": decision.used_after,
        "request_id": decision.request_id,
        "occurred_at": decision.occurred_at,
    }
