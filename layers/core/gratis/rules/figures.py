"""What a counter counts: tokens, requests and runs as integers, dollars as exact decimals. Pure.

In records, receipts and documents an integer is a JSON number, a decimal is text, as amounts are.
"""

from decimal import Decimal
from typing import Any

Figure = int | Decimal


def parsed(written: Any) -> Figure:
    """The figure that `written` gave."""
    return Decimal(written) if isinstance(written, str) else int(written)


def written(figure: Figure) -> int | str:
    """A figure as JSON holds it."""
    return plain(figure) if isinstance(figure, Decimal) else figure


def plain(amount: Decimal) -> str:
    """An exact decimal as text, without trailing zeros: `0.525`, `0`."""
    return format(amount.normalize(), "f") if amount else "0"
