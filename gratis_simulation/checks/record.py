"""The billing record as SPEC section 5 shapes it, written a second time without the core's help."""

from typing import Any

from gratis.rules.receipt import Decision


def record_of(decision: Decision) -> dict[str, Any]:
    """The billing record as SPEC section 5 shapes it."""
    names = (
        *("format", "kind", "organization", "project", "request_id", "model", "group", "window", "verdict", "reason"),
        *("unit", "quota", "used_before", "used_after", "running_total", "voids", "reservation", "platform_verdict"),
        *("list_amount_usd", "amount_usd", "tier", "offer"),
        *("profile_version", "settings_version", "price_version", "payload_hash"),
        *("occurred_at", "received_at", "decided_at"),
    )
    tokens = {
        "input": decision.input,
        "cached_input": decision.cached,
        "cache_write": decision.cache_write,
        "output": decision.output,
        "total": decision.input + decision.output,
    }
    record_id = f"{decision.organization}:{decision.day}:{decision.request_id}"
    reserved = None if decision.used_before is None else decision.reserved_before
    told = {"id": record_id, "tokens": tokens, "reserved_before": reserved}
    return {name: getattr(decision, name) for name in names} | told
