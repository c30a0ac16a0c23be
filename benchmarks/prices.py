"""What AWS asks for what the designs use. One dated table; everything in dollars is computed from it."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Prices:
    """USD a million units on demand, without free tier and taxes."""

    as_of: date
    region: str
    source: str
    write_units: float
    read_units: float

    def usd_per_million(self, write_units: float, read_units: float) -> float:
        """Dollars for a million events that each take so many units."""
        return write_units * self.write_units + read_units * self.read_units


PRICES = Prices(
    as_of=date(2026, 11, 1),
    region="us-east-1",
    source="https://aws.amazon.com/dynamodb/pricing/on-demand/ (standard table class)",
    write_units=0.625,
    read_units=0.125,
)
"""DynamoDB only: the webhook, the queue and the stream are the same for every design."""
