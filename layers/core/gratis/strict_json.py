"""JSON from outside, and nothing that is almost JSON. Apart from the events, whose models cost a start."""

from typing import Any

import pydantic_core


def parse_json(body: bytes | str) -> Any:
    """Any JSON value. Raises ValueError for what is no JSON: NaN, lone surrogates and endless nesting included."""
    return pydantic_core.from_json(body, allow_inf_nan=False)
