"""The billing record as SPEC section 5 shapes it, written a second time without the core's help."""

from typing import Any

from gratis.rules.receipt import Decision

FIRST = (
    *("organization", "project", "request_id", "model", "group", "window", "verdict", "reason"),
    *("quota", "used_before", "used_after", "running_total", "list_amount_usd", "amount_usd", "tier", "offer"),
    *("profile_version", "settings_version", "price_version", "payload_hash"),
    *("occurred_at", "received_at", "decided_at"),
)
"""What a record of the first format said, beside its id and its tokens."""
SECOND = ("format", "kind", "unit", "reservation", "platform_verdict")
"""What the second format added, beside `voids`, `reserved_before` and the tokens written to the cache."""


def record_of(decision: Decision) -> dict[str, Any]:
    """In the form of the decision's own format, with the fields that a later one added."""
    tokens = {
        "input": decision.input,
        "cached_input": decision.cached,
        "output": decision.output,
        "total": decision.input + decision.output,
    }
    record = {name: getattr(decision, name) for name in FIRST}
    name = f"{decision.organization}:{decision.day}:{decision.request_id}"
    is_void = decision.kind == "usage.void"
    record["id"] = f"{name}~void" if is_void else name
    if decision.format == 1:
        return record | {"tokens": tokens}
    tokens["cache_write"] = decision.cache_write
    record |= {name: getattr(decision, name) for name in SECOND} | {"tokens": tokens}
    record["voids"] = name if is_void else None
    record["reserved_before"] = None if decision.used_before is None else decision.reserved_before
    return record | dict(decision.later)
