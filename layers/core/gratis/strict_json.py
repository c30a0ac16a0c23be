"""Strict JSON: no NaN, no lone surrogates, no endless nesting.

A module of its own, so that whoever needs only this does not import the event models, which slow a cold start.
"""

from typing import Any

import pydantic_core


def parse_json(body: bytes | str) -> Any:
    """Any JSON value. Raises ValueError for what is no JSON: NaN, lone surrogates and endless nesting included."""
    return pydantic_core.from_json(body, allow_inf_nan=False)
